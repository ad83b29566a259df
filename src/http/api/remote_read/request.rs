//! What a remote reader asks: a `ReadRequest` message, compressed by snappy.

use crate::codec::protobuf::{Field, Reader, WireError, repeated_varint};
use crate::model::{MatchOp, Matcher, TimeRange, TimestampMs};

/// Queries in a request; Prometheus sends one.
const QUERIES_MAX: usize = 64;

/// Matchers in a query: no expression has as many.
const MATCHERS_MAX: usize = 256;

/// The kinds of answers, by their numbers.
const SAMPLES: u64 = 0;
const STREAMED: u64 = 1;

/// One selection.
#[derive(Debug)]
pub struct ReadQuery {
    /// The times, both ends included.
    pub range: TimeRange,
    /// All of these must hold.
    pub matchers: Vec<Matcher>,
}

/// What is asked at once.
#[derive(Debug)]
pub struct ReadRequest {
    /// The selections; an answer names them by their position.
    pub queries: Vec<ReadQuery>,
    /// Whether chunks are streamed; else samples are listed.
    pub streamed: bool,
}

fn broken(error: WireError) -> String {
    format!("the request is no protobuf message ReadRequest: {error}")
}

impl ReadRequest {
    /// Reads a compressed request that may not be longer than so many bytes.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn decode(body: &[u8], bytes_max: usize) -> Result<Self, String> {
        let wrong = |error| format!("the request is no snappy block: {error}");
        let len = snap::raw::decompress_len(body).map_err(wrong)?;
        if len > bytes_max {
            return Err(format!(
                "the request has {len} bytes: at most {bytes_max} are read"
            ));
        }
        let message = snap::raw::Decoder::new()
            .decompress_vec(body)
            .map_err(wrong)?;
        Self::parse(&message)
    }

    /// For a person.
    pub(super) fn describe(&self) -> String {
        let queries = self.queries.iter().map(|query| {
            let matchers: Vec<String> = query
                .matchers
                .iter()
                .map(|one| format!("{}{}{:?}", one.name(), one.op().symbol(), one.value()))
                .collect();
            format!("{{{}}}", matchers.join(","))
        });
        let queries: Vec<String> = queries.collect();
        format!("remote read of {}", queries.join(" and "))
    }

    fn parse(message: &[u8]) -> Result<Self, String> {
        let mut queries = Vec::new();
        let mut accepted = None;
        let mut kinds = false;
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.field().map_err(broken)? {
            match number {
                1 if queries.len() == QUERIES_MAX => {
                    return Err(format!("more than {QUERIES_MAX} queries in one request"));
                }
                1 => queries.push(ReadQuery::parse(field.bytes(number).map_err(broken)?)?),
                2 => repeated_varint(number, field, |kind| {
                    kinds = true;
                    if matches!(kind, SAMPLES | STREAMED) && accepted.is_none() {
                        accepted = Some(kind);
                    }
                })
                .map_err(broken)?,
                _ => {}
            }
        }
        if kinds && accepted.is_none() {
            return Err(
                "none of the requested response types is known here: SAMPLES and \
                 STREAMED_XOR_CHUNKS are"
                    .to_owned(),
            );
        }
        Ok(Self {
            queries,
            streamed: accepted == Some(STREAMED),
        })
    }
}

impl ReadQuery {
    fn parse(message: &[u8]) -> Result<Self, String> {
        let (mut start, mut end) = (0, 0);
        let mut matchers = Vec::new();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.field().map_err(broken)? {
            match number {
                1 => start = field.int64(number).map_err(broken)?,
                2 => end = field.int64(number).map_err(broken)?,
                3 if matchers.len() == MATCHERS_MAX => {
                    return Err(format!("more than {MATCHERS_MAX} matchers in one query"));
                }
                3 => matchers.push(matcher(field.bytes(number).map_err(broken)?)?),
                _ => {}
            }
        }
        Ok(Self {
            range: TimeRange::new(TimestampMs(start), TimestampMs(end)),
            matchers,
        })
    }
}

