//! Who speaks, as it stands in a header of every request and every answer:
//! `1.0 CLUSTER GENERATION INCARNATION STARTS NONCE`, the cluster `-` when there is none. One
//! header and not five, so that HTTP/2 sends it once a connection and then as one byte.

use crate::cluster::identity::{ClusterId, Session};
use crate::cluster::peer::Caller;
use crate::cluster::version::ProtocolVersion;
use crate::model::Incarnation;

/// Who speaks, and in which version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// What it speaks.
    pub version: ProtocolVersion,
    /// Who it is.
    pub caller: Caller,
}

/// Why credentials cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Another version, whose credentials may look different.
    #[error(
        "it speaks version {theirs} and this node {own}: upgrade nodes one minor version at a time"
    )]
    Version {
        /// What it speaks.
        theirs: ProtocolVersion,
        /// What this node speaks.
        own: ProtocolVersion,
    },
    /// No credentials at all.
    #[error("{0} in the credentials cannot be read")]
    Malformed(&'static str),
}

impl Credentials {
    /// As they stand in the header.
    #[must_use]
    pub fn encode(&self) -> String {
        let caller = &self.caller;
        let cluster = caller
            .cluster
            .map_or_else(|| "-".to_owned(), |cluster| hex(cluster.0));
        format!(
            "{} {cluster} {} {} {} {}",
            self.version,
            caller.generation,
            hex(caller.incarnation.0),
            caller.session.starts,
            hex(caller.session.nonce),
        )
    }

    /// Reads a header. What a later minor version adds at the end is passed over.
    ///
    /// # Errors
    /// When it is not one.
    pub fn decode(bytes: &[u8], own: ProtocolVersion) -> Result<Self, CredentialsError> {
        let wrong = CredentialsError::Malformed;
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("the text"))?;
        let mut fields = text.split(' ');
        let mut field = |what| fields.next().ok_or(wrong(what));
        let (major, minor) = field("the version")?
            .split_once('.')
            .ok_or(wrong("the version"))?;
        let version = ProtocolVersion {
            major: number(major, "the version")?,
            minor: number(minor, "the version")?,
        };
        if !own.understands(version) {
            return Err(CredentialsError::Version {
                theirs: version,
                own,
            });
        }
        let cluster = match field("the cluster")? {
            "-" => None,
            id => Some(ClusterId(from_hex(id, "the cluster")?)),
        };
        let generation = number(field("the generation")?, "the generation")?;
        let incarnation = Incarnation(from_hex(field("the incarnation")?, "the incarnation")?);
        let session = Session {
            starts: number(field("the session")?, "the session")?,
            nonce: from_hex(field("the nonce")?, "the nonce")?,
        };
        let caller = Caller {
            cluster,
            generation,
            incarnation,
            session,
        };
        Ok(Self { version, caller })
    }
}

/// 32 lower-case digits, as everywhere.
pub(super) fn hex(number: u128) -> String {
    format!("{number:032x}")
}

/// Reads what [`hex`] writes, nothing else.
pub(super) fn from_hex(text: &str, what: &'static str) -> Result<u128, CredentialsError> {
    let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 32 || !text.bytes().all(plain) {
        return Err(CredentialsError::Malformed(what));
    }
    u128::from_str_radix(text, 16).map_err(|_| CredentialsError::Malformed(what))
}

fn number<N: std::str::FromStr>(text: &str, what: &'static str) -> Result<N, CredentialsError> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CredentialsError::Malformed(what));
    }
    text.parse().map_err(|_| CredentialsError::Malformed(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::version::PROTOCOL;

    fn credentials(cluster: Option<u128>) -> Credentials {
        Credentials {
            version: PROTOCOL,
            caller: Caller {
                cluster: cluster.map(ClusterId),
                generation: 3,
                incarnation: Incarnation(0xabc),
                session: Session {
                    starts: 17,
                    nonce: u128::MAX,
                },
            },
        }
    }

    #[test]
    fn credentials_are_read_as_they_were_written() {
        for cluster in [None, Some(0), Some(u128::MAX)] {
            let written = credentials(cluster);
            let text = written.encode();
            assert_eq!(Credentials::decode(text.as_bytes(), PROTOCOL), Ok(written));
            let longer = format!("{text} more of a later version");
            assert!(Credentials::decode(longer.as_bytes(), PROTOCOL).is_ok());
        }
    }

    #[test]
    fn what_is_no_credentials_is_refused_with_the_field() {
        let good = credentials(Some(5)).encode();
        let fields: Vec<&str> = good.split(' ').collect();
        let expected = [
            "the version",
            "the cluster",
            "the generation",
            "the incarnation",
            "the session",
            "the nonce",
        ];
        for (at, what) in expected.iter().enumerate() {
            for bad in ["", "x", "+1", "-1", "99999999999999999999999", "ABC", "é"] {
                let mut changed = fields.clone();
                changed[at] = bad;
                let error = Credentials::decode(changed.join(" ").as_bytes(), PROTOCOL);
                assert_eq!(error, Err(CredentialsError::Malformed(what)), "{bad:?}");
            }
            let cut = fields[..at].join(" ");
            assert!(Credentials::decode(cut.as_bytes(), PROTOCOL).is_err());
        }
        assert!(Credentials::decode(&[0xff, 0xfe], PROTOCOL).is_err());
    }

    #[test]
    fn neighbours_understand_each_other() {
        let version = |major, minor| ProtocolVersion { major, minor };
        let own = version(2, 5);
        for (other, understood) in [
            (version(2, 5), true),
            (version(2, 4), true),
            (version(2, 6), true),
            (version(2, 3), false),
            (version(2, 7), false),
            (version(1, 5), false),
            (version(3, 5), false),
        ] {
            assert_eq!(own.understands(other), understood, "{other}");
            assert_eq!(other.understands(own), understood, "{other}");
        }
        // Another version is named as such even when the rest looks different.
        assert_eq!(
            Credentials::decode(b"9.1 ?", own),
            Err(CredentialsError::Version {
                theirs: version(9, 1),
                own
            })
        );
    }
}
