//! Starts real servers on free loopback ports, waits until they are ready, and stops them.

mod cairn;
mod consul;
mod garage;
mod http;
mod others;
mod process;

pub use cairn::Cairn;
pub use consul::{Consul, ConsulPorts};
pub use garage::Garage;
pub use http::{Answer, get, post, post_form};
#[allow(
    unused_imports,
    reason = "tests/packaging, which shares these, looks for tools"
)]
pub use others::built;
pub use others::{
    Chromium, HaProxy, NodeExporter, OtelCollector, Prometheus, PrometheusKind, VictoriaMetrics,
    VmAgent,
};
pub use process::{Server, eventually, free_port, long, skip};
