//! What the machine, or the cgroup in which we run, has.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

/// Memory to count with when nothing can be read: a small board's.
const MEMORY_UNKNOWN: u64 = 1 << 30;

/// Bytes of memory that this process may use: the least of the machine's and its cgroups' limits.
#[must_use]
pub fn memory_total() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| kib_field(&text, "MemTotal:"));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = cgroup_limit_files(&groups)
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
    limits.chain(machine).min().unwrap_or(MEMORY_UNKNOWN)
}

/// Processor cores that this process may use.
#[must_use]
pub fn cores() -> usize {
    #[cfg(test)]
    if super::turns::is_simulated() {
        // A seed does the same on every machine.
        return 2;
    }
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The host's name.
#[must_use]
pub fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    if name.is_empty() {
        "cairn".to_owned()
    } else {
        name
    }
}

/// Which start of the system this is. `None`: it does not say.
#[must_use]
pub fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Bytes of memory that this process holds now and held at most: resident set and its peak.
#[must_use]
pub fn resident_memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name| kib_field(&status, name).unwrap_or(0);
    (field("VmRSS:"), field("VmHWM:"))
}

/// User and system time of this process so far, in seconds.
#[must_use]
pub fn cpu_seconds() -> f64 {
    /// Clock ticks a second in `/proc/self/stat`: 100 on every Linux.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the command's name in parentheses; user and system time are fields 14 and 15.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|text| text.parse::<f64>().ok())
        .sum();
    ticks / TICKS
}

/// Bytes that this process had written to block devices so far.
#[must_use]
pub fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines()
        .find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok())
        .unwrap_or(0)
}

/// What the device below a path was given to write since the machine started, by everybody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceWrites {
    /// Bytes, the file system's journal included.
    pub bytes: u64,
    /// Requests to make durable what was written before them.
    pub flushes: u64,
}

/// What was written to the device of a path: the whole device, of which the path's partition is a part,
/// since it is the device that wears. `None`: the file system is on no one device that the kernel
/// tells of, as with ZFS, Btrfs and tmpfs.
#[must_use]
pub fn device_writes(path: &Path) -> Option<DeviceWrites> {
    let device = rustix::fs::stat(path).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let folder = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let whole = match folder.parent() {
        Some(whole) if folder.join("partition").exists() => whole,
        _ => &folder,
    };
    device_stat(&fs::read_to_string(whole.join("stat")).ok()?)
}

/// The fields of a device's `stat` that we want, as Linux' Documentation/block/stat.rst has them.
fn device_stat(text: &str) -> Option<DeviceWrites> {
    /// A sector of that file, whatever the device's is.
    const SECTOR: u64 = 512;
    let mut fields = text.split_whitespace();
    let sectors: u64 = fields.nth(6)?.parse().ok()?;
    // Kernels before 5.5 do not count them.
    let flushes = fields.nth(8).and_then(|field| field.parse().ok());
    Some(DeviceWrites {
        bytes: sectors.saturating_mul(SECTOR),
        flushes: flushes.unwrap_or(0),
    })
}

/// Threads of this process.
#[must_use]
pub fn threads() -> u64 {
    fs::read_dir("/proc/self/task").map_or(0, |entries| entries.count() as u64)
}

/// Open file descriptors of this process.
#[must_use]
pub fn open_files() -> u64 {
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

/// The most file descriptors that this process may open; `None`: no bound, or it cannot be read.
#[must_use]
pub fn open_files_max() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes of a page of memory, as the kernel told this process at its start.
#[must_use]
pub fn page_bytes() -> Option<u64> {
    /// The entry of the auxiliary vector that says so (`AT_PAGESZ`).
    const PAGE_SIZE: u64 = 6;
    let auxiliary = fs::read("/proc/self/auxv").ok()?;
    let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_ne_bytes);
    auxiliary.chunks_exact(16).find_map(|entry| {
        let (key, value) = entry.split_at(8);
        (word(key)? == PAGE_SIZE).then(|| word(value)).flatten()
    })
}

