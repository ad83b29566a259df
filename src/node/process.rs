//! What the process is: the metrics that every Prometheus client exposes, read when asked for.

use std::path::{Path, PathBuf};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::cluster::Build;
use crate::model::TimestampMs;
use crate::runtime::{cpu_seconds, device_writes, open_files, resident_memory, written_bytes};

/// Which program this process is: the one that was built. A debug build, which nobody is given, can
/// be told by a test to be a later version (`TEST_ONLY_CAIRN_BUILD="0.2.0 1.1 3"`: its name, its
/// protocol, its feature level), so that a cluster of two versions needs no second compilation.
pub(super) fn build() -> Build {
    #[cfg(debug_assertions)]
    if let Some(build) = std::env::var("TEST_ONLY_CAIRN_BUILD")
        .ok()
        .and_then(|text| Build::parse(&text))
    {
        return build;
    }
    Build::default()
}

/// Reads `/proc/self`, and what the kernel counts of a device, when metrics are asked for.
#[derive(Debug)]
struct Process {
    started: TimestampMs,
    data_dir: PathBuf,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (resident, _) = resident_memory();
        let started = self.started.0 as f64 / 1000.0;
        let cpu = ConstCounter::new(cpu_seconds());
        let help = "User and system time of this process";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            help,
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?)?;
        let start = ConstGauge::new(started);
        let help = "When this process was started, since the epoch";
        start.encode(encoder.encode_descriptor(
            "process_start_time",
            help,
            Some(&Unit::Seconds),
            start.metric_type(),
        )?)?;
        let device = device_writes(&self.data_dir).unwrap_or_default();
        for (name, help, unit, value) in [
            (
                "cairn_device_written",
                "What this process had written to block devices, the file system's journal not included",
                Some(&Unit::Bytes),
                written_bytes(),
            ),
            (
                "cairn_disk_written",
                "What everybody had written to the device of the data directory since the machine started, the file \
                 system's journal included; 0 where the kernel tells of no such device (ZFS, Btrfs)",
                Some(&Unit::Bytes),
                device.bytes,
            ),
            (
                "cairn_disk_flushes",
                "Flush requests to that device, by everybody: what commits and the file system's journal come to",
                None,
                device.flushes,
            ),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                unit,
                counter.metric_type(),
            )?)?;
        }
        for (name, help, unit, value) in [
            (
                "process_resident_memory",
                "Memory that this process holds",
                Some(&Unit::Bytes),
                resident,
            ),
            (
                "process_open_fds",
                "Open file descriptors of this process",
                None,
                open_files(),
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// Registers them, and what was built.
pub(super) fn register(registry: &mut Registry, started: TimestampMs, data_dir: &Path) {
    let data_dir = data_dir.to_owned();
    registry.register_collector(Box::new(Process { started, data_dir }));
    let build = Info::new(vec![
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", super::REVISION),
    ]);
    registry.register("cairn_build", "What this program was built from", build);
}
