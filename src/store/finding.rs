//! Finds the series of a selection: which there are, and where each of them lies: in the head, and
//! under which ordinal in which block.
//!
//! What blocks have is found once for a set of them and kept (`remembered.rs`), and so is what the head has besides, while no series
//! comes or goes.

use std::collections::HashMap;
use std::sync::Arc;

use super::block::{Ordinal, TenantReader};
use super::error::Error;
use super::found::{Found, Part, Selected, Together, Wanted};
use super::remembered::{Asked, BlockSet};
use super::stream::{READERS_KEPT, lacking};
use super::tier::{Reading, in_rounds};
use super::view::{ReadView, Seen};
use crate::model::{LabelSet, TimeRange};
use crate::runtime::Reservation;
use crate::source::{ReadContext, Selection, SourceError};

/// What a wanted series is charged for in the query's account, besides its labels.
const SERIES_BYTES: u64 = 96;
/// What one place of a series in a block is charged for.
const PLACE_BYTES: u64 = 8;

/// A block that may have something of a selection, and which of its series match.
struct Hit {
    data: TenantReader,
    ordinals: Vec<Ordinal>,
    density: u64,
}

/// Looks into one block. `None`: it has nothing.
fn search(
    seen: &Seen,
    reading: &Arc<Reading>,
    selection: &Selection,
) -> Result<Option<Hit>, Error> {
    let reader = seen.block.reader(reading)?;
    if !reader.overlaps(seen.block.reaching_around(selection.range)) {
        return Ok(None);
    }
    let Some(mut data) = seen.tenant(&reader, &selection.tenant)? else {
        return Ok(None);
    };
    data.will_select(&selection.matchers);
    let ordinals = data.select(&selection.matchers)?;
    if ordinals.is_empty() {
        return Ok(None);
    }
    if !seen.block.is_here() {
        data.all_labels_here(&ordinals)?;
    }
    let totals = reader.totals();
    Ok(Some(Hit {
        data,
        ordinals,
        density: totals.samples / totals.series.max(1),
    }))
}

/// Leaves those blocks that may have samples in a range, and says which set they are.
pub(super) fn overlapping(
    here: &mut Vec<Seen>,
    reading: &Arc<Reading>,
    range: TimeRange,
) -> Result<BlockSet, Error> {
    let mut set = BlockSet::default();
    let mut failure = None;
    here.retain(|seen| match seen.block.reader(reading) {
        Ok(reader) if reader.overlaps(seen.block.reaching_around(range)) => {
            set.add(seen.block.entry().id, &seen.arcs);
            true
        }
        Ok(_) => false,
        Err(error) => {
            failure.get_or_insert(error);
            false
        }
    });
    failure.map_or(Ok(set), Err)
}

/// What is found in blocks, as it is found.
struct Looking {
    at: HashMap<LabelSet, u32>,
    series: Vec<(LabelSet, Vec<(u32, Ordinal)>)>,
    parts: Vec<(usize, u64)>,
    readers: Vec<Option<TenantReader>>,
    reservation: Reservation,
}

impl Looking {
    fn add(&mut self, block: usize, mut hit: Hit) -> Result<(), SourceError> {
        let part = number_of(&self.parts);
        for ordinal in hit.ordinals {
            let labels = hit.data.labels(ordinal)?;
            let known = self.at.get(&labels);
            let known = known.and_then(|at| self.series.get_mut(*at as usize));
            if let Some((_, places)) = known {
                self.reservation.grow(PLACE_BYTES, 0)?;
                places.push((part, ordinal));
                continue;
            }
            self.reservation.grow(charged(&labels) + PLACE_BYTES, 0)?;
            self.at.insert(labels.clone(), number_of(&self.series));
            self.series.push((labels, vec![(part, ordinal)]));
        }
        self.parts.push((block, hit.density));
        let kept = self.readers.len() < READERS_KEPT;
        self.readers.push(kept.then_some(hit.data));
        Ok(())
    }
}

fn number_of<T>(parts: &[T]) -> u32 {
    u32::try_from(parts.len()).unwrap_or(u32::MAX)
}

/// What a series is charged for beside its places.
fn charged(labels: &LabelSet) -> u64 {
    let text = u64::try_from(labels.text_len()).unwrap_or(u64::MAX);
    SERIES_BYTES.saturating_add(text)
}

/// Looks into all blocks of a view: those that are here one by one, those that are elsewhere side by side.
/// `false`: not all of them can be had, and the answer may be partial.
fn look(
    blocks: &[Seen],
    reading: &Arc<Reading>,
    selection: &Selection,
    context: &ReadContext,
) -> Result<(Looking, bool), SourceError> {
    let mut looking = Looking {
        at: HashMap::new(),
        series: Vec::new(),
        parts: Vec::new(),
        readers: Vec::new(),
        reservation: context.budget.reserve(0, 0)?,
    };
    let numbered = blocks.iter().enumerate();
    let (here, elsewhere): (Vec<_>, Vec<_>) = numbered.partition(|(_, seen)| seen.block.is_here());
    let search = |seen: &Seen| {
        context.cancel.check()?;
        search(seen, reading, selection)
    };
    for (block, seen) in here {
        if let Some(hit) = search(seen)? {
            looking.add(block, hit)?;
        }
    }
    let mut whole = true;
    in_rounds(
        reading,
        &elsewhere,
        |(_, seen)| seen.block.entry().id,
        |(_, seen)| search(seen),
        |(block, _), hit| match hit {
            Ok(hit) => hit.map_or(Ok(()), |hit| looking.add(*block, hit)),
            Err(error) => {
                whole = false;
                lacking(error, context)
            }
        },
    )?;
    Ok((looking, whole))
}

