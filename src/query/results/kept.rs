//! What is kept: pieces of answers, by question, within a bound of memory. Those that were used
//! longest ago go first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::{LabelSet, TenantId};

/// What a piece is of. Everything that an answer depends on besides the samples is in it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Question {
    pub(super) tenant: TenantId,
    pub(super) text: String,
    /// The digest of the plan: times that the text leaves to the query are resolved in it.
    pub(super) plan: u128,
    pub(super) lookback_ms: i64,
    pub(super) step_ms: i64,
    pub(super) phase: i64,
}

impl Question {
    fn bytes(&self) -> usize {
        self.text.len() + self.tenant.as_str().len() + size_of::<Self>()
    }
}

/// A series in a piece, with a value for each of its steps.
#[derive(Debug)]
pub(super) struct PieceSeries {
    pub(super) labels: LabelSet,
    pub(super) values: Box<[f64]>,
}

/// A piece of an answer.
#[derive(Debug)]
pub(super) struct Piece {
    /// What its samples were read from.
    pub(super) stamp: u128,
    pub(super) series: Vec<PieceSeries>,
}

/// What an entry takes besides what is in it: places in maps, allocations.
const ENTRY_BYTES: usize = 256;

impl Piece {
    fn bytes(&self) -> usize {
        let series = self.series.iter().map(|one| {
            // Label sets are shared with nobody who stays.
            one.labels.text_len() + 160 + size_of_val(one.values.as_ref())
        });
        ENTRY_BYTES + series.sum::<usize>()
    }
}

struct Place {
    piece: Arc<Piece>,
    bytes: usize,
    used: u64,
}

/// The pieces.
pub(super) struct Kept {
    bytes_max: usize,
    bytes: usize,
    clock: u64,
    pieces: HashMap<Arc<Question>, BTreeMap<i64, Place>>,
    /// By when they were used last.
    order: BTreeMap<u64, (Arc<Question>, i64)>,
}

impl Kept {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            clock: 0,
            pieces: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// Bytes of all, and how many there are.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.bytes, self.order.len())
    }

    /// Whether anything is kept of a question.
    pub(super) fn knows(&self, question: &Question) -> bool {
        self.pieces.contains_key(question)
    }

    /// A piece, if there is one.
    pub(super) fn get(&mut self, question: &Question, number: i64) -> Option<Arc<Piece>> {
        let (key, _) = self.pieces.get_key_value(question)?;
        let key = Arc::clone(key);
        let place = self.pieces.get_mut(question)?.get_mut(&number)?;
        self.clock += 1;
        self.order.remove(&place.used);
        place.used = self.clock;
        self.order.insert(place.used, (key, number));
        Some(Arc::clone(&place.piece))
    }

    /// Puts a piece in its place. Says how many others had to go.
    pub(super) fn put(&mut self, question: &Arc<Question>, number: i64, piece: Piece) -> u64 {
        let bytes = piece.bytes().saturating_add(question.bytes());
        self.remove(question, number);
        // One answer does not push out all others.
        if bytes > self.bytes_max / 8 {
            return 0;
        }
        let mut gone = 0;
        while self.bytes.saturating_add(bytes) > self.bytes_max {
            let Some((_, (of, oldest))) = self.order.pop_first() else {
                break;
            };
            self.drop_place(&of, oldest);
            gone += 1;
        }
        self.clock += 1;
        let key = match self.pieces.get_key_value(question.as_ref()) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::clone(question),
        };
        self.order.insert(self.clock, (Arc::clone(&key), number));
        self.bytes += bytes;
        let place = Place {
            piece: Arc::new(piece),
            bytes,
            used: self.clock,
        };
        self.pieces.entry(key).or_default().insert(number, place);
        gone
    }

    /// Forgets a piece.
    pub(super) fn remove(&mut self, question: &Question, number: i64) {
        if let Some(used) = self.drop_place(question, number) {
            self.order.remove(&used);
        }
    }

    fn drop_place(&mut self, question: &Question, number: i64) -> Option<u64> {
        let of = self.pieces.get_mut(question)?;
        let place = of.remove(&number)?;
        if of.is_empty() {
            self.pieces.remove(question);
        }
        self.bytes -= place.bytes;
        Some(place.used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(text: &str) -> Arc<Question> {
        Arc::new(Question {
            tenant: TenantId::anonymous(),
            text: text.to_owned(),
            plan: 0,
            lookback_ms: 0,
            step_ms: 1,
            phase: 0,
        })
    }

    fn piece(stamp: u128, values: usize) -> Piece {
        let labels = LabelSet::default();
        let values = vec![0.0; values].into();
        let series = vec![PieceSeries { labels, values }];
        Piece { stamp, series }
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_the_bound_holds() {
        let one = piece(0, 100).bytes() + question("a").bytes();
        let mut kept = Kept::new(one * 9);
        let (a, b) = (question("a"), question("b"));
        for number in 0..9 {
            assert_eq!(kept.put(&a, number, piece(7, 100)), 0);
        }
        assert_eq!(kept.size(), (one * 9, 9));
        assert!(kept.get(&a, 0).is_some() && kept.get(&b, 0).is_none() && !kept.knows(&b));
        assert_eq!(kept.put(&b, 5, piece(8, 100)), 1);
        assert!(kept.get(&a, 1).is_none() && kept.get(&a, 0).is_some());
        assert_eq!(kept.get(&b, 5).unwrap().stamp, 8);
        // A later one of the same place takes it; one that is too large is not kept.
        kept.put(&b, 5, piece(9, 10));
        assert_eq!(kept.get(&b, 5).unwrap().stamp, 9);
        assert_eq!(kept.put(&b, 5, piece(9, 1_000)), 0);
        assert!(!kept.knows(&b));
        let numbers: Vec<i64> = (0..9).collect();
        numbers.iter().for_each(|number| kept.remove(&a, *number));
        assert_eq!(kept.size(), (0, 0));
        assert!(kept.pieces.is_empty() && kept.order.is_empty());
    }
}
