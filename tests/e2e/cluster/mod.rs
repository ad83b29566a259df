//! A cluster that forms itself and stays: boards in network namespaces of their own.

mod availability;
mod consul;
mod disk;
mod downsampling;
mod growth;
mod lab;
mod load;
mod operators;
mod senders;
mod splitting;
mod stories;
mod strangers;
mod upgrade;

pub use lab::Lab;
pub use stories::libfaketime;
