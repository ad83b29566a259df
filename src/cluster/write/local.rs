//! The coordinator's own copy: what of a batch goes into the local head, through the gate.

use std::borrow::Cow;

use super::attempt::Attempt;
use super::batch::{Family, Locals, RoutedBatch, RoutedFloat};
use super::gate::{Gate, Refusing, Verdict};
use super::majority::Said;
use super::replica::Replica;
use super::routing::Place;
use crate::model::Exemplar;
use crate::store::{AppendBatch, Appended, FloatSample, OtherSample, SeriesId};

/// Samples that are in the local head, and of which parts.
pub(super) struct LocalCopy {
    pub(super) position: u64,
    /// The part, and this node's bit in it.
    pub(super) parts: Vec<(usize, u8)>,
}

/// Appends to the local head what it is a member of; what it has forgotten is named by
/// positions in the batch.
pub(super) fn append_here(
    (replica, gate): (&dyn Replica, &Gate),
    (routed, locals): (&RoutedBatch, &Locals),
    attempt: &Attempt,
) -> (Option<LocalCopy>, Appended) {
    let mine: Vec<(usize, u8)> = attempt
        .ring_positions()
        .iter()
        .enumerate()
        .filter_map(|(part, at)| Some((part, attempt.table.get(*at)?.me?)))
        .collect();
    if mine.is_empty() {
        return (None, Appended::default());
    }
    let inside = gate.enter_as_replica();
    let refusing = inside.refusing().map(|(why, _)| Said::Refused(why));
    let said = |part: usize| {
        let at = attempt.ring_positions().get(part);
        let partition = at.and_then(|at| attempt.table.get(*at));
        match partition.map(|p| inside.verdict(p.arc, p.epoch)) {
            _ if refusing.is_some() => refusing,
            Some(Verdict::Taken) => None,
            Some(Verdict::WrongEpoch(mine)) => Some(Said::WrongEpoch(mine)),
            Some(Verdict::Ahead) | None => Some(Said::Behind),
        }
    };
    let mut takes = vec![false; attempt.ring_positions().len()];
    let (mut taken, mut failed) = (Vec::new(), Vec::new());
    for (part, bit) in mine {
        match said(part) {
            None => {
                taken.push((part, bit));
                if let Some(takes) = takes.get_mut(part) {
                    *takes = true;
                }
            }
            Some(said) => failed.push((part, bit, said)),
        }
    }
    let goes = |place: Place| {
        let part = attempt.part_of(place);
        part.is_some_and(|part| takes.get(part).copied().unwrap_or(false))
    };
    let chosen = ChosenHere::of(routed, locals, &takes, goes);
    let result = replica.append(&chosen.batch());
    drop(inside);
    let result = match result {
        Ok(appended) => {
            let local = LocalCopy {
                position: appended.position,
                parts: taken,
            };
            (Some(local), chosen.positions(&appended))
        }
        Err(error) => {
            tracing::warn!(%error, "samples could not be appended here");
            let refused = Said::Refused(Refusing::NotReady);
            failed.extend(taken.iter().map(|(part, bit)| (*part, *bit, refused)));
            (None, Appended::default())
        }
    };
    if !failed.is_empty() {
        attempt.note(failed.into_iter());
    }
    result
}

/// What of a batch goes into the local head.
struct ChosenHere<'a> {
    floats: Cow<'a, [FloatSample]>,
    /// Where they are in the batch, unless they are all of it.
    float_positions: Vec<u32>,
    others: Vec<OtherSample>,
    other_positions: Vec<u32>,
    exemplars: Vec<(SeriesId, Exemplar)>,
    exemplar_positions: Vec<u32>,
    metadata: Vec<Family>,
}

impl<'a> ChosenHere<'a> {
    fn of(
        routed: &'a RoutedBatch,
        locals: &Locals,
        takes: &[bool],
        goes: impl Fn(Place) -> bool,
    ) -> Self {
        let (floats, float_positions) = chosen_floats(routed, takes);
        let mut chosen = Self {
            floats,
            float_positions,
            others: Vec::new(),
            other_positions: Vec::new(),
            exemplars: Vec::new(),
            exemplar_positions: Vec::new(),
            metadata: Vec::new(),
        };
        for ((at, sample), series) in (0u32..).zip(&routed.others).zip(&locals.others) {
            if !RoutedBatch::is_stale(sample.route) && goes(sample.place) {
                chosen.other_positions.push(at);
                chosen.others.push(OtherSample {
                    series: *series,
                    ..sample.what.clone()
                });
            }
        }
        for ((at, one), series) in (0u32..).zip(&routed.exemplars).zip(&locals.exemplars) {
            if !RoutedBatch::is_stale(one.route) && goes(one.place) {
                chosen.exemplar_positions.push(at);
                chosen.exemplars.push((*series, one.what.clone()));
            }
        }
        let families = routed.metadata.iter().filter(|(place, _)| goes(*place));
        chosen.metadata = families.map(|(_, family)| family.clone()).collect();
        chosen
    }

    fn batch(&self) -> AppendBatch<'_> {
        AppendBatch {
            floats: &self.floats,
            others: &self.others,
            metadata: &self.metadata,
            exemplars: &self.exemplars,
        }
    }

    /// What the head has forgotten, by positions in the whole batch.
    fn positions(&self, appended: &Appended) -> Appended {
        let of = |stale: &[u32], positions: &[u32]| -> Vec<u32> {
            let found = stale.iter().map(|at| positions.get(*at as usize).copied());
            found.flatten().collect()
        };
        Appended {
            position: appended.position,
            stale_floats: match &self.floats {
                Cow::Borrowed(_) => appended.stale_floats.clone(),
                Cow::Owned(_) => of(&appended.stale_floats, &self.float_positions),
            },
            stale_others: of(&appended.stale_others, &self.other_positions),
            stale_exemplars: of(&appended.stale_exemplars, &self.exemplar_positions),
        }
    }
}

/// The floats that go into the local head, in the order of the request, which is that of the head's
/// numbers: the log has them in runs. All of them as they are, when nothing stays out.
fn chosen_floats<'a>(
    routed: &'a RoutedBatch,
    takes: &[bool],
) -> (Cow<'a, [FloatSample]>, Vec<u32>) {
    let is_taken = |float: &RoutedFloat| {
        let is_taken = takes.get(float.part as usize).copied().unwrap_or(false);
        is_taken && !RoutedBatch::is_stale(float.route)
    };
    if routed.floats.iter().all(is_taken) {
        return (Cow::Borrowed(&routed.samples), Vec::new());
    }
    let chosen = routed.positioned().filter(|(_, float, _)| is_taken(float));
    let (floats, positions) = chosen.map(|(at, _, sample)| (*sample, at)).unzip();
    (Cow::Owned(floats), positions)
}
