//! How an answer is compressed: what the client accepts, and the coder for it.

use std::io::Write;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_ENCODING;
use flate2::write::GzEncoder;

/// Fast levels: an answer is compressed while somebody waits for it.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;

/// What a client takes that we can give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// The best one that the request accepts.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let mut best = Self::Identity;
        for value in headers.get_all(ACCEPT_ENCODING) {
            let Ok(value) = value.to_str() else {
                continue;
            };
            for choice in value.split(',') {
                let (name, quality) = choice.split_once(';').unwrap_or((choice, ""));
                let refused = quality
                    .split_once('=')
                    .is_some_and(|(_, quality)| quality.trim().parse() == Ok(0.0));
                let named = name.trim();
                if refused {
                    continue;
                }
                if named.eq_ignore_ascii_case("zstd") {
                    return Self::Zstd;
                }
                if named.eq_ignore_ascii_case("gzip") || named == "*" {
                    best = Self::Gzip;
                }
            }
        }
        best
    }

    /// The header's word; none for no encoding.
    pub(super) const fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// Compresses piece by piece.
pub(super) enum Coder {
    Identity(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Coder {
    pub(super) fn new(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Identity => Self::Identity(Vec::new()),
            Encoding::Gzip => Self::Gzip(GzEncoder::new(
                Vec::new(),
                flate2::Compression::new(GZIP_LEVEL),
            )),
            Encoding::Zstd => match zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL) {
                Ok(encoder) => Self::Zstd(Box::new(encoder)),
                Err(_) => Self::Identity(Vec::new()),
            },
        }
    }

    /// What is really done.
    pub(super) const fn encoding(&self) -> Encoding {
        match self {
            Self::Identity(_) => Encoding::Identity,
            Self::Gzip(_) => Encoding::Gzip,
            Self::Zstd(_) => Encoding::Zstd,
        }
    }

    /// Takes bytes in and gives what is ready; may be nothing yet.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        // Writing into a vector cannot fail.
        let (_, out) = match self {
            Self::Identity(out) => (out.write_all(bytes), out),
            Self::Gzip(coder) => (coder.write_all(bytes), coder.get_mut()),
            Self::Zstd(coder) => (coder.write_all(bytes), coder.get_mut()),
        };
        std::mem::take(out)
    }

    /// Gives the rest.
    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Identity(out) => out,
            Self::Gzip(coder) => coder.finish().unwrap_or_default(),
            Self::Zstd(coder) => coder.finish().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_client_chooses() {
        for (accept, want) in [
            ("", Encoding::Identity),
            ("identity", Encoding::Identity),
            ("gzip, deflate, br", Encoding::Gzip),
            ("gzip, deflate, br, zstd", Encoding::Zstd),
            ("GZIP;q=0.5", Encoding::Gzip),
            ("gzip;q=0", Encoding::Identity),
            ("zstd;q=0.0, gzip", Encoding::Gzip),
            ("*", Encoding::Gzip),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, accept.parse().unwrap());
            assert_eq!(Encoding::accepted(&headers), want, "{accept}");
        }
        assert_eq!(Encoding::accepted(&HeaderMap::new()), Encoding::Identity);
    }

    #[test]
    fn pieces_come_back_whole() {
        let pieces = [&b"abc"[..], &[b'x'; 100_000], b"", b"end"];
        let whole: Vec<u8> = pieces.concat();
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
            let mut coder = Coder::new(encoding);
            assert_eq!(coder.encoding(), encoding);
            let mut coded = Vec::new();
            for piece in pieces {
                coded.extend(coder.push(piece));
            }
            coded.extend(coder.finish());
            let mut read = Vec::new();
            match encoding {
                Encoding::Identity => read = coded,
                Encoding::Gzip => {
                    flate2::read::GzDecoder::new(&coded[..])
                        .read_to_end(&mut read)
                        .unwrap();
                }
                Encoding::Zstd => read = zstd::decode_all(&coded[..]).unwrap(),
            }
            assert!(read == whole, "{encoding:?}");
        }
    }
}
