//! Where the bits of many chunks stand: segments of 64 bytes out of slabs that go as a whole.
#![allow(
    clippy::indexing_slicing,
    reason = "a segment's number was given by `take`, so its slab is there"
)]

/// Words of a segment that hold bits; the sixteenth names the next segment.
pub(super) const SEGMENT_WORDS: usize = 15;
/// Segments of a slab: 16 KiB, so that many small owners waste little.
const SLAB_SEGMENTS: usize = 256;
/// No segment.
pub(super) const NONE: u32 = u32::MAX;

/// The segments of many chunks.
#[derive(Debug, Default)]
pub struct Slabs {
    slabs: Vec<Box<[[u32; SEGMENT_WORDS + 1]; SLAB_SEGMENTS]>>,
    used: u32,
}

impl Slabs {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slabs: Vec::new(),
            used: 0,
        }
    }

    /// Bytes held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.slabs.capacity() * size_of::<usize>()
            + self.slabs.len() * SLAB_SEGMENTS * size_of::<[u32; SEGMENT_WORDS + 1]>()
    }

    #[inline]
    pub(super) fn take(&mut self) -> u32 {
        if self.used as usize == self.slabs.len() * SLAB_SEGMENTS {
            self.slabs
                .push(Box::new([[NONE; SEGMENT_WORDS + 1]; SLAB_SEGMENTS]));
        }
        self.used += 1;
        self.used - 1
    }

    #[inline]
    pub(super) fn segment(&self, at: u32) -> &[u32; SEGMENT_WORDS + 1] {
        &self.slabs[at as usize / SLAB_SEGMENTS][at as usize % SLAB_SEGMENTS]
    }

    #[inline]
    pub(super) fn segment_mut(&mut self, at: u32) -> &mut [u32; SEGMENT_WORDS + 1] {
        &mut self.slabs[at as usize / SLAB_SEGMENTS][at as usize % SLAB_SEGMENTS]
    }
}
