//! What is done when a broker does not have the offset at which a partition is to be read.

use std::sync::mpsc::{sync_channel, Receiver};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use timely::scheduling::SyncActivator;

use super::client::{is_passing, natural, reassign, KafkaConsumer};
use super::Place;
use crate::Error;

/// How long the broker has to answer before it is asked again.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the broker has in place of what it no longer has: the bounds of the partition.
pub(super) type Answer = KafkaResult<(u64, u64)>;

/// Asks the broker what it has, in a thread, since that takes time, and has the partition fetched from the offset that
/// is nearest to `from`; wakes the worker when it is known.
pub(super) fn look(
    consumer: &Arc<KafkaConsumer>,
    place: &Place,
    from: u64,
    waker: &SyncActivator,
) -> Result<Receiver<Answer>, Error> {
    let (sender, answer) = sync_channel(1);
    let (consumer, place, waker) = (Arc::downgrade(consumer), place.clone(), waker.clone());
    thread::Builder::new()
        .name("tidewatch-kafka-lost".into())
        .spawn(move || {
            if let Some(found) = ask(&consumer, &place, from) {
                // Nobody may want to know any more.
                let _ = sender.send(found);
                let _ = waker.activate();
            }
        })
        .map_err(Error::io("the thread that asks for lost records"))?;
    Ok(answer)
}

/// `None` if there is no client any more.
fn ask(client: &Weak<KafkaConsumer>, place: &Place, from: u64) -> Option<Answer> {
    loop {
        let consumer = client.upgrade()?;
        match consumer.fetch_watermarks(&place.topic, place.number, PATIENCE) {
            Ok((low, high)) => {
                let bounds = (natural(low), natural(high));
                let nearest = from.clamp(bounds.0, bounds.1);
                return Some(reassign(&consumer, place, nearest).map(|()| bounds));
            }
            Err(error) if error.rdkafka_error_code().is_some_and(is_passing) => {}
            Err(error) => return Some(Err(error)),
        }
        drop(consumer);
        thread::sleep(Duration::from_millis(100));
    }
}
