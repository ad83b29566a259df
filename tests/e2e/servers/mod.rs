//! Starts real servers on free loopback ports, waits until they are ready, and stops them.

mod cairn;
mod consul;
mod http;
mod others;
mod process;

pub use cairn::Cairn;
pub use consul::{Consul, ConsulPorts};
pub use http::{Answer, get, post, post_form};
pub use others::{
    Chromium, NodeExporter, OtelCollector, Prometheus, PrometheusKind, VmAgent, built,
};
pub use process::{Server, eventually, free_port, skip};
