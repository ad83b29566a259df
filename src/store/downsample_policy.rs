//! From what age on samples are downsampled, as it is written in the configuration: `30d:5m`, `1y:1h`.

use std::time::Duration;

use crate::model::{Resolution, TimestampMs};
use crate::runtime::{RawValue, Setting, show_duration};

/// Younger samples are still being sealed and merged, and late ones come.
const AGE_MIN: Duration = Duration::from_secs(2 * 86_400);

/// What is older than an age is kept at a resolution; ages and resolutions rise.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DownsamplePolicy(Vec<(Duration, Resolution)>);

impl DownsamplePolicy {
    /// Whether everything stays as it was written.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.0.is_empty()
    }

    /// At what resolution samples are kept of which the newest is from a time.
    #[must_use]
    pub fn resolution_of(&self, newest: TimestampMs, now: TimestampMs) -> Resolution {
        let age = now.0.saturating_sub(newest.0);
        let passed = |limit: &Duration| i64::try_from(limit.as_millis()).is_ok_and(|ms| age > ms);
        let steps = self.0.iter().rev();
        let mut passed = steps.filter(|(limit, _)| passed(limit));
        passed.next().map_or(Resolution::Raw, |(_, to)| *to)
    }
}

impl Setting for DownsamplePolicy {
    const FORM: &'static str = "a list of texts";

    fn read(raw: &RawValue) -> Result<Self, String> {
        let mut steps: Vec<(Duration, Resolution)> = Vec::new();
        for item in Vec::<String>::read(raw)? {
            let wrong = |reason: &str| {
                format!(
                    "{item:?}: {reason}: write \"age:resolution\" such as \"30d:5m\", \"1y:1h\", younger ages first"
                )
            };
            let (age, to) = item.split_once(':').ok_or_else(|| wrong("it has no :"))?;
            let age = Duration::read(&RawValue::Text(age.trim().to_owned()))
                .map_err(|reason| wrong(&reason))?;
            let mut known = Resolution::FOLDED.into_iter();
            let to = known
                .find(|one| one.to_string() == to.trim())
                .ok_or_else(|| wrong("the resolution is 5m or 1h"))?;
            if age < AGE_MIN {
                return Err(wrong("samples younger than 2d stay as they are"));
            }
            if steps
                .last()
                .is_some_and(|last| last.0 >= age || last.1 >= to)
            {
                return Err(wrong("ages and resolutions must rise"));
            }
            steps.push((age, to));
        }
        Ok(Self(steps))
    }

    fn show(&self) -> String {
        let steps = self.0.iter();
        let texts = steps.map(|(age, to)| format!("{}:{to}", show_duration(*age)));
        texts.collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DownsamplePolicy, String> {
        DownsamplePolicy::read(&RawValue::Text(text.to_owned()))
    }

    #[test]
    fn what_is_written_is_read_and_shown() {
        for text in ["", "30d:5m", "30d:5m,1y:1h", "60d:1h"] {
            let policy = read(text).unwrap();
            assert_eq!(read(&policy.show()), Ok(policy));
        }
        for (text, reason) in [
            ("30d", "no :"),
            ("30d:10m", "5m or 1h"),
            ("1h:5m", "younger than 2d"),
            ("30d:5m,20d:1h", "must rise"),
            ("30d:1h,60d:5m", "must rise"),
            ("30d:5m,60d:5m", "must rise"),
            ("soon:5m", "30d:5m"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn older_samples_are_coarser() {
        const DAY: i64 = 86_400_000;
        let policy = read("30d:5m,365d:1h").unwrap();
        let at = |days: i64| policy.resolution_of(TimestampMs(0), TimestampMs(days * DAY));
        let found = [0, 30, 31, 365, 366].map(at);
        use Resolution::{FiveMinutes, Hour, Raw};
        assert_eq!(found, [Raw, Raw, FiveMinutes, FiveMinutes, Hour]);
        let off = DownsamplePolicy::default();
        assert!(off.is_off() && !policy.is_off());
        let newest = off.resolution_of(TimestampMs::MIN, TimestampMs::MAX);
        assert_eq!(newest, Raw);
    }
}
