//! `leftovers.json`: objects that the catalog does not name any more, and since when. They wait out
//! their delay here, so that it does not begin anew when another node leads.
//!
//! The list is a help and no authority: nothing is removed because it stands here, and what is
//! forgotten is found again. Putting it also tells what time it is by the bucket's clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::error::Error;
use super::fields::check_format;
use super::name::leftovers_name;
use crate::model::TimestampMs;

/// The format that this version writes.
const FORMAT: u32 = 1;
/// Names that a list holds at most: the others are found when these are gone.
pub const LEFTOVERS_MAX: usize = 50_000;
/// Names of more than 250 bytes are not ours.
const BYTES_MAX: u64 = 300 * LEFTOVERS_MAX as u64;

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leftover {
    /// Since when it has been known that nobody needs it, by the bucket's clock.
    pub since: TimestampMs,
    /// Its bytes.
    pub size: u64,
}

/// All of them, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Leftovers(pub BTreeMap<String, Leftover>);

#[derive(Serialize, Deserialize)]
struct Json {
    format: u32,
    #[serde(default)]
    leftovers: Vec<JsonLeftover>,
}

#[derive(Serialize, Deserialize)]
struct JsonLeftover {
    name: String,
    since: i64,
    size: u64,
}

impl Leftovers {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let leftovers = self.0.iter().map(|(name, leftover)| JsonLeftover {
            name: name.clone(),
            since: leftover.since.0,
            size: leftover.size,
        });
        let json = Json {
            format: FORMAT,
            leftovers: leftovers.collect(),
        };
        let mut bytes = serde_json::to_vec(&json).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// From bytes; the text says what is wrong with them.
    ///
    /// # Errors
    /// When they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let json: Json = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        check_format(json.format, FORMAT)?;
        let leftovers = json.leftovers.into_iter().take(LEFTOVERS_MAX);
        let leftovers = leftovers.map(|one| {
            let leftover = Leftover {
                since: TimestampMs(one.since),
                size: one.size,
            };
            (one.name, leftover)
        });
        Ok(Self(leftovers.collect()))
    }

    /// Reads a cluster's list, with when it was put by the bucket's clock. `None`: there is none.
    ///
    /// # Errors
    /// When the bucket cannot be asked, or what lies there cannot be read.
    pub async fn read(
        bucket: &Bucket,
        cluster: u128,
    ) -> Result<Option<(Self, TimestampMs)>, Error> {
        let name = leftovers_name(cluster);
        let Some(listed) = bucket.look(&name).await? else {
            return Ok(None);
        };
        let Some(bytes) = bucket.get(&name, BYTES_MAX).await? else {
            return Ok(None);
        };
        let leftovers = Self::decode(&bytes).map_err(|problem| bucket.corrupt(&name, problem))?;
        Ok(Some((leftovers, listed.modified)))
    }

    /// Puts a cluster's list; the answer is what time it was by the bucket's clock.
    ///
    /// # Errors
    /// When the bucket does not take it.
    pub async fn put(&self, bucket: &Bucket, cluster: u128) -> Result<TimestampMs, Error> {
        let name = leftovers_name(cluster);
        bucket.put(&name, self.encode().into()).await?;
        let listed = bucket.look(&name).await?;
        let listed = listed.ok_or_else(|| bucket.missing(&name))?;
        Ok(listed.modified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_and_others_are_refused() {
        let leftover = |number: i64| {
            let leftover = Leftover {
                since: TimestampMs(number),
                size: 7,
            };
            (format!("c0/blocks/{number}"), leftover)
        };
        let list = Leftovers((0..5).map(leftover).collect());
        assert_eq!(Leftovers::decode(&list.encode()), Ok(list));
        for (bytes, want) in [
            ("", "EOF"),
            ("{}", "format"),
            ("{\"format\":2}", "newer"),
            ("{\"format\":1,\"leftovers\":[{\"name\":1}]}", "string"),
        ] {
            let error = Leftovers::decode(bytes.as_bytes()).unwrap_err();
            assert!(error.contains(want), "{bytes}: {error}");
        }
    }
}
