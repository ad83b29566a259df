//! A request's parameters: those of the body's form, then those of the URL, as Go's `FormValue`
//! takes them; and the notations of times, durations and limits that Prometheus accepts.

use std::hash::Hash;

use crate::model::TimestampMs;
use crate::query::function::parse_float;

use super::reply::ApiError;

/// Names and values in the order in which they count.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a form body (may be empty) and a URL's query.
    pub(super) fn parse(form: &[u8], query: &str) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        for part in [form, query.as_bytes()] {
            for pair in part
                .split(|byte| *byte == b'&')
                .filter(|pair| !pair.is_empty())
            {
                let equals = pair.iter().position(|byte| *byte == b'=');
                let (name, value) = match equals.and_then(|at| pair.split_at_checked(at)) {
                    Some((name, value)) => (name, value.get(1..).unwrap_or_default()),
                    None => (pair, &[][..]),
                };
                pairs.push((decode(name)?, decode(value)?));
            }
        }
        Ok(Self(pairs))
    }

    /// The first value of a name; empty when there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(at, _)| at == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// Whether something is wanted that is off unless it is asked for.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            "" | "false" | "0" => Ok(false),
            "true" | "1" => Ok(true),
            other => Err(ApiError::parameter(
                name,
                format!("{other:?} is neither true nor false"),
            )),
        }
    }

    /// All values of a name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(at, _)| at == name)
            .map(|(_, value)| value.as_str())
    }

    /// Which question it is: the same one when it is asked again, for as long a time, and not of much older data.
    pub(super) fn question(&self, now: TimestampMs) -> impl Hash + '_ {
        const TIMES: [&str; 3] = ["start", "end", "time"];
        let time = |name| parse_time(self.get(name)).ok();
        let minutes = |from: TimestampMs, to: TimestampMs| to.0.saturating_sub(from.0) / 60_000;
        let span = time("start").zip(time("end"));
        let span = span.map(|(start, end)| minutes(start, end));
        let oldest = TIMES.into_iter().filter_map(time).min();
        let age = oldest.map(|oldest| minutes(oldest, now).max(1).ilog2());
        let pairs = self.0.iter();
        let pairs = pairs.filter(|(name, _)| !TIMES.contains(&name.as_str()));
        (pairs.collect::<Vec<_>>(), span, age)
    }

    /// A time, or a default where there is none.
    pub(super) fn time_or(
        &self,
        name: &str,
        default: TimestampMs,
    ) -> Result<TimestampMs, ApiError> {
        match self.get(name) {
            "" => Ok(default),
            text => parse_time(text).map_err(|reason| {
                ApiError::parameter(name, format!("invalid time value for '{name}': {reason}"))
            }),
        }
    }

    /// A time that must be there.
    pub(super) fn time(&self, name: &str) -> Result<TimestampMs, ApiError> {
        parse_time(self.get(name)).map_err(|reason| ApiError::parameter(name, reason))
    }

    /// The `limit`; 0: none.
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        let text = self.get("limit");
        if text.is_empty() {
            return Ok(0);
        }
        let limit = parse_whole(text).map_err(|reason| ApiError::parameter("limit", reason))?;
        usize::try_from(limit)
            .map_err(|_| ApiError::parameter("limit", "limit must be non-negative"))
    }

    /// A whole number without Prometheus' usual form of complaint; `None` where there is none.
    pub(super) fn whole(&self, name: &str, complaint: &str) -> Result<Option<i64>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_whole(text)
                .map(Some)
                .map_err(|_| ApiError::bad_data(complaint)),
        }
    }
}

/// Undoes percent and plus encoding.
fn decode(text: &[u8]) -> Result<String, ApiError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = more
                    .get(..2)
                    .and_then(|pair| std::str::from_utf8(pair).ok());
                let byte = digits
                    .filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()))
                    .and_then(|pair| u8::from_str_radix(pair, 16).ok());
                let Some(byte) = byte else {
                    return Err(ApiError::bad_data(format!(
                        "error parsing form values: invalid URL escape in {:?}",
                        String::from_utf8_lossy(text)
                    )));
                };
                bytes.push(byte);
                rest = more.get(2..).unwrap_or_default();
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| {
        ApiError::bad_data("error parsing form values: a parameter is not valid UTF-8")
    })
}

/// As Go's `strconv.Atoi`.
fn parse_whole(text: &str) -> Result<i64, String> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let reason = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.Atoi: parsing {text:?}: {reason}")
    })
}

/// The earliest and the latest time as Prometheus' Go client writes them.
const TIME_MIN: &str = "-292273086-05-16T16:47:06Z";
const TIME_MAX: &str = "292277025-08-18T07:12:54.999999999Z";

