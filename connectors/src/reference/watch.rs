//! Looks whether a text has changed.

use std::sync::mpsc::Sender;
use std::sync::Arc;
use std::time::Duration;

use timely::scheduling::SyncActivator;
use tracing::warn;

use super::{Parse, Read, Taken};
use crate::task::{Inbox, Next, Task};
use crate::Error;

/// Looks now and then whether a text has changed, and tells an operator.
pub(super) struct Watch<T> {
    pub(super) read: Arc<Read>,
    pub(super) parse: Arc<Parse<T>>,
    pub(super) every: Duration,
    pub(super) taken: Sender<Taken<T>>,
    /// Wakes the operator.
    pub(super) waker: SyncActivator,
    /// Closed once the operator is gone.
    pub(super) ends: Inbox<()>,
}

impl<T> Watch<T> {
    /// Watches from now on, when it is `last`.
    pub(super) fn after(self, last: String) -> Watching<T> {
        Watching { watch: self, last, seen: None, next: None, troubled: false }
    }
}

/// What is known of the text.
pub(super) struct Watching<T> {
    watch: Watch<T>,
    /// As it was taken up last, or refused.
    last: String,
    /// As it was seen last, if it has changed: who writes a file may not be done.
    seen: Option<String>,
    /// When to look again.
    next: Option<Duration>,
    /// Whether it could not be read when somebody looked last.
    troubled: bool,
}

impl<T> Watching<T> {
    fn look(&mut self) {
        let text = match (self.watch.read)() {
            Ok(text) => text,
            Err(error) => {
                if !std::mem::replace(&mut self.troubled, true) {
                    warn!("{error}; what was known last stays in force");
                }
                return;
            }
        };
        self.troubled = false;
        if text == self.last {
            self.seen = None;
        } else if self.seen.as_ref() != Some(&text) {
            self.seen = Some(text);
        } else {
            self.seen = None;
            self.last.clone_from(&text);
            match (self.watch.parse)(&text) {
                Ok(value) => {
                    if self.watch.taken.send((text, value)).is_ok() {
                        // A worker that is gone waits for nothing.
                        let _ = self.watch.waker.activate();
                    }
                }
                Err(reason) => warn!("{reason}; what was known last stays in force"),
            }
        }
    }
}

impl<T: Send> Task for Watching<T> {
    fn step(&mut self, now: Duration, _haste: bool) -> Result<Next, Error> {
        self.watch.ends.peek();
        if self.watch.ends.rest() == Next::Done {
            return Ok(Next::Done);
        }
        let every = self.watch.every;
        let next = *self.next.get_or_insert(now + every);
        if next <= now {
            self.look();
            self.next = Some(now + every);
        }
        Ok(Next::At(self.next.unwrap_or(now)))
    }

    fn wait(&mut self, limit: Duration) {
        self.watch.ends.wait(limit);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::sync::Mutex;

    use super::*;
    use crate::lock;
    use crate::task::inbox;

    /// Looks at these texts one after the other, each of which means a number; returns what was taken up.
    fn taken(texts: &[Option<&str>]) -> Vec<u32> {
        let waker = timely::execute_directly(|worker| worker.sync_activator_for(vec![]));
        let now = Arc::new(Mutex::new(Ok(String::new())));
        let read: Arc<Read> = {
            let now = now.clone();
            Arc::new(move || lock(&now).clone().map_err(Error::Configuration))
        };
        let parse: Arc<Parse<u32>> =
            Arc::new(|text| text.parse().map_err(|_| format!("{text} is no number")));
        let ((taken, fresh), (ends, inbox)) = (channel(), inbox());
        let every = Duration::from_secs(1);
        let mut watching = Watch { read, parse, every, taken, waker, ends: inbox }.after("1".to_owned());
        for (at, text) in (0_u32..).zip(texts) {
            *lock(&now) = text.map(str::to_owned).ok_or_else(|| "gone".to_owned());
            assert_eq!(Next::At(every * (at + 1)), watching.step(every * at, false).unwrap());
        }
        drop(ends);
        assert_eq!(Next::Done, watching.step(Duration::ZERO, false).unwrap());
        fresh.try_iter().map(|(_, number)| number).collect()
    }

    #[test]
    fn what_has_changed_is_taken_up_once_it_is_seen_twice() {
        let one = Some("1");
        assert_eq!(Vec::<u32>::new(), taken(&[one, one, one]), "it has not changed");
        assert_eq!(vec![23], taken(&[one, Some("2"), Some("23"), Some("23"), Some("23")]));
        assert_eq!(vec![2, 1], taken(&[one, Some("2"), Some("2"), one, one]));
        // What is gone, or makes no sense, leaves in force what was known.
        assert_eq!(vec![3], taken(&[one, None, None, Some("x"), Some("x"), Some("3"), None, Some("3")]));
    }
}
