//! Finds the series of a block that matchers ask for, and their label names and values.
//!
//! A matcher that no series without the label satisfies gives a set of ordinals; all such sets are
//! intersected, those that need no scan of values first. Any other matcher takes away the series
//! whose value it refuses, as Prometheus does, so that an absent label counts as the empty text.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::layout::CHUNK;
use super::reader::{Ordinal, TenantReader};
use crate::codec::postings::Lists;
use crate::codec::symbols::Symbols;
use crate::model::{MatchOp, Matcher};
use crate::store::error::Error;
use crate::store::texts::{Texts, TextsOf};

impl TenantReader {
    /// The series that satisfy all matchers, in label order.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn select(&mut self, matchers: &[Matcher]) -> Result<Vec<Ordinal>, Error> {
        let set = self.matching(matchers)?;
        Ok(set.iter().map(Ordinal).collect())
    }

    /// The label names of the series that satisfy all matchers, sorted.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn label_names(&mut self, matchers: &[Matcher]) -> Result<Vec<String>, Error> {
        let mut found = Texts::default();
        self.find_label_names(matchers, &mut |text| found.add(text))?;
        Ok(found.sorted())
    }

    /// The same, handed to `each`.
    pub(in crate::store) fn find_label_names(
        &mut self,
        matchers: &[Matcher],
        each: &mut dyn FnMut(TextsOf<'_>),
    ) -> Result<(), Error> {
        if matchers.is_empty() && self.shows_all() {
            each(TextsOf::List(self.names()));
            return Ok(());
        }
        let mut seen = RoaringBitmap::new();
        for ordinal in &self.matching(matchers)? {
            let numbers = self.label_numbers(Ordinal(ordinal))?;
            seen.extend(numbers.iter().map(|(name, _)| *name));
        }
        let names = seen
            .iter()
            .filter_map(|name| self.names().get(name as usize));
        names.for_each(|name| each(TextsOf::One(name)));
        Ok(())
    }

    /// The values of one label over the series that satisfy all matchers, sorted.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn label_values(&mut self, name: &str, matchers: &[Matcher]) -> Result<Vec<String>, Error> {
        let mut found = Texts::default();
        self.find_label_values(name, matchers, &mut |text| found.add(text))?;
        Ok(found.sorted())
    }

    /// The same, handed to `each`.
    pub(in crate::store) fn find_label_values(
        &mut self,
        name: &str,
        matchers: &[Matcher],
        each: &mut dyn FnMut(TextsOf<'_>),
    ) -> Result<(), Error> {
        let Some(name) = self.number_of(name) else {
            return Ok(());
        };
        let wanted = match matchers {
            [] if self.shows_all() => None,
            matchers => Some(self.matching(matchers)?),
        };
        for chunk in 0..self.chunks_of(name) {
            let values = self.values(name, chunk)?;
            let Some(wanted) = &wanted else {
                each(TextsOf::List(&values));
                continue;
            };
            let lists = self.lists(name, chunk, &values)?;
            for (at, value) in values.iter().enumerate() {
                let has_one = lists
                    .meets(at, self.series_len(), wanted)
                    .map_err(|error| self.damaged("postings", &error))?;
                if has_one {
                    each(TextsOf::One(value));
                }
            }
        }
        Ok(())
    }

    /// The ordinals that satisfy all matchers, of the series that are shown.
    fn matching(&mut self, matchers: &[Matcher]) -> Result<RoaringBitmap, Error> {
        let set = self.satisfying(matchers)?;
        if self.shows_all() {
            return Ok(set);
        }
        let ordinals: Vec<Ordinal> = set.iter().map(Ordinal).collect();
        self.all_labels_here(&ordinals)?;
        let mut shown = RoaringBitmap::new();
        for ordinal in &set {
            let fingerprint = self.fingerprint(Ordinal(ordinal))?;
            if self.shows(fingerprint) {
                shown.insert(ordinal);
            }
        }
        Ok(shown)
    }

    fn satisfying(&mut self, matchers: &[Matcher]) -> Result<RoaringBitmap, Error> {
        let mut set = RoaringBitmap::new();
        set.insert_range(0..self.series_len());
        let (taking, giving): (Vec<&Matcher>, Vec<&Matcher>) =
            matchers.iter().partition(|matcher| matcher.matches_empty());
        let (known, scanned): (Vec<&Matcher>, Vec<&Matcher>) = giving
            .into_iter()
            .partition(|matcher| matcher.candidates().is_some());
        for matcher in known.into_iter().chain(scanned) {
            set &= self.having(matcher)?;
            if set.is_empty() {
                return Ok(set);
            }
        }
        for matcher in taking {
            set -= self.refused(matcher)?;
            if set.is_empty() {
                return Ok(set);
            }
        }
        Ok(set)
    }

    /// The ordinals that have the label with a value that satisfies the matcher.
    fn having(&mut self, matcher: &Matcher) -> Result<RoaringBitmap, Error> {
        let Some(name) = self.number_of(matcher.name()) else {
            return Ok(RoaringBitmap::new());
        };
        match matcher.candidates() {
            Some(values) => self.with_values(name, &values),
            None => self.where_value(name, |value| matcher.matches(value)),
        }
    }

    /// The ordinals that have the label with a value that does not satisfy the matcher.
    fn refused(&mut self, matcher: &Matcher) -> Result<RoaringBitmap, Error> {
        let Some(name) = self.number_of(matcher.name()) else {
            return Ok(RoaringBitmap::new());
        };
        if matcher.op() == MatchOp::NotEqual {
            return self.with_values(name, &[matcher.value()]);
        }
        self.where_value(name, |value| !matcher.matches(value))
    }

    /// The ordinals that have one of some values.
    fn with_values(&mut self, name: u32, wanted: &[&str]) -> Result<RoaringBitmap, Error> {
        let mut set = RoaringBitmap::new();
        for value in wanted {
            let Some((chunk, values)) = self.chunk_with(name, value)? else {
                continue;
            };
            if let Ok(at) = values.find(value) {
                self.lists(name, chunk, &values)?
                    .add_to(at, self.series_len(), &mut set)
                    .map_err(|error| self.damaged("postings", &error))?;
            }
        }
        Ok(set)
    }

    /// The ordinals that have a value that `keep` accepts; looks at every value of the name.
    fn where_value(
        &mut self,
        name: u32,
        keep: impl Fn(&str) -> bool,
    ) -> Result<RoaringBitmap, Error> {
        let mut set = RoaringBitmap::new();
        for chunk in 0..self.chunks_of(name) {
            let values = self.values(name, chunk)?;
            let mut lists = None;
            for (at, _) in values.iter().enumerate().filter(|(_, value)| keep(value)) {
                if lists.is_none() {
                    lists = Some(self.lists(name, chunk, &values)?);
                }
                if let Some(lists) = &lists {
                    lists
                        .add_to(at, self.series_len(), &mut set)
                        .map_err(|error| self.damaged("postings", &error))?;
                }
            }
        }
        Ok(set)
    }

    /// The chunk in which a value would be: the last one whose first value is not greater.
    fn chunk_with(&mut self, name: u32, value: &str) -> Result<Option<(u32, Arc<Symbols>)>, Error> {
        let (mut low, mut high) = (0, self.chunks_of(name));
        let mut found = None;
        while low < high {
            let middle = low.midpoint(high);
            let values = self.values(name, middle)?;
            if values.get(0).is_some_and(|first| first <= value) {
                found = Some((middle, values));
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    fn lists(&self, name: u32, chunk: u32, values: &Symbols) -> Result<Arc<Lists>, Error> {
        let lists = self.postings(name, chunk)?;
        if lists.len() == values.len() {
            return Ok(lists);
        }
        Err(self.damaged("postings", &"they are not as many as the values"))
    }

    pub(super) fn number_of(&self, name: &str) -> Option<u32> {
        let at = self.names().find(name).ok()?;
        u32::try_from(at).ok()
    }

    pub(super) fn chunks_of(&self, name: u32) -> u32 {
        self.value_count(name).div_ceil(CHUNK)
    }
}
