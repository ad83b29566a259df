//! Which message a content type announces. Only the content type decides, never the version
//! header and never the body (remote-write 2.0, "Protocol").

use super::super::error::Error;

/// What a body holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Message {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

impl Message {
    /// Its name in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::V1 => "remote_write_v1",
            Self::V2 => "remote_write_v2",
        }
    }

    /// Its name in messages to senders.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::V1 => "prometheus.WriteRequest",
            Self::V2 => "io.prometheus.write.v2.Request",
        }
    }

    /// Reads a `Content-Type`. Without one it is version 1, as Prometheus takes it.
    pub(super) fn from_header(header: Option<&str>) -> Result<Self, Error> {
        let header = header.unwrap_or_default();
        let mut parts = header.split(';');
        let media = parts.next().unwrap_or_default().trim();
        if media.is_empty() {
            return Ok(Self::V1);
        }
        if !media.eq_ignore_ascii_case("application/x-protobuf") {
            return Err(unsupported("content type", media));
        }
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else {
                continue;
            };
            if !name.trim().eq_ignore_ascii_case("proto") {
                continue;
            }
            let value = value.trim().trim_matches('"').trim();
            return if value.eq_ignore_ascii_case("prometheus.WriteRequest") {
                Ok(Self::V1)
            } else if value.eq_ignore_ascii_case("io.prometheus.write.v2.Request") {
                Ok(Self::V2)
            } else {
                Err(unsupported("protobuf message", value))
            };
        }
        Ok(Self::V1)
    }
}

fn unsupported(what: &str, value: &str) -> Error {
    let value: String = value.chars().take(100).collect();
    Error::Unsupported(format!(
        "the {what} {value:?} is not known here: send application/x-protobuf with \
         proto=prometheus.WriteRequest (remote-write 1.0) or \
         proto=io.prometheus.write.v2.Request (2.0)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_may_be_spelt_in_many_ways() {
        let check = |header, want| {
            let got = Message::from_header(header).map_err(|e| e.status());
            assert_eq!(got, want, "{header:?}");
        };
        for v1 in [
            "",
            "application/x-protobuf",
            "application/x-protobuf;proto=prometheus.WriteRequest",
            "Application/X-Protobuf; charset=utf-8",
        ] {
            check(Some(v1), Ok(Message::V1));
        }
        check(None, Ok(Message::V1));
        for v2 in [
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "application/x-protobuf; proto=io.prometheus.write.v2.Request",
            "application/x-protobuf ; charset=utf-8 ; Proto = \"io.prometheus.write.v2.Request\" ",
            "APPLICATION/X-PROTOBUF;PROTO=IO.PROMETHEUS.WRITE.V2.REQUEST",
        ] {
            check(Some(v2), Ok(Message::V2));
        }
        for other in [
            "application/json",
            "text/plain",
            "application/x-protobuf;proto=io.prometheus.write.v3.Request",
            "application/x-protobuf;proto=",
        ] {
            check(Some(other), Err(415));
        }
    }
}