/// What is found, as it is found.
struct Finding {
    /// Of blocks.
    selected: Arc<Selected>,
    /// What is not among these.
    others: HashMap<LabelSet, usize>,
    wanted: Vec<Wanted>,
    parts: Vec<Part>,
    reservation: Reservation,
    /// Nothing of the blocks is lacking.
    whole: bool,
}

/// The blocks of a view that may have something of a range, and which set they are.
struct Blocks {
    all: Vec<Seen>,
    set: BlockSet,
}

impl Blocks {
    fn of(view: &ReadView, reading: &Arc<Reading>, range: TimeRange) -> Result<Self, Error> {
        let (mut all, elsewhere) = view.seen();
        let mut set = overlapping(&mut all, reading, range)?;
        for seen in &elsewhere {
            set.add(seen.block.entry().id, &seen.arcs);
        }
        all.extend(elsewhere);
        Ok(Self { all, set })
    }

    /// Those that have something, with their readers where these are at hand.
    fn parts(&self, selected: &Selected, readers: Vec<Option<TenantReader>>) -> Vec<Part> {
        let mut readers = readers.into_iter();
        let parts = selected.parts().filter_map(|(block, density)| {
            Some(Part {
                seen: self.all.get(block)?.clone(),
                reader: readers.next().flatten(),
                density,
            })
        });
        parts.collect()
    }
}

impl Finding {
    /// What blocks have: found before, or now, and then kept unless it is to be kept together with what the head has.
    fn begin(
        with_head: bool,
        view: &ReadView,
        blocks: &Blocks,
        reading: &Arc<Reading>,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Self, SourceError> {
        let question = (blocks.set).question(&selection.tenant, Asked::Series, &selection.matchers);
        let mut is_whole = true;
        let (selected, reservation, readers) = match view.remembered.get::<Selected>(&question) {
            Some(selected) => {
                let reservation = context.budget.reserve(selected.charge(), 0)?;
                (selected, reservation, Vec::new())
            }
            None => {
                let (found, whole) = look(&blocks.all, reading, selection, context)?;
                let charge = found.reservation.memory_bytes();
                let series = (found.series, found.at);
                let selected = Arc::new(Selected::new(found.parts, series, charge));
                is_whole = whole;
                if whole && !with_head {
                    let bytes = selected.memory_bytes();
                    view.remembered.keep(question, &selected, bytes);
                }
                (selected, found.reservation, found.readers)
            }
        };
        Ok(Self {
            parts: blocks.parts(&selected, readers),
            wanted: Wanted::all_of(&selected),
            selected,
            others: HashMap::new(),
            reservation,
            whole: is_whole,
        })
    }

    /// One of the wanted series.
    fn place(&mut self, labels: LabelSet) -> Result<&mut Wanted, SourceError> {
        let known = self.selected.position(&labels);
        let at = match known.or_else(|| self.others.get(&labels).copied()) {
            Some(at) => at,
            None => {
                self.reservation.grow(charged(&labels), 0)?;
                self.others.insert(labels.clone(), self.wanted.len());
                self.wanted.push(Wanted::new(labels));
                self.wanted.len() - 1
            }
        };
        let lost = || SourceError::Unavailable("a series was found and is not there".to_owned());
        self.wanted.get_mut(at).ok_or_else(lost)
    }
}

/// Finds all series that match. Blocks and head series without a sample in the range are left out
/// as far as that is known without decoding.
pub(super) fn find(
    view: ReadView,
    selection: &Selection,
    context: &ReadContext,
) -> Result<Found, SourceError> {
    // An answer that is kept passes none of the places where looking asks for it.
    context.cancel.check()?;
    let reading = Reading::of(context);
    let blocks = Blocks::of(&view, &reading, selection.range)?;
    let (registered, same) = view.head.registered();
    let asked = Asked::WithHead(registered);
    let question = (blocks.set).question(&selection.tenant, asked, &selection.matchers);
    if let Some(together) = view.remembered.get::<Together>(&question) {
        let selected = together.selected();
        let reservation = context.budget.reserve(selected.charge(), 0)?;
        let parts = blocks.parts(selected, Vec::new());
        let wanted = together.wanted(|series| view.head.may_have(series, selection.range));
        return Ok(Found {
            view,
            parts,
            wanted,
            reservation,
            reading,
        });
    }
    let mut finding = Finding::begin(same, &view, &blocks, &reading, selection, context)?;
    let found = view.head.select(selection);
    for series in &found {
        context.cancel.check()?;
        if view.head.may_have(series, selection.range) {
            finding.place(series.labels.clone())?.head = Some(series.clone());
        }
    }
    // Where series come all the time it would never be asked for.
    if same && finding.whole && view.head.registered().0 == registered {
        let together = Arc::new(Together::new(&finding.selected, found, charged));
        let bytes = together.memory_bytes();
        view.remembered.keep(question, &together, bytes);
    }
    Ok(Found {
        parts: finding.parts,
        wanted: finding.wanted,
        reservation: finding.reservation,
        reading,
        view,
    })
}
