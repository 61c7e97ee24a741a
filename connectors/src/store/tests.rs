use std::fs::{self, File};
use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime};

use super::*;

fn stores() -> (tempfile::TempDir, Vec<Arc<dyn Store>>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state").to_str().unwrap().to_owned();
    let stores =
        vec![open("memory:").unwrap(), open(&path).unwrap(), open(&format!("file://{path}-too")).unwrap()];
    (directory, stores)
}

#[test]
fn what_is_written_once_is_read_listed_and_deleted() {
    let (_directory, stores) = stores();
    for store in stores {
        assert_eq!(None, store.get("log/1").unwrap());
        assert_eq!(Vec::<Listed>::new(), store.list("log/").unwrap());
        for (name, bytes) in [("log/10", "ten"), ("log/2", "two"), ("log/sub/3", ""), ("logs/1", "other")] {
            assert!(store.put_new(name, bytes.as_bytes()).unwrap(), "{name}");
        }
        assert!(!store.put_new("log/2", b"again").unwrap());
        assert_eq!(Some(b"two".to_vec()), store.get("log/2").unwrap());
        let names = |prefix: &str| -> Vec<_> {
            store.list(prefix).unwrap().into_iter().map(|listed| (listed.name, listed.bytes)).collect()
        };
        let listed = |name: &str, bytes| (name.to_owned(), bytes);
        assert_eq!(vec![listed("log/10", 3), listed("log/2", 3), listed("log/sub/3", 0)], names("log/"));
        assert_eq!(vec![listed("log/10", 3)], names("log/1"));
        assert_eq!(4, names("").len());
        store.delete("log/2").unwrap();
        store.delete("log/2").unwrap();
        assert_eq!(None, store.get("log/2").unwrap());
        assert!(store.put_new("log/2", b"anew").unwrap());
    }
}

#[test]
fn of_many_that_write_one_name_one_does() {
    let (_directory, stores) = stores();
    for store in stores {
        let start = Barrier::new(8);
        let written: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8u8)
                .map(|index| {
                    let (store, start) = (&store, &start);
                    scope.spawn(move || {
                        start.wait();
                        store.put_new("a/b/c", &[index; 1000]).unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(1, written.iter().filter(|written| **written).count());
        let winner = written.iter().position(|written| *written).unwrap() as u8;
        assert_eq!(Some(vec![winner; 1000]), store.get("a/b/c").unwrap());
    }
}

#[test]
fn a_directory_is_found_again_by_every_way_to_name_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    open(path).unwrap().put_new("log/1", b"one").unwrap();
    assert_eq!(Some(b"one".to_vec()), open(&format!("file://{path}")).unwrap().get("log/1").unwrap());
}

#[test]
fn what_a_crash_left_half_written_is_removed_once_it_is_old() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("log")).unwrap();
    let path = |name: &str| directory.path().join("log").join(name);
    let old = SystemTime::now() - Duration::from_secs(7_200);
    for (name, time) in [("1", old), ("1#1", old), ("2#1", SystemTime::now())] {
        File::create(path(name)).unwrap().set_modified(time).unwrap();
    }
    let store = open(directory.path().to_str().unwrap()).unwrap();
    assert_eq!((true, false, true), (path("1").exists(), path("1#1").exists(), path("2#1").exists()));
    assert_eq!(1, store.list("log/").unwrap().len());
}

#[test]
fn errors_name_the_store_the_object_and_the_cause() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let store = open(path).unwrap();
    File::create(directory.path().join("log")).unwrap();
    let error = store.put_new("log/1", b"one").unwrap_err().to_string();
    assert_eq!(format!("cannot write \"log/1\" of store \"{path}\": Not a directory (os error 20)"), error);
    let full = Error::Store {
        operation: "write",
        object: store.object("log/1"),
        source: io::Error::from_raw_os_error(28),
    };
    let expected = "No space left on device (os error 28): make room there, then start again";
    assert!(full.to_string().ends_with(expected), "{full}");
}

#[test]
fn a_url_that_cannot_be_opened_is_refused_with_advice() {
    let refused = |url: &str| match open(url) {
        Ok(_) => panic!("{url} was opened"),
        Err(error) => error.to_string(),
    };
    assert!(refused("ftp://host/state").contains("give a directory"), "{}", refused("ftp://host/state"));
    assert!(refused("").contains("give a directory"));
    #[cfg(not(feature = "cloud"))]
    for url in ["s3://bucket/state", "gs://bucket", "az://container/state"] {
        assert!(refused(url).ends_with("build it with `--features cloud`"), "{}", refused(url));
    }
}