/// Unix seconds with fraction, or RFC 3339.
pub(super) fn parse_time(text: &str) -> Result<TimestampMs, String> {
    let cannot = || format!("cannot parse {text:?} to a valid timestamp");
    if let Some(seconds) = parse_float(text) {
        if !seconds.is_finite() {
            return Err(cannot());
        }
        let whole = seconds.trunc() * 1000.0;
        return Ok(TimestampMs(to_ms(
            whole + (seconds.fract() * 1000.0).round(),
        )));
    }
    match text {
        TIME_MIN => return Ok(TimestampMs::MIN),
        TIME_MAX => return Ok(TimestampMs::MAX),
        _ => {}
    }
    let at: jiff::Timestamp = text.parse().map_err(|_| cannot())?;
    Ok(TimestampMs(at.as_millisecond()))
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "stopping at the ends of i64 is what is wanted"
)]
fn to_ms(ms: f64) -> i64 {
    ms as i64
}

/// What Prometheus' units are worth in milliseconds, in the order in which they may stand.
const UNITS: &[(&str, i64)] = &[
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Seconds with fraction, or `1h30m`; in milliseconds.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_float(text) {
        let ms = seconds * 1000.0;
        // As many nanoseconds as an i64 holds.
        if ms.is_nan() || ms.abs() > 9_223_372_036_854.0 {
            return Err(format!(
                "cannot parse {text:?} to a valid duration. It overflows int64"
            ));
        }
        return Ok(to_ms(ms));
    }
    parse_units(text).ok_or_else(|| format!("cannot parse {text:?} to a valid duration"))
}

fn parse_units(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: i64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, more) = after.split_at_checked(letters)?;
        let (_, worth) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(*worth)?)?;
        rest = more;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_counts_before_the_url() {
        let params =
            Params::parse(b"query=a%2Bb+c&match[]=x", "query=z&match%5B%5D=y&limit").unwrap();
        assert_eq!(params.get("query"), "a+b c");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(params.get("limit"), "");
        assert_eq!(params.limit().unwrap(), 0);
        assert!(Params::parse(b"a=%zz", "").is_err());
        assert!(Params::parse(b"a=%ff", "").is_err());
    }

    /// Would catch a panel that is another question each time it is asked, and one that is asked of a year and taken for
    /// that of an hour.
    #[test]
    fn a_question_is_the_same_when_it_is_asked_again() {
        let keys = std::hash::RandomState::new();
        let asked = |query: &str, now: i64| {
            let params = Params::parse(b"", query).unwrap();
            std::hash::BuildHasher::hash_one(&keys, params.question(TimestampMs(now * 1000)))
        };
        let hour = asked("query=up&start=996400&end=1000000&step=15", 1_000_000);
        let later = asked("query=up&start=996415&end=1000015&step=15", 1_000_015);
        assert_eq!(hour, later);
        for other in [
            "query=up&start=396400&end=1000000&step=15",
            "query=up&start=396400&end=400000&step=15",
            "query=up&start=996400&end=1000000&step=60",
            "query=up%3D%3D1&start=996400&end=1000000&step=15",
            "query=up&step=15",
        ] {
            assert_ne!(hour, asked(other, 1_000_000), "{other}");
        }
        // Equally old, and of another length.
        let [long, short] = [1_000_000, 400_000]
            .map(|end| asked(&format!("query=up&start=396400&end={end}"), 1_000_000));
        assert_ne!(long, short);
        let instant = asked("query=up&time=999999", 1_000_000);
        assert_eq!(instant, asked("query=up&time=1000014.5", 1_000_015));
        assert_ne!(instant, asked("query=up&time=9", 1_000_000));
    }

    #[test]
    fn times_are_read() {
        for (text, want) in [
            ("0", 0),
            ("4", 4_000),
            ("1435781451.781", 1_435_781_451_781),
            ("-1.5", -1_500),
            ("1e3", 1_000_000),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51.781+02:00", 1_435_781_451_781),
            (TIME_MIN, i64::MIN),
            (TIME_MAX, i64::MAX),
        ] {
            assert_eq!(parse_time(text), Ok(TimestampMs(want)), "{text}");
        }
        for text in ["", "x", "NaN", "Inf", "2015-07-01"] {
            assert_eq!(
                parse_time(text),
                Err(format!("cannot parse {text:?} to a valid timestamp"))
            );
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, want) in [
            ("5", 5_000),
            ("0.25", 250),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1y2w3d4h5m6s7ms", 33_019_506_007),
            ("-5", -5_000),
        ] {
            assert_eq!(parse_duration(text), Ok(want), "{text}");
        }
        for text in ["", "m", "5x", "5m1h", "-5m", "1.5h"] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.ends_with("to a valid duration"), "{error}");
        }
        assert!(
            parse_duration("1e300")
                .unwrap_err()
                .ends_with("overflows int64")
        );
    }

    #[test]
    fn limits_are_whole_and_not_negative() {
        let limit = |text: &str| Params::parse(text.as_bytes(), "").unwrap().limit();
        assert_eq!(limit("limit=7").unwrap(), 7);
        assert_eq!(
            limit("limit=x").unwrap_err().message,
            "invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            limit("limit=-1").unwrap_err().message,
            "invalid parameter \"limit\": limit must be non-negative"
        );
    }
}
