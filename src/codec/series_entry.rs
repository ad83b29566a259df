//! What describes the series of a block: labels as numbers, and where the samples lie. A run of
//! entries shares one encoding, because neighbours in label order share nearly all of it.
//!
//! ```text
//! u8      encoding: 1
//! framed: (compressed where that is shorter)
//!     varint  shapes: sets of label names that occur in the run
//!     for each shape:
//!         varint  labels; then for each: varint name - (name before it + 1), the first - 0
//!     varint  entries
//!     for each entry: varint shape
//!     for each entry, for each label: zigzag value - last value of that name in the run, or 0
//!     for each entry: varint page + 1, or 0 when the series has no samples
//!     for each entry with samples: zigzag group - last group, or 0
//!     for each entry with samples: zigzag slot - last slot, or 0
//! ```

use std::collections::HashMap;

use super::varint::{
    finished, put_i64, put_len, put_u64, take_i64, take_len, take_u8, take_u32, take_u64,
};
use super::version::SERIES_SHAPES;
use super::{Error, frame};

const WHAT: &str = "a run of series entries";

/// The most entries of a run.
pub const ENTRIES_MAX: usize = 1 << 16;

/// The most labels of one series.
pub const LABELS_MAX: usize = 1 << 16;

/// The most bytes of a run before compression.
const BYTES_MAX: usize = 1 << 28;

/// Where a series' samples lie in its block: in which group of pages, in which page of these, at
/// which position in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Place {
    /// The group of pages, which shares timestamp columns.
    pub group: u32,
    /// The page in the group.
    pub page: u16,
    /// The series in the page.
    pub slot: u16,
}

/// A run of entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SeriesEntries {
    labels: Vec<(u32, u32)>,
    ends: Vec<usize>,
    places: Vec<Option<Place>>,
}

impl SeriesEntries {
    /// Adds an entry: label names and values as numbers, sorted by name; and where the samples
    /// lie, if there are any.
    pub fn push(&mut self, labels: impl IntoIterator<Item = (u32, u32)>, place: Option<Place>) {
        self.labels.extend(labels);
        self.ends.push(self.labels.len());
        self.places.push(place);
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes that the run takes in memory, about.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        size_of::<(u32, u32)>() * self.labels.capacity()
            + size_of::<usize>() * self.ends.capacity()
            + size_of::<Option<Place>>() * self.places.capacity()
    }

    /// The labels of an entry: names and values as numbers, sorted by name.
    #[must_use]
    pub fn labels(&self, at: usize) -> Option<&[(u32, u32)]> {
        let end = *self.ends.get(at)?;
        let start = match at.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.labels.get(start..end)
    }

    /// Where the samples of an entry lie; `None` outside, too.
    #[must_use]
    pub fn place(&self, at: usize) -> Option<Place> {
        self.places.get(at).copied().flatten()
    }

    /// Appends the run.
    ///
    /// # Errors
    /// Refuses names that do not rise, and more than [`ENTRIES_MAX`] or [`LABELS_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        Error::bound("entries of a run", self.len(), ENTRIES_MAX)?;
        let (mut shapes, mut numbers): (Vec<Vec<u32>>, Vec<u64>) = (Vec::new(), Vec::new());
        let mut known: HashMap<Vec<u32>, u64> = HashMap::new();
        for at in 0..self.len() {
            let labels = self.labels(at).unwrap_or_default();
            let shape: Vec<u32> = labels.iter().map(|(name, _)| *name).collect();
            let number = *known.entry(shape).or_insert_with_key(|shape| {
                shapes.push(shape.clone());
                shapes.len() as u64 - 1
            });
            numbers.push(number);
        }
        let mut body = Vec::new();
        put_len(&mut body, shapes.len());
        for shape in &shapes {
            put_shape(&mut body, shape)?;
        }
        put_len(&mut body, self.len());
        for number in numbers {
            put_u64(&mut body, number);
        }
        let mut last: HashMap<u32, i64> = HashMap::new();
        for (name, value) in &self.labels {
            let before = last.insert(*name, i64::from(*value)).unwrap_or(0);
            put_i64(&mut body, i64::from(*value) - before);
        }
        for place in &self.places {
            put_u64(
                &mut body,
                place.map_or(0, |place| u64::from(place.page) + 1),
            );
        }
        put_differences(
            &mut body,
            self.places.iter().flatten().map(|p| p.group.into()),
        );
        put_differences(
            &mut body,
            self.places.iter().flatten().map(|p| p.slot.into()),
        );
        out.push(SERIES_SHAPES);
        frame::compress(&body, out);
        Ok(())
    }

    /// Decodes a run.
    ///
    /// # Errors
    /// When the bytes are not what [`SeriesEntries::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let input = &mut &*bytes;
        let id = take_u8(input, WHAT)?;
        if id != SERIES_SHAPES {
            return Err(Error::UnknownEncoding { what: WHAT, id });
        }
        let body = frame::decompress(input, WHAT, BYTES_MAX)?;
        let input = &mut &*body;
        let shape_count = take_len(input, WHAT, ENTRIES_MAX)?;
        let mut shapes = Vec::new();
        for _ in 0..shape_count {
            shapes.push(take_shape(input)?);
        }
        let count = take_len(input, WHAT, ENTRIES_MAX)?;
        let mut entries = Self {
            labels: Vec::new(),
            ends: Vec::with_capacity(count),
            places: Vec::with_capacity(count),
        };
        entries.take_labels(input, &shapes, count)?;
        let pages = (0..count)
            .map(|_| take_u64(input))
            .collect::<Result<Vec<u64>, Error>>()?;
        let placed = pages.iter().filter(|page| **page != 0).count();
        let groups = take_differences(input, placed)?;
        let slots = take_differences(input, placed)?;
        let mut places = groups.into_iter().zip(slots);
        for page in pages {
            let Some(page) = page.checked_sub(1) else {
                entries.places.push(None);
                continue;
            };
            let (group, slot) = places.next().unwrap_or_default();
            entries.places.push(Some(Place {
                group: u32::try_from(group).map_err(|_| Error::invalid(WHAT, page))?,
                page: u16::try_from(page).map_err(|_| Error::invalid(WHAT, page))?,
                slot: u16::try_from(slot).map_err(|_| Error::invalid(WHAT, page))?,
            }));
        }
        finished(input, WHAT)?;
        entries.labels.shrink_to_fit();
        Ok(entries)
    }

    fn take_labels(
        &mut self,
        input: &mut &[u8],
        shapes: &[Vec<u32>],
        count: usize,
    ) -> Result<(), Error> {
        let mut chosen = Vec::new();
        for _ in 0..count {
            let number = take_u64(input)?;
            let shape = usize::try_from(number)
                .ok()
                .and_then(|number| shapes.get(number));
            chosen.push(shape.ok_or_else(|| Error::invalid("a series' shape", number))?);
        }
        // Names may be any numbers: their ranks among those of the run count what came last.
        let mut names: Vec<u32> = shapes.concat();
        names.sort_unstable();
        names.dedup();
        let mut last: Vec<i64> = vec![0; names.len()];
        for shape in chosen {
            let mut ranks = names.iter().zip(last.iter_mut());
            for name in shape {
                // A shape's names rise, as all names do.
                let Some((_, before)) = ranks.find(|(known, _)| *known == name) else {
                    return Err(Error::invalid("a label name's number", u64::from(*name)));
                };
                let value = before.wrapping_add(take_i64(input)?);
                *before = value;
                let value = u32::try_from(value)
                    .map_err(|_| Error::invalid("a label value's number", value.unsigned_abs()))?;
                self.labels.push((*name, value));
            }
            self.ends.push(self.labels.len());
        }
        Ok(())
    }
}

