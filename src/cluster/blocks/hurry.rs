//! Whether everything is to be in the bucket at once, because somebody waits for it.

use parking_lot::Mutex;

/// Begun by an order to flush; it ends when that was carried out and nothing waits.
#[derive(Default)]
pub(in crate::cluster) struct Hurry(Mutex<Stage>);

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Calm,
    /// What is sealed now is to go there, too.
    Sealing,
    Uploading,
}

impl Hurry {
    /// Somebody waits.
    pub(in crate::cluster) fn begin(&self) {
        *self.0.lock() = Stage::Sealing;
    }

    /// Everything is sealed.
    pub(in crate::cluster) fn note_sealed(&self) {
        let mut stage = self.0.lock();
        if *stage == Stage::Sealing {
            *stage = Stage::Uploading;
        }
    }

    /// Nothing waits for the bucket.
    pub(super) fn note_uploaded(&self) {
        let mut stage = self.0.lock();
        if *stage == Stage::Uploading {
            *stage = Stage::Calm;
        }
    }

    /// Whether what waits goes there whoever's turn it is, and waits for nothing.
    pub(super) fn is_on(&self) -> bool {
        *self.0.lock() != Stage::Calm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_until_what_was_sealed_for_it_is_there() {
        let hurry = Hurry::default();
        hurry.note_sealed();
        assert!(!hurry.is_on());
        hurry.begin();
        hurry.note_uploaded();
        assert!(hurry.is_on(), "what is sealed for it is to go there, too");
        hurry.note_sealed();
        assert!(hurry.is_on());
        hurry.note_uploaded();
        assert!(!hurry.is_on());
    }
}
