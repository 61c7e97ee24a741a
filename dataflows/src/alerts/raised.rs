//! What is said of alerts and incidents before it is final.

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use timely::ExchangeData;

use super::Stage;
use crate::event::{Addressed, Describe, Fields, Provisional};
use crate::{EventTime, Key};

/// Something that opens, is told again as it changes, and closes, under an identifier that stays the same.
pub trait Told {
    /// What names it.
    type Id: Copy + Ord + Display;

    /// Which one it is.
    fn id(&self) -> Self::Id;

    /// What happens to it.
    fn stage(&self) -> Stage;

    /// Its fields after those that tell which one it is and what happens to it.
    fn describe_rest(&self, fields: &mut dyn Fields);

    /// All of its fields.
    fn describe_told(&self, fields: &mut dyn Fields) {
        fields.text("id", Some(&self.id().to_string()));
        fields.text("event", Some(self.stage().name()));
        self.describe_rest(fields);
    }
}

/// What is said of an alert or an incident before it is final, and what becomes of it.
///
/// # Law
///
/// Of one identifier, revisions are numbered upwards as they are sent, with gaps. Whoever keeps, for each identifier, the
/// highest one, drops what is [retracted](News::Retracted), and looks at times that the frontier has passed, has them
/// as they finally are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised<T> {
    /// The event time of what is said: of the newest stage.
    pub time: EventTime,
    /// Of whom it is said.
    pub key: Key,
    /// Higher than that of what came before it, in this run.
    pub revision: u64,
    /// What changes.
    pub news: News,
    /// What it is said to be; of what is retracted, what it was.
    pub value: T,
}

/// What becomes of something that is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum News {
    /// It is said for the first time, or again after it was retracted.
    Raised,
    /// Something else is said of it.
    Revised,
    /// It is sure that it opened: from now on it is not retracted.
    Confirmed,
    /// It is no longer said: nothing opened then.
    Retracted,
}

impl News {
    /// What formats call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Revised => "revised",
            Self::Confirmed => "confirmed",
            Self::Retracted => "retracted",
        }
    }
}

/// The key of whom it is said: so a broker keeps what is said of one identifier in order.
impl<T> Addressed for Raised<T> {
    fn message_key(&self) -> Option<&[u8]> {
        Some(self.key.as_str().as_bytes())
    }
}

impl<T: Told + ExchangeData + Clone> Provisional for Raised<T> {
    fn time(&self) -> EventTime {
        self.time
    }
}

impl<T: Told> Describe for Raised<T> {
    fn describe(&self, fields: &mut dyn Fields) {
        fields.time("time", self.time);
        fields.key("key", &self.key);
        fields.text("id", Some(&self.value.id().to_string()));
        fields.text("event", Some(self.news.name()));
        fields.integer("revision", Some(self.revision));
        fields.text("stage", Some(self.value.stage().name()));
        self.value.describe_rest(fields);
    }
}
