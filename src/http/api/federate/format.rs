//! Which exposition format a scraper wants, by its `Accept` header, and how names are written in
//! it.

use std::borrow::Cow;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// The formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Prometheus' text.
    Text,
    /// OpenMetrics' text.
    OpenMetrics,
    /// Delimited protobuf messages.
    Protobuf,
}

/// A format, and whether names may hold any character.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Format {
    pub(super) kind: Kind,
    pub(super) any_names: bool,
}

impl Format {
    /// The one that the scraper likes best; the first of several; text if there is none. Prometheus
    /// says of texts alone which names it reads, and means protobuf too.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let mut best = Self {
            kind: Kind::Text,
            any_names: false,
        };
        let mut quality_of_best = 0.0;
        let mut reads_any_names = false;
        for value in headers.get_all(ACCEPT) {
            let Ok(value) = value.to_str() else {
                continue;
            };
            for choice in value.split(',') {
                let Some((format, quality)) = Self::read(choice) else {
                    continue;
                };
                reads_any_names |= format.any_names;
                if quality > quality_of_best {
                    (best, quality_of_best) = (format, quality);
                }
            }
        }
        best.any_names |= best.kind == Kind::Protobuf && reads_any_names;
        best
    }

    /// One of the choices with its quality; nothing if it is none of ours.
    fn read(choice: &str) -> Option<(Self, f64)> {
        let mut parts = choice.split(';').map(str::trim);
        let media = parts.next()?.to_ascii_lowercase();
        let mut quality = 1.0;
        let mut any_names = false;
        let (mut proto, mut encoding) = ("", "");
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.parse().ok()?,
                "escaping" => any_names = value.eq_ignore_ascii_case("allow-utf-8"),
                "proto" => proto = value,
                "encoding" => encoding = value,
                _ => {}
            }
        }
        let kind = match media.as_str() {
            "text/plain" | "text/*" | "*/*" => Kind::Text,
            "application/openmetrics-text" => Kind::OpenMetrics,
            "application/vnd.google.protobuf" => {
                let ours = matches!(proto, "" | "io.prometheus.client.MetricFamily");
                let delimited = matches!(encoding, "" | "delimited");
                (ours && delimited).then_some(Kind::Protobuf)?
            }
            _ => return None,
        };
        Some((Self { kind, any_names }, quality))
    }

    /// Its media type.
    pub(super) const fn media(self) -> &'static str {
        match (self.kind, self.any_names) {
            (Kind::Text, false) => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            (Kind::Text, true) => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            (Kind::OpenMetrics, false) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
            }
            (Kind::OpenMetrics, true) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
            }
            (Kind::Protobuf, false) => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited; escaping=underscores"
            }
            (Kind::Protobuf, true) => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited; escaping=allow-utf-8"
            }
        }
    }

    /// A metric's name as it may be written; what old scrapers do not know becomes `_`.
    pub(super) fn metric_name(self, name: &str) -> Cow<'_, str> {
        self.name(name, true)
    }

    /// A label's name.
    pub(super) fn label_name(self, name: &str) -> Cow<'_, str> {
        self.name(name, false)
    }

    fn name(self, name: &str, colons: bool) -> Cow<'_, str> {
        if self.any_names || is_plain(name, colons) {
            return Cow::Borrowed(name);
        }
        let plain = name.chars().enumerate().map(|(at, c)| match c {
            'a'..='z' | 'A'..='Z' | '_' => c,
            '0'..='9' if at > 0 => c,
            ':' if colons => c,
            _ => '_',
        });
        Cow::Owned(plain.collect())
    }
}

/// Whether a name has only the characters that all names once had.
pub(super) fn is_plain(name: &str, colons: bool) -> bool {
    let first = name
        .bytes()
        .next()
        .is_some_and(|byte| !byte.is_ascii_digit());
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || colons && byte == b':';
    first && name.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_format_is_chosen() {
        // Prometheus 3's own two headers: with native histograms and without.
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let texts = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, kind, any_names) in [
            ("", Kind::Text, false),
            (protobuf, Kind::Protobuf, true),
            (
                "application/vnd.google.protobuf;encoding=delimited",
                Kind::Protobuf,
                false,
            ),
            (texts, Kind::OpenMetrics, true),
            ("*/*", Kind::Text, false),
            (
                "text/html, text/plain;q=0.5;escaping=allow-utf-8",
                Kind::Text,
                true,
            ),
            (
                "application/vnd.google.protobuf;encoding=text, text/plain;q=0.1",
                Kind::Text,
                false,
            ),
            ("application/openmetrics-text; q=0, */*", Kind::Text, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            let want = Format { kind, any_names };
            assert_eq!(Format::accepted(&headers), want, "{accept}");
        }
        let headers = HeaderMap::new();
        assert_eq!(Format::accepted(&headers).kind, Kind::Text);
    }

    #[test]
    fn names_are_written_so_that_they_can_be_read() {
        let (old, new) = (false, true);
        for (any_names, name, metric, label) in [
            (old, "http.x", "http_x", "http_x"),
            (old, "a:b", "a:b", "a_b"),
            (old, "1é", "__", "__"),
            (new, "http.x", "http.x", "http.x"),
        ] {
            let kind = Kind::Text;
            let format = Format { kind, any_names };
            assert_eq!(format.metric_name(name), metric);
            assert_eq!(format.label_name(name), label);
        }
    }
}
