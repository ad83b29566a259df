//! What applying a command gave, as bytes: the leader tells the node that asked.

use super::types::Reply;
use super::wire::{messages as pb, wide};
use crate::cluster::control::command::{ClusterId, Outcome, Refusal};
use crate::cluster::control::tombstone::TombstoneId;
use crate::cluster::control::wire_parts::{WireError, damaged, read_wide};
use crate::model::{BlockId, Epoch, Incarnation, RingArc, TimestampMs};

impl From<Reply> for pb::ProposeAnswer {
    fn from(reply: Reply) -> Self {
        Self {
            applied: reply.applied,
            refusal: match reply.outcome {
                Outcome::Applied => None,
                Outcome::Refused(refusal) => Some(refusal.into()),
            },
        }
    }
}

impl pb::ProposeAnswer {
    pub(super) fn read(self) -> Result<Reply, WireError> {
        let outcome = match self.refusal {
            None => Outcome::Applied,
            Some(refusal) => Outcome::Refused(refusal.read()?),
        };
        Ok(Reply {
            applied: self.applied,
            outcome,
        })
    }
}

fn kind(kind: u32) -> pb::Refusal {
    pb::Refusal {
        kind,
        ..pb::Refusal::default()
    }
}

fn of_arc(number: u32, arc: RingArc) -> pb::Refusal {
    pb::Refusal {
        arc_prefix: arc.prefix(),
        arc_depth: u32::from(arc.depth()),
        ..kind(number)
    }
}

fn of_wide(number: u32, bits: u128) -> pb::Refusal {
    pb::Refusal {
        wide: wide(bits),
        ..kind(number)
    }
}

fn of_number(of: u32, number: u64) -> pb::Refusal {
    pb::Refusal { number, ..kind(of) }
}

fn of_time(of: u32, time: TimestampMs) -> pb::Refusal {
    pb::Refusal {
        time_ms: time.0,
        ..kind(of)
    }
}

/// Kinds are never given to another meaning.
impl From<Refusal> for pb::Refusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFounded => kind(1),
            Refusal::Founded(cluster) => of_wide(2, cluster.0),
            Refusal::BadFounding => kind(3),
            Refusal::NoPartition(arc) => of_arc(4, arc),
            Refusal::WrongEpoch { current } => of_number(5, current.0),
            Refusal::WrongRound { next } => of_number(6, next.into()),
            Refusal::BadEntry => kind(7),
            Refusal::KnownBlock(block) => of_wide(8, block.0),
            Refusal::NoBlock(block) => of_wide(9, block.0),
            Refusal::Expired { before } => of_time(10, before),
            Refusal::NotLater { before } => of_time(11, before),
            Refusal::OldSession { known } => of_number(12, known),
            Refusal::Gone(incarnation) => of_wide(13, incarnation.0),
            Refusal::NoNode(incarnation) => of_wide(14, incarnation.0),
            Refusal::Moving(arc) => of_arc(15, arc),
            Refusal::NotMoving(arc) => of_arc(16, arc),
            Refusal::BadMove(arc) => of_arc(17, arc),
            Refusal::WrongVersion { current } => of_number(18, current),
            Refusal::TooDeep(arc) => of_arc(19, arc),
            Refusal::BadLevel {
                current,
                understood,
            } => Self {
                second: understood.into(),
                ..of_number(20, current.into())
            },
            Refusal::Exhausted => kind(21),
            Refusal::TooOld { level, understood } => Self {
                second: understood.into(),
                ..of_number(22, level.into())
            },
            Refusal::NotLost(arc) => of_arc(23, arc),
            Refusal::OldGeneration { current } => of_number(24, current),
            Refusal::BadManifest(arc) => of_arc(25, arc),
            Refusal::BadTombstone => kind(26),
            Refusal::TooManyTombstones => kind(27),
            Refusal::NoTombstone(id) => of_wide(28, id.0),
            Refusal::TombstoneBegun(id) => of_wide(29, id.0),
        }
    }
}

impl pb::Refusal {
    fn arc(&self) -> Result<RingArc, WireError> {
        let depth = u8::try_from(self.arc_depth).ok();
        let arc = depth.and_then(|depth| RingArc::new(self.arc_prefix, depth));
        arc.ok_or_else(|| damaged("a refusal", "its arc is none"))
    }

    fn small(&self, number: u64) -> Result<u32, WireError> {
        let problem = |_| damaged("a refusal", format!("kind {} with {number}", self.kind));
        u32::try_from(number).map_err(problem)
    }

