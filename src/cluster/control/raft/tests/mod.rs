//! Groups of several nodes in one process, over a network and engines in memory.

mod disks;
mod founding;
mod leading;
mod members;
mod rig;
mod whatever_happens;
