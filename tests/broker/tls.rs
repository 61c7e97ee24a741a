//! A broker that encrypts, and asks who is there; with certificates that Java's `keytool` makes.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::install::skip;
use super::settings::{free_port, Further, PASSWORD};
use super::{Broker, NO_BROKER};

/// Whom it lets in, with [`PASSWORD`], by SCRAM-SHA-256.
pub(crate) const USER: &str = "tidewatch";

/// Of the keystores, which hold nothing that anybody wants.
const STORE_PASSWORD: &str = "changeit";

/// A broker with a listener that is encrypted.
pub(crate) struct Secured {
    pub(crate) broker: Broker,
    pub(crate) port: u16,
}

/// The one that the tests of this process share; `None`, said loudly, if there can be none.
pub(crate) fn secured() -> Option<&'static Secured> {
    static SHARED: OnceLock<Option<Secured>> = OnceLock::new();
    if let Err(why) = keytool(&["-help"]) {
        skip(NO_BROKER, &format!("there is no keytool, a part of Java: {why}"));
        return None;
    }
    let start = || {
        let port = free_port();
        Some(Secured { broker: Broker::start_with(|folder| listener(port, folder))?, port })
    };
    let secured = SHARED.get_or_init(start).as_ref();
    if secured.is_none() {
        skip(NO_BROKER, "as it is said above");
    }
    secured
}

impl Secured {
    /// Where it listens, by the address that its certificate names.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The authority that has signed its certificate.
    pub(crate) fn authority(&self) -> String {
        self.certificate("authority")
    }

    /// Another authority, which has not.
    pub(crate) fn stranger(&self) -> String {
        self.certificate("stranger")
    }

    fn certificate(&self, name: &str) -> String {
        self.broker.folder.join(name).with_extension("pem").display().to_string()
    }
}

/// What the broker needs for its encrypted listener, whose certificates are made in `folder`.
fn listener(port: u16, folder: &Path) -> Further {
    let store = certificates(folder).expect("there is keytool");
    let settings = format!(
        "listener.name.secured.sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.secured.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secured.ssl.keystore.type=PKCS12
listener.name.secured.ssl.keystore.location={store}
listener.name.secured.ssl.keystore.password={STORE_PASSWORD}
"
    );
    let user = format!("SCRAM-SHA-256=[name={USER},password={PASSWORD}]");
    Further { listeners: vec![("SECURED", "SASL_SSL", port)], settings, users: vec![user] }
}

/// Makes two authorities, and a certificate of 127.0.0.1, without a name, that the first has signed. Returns the keystore of
/// the latter.
fn certificates(folder: &Path) -> Result<String, String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let store = |name: &str| path(&format!("{name}.p12"));
    let make = |store: &str, name: &str, further: &[&str]| {
        let subject = format!("CN={name}");
        let fixed = ["-genkeypair", "-alias", name, "-keystore", store, "-storetype", "PKCS12"];
        let fixed =
            [&fixed[..], &["-storepass", STORE_PASSWORD, "-keyalg", "EC", "-dname", &subject]].concat();
        keytool(&[&fixed[..], further].concat())
    };
    let own = store("broker");
    for (store, name) in [(&own, "authority"), (&store("stranger"), "stranger")] {
        make(store, name, &["-ext", "bc:c"])?;
        let file = path(&format!("{name}.pem"));
        let of = ["-alias", name, "-keystore", store, "-storepass", STORE_PASSWORD, "-rfc", "-file", &file];
        keytool(&[&["-exportcert"], &of[..]].concat())?;
    }
    make(&own, "broker", &["-signer", "authority", "-ext", "san=ip:127.0.0.1"])?;
    // Else the broker might show the authority's own certificate.
    keytool(&["-delete", "-alias", "authority", "-keystore", &own, "-storepass", STORE_PASSWORD])?;
    Ok(own)
}

fn keytool(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("keytool").args(arguments).output().map_err(|error| error.to_string())?;
    let said = [output.stdout, output.stderr].concat();
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&said).into_owned())
}
