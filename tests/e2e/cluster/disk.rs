//! The disk of one board of three is full.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::stories::{agree, three, under_this_load};
use crate::servers::{eventually, skip};

const PATIENCE: Duration = Duration::from_secs(60);

/// A small file system, mounted as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, mib: usize) -> Result<Self, String> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]);
        let output = mount.arg(at).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(Self(at.to_owned()));
        }
        Err(format!(
            "no small disk can be mounted here: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }

    /// Fills it until nothing more fits.
    fn fill(&self) {
        let mut file = File::create(self.0.join("fill")).unwrap();
        let piece = vec![0xa5; 1 << 20];
        while file.write_all(&piece).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("fill")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Would catch a replica that acknowledges what it cannot keep, one whose full disk stops the
/// others, and one that stays behind when there is room again.
#[test]
fn the_disk_of_one_board_is_full_and_the_others_go_on() {
    let story = "cluster::full_disk";
    let folder = tempfile::tempdir().unwrap();
    let Some(mut lab) = three(
        story,
        folder.path(),
        &["seal.grace=0s", "disk.min_free=32MiB"],
    ) else {
        return;
    };
    let disk = match SmallDisk::mount(&lab.boards[2].folder, 256) {
        Ok(disk) => disk,
        Err(reason) => return skip(story, &reason),
    };
    lab.start_all();
    under_this_load(&mut lab, |lab, load| {
        std::thread::sleep(Duration::from_secs(2));
        disk.fill();
        let full = &lab.boards[2];
        eventually("its full disk is said", PATIENCE, || {
            let cluster = full.cluster()?;
            let trouble = cluster["trouble"].to_string();
            let said =
                trouble.contains("the disk") && full.metric("cairn_disk_refusing_writes", "") > 0.0;
            said.then_some(()).ok_or(trouble)
        });
        std::thread::sleep(Duration::from_secs(4));
        // All answer, the full one too.
        load.read_back(&lab.boards);
        disk.empty();
        eventually("it takes writes again", PATIENCE, || {
            let refusing = lab.boards[2].metric("cairn_disk_refusing_writes", "");
            (refusing == 0.0)
                .then_some(())
                .ok_or_else(|| format!("{refusing}"))
        });
        std::thread::sleep(Duration::from_secs(2));
    });
    agree(&lab);
    // It has what it missed: without one of the others it answers for all.
    lab.boards[0].kill();
    eventually("it has all of it", PATIENCE, || {
        lab.boards[2].query("count(lab_total)", crate::remote_write::now_ms())
    });
    drop(lab);
}
