//! A run of sorted texts: the values of one label name, or the label names themselves.
//!
//! ```text
//! u8      encoding: 1
//! framed: (compressed where that is shorter)
//!     varint  texts
//!     for each:
//!         varint  bytes shared with the text before it
//!         varint  further bytes
//!         bytes   these
//! ```

use super::varint::{finished, put_bytes, put_len, put_u64, take_bytes, take_len, take_u8};
use super::version::SYMBOLS_FRONT;
use super::{Error, frame};

const WHAT: &str = "a run of symbols";

/// The most texts of a run.
pub const SYMBOLS_MAX: usize = 1 << 20;

/// The most bytes that the texts of a run may have together, encoded or not.
pub const SYMBOLS_BYTES_MAX: usize = 1 << 30;

/// Appends a run; the texts are sorted and each is there once.
///
/// # Errors
/// Refuses texts in another order, and more than [`SYMBOLS_MAX`] or [`SYMBOLS_BYTES_MAX`].
pub fn encode(texts: &[&str], out: &mut Vec<u8>) -> Result<(), Error> {
    Error::bound("texts of a run of symbols", texts.len(), SYMBOLS_MAX)?;
    let total = texts.iter().map(|text| text.len()).sum();
    Error::bound("bytes of a run of symbols", total, SYMBOLS_BYTES_MAX)?;
    let mut body = Vec::new();
    put_len(&mut body, texts.len());
    let mut before: Option<&str> = None;
    for (at, text) in texts.iter().enumerate() {
        if before.is_some_and(|before| before >= *text) {
            return Err(Error::invalid("the order of symbols", at as u64));
        }
        let before = before.replace(text).unwrap_or_default();
        let shared = before
            .bytes()
            .zip(text.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        put_u64(&mut body, shared as u64);
        put_bytes(&mut body, text.as_bytes().get(shared..).unwrap_or_default());
    }
    out.push(SYMBOLS_FRONT);
    frame::compress(&body, out);
    Ok(())
}

/// A decoded run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Symbols {
    text: String,
    ends: Vec<u32>,
}

impl Symbols {
    /// How many texts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text at a position.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)? as usize;
        let start = match at.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.text.get(start..end)
    }

    /// All texts in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// Where a text stands, or where it would.
    ///
    /// # Errors
    /// The position at which it would have to be inserted.
    pub fn find(&self, text: &str) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.get(middle).unwrap_or_default().cmp(text) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Bytes that the run takes in memory, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.text.len() + 4 * self.ends.len()
    }
}

/// Decodes a run.
///
/// # Errors
/// When the bytes are not what [`encode`] writes.
pub fn decode(bytes: &[u8]) -> Result<Symbols, Error> {
    let input = &mut &*bytes;
    let id = take_u8(input, WHAT)?;
    if id != SYMBOLS_FRONT {
        return Err(Error::UnknownEncoding { what: WHAT, id });
    }
    let body = frame::decompress(input, WHAT, SYMBOLS_BYTES_MAX)?;
    let input = &mut &*body;
    let count = take_len(input, WHAT, SYMBOLS_MAX)?;
    // Every text takes two bytes of the body at least.
    Error::bound(WHAT, count, input.len() / 2)?;
    let mut out = Symbols {
        text: String::new(),
        ends: Vec::with_capacity(count),
    };
    let mut current: Vec<u8> = Vec::new();
    for at in 0..count {
        let shared = take_len(input, WHAT, current.len())?;
        let rest = take_bytes(input, WHAT)?;
        // The first byte that differs must be larger, or the text before be a prefix of this one.
        let rises = match (rest.first(), current.get(shared)) {
            (Some(new), Some(old)) => new > old,
            (new, None) => new.is_some() || at == 0,
            (None, Some(_)) => false,
        };
        if !rises {
            return Err(Error::invalid("the order of symbols", at as u64));
        }
        current.truncate(shared);
        current.extend_from_slice(rest);
        let text = std::str::from_utf8(&current)
            .map_err(|error| Error::invalid("a symbol's UTF-8", error.valid_up_to() as u64))?;
        Error::bound(WHAT, out.text.len() + text.len(), SYMBOLS_BYTES_MAX)?;
        out.text.push_str(text);
        let end = u32::try_from(out.text.len())
            .map_err(|_| Error::invalid(WHAT, out.text.len() as u64))?;
        out.ends.push(end);
    }
    finished(input, WHAT)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_found_by_position_and_by_text() {
        let texts = ["", "a", "ab", "abc", "b", "é", "ü"];
        let mut out = Vec::new();
        encode(&texts, &mut out).unwrap();
        let run = decode(&out).unwrap();
        assert_eq!(run.iter().collect::<Vec<_>>(), texts);
        assert_eq!(run.find("abc"), Ok(3));
        assert_eq!(run.find("aa"), Err(2));
        assert_eq!(run.get(7), None);
        assert!(encode(&["b", "a"], &mut out).is_err());
        assert!(encode(&["a", "a"], &mut out).is_err());
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(texts in prop::collection::btree_set(".{0,12}", 0..200)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut out = Vec::new();
            encode(&texts, &mut out).unwrap();
            let run = decode(&out).unwrap();
            prop_assert_eq!(run.iter().collect::<Vec<_>>(), texts);
        }

        #[test]
        fn damage_is_an_error_or_sorted_texts(
            at in any::<prop::sample::Index>(), with in any::<u8>()
        ) {
            let texts: Vec<String> = (0..50).map(|i| format!("node-{i:03}.lan")).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut out = Vec::new();
            encode(&texts, &mut out).unwrap();
            let at = at.index(out.len());
            out[at] = with;
            if let Ok(run) = decode(&out) {
                prop_assert!(run.iter().is_sorted());
            }
            let _ = decode(&out[..at]);
        }
    }
}
