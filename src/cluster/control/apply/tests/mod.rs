//! What the state machine promises, for all command sequences and for the ones that matter.

mod catalog;
mod manifest;
mod members;
mod moves;
mod random;
mod recovery;
mod rig;
mod tombstones;
