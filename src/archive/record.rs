//! `cluster.json`: which cluster lives below a prefix, and which ones it was restored from. Blocks
//! of those still lie where they were put.

use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::error::Error;
use super::fields::check_format;
use super::name::RECORD_NAME;

/// The format that this version writes.
const FORMAT: u32 = 1;
/// The record is small; more is not ours.
const BYTES_MAX: u64 = 1 << 20;

/// Who lives below a prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterRecord {
    /// The cluster.
    pub cluster: u128,
    /// The clusters whose blocks it took over, newest first.
    pub ancestors: Vec<u128>,
}

/// What a record means to a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is this cluster's own.
    Own(ClusterRecord),
    /// There is none.
    Nobody,
    /// This cluster was lost and is restored as another.
    Restored(u128),
    /// Another cluster lives here.
    Other(u128),
}

#[derive(Serialize, Deserialize)]
struct Json {
    format: u32,
    cluster: String,
    #[serde(default)]
    ancestors: Vec<String>,
}

impl ClusterRecord {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let json = Json {
            format: FORMAT,
            cluster: format!("{:032x}", self.cluster),
            ancestors: self.ancestors.iter().map(|a| format!("{a:032x}")).collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&json).unwrap_or_default();
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
        let id = |text: &String| {
            let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let id = is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten();
            id.ok_or_else(|| format!("{text:?} is no id of a cluster"))
        };
        Ok(Self {
            cluster: id(&json.cluster)?,
            ancestors: json.ancestors.iter().map(id).collect::<Result<_, _>>()?,
        })
    }

    /// The clusters below whose names blocks lie: its own, and those before it.
    pub fn homes(&self) -> impl Iterator<Item = u128> + '_ {
        std::iter::once(self.cluster).chain(self.ancestors.iter().copied())
    }

    /// What it means to a cluster.
    #[must_use]
    pub fn standing(record: Option<Self>, me: u128) -> Standing {
        match record {
            None => Standing::Nobody,
            Some(record) if record.cluster == me => Standing::Own(record),
            Some(record) if record.ancestors.contains(&me) => Standing::Restored(record.cluster),
            Some(record) => Standing::Other(record.cluster),
        }
    }

    /// Reads the record of a bucket.
    ///
    /// # Errors
    /// When the bucket cannot be asked, or what lies there cannot be read.
    pub async fn read(bucket: &Bucket) -> Result<Option<Self>, Error> {
        let Some(bytes) = bucket.get(RECORD_NAME, BYTES_MAX).await? else {
            return Ok(None);
        };
        let record = Self::decode(&bytes);
        record.map(Some).map_err(|problem| Error::Corrupt {
            bucket: bucket.to_string(),
            name: RECORD_NAME.to_owned(),
            problem,
        })
    }

    /// Writes the record, and reads it back.
    ///
    /// # Errors
    /// When the bucket fails, or holds another record afterwards.
    pub async fn write(&self, bucket: &Bucket) -> Result<(), Error> {
        bucket.put(RECORD_NAME, self.encode().into()).await?;
        match Self::read(bucket).await? {
            Some(read) if read == *self => Ok(()),
            _ => Err(Error::Foreign(format!(
                "{bucket} holds another cluster.json than the one just written: two clusters use one prefix: give each its own archive.s3.prefix"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = ClusterRecord {
            cluster: 0xc0,
            ancestors: vec![u128::MAX, 1],
        };
        assert_eq!(ClusterRecord::decode(&record.encode()), Ok(record.clone()));
        let own = Standing::Own(record.clone());
        assert_eq!(ClusterRecord::standing(Some(record.clone()), 0xc0), own);
        let restored = Standing::Restored(0xc0);
        assert_eq!(ClusterRecord::standing(Some(record.clone()), 1), restored);
        assert_eq!(
            ClusterRecord::standing(Some(record), 2),
            Standing::Other(0xc0)
        );
        assert_eq!(ClusterRecord::standing(None, 2), Standing::Nobody);
    }

    #[test]
    fn what_is_no_record_is_said() {
        let id = "0".repeat(32);
        for (bytes, want) in [
            (String::new(), "EOF"),
            ("[]".to_owned(), "invalid"),
            (format!("{{\"format\":2,\"cluster\":\"{id}\"}}"), "newer"),
            ("{\"format\":1,\"cluster\":\"7\"}".to_owned(), "no id"),
            (
                format!("{{\"format\":1,\"cluster\":\"+{}\"}}", &id[1..]),
                "no id",
            ),
        ] {
            let error = ClusterRecord::decode(bytes.as_bytes()).unwrap_err();
            assert!(error.contains(want), "{bytes}: {error}");
        }
    }
}
