//! Memory, pages, file descriptors and the clock.

use std::fs;
use std::time::UNIX_EPOCH;

use super::{Finding, Patient};
use crate::cli::graph::bytes;
use crate::config::MemoryLimit;
use crate::runtime::{memory_total, open_files_max, page_bytes};

/// Below this a node has hardly room for its own buffers: a tenth of what it holds idle and then some.
const MEMORY_MIN: u64 = 64 << 20;

/// Labels and buffers come on top of `memory_limit`: more than this share of all, in hundredths, leaves
/// too little for them and for the system.
const MEMORY_SHARE_MAX: u64 = 60;

/// Files of blocks and log, and connections of peers, beside those of HTTP.
const OTHER_FILES: u64 = 3072;

/// Sizes of pages that boards have.
const PAGES: &[u64] = &[4 << 10, 16 << 10, 64 << 10];

/// No clock that is right shows a time before this: 2026-01-01.
const BUILT_MS: i64 = 1_767_225_600_000;

/// How much the newest file may be ahead of the clock.
const AHEAD_MS: i64 = 60_000;

pub(super) fn examine(patient: &Patient) -> Vec<Finding> {
    let connections = u64::try_from(patient.settings.http.max_connections).unwrap_or(u64::MAX);
    let now = patient.clock.now().0;
    vec![
        memory(patient.settings.main.memory_limit, memory_total()),
        pages(page_bytes()),
        files(open_files_max(), connections),
        clock(now, newest_file_ms(patient)),
    ]
}

fn memory(limit: MemoryLimit, total: u64) -> Finding {
    let wanted = limit.bytes(total);
    let said = format!(
        "memory_limit is {} of {}",
        bytes(wanted as f64),
        bytes(total as f64)
    );
    if wanted < MEMORY_MIN {
        return Finding::warn(
            "memory",
            said,
            format!("set memory_limit to {} at least", bytes(MEMORY_MIN as f64)),
        );
    }
    if wanted > total / 100 * MEMORY_SHARE_MAX {
        return Finding::warn(
            "memory",
            said,
            "labels of series and buffers of requests come on top of it, and the system needs some: half of what there is will do",
        );
    }
    Finding::ok("memory", said)
}

fn pages(size: Option<u64>) -> Finding {
    match size {
        Some(size) if PAGES.contains(&size) => {
            Finding::ok("memory pages", format!("of {}", bytes(size as f64)))
        }
        Some(size) => Finding::warn(
            "memory pages",
            format!("of {}, which nobody has tried", bytes(size as f64)),
            "nothing in Cairn counts on a size; if it works here, we would like to know",
        ),
        None => Finding::warn(
            "memory pages",
            "their size cannot be read",
            "mount /proc; without it the node sizes itself as on a board of 1 GiB",
        ),
    }
}

fn files(limit: Option<u64>, connections: u64) -> Finding {
    let Some(limit) = limit else {
        return Finding::ok("open files", "as many as there may be");
    };
    let wanted = connections.saturating_add(OTHER_FILES);
    let said = format!("{limit} may be open, {wanted} are wanted in the worst case");
    if limit < wanted {
        return Finding::warn(
            "open files",
            said,
            "LimitNOFILE=65536 in the unit (`ulimit -n 65536` in a shell), or fewer http.max_connections",
        );
    }
    Finding::ok("open files", said)
}

fn clock(now: i64, newest: Option<i64>) -> Finding {
    let remedy = "set it, and keep it right: systemd-timesyncd, chrony, or a clock with a battery";
    if now < BUILT_MS {
        let said = "shows a time before this program was written";
        return Finding::fail("clock", said, remedy);
    }
    match newest {
        Some(newest) if newest.saturating_sub(now) > AHEAD_MS => Finding::fail(
            "clock",
            format!(
                "stands {} s before the newest file in data_dir",
                (newest - now) / 1000
            ),
            remedy,
        ),
        _ => Finding::ok("clock", "shows a time that can be"),
    }
}

/// When something in the data directory was last written.
fn newest_file_ms(patient: &Patient) -> Option<i64> {
    let directory = &patient.settings.main.data_dir;
    let folders = [directory.clone(), directory.join("log")];
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let changed = entries.flatten().filter_map(|entry| {
        let changed = entry.ok()?.metadata().ok()?.modified().ok()?;
        let since = changed.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    });
    changed.max()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::runtime::ByteSize;

    #[test]
    fn memory_is_neither_too_little_nor_all_of_it() {
        let gib = 1u64 << 30;
        for (limit, total, state) in [
            (MemoryLimit::Percent(25), 4 * gib, State::Ok),
            (MemoryLimit::Percent(90), 4 * gib, State::Warn),
            (MemoryLimit::Bytes(ByteSize(4 * gib)), 4 * gib, State::Warn),
            (MemoryLimit::Percent(5), gib, State::Warn),
        ] {
            let found = memory(limit, total);
            assert_eq!(found.state, state, "{found:?}");
            assert_eq!(found.remedy.is_empty(), state == State::Ok);
        }
    }

    #[test]
    fn pages_files_and_clock() {
        assert_eq!(pages(Some(16 << 10)).state, State::Ok);
        assert_eq!(pages(Some(8 << 10)).state, State::Warn);
        assert_eq!(pages(None).state, State::Warn);
        assert_eq!(files(Some(65536), 1024).state, State::Ok);
        assert_eq!(files(None, 1024).state, State::Ok);
        let few = files(Some(1024), 1024);
        assert!(few.state == State::Warn && few.remedy.contains("LimitNOFILE"));
        assert_eq!(clock(0, None).state, State::Fail);
        assert_eq!(clock(BUILT_MS, Some(BUILT_MS + AHEAD_MS)).state, State::Ok);
        let behind = clock(BUILT_MS, Some(BUILT_MS + AHEAD_MS + 1));
        assert!(behind.state == State::Fail && behind.said.contains("60 s before"));
    }
}
