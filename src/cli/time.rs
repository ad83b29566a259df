//! Times on the command line: `now`, `now-5m`, Unix seconds, RFC 3339.

use crate::model::TimestampMs;
use crate::runtime::parse_duration_ms;

/// Reads a time.
pub(super) fn parse(text: &str, now: TimestampMs) -> Result<TimestampMs, String> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("now") {
        let rest = rest.trim();
        let shift = |duration: &str| -> Result<i64, String> {
            i64::try_from(parse_duration_ms(duration)?)
                .map_err(|_| format!("{text:?} is too far away"))
        };
        return match (rest.strip_prefix('-'), rest.strip_prefix('+')) {
            _ if rest.is_empty() => Ok(now),
            (Some(back), _) => Ok(now.plus_ms(-shift(back)?)),
            (_, Some(on)) => Ok(now.plus_ms(shift(on)?)),
            _ => Err(wrong(text)),
        };
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds * 1000.0).round();
        if !ms.is_finite() || ms.abs() > 9e15 {
            return Err(wrong(text));
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the range was checked in the line before"
        )]
        return Ok(TimestampMs(ms as i64));
    }
    let parsed: jiff::Timestamp = text.parse().map_err(|_| wrong(text))?;
    Ok(TimestampMs(parsed.as_millisecond()))
}

fn wrong(text: &str) -> String {
    format!("{text:?} is no time: write now, now-1h, Unix seconds, or 2026-11-21T12:00:00Z")
}

/// A time as the API takes it: seconds with milliseconds.
pub(super) fn seconds(at: TimestampMs) -> String {
    let (whole, ms) = (at.0.div_euclid(1000), at.0.rem_euclid(1000));
    if whole < 0 && ms > 0 {
        return format!("-{}.{:03}", -(whole + 1), 1000 - ms);
    }
    format!("{whole}.{ms:03}")
}

/// A time for people.
pub(super) fn show(at: TimestampMs) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let now = TimestampMs(10_000_000);
        let check = |text, want| assert_eq!(parse(text, now).unwrap(), TimestampMs(want), "{text}");
        check("now", 10_000_000);
        check("now-1h", 6_400_000);
        check("1700000000.5", 1_700_000_000_500);
        check("1970-01-01T00:00:01Z", 1000);
        check("-1.5", -1500);
        assert!(
            parse("yesterday", now).is_err()
                && parse("now~1h", now).is_err()
                && parse("inf", now).is_err()
        );
        assert_eq!(seconds(TimestampMs(-1500)), "-1.500");
        assert_eq!(seconds(TimestampMs(1500)), "1.500");
    }
}
