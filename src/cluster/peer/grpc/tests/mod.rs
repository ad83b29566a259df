//! The wire over real sockets: what it carries, whom it refuses, what it survives.

mod bad_input;
mod calls;
mod nodes;
mod secrets;
mod strangers;