fn put_shape(out: &mut Vec<u8>, shape: &[u32]) -> Result<(), Error> {
    Error::bound("labels of a series", shape.len(), LABELS_MAX)?;
    put_len(out, shape.len());
    let mut next = 0;
    for name in shape {
        let gap = u64::from(*name)
            .checked_sub(next)
            .ok_or_else(|| Error::invalid("the order of label names", u64::from(*name)))?;
        put_u64(out, gap);
        next = u64::from(*name) + 1;
    }
    Ok(())
}

fn take_shape(input: &mut &[u8]) -> Result<Vec<u32>, Error> {
    let len = take_len(input, WHAT, LABELS_MAX)?;
    let (mut shape, mut next) = (Vec::new(), 0u64);
    for _ in 0..len {
        let name = next + u64::from(take_u32(input, WHAT)?);
        shape.push(u32::try_from(name).map_err(|_| Error::invalid("a label name's number", name))?);
        next = name + 1;
    }
    Ok(shape)
}

fn put_differences(out: &mut Vec<u8>, values: impl Iterator<Item = i64>) {
    let mut before = 0;
    for value in values {
        put_i64(out, value - std::mem::replace(&mut before, value));
    }
}

fn take_differences(input: &mut &[u8], count: usize) -> Result<Vec<i64>, Error> {
    let mut value = 0i64;
    (0..count)
        .map(|_| {
            value = value.wrapping_add(take_i64(input)?);
            Ok(value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = (Vec<(u32, u32)>, Option<Place>)> {
        let labels = prop::collection::btree_map(0u32..12, any::<u32>(), 0..8);
        let place = prop::option::of((any::<u32>(), 0..u16::MAX, any::<u16>()));
        (labels, place).prop_map(|(labels, place)| {
            let place = place.map(|(group, page, slot)| Place { group, page, slot });
            (labels.into_iter().collect(), place)
        })
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(list in prop::collection::vec(entry(), 0..130)) {
            let mut entries = SeriesEntries::default();
            for (labels, place) in &list {
                entries.push(labels.iter().copied(), *place);
            }
            let mut out = Vec::new();
            entries.encode(&mut out).unwrap();
            prop_assert_eq!(&SeriesEntries::decode(&out).unwrap(), &entries);
            for (at, (labels, place)) in list.iter().enumerate() {
                prop_assert_eq!(entries.labels(at).unwrap(), labels);
                prop_assert_eq!(entries.place(at), *place);
            }
        }

        #[test]
        fn damage_never_panics(
            list in prop::collection::vec(entry(), 1..20),
            at in any::<prop::sample::Index>(), with in any::<u8>()
        ) {
            let mut entries = SeriesEntries::default();
            for (labels, place) in list {
                entries.push(labels, place);
            }
            let mut out = Vec::new();
            entries.encode(&mut out).unwrap();
            let at = at.index(out.len());
            out[at] = with;
            let _ = SeriesEntries::decode(&out);
            let _ = SeriesEntries::decode(&out[..at]);
        }
    }
}
