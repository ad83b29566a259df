//! The log: what makes an append durable before it is acknowledged.
//!
//! Segment files of our own, zeroed once and used again, one sequence of records for all windows.
//! Each window's records define the series they use, so giving one window up never makes another
//! unreadable. `docs/format.md` ("Log") has every byte. The log knows nothing of what is in the
//! head, nor who reads it back; [`payload`](self) functions turn samples into record bodies.

mod commit;
mod copy;
mod disk;
mod floats;
mod mark;
mod open;
mod payload;
mod record;
mod replay;
mod segment;
mod settings;
mod steps;
mod writer;

#[cfg(test)]
pub(super) mod faulty;
#[cfg(test)]
mod tests;

pub use disk::{DirDisk, LogDisk, LogFile};
#[cfg(test)]
pub(crate) use faulty::FaultyDisk;
pub(super) use floats::{FloatRun, FloatsWriter, LoggedFloat, RECORD_SAMPLES_MAX, decode_floats};
pub(super) use mark::Covered;
pub use mark::Mark;
pub(super) use open::{Misread, Pin, Replayed};
pub(super) use payload::{
    DefineWriter, LoggedOther, OthersWriter, decode_definitions, decode_exemplar, decode_metadata,
    decode_others, encode_exemplar, encode_metadata,
};
pub(super) use record::{RecordHeader, RecordKind};
pub use settings::{SyncMode, WriteLogSettings};
pub(super) use steps::{Lasts, StepsWriter, decode_steps};
pub use writer::LogStats;
pub(super) use writer::{Log, Record};
