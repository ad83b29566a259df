//! Refusals as they travel: gRPC's status with the kind in a header of ours, so that what a
//! service says is told apart from what the wire says.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::limits::REASON_BYTES_MAX;
use crate::cluster::peer::Refused;

/// The header with the kind.
pub(super) const REFUSED: &str = "cairn-refused";

/// As it goes out.
pub(super) fn to_status(refused: &Refused) -> Status {
    let (code, kind) = match refused {
        Refused::Unavailable(_) => (Code::Unavailable, "unavailable"),
        Refused::Invalid(_) => (Code::InvalidArgument, "invalid"),
        Refused::NotFound(_) => (Code::NotFound, "not_found"),
        Refused::OldSession(_) => (Code::FailedPrecondition, "old_session"),
        Refused::Stranger(_) => (Code::PermissionDenied, "stranger"),
    };
    let mut status = Status::new(code, shortened(refused.to_string()));
    let kind = MetadataValue::from_static(kind);
    status.metadata_mut().insert(REFUSED, kind);
    status
}

/// As it came; `None` when it is no peer's refusal. A kind of a later version is read as one that
/// may pass.
pub(super) fn from_status(status: &Status) -> Option<Refused> {
    let kind = status.metadata().get(REFUSED)?.to_str().ok()?;
    let text = shortened(status.message().to_owned());
    Some(match kind {
        "invalid" => Refused::Invalid(text),
        "not_found" => Refused::NotFound(text),
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

    #[test]
    fn refusals_travel() {
        for refused in [
            Refused::Unavailable("later".to_owned()),
            Refused::Invalid("ä\n%".to_owned()),
            Refused::NotFound(String::new()),
            Refused::OldSession("old".to_owned()),
            Refused::Stranger("who".to_owned()),
        ] {
            assert_eq!(from_status(&to_status(&refused)), Some(refused));
        }
        assert_eq!(from_status(&Status::unavailable("the wire")), None);
        let long = to_status(&Refused::Invalid("ä".repeat(REASON_BYTES_MAX)));
        assert!(long.message().len() <= REASON_BYTES_MAX);
    }
}
