//! Several nodes in one process, with real stores, over a network whose links can be cut.

mod rig;
mod samples;
mod test_parts;
mod test_random;
mod test_ring;
mod test_send;
mod test_writes;
