//! What the head promises, through its door: everything appended comes back, from memory, after a
//! replay, across cuts; and nothing else does.

mod content;
mod late;
mod numbers;
mod replay;
mod rig;
mod segments;
mod steps;
mod test_series;