/// The kind of the file system in which a path lies, such as `ext4`.
#[must_use]
pub fn file_system(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    kind_of_mount(&mounts, &path)
}

/// Of the mounts above a path the longest, and of equals the last, which hides the others.
fn kind_of_mount(mounts: &str, path: &Path) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(place), Some(kind)) = (fields.next(), fields.next()) else {
            continue;
        };
        let place = place.replace("\\040", " ");
        if path.starts_with(&place) && best.is_none_or(|(longest, _)| place.len() >= longest) {
            best = Some((place.len(), kind));
        }
    }
    best.map(|(_, kind)| kind.to_owned())
}

/// A field of `/proc/meminfo` or `/proc/self/status`, in bytes.
fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// The files that hold the memory limits of our cgroup and of those above it: version 2, and
/// version 1's memory controller.
fn cgroup_limit_files(groups: &str) -> Vec<String> {
    /// Cgroups are nested a few deep; a bound all the same.
    const DEPTH_MAX: usize = 32;
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, Some(path)) =
            (parts.next(), parts.next().unwrap_or_default(), parts.next())
        else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut path = path.trim_end_matches('/');
        for _ in 0..DEPTH_MAX {
            files.push(format!("{root}{path}/{file}"));
            match path.rsplit_once('/') {
                Some((above, _)) => path = above,
                None => break,
            }
        }
    }
    files
}

/// The address of this machine that leads outwards, as others may see it. Nothing is sent. `None`:
/// there is no way out.
#[must_use]
pub fn outward_address() -> Option<String> {
    // A documentation address: what matters is which interface the system would choose.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then(|| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_all_cgroups_above_are_looked_at() {
        let files = cgroup_limit_files("0::/system.slice/cairn.service\n");
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/system.slice/cairn.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        let old = cgroup_limit_files("4:cpu,memory:/a\n3:freezer:/b\n");
        assert_eq!(old[0], "/sys/fs/cgroup/memory/a/memory.limit_in_bytes");
        assert_eq!(old.len(), 2);
    }

    #[test]
    fn the_mount_that_is_seen_is_the_longest_and_the_last() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /var tmpfs rw 0 0\n/dev/b /var/lib ext4 rw 0 0\n\
                      nas:/x /var/lib/my\\040data nfs4 rw 0 0\n/dev/c /var/lib xfs rw 0 0\n";
        let kind = |path: &str| kind_of_mount(mounts, Path::new(path)).unwrap();
        assert_eq!(kind("/home/x"), "ext4");
        assert_eq!(kind("/var/log"), "tmpfs");
        assert_eq!(kind("/var/lib/cairn"), "xfs");
        assert_eq!(kind("/var/lib/my data/a"), "nfs4");
        assert_eq!(kind("/var/library"), "tmpfs");
    }

    #[test]
    fn what_a_device_has_written_is_read_from_its_fields() {
        let stat = "9919276 335187 679269954 37467526 16429971 1900711 2378640720 14340952 0 3554836 53513722 2893387 993 3269931936 593595 5335763 1111647\n";
        let want = DeviceWrites {
            bytes: 2_378_640_720 * 512,
            flushes: 5_335_763,
        };
        assert_eq!(device_stat(stat), Some(want));
        let old = "1 2 3 4 5 6 7 8 9 10 11";
        let want = DeviceWrites {
            bytes: 7 * 512,
            flushes: 0,
        };
        assert_eq!(device_stat(old), Some(want));
        assert_eq!(device_stat(""), None);
        assert_eq!(
            device_writes(Path::new("/proc")),
            None,
            "there is no device"
        );
    }

    #[test]
    fn this_machine_can_be_read() {
        assert!(page_bytes().unwrap().is_power_of_two());
        assert!(open_files_max().is_none_or(|most| most > 10));
        assert!(file_system(Path::new("/")).is_some());
        assert!(memory_total() > 1 << 20);
        assert!(resident_memory().0 > 0 && cores() > 0 && open_files() > 0);
        assert_eq!(
            kib_field("MemTotal:   12 kB\n", "MemTotal:"),
            Some(12 * 1024)
        );
    }
}
