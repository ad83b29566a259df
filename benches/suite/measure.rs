//! What the kernel says of a process.

use std::time::Duration;

/// Accounts of a process since its start.
pub struct Usage {
    pub rss_bytes: f64,
    pub peak_rss_bytes: f64,
    pub cpu_seconds: f64,
    pub written_bytes: f64,
}

/// Clock ticks a second in `/proc/PID/stat`: 100 on every Linux.
const TICKS: f64 = 100.0;

pub fn usage(pid: u32) -> Usage {
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let field = |text: &str, name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
            .unwrap_or(0.0)
    };
    let (status, stat, io) = (read("status"), read("stat"), read("io"));
    // After the command's name in parentheses; user and system time are fields 14 and 15.
    let after: Vec<&str> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    let ticks = |at: usize| {
        after
            .get(at)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    Usage {
        rss_bytes: field(&status, "VmRSS:") * 1024.0,
        peak_rss_bytes: field(&status, "VmHWM:") * 1024.0,
        cpu_seconds: (ticks(11) + ticks(12)) / TICKS,
        written_bytes: field(&io, "write_bytes:"),
    }
}

/// Lets a server that has just become ready finish what it does at the start.
pub fn idle_settled() {
    std::thread::sleep(Duration::from_secs(3));
}
