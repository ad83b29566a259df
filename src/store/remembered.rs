//! Label names and values that a set of blocks has, once they were collected: blocks never change,
//! so the same set gives the same list. Whoever asks for all names of a day of blocks again, as
//! dashboards do with every variable, does not look into each of them again.
//!
//! Only lists that no matcher narrows are kept, a few of them, and no long ones.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

use crate::model::{BlockId, RingArc, TenantId};

/// Lists that are kept: a dashboard has a handful of variables.
const LISTS_MAX: usize = 16;
/// Bytes of a list that is kept: at most two MiB in all.
const LIST_BYTES_MAX: usize = 128 << 10;
/// What a text costs beside its bytes.
const TEXT_BYTES: usize = 24;

/// What was asked, of whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Question {
    tenant: TenantId,
    /// The label whose values are meant; `None`: the names.
    label: Option<String>,
    /// A hash of the blocks' ids, which are random bits.
    blocks: u128,
}

/// Sets of blocks by their ids, in order.
#[derive(Default)]
pub(super) struct BlockSet(Xxh3);

impl BlockSet {
    /// Adds a block, or what of it lies in some arcs.
    pub(super) fn add(&mut self, id: BlockId, only: &[RingArc]) {
        self.0.update(&id.0.to_le_bytes());
        for arc in only {
            self.0.update(&arc.prefix().to_le_bytes());
            self.0.update(&[arc.depth()]);
        }
    }

    pub(super) fn question(&self, tenant: &TenantId, label: Option<&str>) -> Question {
        Question {
            tenant: tenant.clone(),
            label: label.map(str::to_owned),
            blocks: self.0.digest128(),
        }
    }
}

/// The lists, the latest used first.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<VecDeque<(Question, Arc<Vec<String>>)>>);

impl Remembered {
    /// The list of a question, if it is kept.
    pub(super) fn get(&self, question: &Question) -> Option<Arc<Vec<String>>> {
        let mut lists = self.0.lock();
        let at = lists.iter().position(|(known, _)| known == question)?;
        let found = lists.remove(at)?;
        let list = Arc::clone(&found.1);
        lists.push_front(found);
        Some(list)
    }

    /// Keeps a list, unless it is long.
    pub(super) fn keep(&self, question: Question, list: &Arc<Vec<String>>) {
        let bytes: usize = list.iter().map(|text| text.len() + TEXT_BYTES).sum();
        if bytes > LIST_BYTES_MAX {
            return;
        }
        let mut lists = self.0.lock();
        lists.truncate(LISTS_MAX - 1);
        lists.push_front((question, Arc::clone(list)));
    }
}

/// All texts of two sorted lists, each once, sorted.
pub(super) fn united(one: &[String], other: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all = Vec::with_capacity(one.len());
    let mut rest = one.iter();
    let mut next = rest.next();
    for text in other {
        while let Some(known) = next.filter(|known| **known < text) {
            all.push(known.clone());
            next = rest.next();
        }
        if next.is_some_and(|known| *known == text) {
            next = rest.next();
        }
        all.push(text);
    }
    all.extend(next.cloned());
    all.extend(rest.cloned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn two_lists_become_one() {
        for (one, other, want) in [
            (
                &["a", "c"][..],
                &["b", "c", "d"][..],
                &["a", "b", "c", "d"][..],
            ),
            (&[], &["x"], &["x"]),
            (&["x", "y"], &[], &["x", "y"]),
            (&["m"], &["m"], &["m"]),
            (&["b"], &["a"], &["a", "b"]),
        ] {
            assert_eq!(united(&texts(one), texts(other)), texts(want));
        }
    }

    #[test]
    fn the_latest_questions_are_remembered_and_no_others() {
        let remembered = Remembered::default();
        let tenant = TenantId::anonymous();
        let question = |number: u128, label| {
            let mut set = BlockSet::default();
            set.add(BlockId(number), &[]);
            set.question(&tenant, label)
        };
        let list = Arc::new(texts(&["a"]));
        for number in 0..20 {
            remembered.keep(question(number, None), &list);
            // The first is asked again and again.
            assert!(remembered.get(&question(0, None)).is_some(), "{number}");
        }
        assert!(remembered.get(&question(1, None)).is_none());
        assert!(remembered.get(&question(19, None)).is_some());
        assert!(remembered.get(&question(19, Some("job"))).is_none());
        let mut both = BlockSet::default();
        both.add(BlockId(0), &[]);
        both.add(BlockId(1), &[]);
        assert!(remembered.get(&both.question(&tenant, None)).is_none());
        let mut half = BlockSet::default();
        half.add(BlockId(19), &[RingArc::new(0, 1).unwrap()]);
        assert!(remembered.get(&half.question(&tenant, None)).is_none());
        let long = Arc::new(vec!["x".repeat(LIST_BYTES_MAX)]);
        remembered.keep(question(30, None), &long);
        assert!(remembered.get(&question(30, None)).is_none());
    }
}
