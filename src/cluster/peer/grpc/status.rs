//! Refusals as they travel: gRPC's status with the kind in a header of ours, so that what a
//! service says is told apart from what the wire says.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::limits::REASON_BYTES_MAX;
use crate::cluster::peer::Refused;

/// The header with the kind.
pub(super) const REFUSED: &str = "cairn-refused";
/// Beside it, what more is to be known of a kind that older versions know, too: they read the kind
/// alone and end their session, as they must.
const REFUSED_MORE: &str = "cairn-refused-more";
/// With the kind `old_session`: and no later one will be let in either.
const GIVEN_UP: &str = "given_up";

/// As it goes out.
pub(super) fn to_status(refused: &Refused) -> Status {
    let (code, kind) = match refused {
        Refused::Unavailable(_) => (Code::Unavailable, "unavailable"),
        Refused::Invalid(_) => (Code::InvalidArgument, "invalid"),
        Refused::NotFound(_) => (Code::NotFound, "not_found"),
        Refused::OldSession(_) | Refused::GivenUp(_) => (Code::FailedPrecondition, "old_session"),
        Refused::Stranger(_) => (Code::PermissionDenied, "stranger"),
    };
    let mut status = Status::new(code, shortened(refused.to_string()));
    let kind = MetadataValue::from_static(kind);
    status.metadata_mut().insert(REFUSED, kind);
    if matches!(refused, Refused::GivenUp(_)) {
        let more = MetadataValue::from_static(GIVEN_UP);
        status.metadata_mut().insert(REFUSED_MORE, more);
    }
    status
}

/// As it came; `None` when it is no peer's refusal. A kind of a later version is read as one that
/// may pass.
pub(super) fn from_status(status: &Status) -> Option<Refused> {
    let kind = status.metadata().get(REFUSED)?.to_str().ok()?;
    let more = status.metadata().get(REFUSED_MORE);
    let text = shortened(status.message().to_owned());
    Some(match kind {
        "invalid" => Refused::Invalid(text),
        "not_found" => Refused::NotFound(text),
        "old_session" if more.is_some_and(|more| more == GIVEN_UP) => Refused::GivenUp(text),
        "old_session" => Refused::OldSession(text),
        "stranger" => Refused::Stranger(text),
        _ => Refused::Unavailable(text),
    })
}

fn shortened(mut text: String) -> String {
    if text.len() > REASON_BYTES_MAX {
        text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a node of an older version that goes on although it was given up, and one of
    /// this version that sets its data aside because an older peer told it of a later session.
    #[test]
    fn who_was_given_up_is_told_in_words_of_the_older_version() {
        let mut status = to_status(&Refused::GivenUp("gone".to_owned()));
        assert_eq!(status.metadata().get(REFUSED).unwrap(), "old_session");
        assert_eq!(status.code(), Code::FailedPrecondition);
        status.metadata_mut().remove(REFUSED_MORE);
        let told = from_status(&status);
        assert_eq!(told, Some(Refused::OldSession("gone".to_owned())));
        let later = MetadataValue::from_static("something_of_a_later_version");
        status.metadata_mut().insert(REFUSED_MORE, later);
        assert_eq!(from_status(&status), told);
    }

    #[test]
    fn refusals_travel() {
        for refused in [
            Refused::Unavailable("later".to_owned()),
            Refused::Invalid("ä\n%".to_owned()),
            Refused::NotFound(String::new()),
            Refused::OldSession("old".to_owned()),
            Refused::GivenUp("gone".to_owned()),
            Refused::Stranger("who".to_owned()),
        ] {
            assert_eq!(from_status(&to_status(&refused)), Some(refused));
        }
        assert_eq!(from_status(&Status::unavailable("the wire")), None);
        let long = to_status(&Refused::Invalid("ä".repeat(REASON_BYTES_MAX)));
        assert!(long.message().len() <= REASON_BYTES_MAX);
    }
}
