//! Images of a board's disks: taken while it is down, put back later, whole or the log alone.

use std::path::PathBuf;
use std::sync::Arc;

use super::board::{Board, copy};
use crate::store::{FaultyDisk, MemoryEngine};

/// The disks of a board as they once were.
pub(super) struct Image {
    root: PathBuf,
    log: FaultyDisk,
    engine: MemoryEngine,
}

impl Board {
    /// A copy of its disks, as an image is made of them while it is down.
    pub(super) fn image(&self) -> Image {
        assert!(self.up.is_none() && !self.is_starting);
        let root = self.root.join(format!("image-{}", self.starts));
        std::fs::create_dir_all(root.join("blocks")).unwrap();
        copy(&self.directory.join("data"), &root.join("data"));
        let engine = self.engine.after_crash(usize::MAX, &root.join("blocks"));
        Image {
            log: self.log.after_kill(),
            engine: engine.unwrap(),
            root,
        }
    }

    /// Its disks are those of an image from now on.
    pub(super) fn restore(&mut self, image: &Image) {
        assert!(self.up.is_none() && !self.is_starting);
        self.starts += 1;
        self.directory = self.fresh_directory();
        copy(&image.root.join("data"), &self.directory.join("data"));
        let blocks = self.directory.join("blocks");
        self.engine = Arc::new(image.engine.after_crash(usize::MAX, &blocks).unwrap());
        self.log = image.log.after_kill();
    }

    /// Its log is that of an image from now on; the rest stays.
    pub(super) fn set_log_back(&mut self, image: &Image) {
        assert!(self.up.is_none() && !self.is_starting);
        self.log = image.log.after_kill();
    }
}
