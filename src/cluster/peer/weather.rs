//! What a simulated network does to messages on their way: delay, loss, repetition; and a record of
//! all that went over it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::message::Method;
use crate::model::Incarnation;
use crate::runtime::Chance;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::cluster) struct Conditions {
    /// Of a thousand questions or answers so many are lost; streams break so often.
    pub(in crate::cluster) lost: u64,
    /// Of a thousand questions so many arrive twice.
    pub(in crate::cluster) doubled: u64,
    /// A message takes up to so long.
    pub(in crate::cluster) delay_ms: u64,
    /// Of a thousand messages so many take twenty times as long.
    pub(in crate::cluster) slow: u64,
}

/// What becomes of some messages, whatever the weather.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cluster) struct Hold {
    /// Whose; `None`: everybody's.
    pub(in crate::cluster) from: Option<Incarnation>,
    /// To whom.
    pub(in crate::cluster) to: Option<Incarnation>,
    /// Of which method.
    pub(in crate::cluster) method: Option<Method>,
    /// Only questions (`false`) or only answers (`true`); `None`: both.
    pub(in crate::cluster) answers: Option<bool>,
    /// How much later they arrive; `None`: never.
    pub(in crate::cluster) late: Option<Duration>,
}

impl Hold {
    fn is_of(&self, (from, to): (Incarnation, Incarnation), method: Method, answer: bool) -> bool {
        self.answers.is_none_or(|only| only == answer)
            && self.from.is_none_or(|who| who == from)
            && self.to.is_none_or(|who| who == to)
            && self.method.is_none_or(|what| what == method)
    }
}

/// What went over the network.
#[derive(Clone, Default, Debug)]
pub(in crate::cluster) struct Traffic {
    /// By sender: messages and bytes.
    pub(in crate::cluster) sent: BTreeMap<Incarnation, (u64, u64)>,
    /// By method: messages and bytes.
    pub(in crate::cluster) methods: BTreeMap<&'static str, (u64, u64)>,
    /// A digest of who said what to whom, when, and how long it was: equal runs have equal ones.
    pub(in crate::cluster) trace: u64,
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Arrives { after: Duration, twice: bool },
    Lost,
}

/// The weather over a network.
pub(in crate::cluster) struct Weather {
    chance: Arc<dyn Chance>,
    began: tokio::time::Instant,
    conditions: Mutex<Conditions>,
    traffic: Mutex<Traffic>,
    holds: Mutex<Vec<Hold>>,
}

impl std::fmt::Debug for Weather {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Weather({:?})", self.conditions.lock())
    }
}

impl Weather {
    pub(in crate::cluster) fn new(chance: Arc<dyn Chance>) -> Self {
        Self {
            chance,
            began: tokio::time::Instant::now(),
            conditions: Mutex::default(),
            traffic: Mutex::default(),
            holds: Mutex::default(),
        }
    }

    pub(in crate::cluster) fn set(&self, conditions: Conditions) {
        *self.conditions.lock() = conditions;
    }

    /// Holds some messages up, in place of what was held before.
    pub(in crate::cluster) fn hold(&self, holds: Vec<Hold>) {
        *self.holds.lock() = holds;
    }

    pub(in crate::cluster) fn traffic(&self) -> Traffic {
        self.traffic.lock().clone()
    }

    /// Notes something that happened in the simulation, so that runs can be compared.
    pub(in crate::cluster) fn note(&self, what: &str) {
        let mut traffic = self.traffic.lock();
        traffic.trace = mix(traffic.trace, xxhash_rust::xxh3::xxh3_64(what.as_bytes()));
    }

    /// A message sets out, a question or an answer to one.
    pub(super) fn fate(
        &self,
        (from, to): (Incarnation, Incarnation),
        method: Method,
        bytes: &[u8],
        answer: bool,
    ) -> Fate {
        let conditions = *self.conditions.lock();
        let mut traffic = self.traffic.lock();
        let len = bytes.len() as u64;
        let sent = traffic.sent.entry(from).or_default();
        *sent = (sent.0 + 1, sent.1 + len);
        let sent = traffic.methods.entry(method.name()).or_default();
        *sent = (sent.0 + 1, sent.1 + len);
        let at = self.began.elapsed();
        let said = format!("{from} {to} {} {at:?}", method.name());
        let said = xxhash_rust::xxh3::xxh3_64(said.as_bytes());
        // Lengths, not contents: RocksDB draws a session id into every file that it writes.
        traffic.trace = mix(mix(traffic.trace, said), len);
        drop(traffic);
        let hold = {
            let holds = self.holds.lock();
            let mut holds = holds.iter();
            holds
                .find(|hold| hold.is_of((from, to), method, answer))
                .copied()
        };
        let late = match hold.map(|hold| hold.late) {
            Some(None) => return Fate::Lost,
            Some(Some(late)) => late,
            None => Duration::ZERO,
        };
        let rarely = |per_mille: u64| per_mille > 0 && self.chance.below(1000) < per_mille;
        if rarely(conditions.lost) {
            return Fate::Lost;
        }
        let longest = conditions.delay_ms * if rarely(conditions.slow) { 20 } else { 1 };
        Fate::Arrives {
            after: late + Duration::from_micros(self.chance.below(longest * 1000 + 1)),
            twice: rarely(conditions.doubled),
        }
    }
}

const fn mix(before: u64, next: u64) -> u64 {
    (before ^ next)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
}
