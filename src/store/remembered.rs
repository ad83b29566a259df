//! What sets of blocks have given: the series that matchers ask for, label names and values. Blocks
//! never change, so the same set gives the same again. Whoever asks again, as dashboards do with every
//! panel and variable, does not look into each block of a day again.
//!
//! It is kept among the decoded parts of blocks and shares their bound. Of the head there is in it which series it has, for as
//! long as none comes and none goes, and nothing else: that changes.

use std::any::Any;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::block::{DecodedParts, PartKey};
use crate::model::{BlockId, MatchOp, Matcher, RingArc, TenantId};

/// What was asked, of whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Question {
    tenant: TenantId,
    asked: Asked,
    /// Names, operators and values. Not the matchers themselves: a compiled expression may be large.
    matchers: Vec<(String, MatchOp, String)>,
    /// A hash of the blocks' ids, which are random bits.
    blocks: u128,
}

/// What is asked of series that satisfy matchers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// Which they are.
    Series,
    /// Which they are, those of the head included, of which this says what it holds ([`HeadView::registered`]).
    ///
    /// [`HeadView::registered`]: super::head::HeadView::registered
    WithHead(u128),
    /// Their label names.
    Names,
    /// The values of a label.
    Values(String),
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

    pub(super) fn question(
        &self,
        tenant: &TenantId,
        asked: Asked,
        matchers: &[Matcher],
    ) -> Question {
        let texts = matchers.iter().map(|matcher| {
            let (name, value) = (matcher.name().to_owned(), matcher.value().to_owned());
            (name, matcher.op(), value)
        });
        Question {
            tenant: tenant.clone(),
            asked,
            matchers: texts.collect(),
            blocks: self.0.digest128(),
        }
    }
}

impl Question {
    /// Where its answer is kept. Two questions may share a place: they are compared as well.
    fn key(&self) -> PartKey {
        let mut hash = Xxh3::new();
        hash.update(&self.blocks.to_le_bytes());
        let mut text = |kind: u8, text: &str| {
            hash.update(&[kind]);
            hash.update(&text.len().to_le_bytes());
            hash.update(text.as_bytes());
        };
        text(0, self.tenant.as_str());
        match &self.asked {
            Asked::Series => text(1, ""),
            Asked::WithHead(registered) => text(7, &format!("{registered:x}")),
            Asked::Names => text(2, ""),
            Asked::Values(name) => text(3, name),
        }
        for (name, op, value) in &self.matchers {
            text(4, name);
            text(5, op.symbol());
            text(6, value);
        }
        PartKey::of_set(hash.digest128())
    }

    fn bytes(&self) -> usize {
        let texts = self.matchers.iter();
        texts.fold(size_of::<Self>(), |sum, (name, _, value)| {
            sum + size_of::<(String, MatchOp, String)>() + name.len() + value.len()
        })
    }
}

/// An answer, and to what.
struct Kept<T> {
    question: Question,
    answer: Arc<T>,
}

/// Answers by their questions.
pub(super) struct Remembered(Arc<DecodedParts>);

impl Remembered {
    /// Kept among these.
    pub(super) const fn among(parts: Arc<DecodedParts>) -> Self {
        Self(parts)
    }

    /// The answer to a question, if it is kept.
    pub(super) fn get<T: Any + Send + Sync>(&self, question: &Question) -> Option<Arc<T>> {
        let kept = self.0.get::<Kept<T>>(&question.key())?;
        (kept.question == *question).then(|| Arc::clone(&kept.answer))
    }

    /// Keeps an answer of so many bytes, unless it is too large.
    pub(super) fn keep<T: Any + Send + Sync>(
        &self,
        question: Question,
        answer: &Arc<T>,
        bytes: usize,
    ) {
        let (key, bytes) = (question.key(), bytes.saturating_add(question.bytes()));
        let answer = Arc::clone(answer);
        self.0.put(key, &Arc::new(Kept { question, answer }), bytes);
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

    fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
        Matcher::new(name, op, value).unwrap()
    }

    #[test]
    fn another_question_has_another_answer() {
        let remembered = Remembered::among(Arc::new(DecodedParts::new(8 << 20)));
        let set = |blocks: &[(u128, &[RingArc])]| {
            let mut set = BlockSet::default();
            blocks
                .iter()
                .for_each(|(id, arcs)| set.add(BlockId(*id), arcs));
            set
        };
        let half = [RingArc::new(0, 1).unwrap()];
        let sets = [
            set(&[(1, &[])]),
            set(&[(2, &[])]),
            set(&[(1, &[]), (2, &[])]),
            set(&[(2, &[]), (1, &[])]),
            set(&[(1, &half)]),
        ];
        let asked = [
            Asked::Series,
            Asked::Names,
            Asked::Values("a".to_owned()),
            Asked::Values("b".to_owned()),
        ];
        let matchers = [
            vec![],
            vec![matcher("a", MatchOp::Equal, "b")],
            vec![matcher("a", MatchOp::Regex, "b")],
            vec![matcher("ab", MatchOp::Equal, "")],
            vec![matcher("a", MatchOp::Equal, "c")],
            vec![
                matcher("a", MatchOp::Equal, "b"),
                matcher("a", MatchOp::Equal, "c"),
            ],
        ];
        let tenants = [TenantId::anonymous(), TenantId::new("other").unwrap()];
        let of_set = |set: &BlockSet| {
            let asked = asked
                .iter()
                .flat_map(|asked| matchers.iter().map(move |one| (asked, one)));
            let asked = asked.flat_map(|pair| tenants.iter().map(move |tenant| (pair, tenant)));
            let question = |((asked, matchers), tenant): ((&Asked, &Vec<Matcher>), &TenantId)| {
                set.question(tenant, asked.clone(), matchers)
            };
            asked.map(question).collect::<Vec<_>>()
        };
        let questions: Vec<Question> = sets.iter().flat_map(of_set).collect();
        for (number, question) in questions.iter().enumerate() {
            assert_eq!(remembered.get::<usize>(question), None, "{question:?}");
            remembered.keep(question.clone(), &Arc::new(number), 8);
        }
        for (number, question) in questions.iter().enumerate() {
            assert_eq!(remembered.get(question), Some(Arc::new(number)));
            assert_eq!(remembered.get::<String>(question), None);
        }
    }

    /// Hashes can be met on purpose: whoever asks with such matchers gets no other answer.
    #[test]
    fn a_question_at_the_place_of_another_has_no_answer() {
        let parts = Arc::new(DecodedParts::new(8 << 20));
        let remembered = Remembered::among(Arc::clone(&parts));
        let of = |matchers: &[Matcher]| {
            BlockSet::default().question(&TenantId::anonymous(), Asked::Series, matchers)
        };
        let (one, other) = (of(&[]), of(&[matcher("a", MatchOp::Equal, "b")]));
        let kept = Kept {
            question: other.clone(),
            answer: Arc::new(7),
        };
        parts.put(one.key(), &Arc::new(kept), 8);
        assert_eq!(remembered.get::<i32>(&one), None);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let remembered = Remembered::among(Arc::new(DecodedParts::new(1 << 20)));
        let question = BlockSet::default().question(&TenantId::anonymous(), Asked::Names, &[]);
        remembered.keep(question.clone(), &Arc::new(1), 1 << 20);
        assert_eq!(remembered.get::<i32>(&question), None);
        remembered.keep(question.clone(), &Arc::new(1), 1 << 10);
        assert_eq!(remembered.get(&question), Some(Arc::new(1)));
    }
}
