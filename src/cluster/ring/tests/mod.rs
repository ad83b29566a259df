//! What every plan must keep, over histories of joining, leaving, losing and changing nodes. All
//! of them run the plan's commands through the real state machine until nothing is left to do.

mod changes;
mod check;
mod random;
mod rig;
