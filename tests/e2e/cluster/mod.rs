//! A cluster that forms itself and stays: boards in network namespaces of their own.

mod lab;
mod load;
mod stories;
