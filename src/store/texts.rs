//! Texts that many blocks have: collected once each.
//!
//! Blocks of one partition mostly have the very same names and values. A list that came before is
//! passed over as a whole, which is one comparison of memory instead of a look-up for each text.

use std::collections::HashSet;

use crate::codec::symbols::Symbols;

/// Lists that are remembered: one per partition while there are as many as a founding makes, and
/// some more. Beyond them a list is only looked through once more.
const LISTS_MAX: usize = 64;

/// What a text costs beside its bytes.
const TEXT_BYTES: u64 = 64;

/// What a block gives.
pub(super) enum TextsOf<'a> {
    /// Everything that it has, at once.
    List(&'a Symbols),
    /// One of them.
    One(&'a str),
}

/// The texts found so far.
#[derive(Default)]
pub(super) struct Texts {
    all: HashSet<String>,
    lists: Vec<Symbols>,
    grown: u64,
}

impl Texts {
    pub(super) fn add(&mut self, found: TextsOf<'_>) {
        match found {
            TextsOf::One(text) => self.one(text),
            TextsOf::List(list) if self.lists.contains(list) => {}
            TextsOf::List(list) => {
                list.iter().for_each(|text| self.one(text));
                if self.lists.len() < LISTS_MAX {
                    self.grown += list.memory_bytes() as u64;
                    self.lists.push(list.clone());
                }
            }
        }
    }

    fn one(&mut self, text: &str) {
        if !self.all.contains(text) {
            self.grown += text.len() as u64 + TEXT_BYTES;
            self.all.insert(text.to_owned());
        }
    }

    /// Bytes taken since this was last asked.
    pub(super) fn take_grown(&mut self) -> u64 {
        std::mem::take(&mut self.grown)
    }

    pub(super) fn sorted(self) -> Vec<String> {
        let mut sorted: Vec<String> = self.all.into_iter().collect();
        sorted.sort_unstable();
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::symbols;

    fn list(texts: &[&str]) -> Symbols {
        let mut bytes = Vec::new();
        symbols::encode(texts, &mut bytes).unwrap();
        symbols::decode(&bytes).unwrap()
    }

    #[test]
    fn each_text_is_there_once_however_it_came() {
        let mut texts = Texts::default();
        texts.add(TextsOf::List(&list(&["a", "c"])));
        assert!(texts.take_grown() > 0);
        texts.add(TextsOf::List(&list(&["a", "c"])));
        assert_eq!(texts.take_grown(), 0);
        texts.add(TextsOf::List(&list(&["a", "b"])));
        texts.add(TextsOf::One("c"));
        texts.add(TextsOf::One("0"));
        assert_eq!(texts.sorted(), ["0", "a", "b", "c"]);
    }
}
