//! How a broker is set up.

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

/// What `admin` says at the listener that asks who is there.
pub(crate) const PASSWORD: &str = "open-sesame";

/// Where it listens.
pub(crate) struct Ports {
    pub(crate) clients: u16,
    pub(crate) guarded: u16,
    pub(crate) controller: u16,
}

/// What a broker has beside what each has.
#[derive(Default)]
pub(crate) struct Further {
    /// Listeners: a name, how clients talk there, and the port.
    pub(crate) listeners: Vec<(&'static str, &'static str, u16)>,
    /// Lines of `server.properties`.
    pub(crate) settings: String,
    /// Users whom it knows from the start, as `kafka-storage format --add-scram` takes them.
    pub(crate) users: Vec<String>,
}

/// A port that nobody has, and that nobody is given by chance: it is below those of outgoing connections.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        let port = 10_000 + (std::process::id() % 100) as u16 * 100 + next;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The text of `server.properties`: broker and controller in one, everything kept once.
pub(crate) fn settings(ports: &Ports, folder: &Path, further: &Further) -> String {
    let Ports { clients, guarded, controller } = ports;
    let listeners = further.listeners.iter();
    let open: String =
        listeners.clone().map(|(name, _, port)| format!(",{name}://127.0.0.1:{port}")).collect();
    let protocols: String = listeners.map(|(name, protocol, _)| format!(",{name}:{protocol}")).collect();
    let further = &further.settings;
    let data = folder.join("data").display().to_string();
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{clients},GUARDED://127.0.0.1:{guarded},CONTROLLER://127.0.0.1:{controller}{open}
advertised.listeners=PLAINTEXT://127.0.0.1:{clients},GUARDED://127.0.0.1:{guarded}{open}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_PLAINTEXT{protocols}
listener.name.guarded.sasl.enabled.mechanisms=PLAIN
listener.name.guarded.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_admin=\"{PASSWORD}\";
log.dirs={data}
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=200
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
{further}"
    )
}