    pub(super) fn read(self) -> Result<Refusal, WireError> {
        let time = TimestampMs(self.time_ms);
        Ok(match self.kind {
            1 => Refusal::NotFounded,
            2 => Refusal::Founded(ClusterId(read_wide(&self.wide)?)),
            3 => Refusal::BadFounding,
            4 => Refusal::NoPartition(self.arc()?),
            5 => Refusal::WrongEpoch {
                current: Epoch(self.number),
            },
            6 => Refusal::WrongRound {
                next: self.small(self.number)?,
            },
            7 => Refusal::BadEntry,
            8 => Refusal::KnownBlock(BlockId(read_wide(&self.wide)?)),
            9 => Refusal::NoBlock(BlockId(read_wide(&self.wide)?)),
            10 => Refusal::Expired { before: time },
            11 => Refusal::NotLater { before: time },
            12 => Refusal::OldSession { known: self.number },
            13 => Refusal::Gone(Incarnation(read_wide(&self.wide)?)),
            14 => Refusal::NoNode(Incarnation(read_wide(&self.wide)?)),
            15 => Refusal::Moving(self.arc()?),
            16 => Refusal::NotMoving(self.arc()?),
            17 => Refusal::BadMove(self.arc()?),
            18 => Refusal::WrongVersion {
                current: self.number,
            },
            19 => Refusal::TooDeep(self.arc()?),
            20 => Refusal::BadLevel {
                current: self.small(self.number)?,
                understood: self.small(self.second)?,
            },
            21 => Refusal::Exhausted,
            22 => Refusal::TooOld {
                level: self.small(self.number)?,
                understood: self.small(self.second)?,
            },
            23 => Refusal::NotLost(self.arc()?),
            24 => Refusal::OldGeneration {
                current: self.number,
            },
            25 => Refusal::BadManifest(self.arc()?),
            26 => Refusal::BadTombstone,
            27 => Refusal::TooManyTombstones,
            28 => Refusal::NoTombstone(TombstoneId(read_wide(&self.wide)?)),
            29 => Refusal::TombstoneBegun(TombstoneId(read_wide(&self.wide)?)),
            other => {
                let problem = format!("kind {other} is not known to this version");
                return Err(damaged("a refusal", problem));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_comes_back_as_it_went() {
        let arc = RingArc::new(0x8000_0000, 3).unwrap();
        let all = [
            Refusal::NotFounded,
            Refusal::Founded(ClusterId(u128::MAX - 1)),
            Refusal::BadFounding,
            Refusal::NoPartition(arc),
            Refusal::WrongEpoch { current: Epoch(7) },
            Refusal::WrongRound { next: 3 },
            Refusal::BadEntry,
            Refusal::KnownBlock(BlockId(4)),
            Refusal::NoBlock(BlockId(5)),
            Refusal::Expired {
                before: TimestampMs(-6),
            },
            Refusal::NotLater {
                before: TimestampMs(6),
            },
            Refusal::OldSession { known: 9 },
            Refusal::Gone(Incarnation(1)),
            Refusal::NoNode(Incarnation(2)),
            Refusal::Moving(arc),
            Refusal::NotMoving(arc),
            Refusal::BadMove(arc),
            Refusal::WrongVersion { current: 11 },
            Refusal::TooDeep(arc),
            Refusal::BadLevel {
                current: 2,
                understood: 1,
            },
            Refusal::Exhausted,
            Refusal::TooOld {
                level: 2,
                understood: 1,
            },
            Refusal::NotLost(arc),
            Refusal::OldGeneration { current: 3 },
            Refusal::BadManifest(arc),
            Refusal::BadTombstone,
            Refusal::TooManyTombstones,
            Refusal::NoTombstone(TombstoneId(6)),
            Refusal::TombstoneBegun(TombstoneId(7)),
        ];
        for (at, refusal) in all.into_iter().enumerate() {
            let reply = Reply {
                applied: 12,
                outcome: Outcome::Refused(refusal),
            };
            let sent = pb::ProposeAnswer::from(reply);
            assert_eq!(sent.refusal.as_ref().unwrap().kind as usize, at + 1);
            assert_eq!(sent.read().unwrap(), reply);
        }
        let applied = Reply {
            applied: 1,
            outcome: Outcome::Applied,
        };
        assert_eq!(pb::ProposeAnswer::from(applied).read().unwrap(), applied);
        assert!(kind(30).read().is_err());
        assert!(kind(13).read().is_err(), "an incarnation of no bytes");
    }
}