fn matcher(message: &[u8]) -> Result<Matcher, String> {
    let (mut op, mut name, mut value) = (MatchOp::Equal, "", "");
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.field().map_err(broken)? {
        match number {
            1 => op = match_op(field.varint(number).map_err(broken)?)?,
            2 => name = text(number, field)?,
            3 => value = text(number, field)?,
            _ => {}
        }
    }
    Matcher::new(name, op, value).map_err(|error| error.to_string())
}

fn match_op(number: u64) -> Result<MatchOp, String> {
    Ok(match number {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        _ => return Err(format!("matcher type {number} does not exist: 0 to 3 do")),
    })
}

fn text(number: u32, field: Field<'_>) -> Result<&str, String> {
    std::str::from_utf8(field.bytes(number).map_err(broken)?)
        .map_err(|_| "a matcher is not valid UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::protobuf::Message;

    fn compressed(write: impl FnOnce(&mut Message<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Message::new(&mut out));
        snap::raw::Encoder::new().compress_vec(&out).unwrap()
    }

    fn one_query(op: u64, name: &[u8], value: &[u8]) -> Vec<u8> {
        compressed(|request| {
            request.message(1, |query| {
                query.int(1, -5);
                query.int(2, 7_000);
                query.message(3, |matcher| {
                    matcher.uint(1, op);
                    matcher.bytes(2, name);
                    matcher.bytes(3, value);
                });
                query.message(4, |hints| hints.int(1, 60_000));
            });
        })
    }

    #[test]
    fn a_request_is_read_as_prometheus_writes_it() {
        for (number, op) in [
            (0, MatchOp::Equal),
            (1, MatchOp::NotEqual),
            (2, MatchOp::Regex),
            (3, MatchOp::NotRegex),
        ] {
            let asked = ReadRequest::decode(&one_query(number, b"job", b"a|b"), 1000).unwrap();
            let [query] = &asked.queries[..] else {
                panic!("{asked:?}");
            };
            let range = TimeRange::new(TimestampMs(-5), TimestampMs(7_000));
            assert_eq!((query.range, asked.streamed), (range, false));
            assert_eq!(
                (query.matchers[0].op(), query.matchers[0].name()),
                (op, "job")
            );
        }
    }

    #[test]
    fn the_first_known_kind_of_answer_is_chosen() {
        for (kinds, want) in [
            (&[][..], Ok(false)),
            (&[0], Ok(false)),
            (&[1, 0], Ok(true)),
            (&[7, 1], Ok(true)),
            (&[7], Err(())),
        ] {
            let body = compressed(|request| kinds.iter().for_each(|kind| request.uint(2, *kind)));
            let got = ReadRequest::decode(&body, 1000).map(|asked| asked.streamed);
            assert_eq!(got.map_err(drop), want, "{kinds:?}");
            let packed: Vec<u8> = kinds
                .iter()
                .map(|kind| u8::try_from(*kind).unwrap())
                .collect();
            let body = compressed(|request| request.bytes(2, &packed));
            let got = ReadRequest::decode(&body, 1000).map(|asked| asked.streamed);
            assert_eq!(got.map_err(drop), want, "{kinds:?}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_for_what_it_is() {
        let asking = |matchers: usize| {
            move |query: &mut Message<'_>| {
                (0..matchers).for_each(|_| query.message(3, |one| one.bytes(2, b"a")));
            }
        };
        let many = |queries: usize, matchers: usize| {
            let write = |request: &mut Message<'_>| {
                (0..queries).for_each(|_| request.message(1, asking(matchers)));
            };
            compressed(write)
        };
        for (body, want) in [
            (b"\xff\xff".to_vec(), "no snappy block"),
            (
                compressed(|request| request.bytes(9, &[0; 2000])),
                "at most 2000 are read",
            ),
            (compressed(|request| request.uint(1, 4)), "wrong wire type"),
            (one_query(4, b"a", b"b"), "matcher type 4"),
            (one_query(2, b"a", b"("), "a"),
            (one_query(0, b"a", b"\xff"), "UTF-8"),
            (many(65, 0), "more than 64 queries"),
            (many(1, 257), "more than 256 matchers"),
        ] {
            let error = ReadRequest::decode(&body, 2000).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
        assert!(ReadRequest::decode(&many(1, 256), 2000).is_ok());
    }
}
