//! Settings: what a key's value may be, and how a layer declares its keys.
//!
//! A layer's `settings.rs` declares its section once with [`settings!`](crate::settings): a field
//! per key, whose doc comment is the reference text, whose type carries the unit and whose default
//! stands beside it. File, environment, flags, suggestions and the reference page follow from that.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A value as it came from a file, the environment or a flag.
#[derive(Clone, Debug, PartialEq)]
pub enum RawValue {
    /// A text; texts from the environment and flags are of this kind whatever they mean.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Several.
    List(Vec<RawValue>),
}

impl fmt::Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

/// A type that a key may have.
pub trait Setting: Sized {
    /// What to write, for the reference: `a duration such as "5m"`.
    const FORM: &'static str;

    /// Reads it.
    ///
    /// # Errors
    /// A text that says what is wrong with the value, without naming the key.
    fn read(raw: &RawValue) -> Result<Self, String>;

    /// Writes it as the reference shows defaults.
    fn show(&self) -> String;
}

/// One key of the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReference {
    /// Its full name, such as `query.timeout`.
    pub key: String,
    /// What may be written.
    pub form: &'static str,
    /// Its default, as it would be written; empty when it is unset.
    pub default: String,
    /// What it does.
    pub text: String,
}

/// A group of keys with one prefix.
pub trait Section: Default {
    /// The keys, in the order of their declaration.
    fn reference() -> Vec<KeyReference>;

    /// Sets one key, given without the prefix. `None`: there is no such key.
    fn set(&mut self, key: &str, raw: &RawValue) -> Option<Result<(), String>>;

    /// The keys and their present values.
    fn shown(&self) -> Vec<(String, String)>;
}

/// Declares a section of the configuration: a struct with a public field per key.
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $section_doc:literal])*
        pub struct $name:ident at $prefix:literal {
            $(
                $(#[doc = $doc:literal])*
                $field:ident : $type:ty = $default:expr
            ),* $(,)?
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::runtime::Section for $name {
            fn reference() -> Vec<$crate::runtime::KeyReference> {
                let defaults = Self::default();
                vec![$(
                    $crate::runtime::KeyReference {
                        key: concat!($prefix, stringify!($field)).to_owned(),
                        form: <$type as $crate::runtime::Setting>::FORM,
                        default: $crate::runtime::Setting::show(&defaults.$field),
                        text: concat!($($doc, "\n",)*).trim().to_owned(),
                    },
                )*]
            }

            fn set(
                &mut self,
                key: &str,
                raw: &$crate::runtime::RawValue,
            ) -> Option<Result<(), String>> {
                match key {
                    $(
                        stringify!($field) => Some(
                            <$type as $crate::runtime::Setting>::read(raw)
                                .map(|value| self.$field = value),
                        ),
                    )*
                    _ => None,
                }
            }

            fn shown(&self) -> Vec<(String, String)> {
                vec![$(
                    (
                        concat!($prefix, stringify!($field)).to_owned(),
                        $crate::runtime::Setting::show(&self.$field),
                    ),
                )*]
            }
        }
    };
}

impl Setting for String {
    const FORM: &'static str = "a text";

    fn read(raw: &RawValue) -> Result<Self, String> {
        match raw {
            RawValue::List(_) => Err("one text is wanted, not a list".to_owned()),
            other => Ok(other.to_string()),
        }
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Setting for PathBuf {
    const FORM: &'static str = "a path";

    fn read(raw: &RawValue) -> Result<Self, String> {
        String::read(raw).map(Self::from)
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for bool {
    const FORM: &'static str = "true or false";

    fn read(raw: &RawValue) -> Result<Self, String> {
        match raw {
            RawValue::Bool(flag) => Ok(*flag),
            RawValue::Text(text) if text == "true" => Ok(true),
            RawValue::Text(text) if text == "false" => Ok(false),
            other => Err(format!(
                "{other:?} is neither true nor false",
                other = other.to_string()
            )),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Reads a whole number that may stand in a text.
fn whole_number(raw: &RawValue) -> Result<u64, String> {
    let number = match raw {
        RawValue::Integer(number) => u64::try_from(*number).ok(),
        RawValue::Text(text) => text.replace('_', "").parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| format!("{:?} is not a whole number from 0 on", raw.to_string()))
}

macro_rules! whole_number_setting {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            const FORM: &'static str = "a whole number";

            fn read(raw: &RawValue) -> Result<Self, String> {
                let number = whole_number(raw)?;
                Self::try_from(number).map_err(|_| format!("{number} is too large: at most {}", Self::MAX))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
whole_number_setting!(u8, u16, u32, u64, usize);

impl Setting for Vec<String> {
    const FORM: &'static str = "a list of texts";

    fn read(raw: &RawValue) -> Result<Self, String> {
        match raw {
            RawValue::List(items) => items.iter().map(String::read).collect(),
            RawValue::Text(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect()),
            other => Err(format!("a list is wanted, not {:?}", other.to_string())),
        }
    }

    fn show(&self) -> String {
        self.join(",")
    }
}

impl<T: Setting> Setting for Option<T> {
    const FORM: &'static str = T::FORM;

    fn read(raw: &RawValue) -> Result<Self, String> {
        match raw {
            RawValue::Text(text) if text.is_empty() => Ok(None),
            other => T::read(other).map(Some),
        }
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
}

/// A number of bytes, written `32MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Longest first, so that `MiB` is not read as `B`.
const BYTE_UNITS: &[(&str, u64)] = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl ByteSize {
    /// So many mebibytes.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = ["TiB", "GiB", "MiB", "KiB"]
            .iter()
            .filter_map(|name| BYTE_UNITS.iter().find(|(unit, _)| unit == name))
            .find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size));
        match unit {
            Some((name, size)) => write!(f, "{}{name}", self.0 / size),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Setting for ByteSize {
    const FORM: &'static str = "a size such as \"32MiB\"";

    fn read(raw: &RawValue) -> Result<Self, String> {
        let RawValue::Text(text) = raw else {
            return whole_number(raw).map(Self);
        };
        let text = text.trim();
        let (number, unit) = BYTE_UNITS
            .iter()
            .find_map(|(name, size)| Some((text.strip_suffix(name)?.trim(), *size)))
            .unwrap_or((text, 1));
        let wrong =
            || format!("{text:?} is not a size: write \"32MiB\", \"1.5GiB\" or a number of bytes");
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(unit).map(Self).ok_or_else(wrong);
        }
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let bytes = number * unit as f64;
        if !(0.0..9e18).contains(&bytes) {
            return Err(wrong());
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was checked in the line before"
        )]
        Ok(Self(bytes as u64))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Units of durations, longest name first where one is the end of another.
const TIME_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 7 * 86_400_000),
    ("y", 365 * 86_400_000),
];

/// Reads `1h30m`, `15s`, `2y`: Prometheus' durations, in milliseconds.
///
/// # Errors
/// A text that says what a duration looks like.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is not a duration: write \"15s\", \"5m\", \"1h30m\" or \"2y\"");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(0);
    }
    let mut total = 0u64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (name, tail) = tail.split_at(letters);
        let unit = TIME_UNITS
            .iter()
            .find(|(unit, _)| *unit == name)
            .ok_or_else(wrong)?
            .1;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        total = number
            .checked_mul(unit)
            .and_then(|ms| total.checked_add(ms))
            .ok_or_else(wrong)?;
        rest = tail;
    }
    Ok(total)
}

/// Writes a duration in the largest unit that fits it.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    TIME_UNITS
        .iter()
        .rev()
        .find(|(_, size)| ms.is_multiple_of(*size))
        .map_or_else(
            || format!("{ms}ms"),
            |(name, size)| format!("{}{name}", ms / size),
        )
}

impl Setting for Duration {
    const FORM: &'static str = "a duration such as \"5m\"";

    fn read(raw: &RawValue) -> Result<Self, String> {
        match raw {
            RawValue::Text(text) => parse_duration_ms(text).map(Self::from_millis),
            other => Err(format!(
                "{:?} has no unit: write \"15s\" or \"5m\"",
                other.to_string()
            )),
        }
    }

    fn show(&self) -> String {
        show_duration(*self)
    }
}

#[cfg(test)]
#[allow(unreachable_pub, reason = "the macro declares public sections")]
mod tests {
    use super::*;

    settings! {
        /// A section.
        pub struct Sample at "sample." {
            /// How long.
            /// In all.
            timeout: Duration = Duration::from_secs(120),
            /// How much.
            size: ByteSize = ByteSize::mib(32),
            /// Which.
            names: Vec<String> = Vec::new(),
            /// Perhaps.
            limit: Option<u32> = None,
        }
    }

    #[test]
    fn a_declaration_gives_reference_defaults_and_setters() {
        let mut sample = Sample::default();
        let shown: Vec<String> = Sample::reference()
            .iter()
            .map(|k| format!("{}={} ({})", k.key, k.default, k.text))
            .collect();
        assert_eq!(shown[0], "sample.timeout=2m (How long.\n In all.)");
        assert_eq!(shown[1], "sample.size=32MiB (How much.)");
        assert_eq!(
            sample.set("timeout", &RawValue::Text("1h30m".into())),
            Some(Ok(()))
        );
        assert_eq!(sample.timeout, Duration::from_secs(5400));
        assert_eq!(sample.set("nothing", &RawValue::Integer(1)), None);
        assert!(
            sample
                .set("size", &RawValue::Text("lots".into()))
                .unwrap()
                .is_err()
        );
        assert_eq!(
            sample.set("names", &RawValue::Text("a, b".into())),
            Some(Ok(()))
        );
        assert_eq!(sample.names, ["a", "b"]);
        assert_eq!(sample.set("limit", &RawValue::Integer(7)), Some(Ok(())));
        assert_eq!(
            sample.shown()[3],
            ("sample.limit".to_owned(), "7".to_owned())
        );
    }

    #[test]
    fn durations_and_sizes_are_read_as_prometheus_users_write_them() {
        let ok = |text: &str| parse_duration_ms(text).unwrap();
        assert_eq!(
            (ok("15s"), ok("1h30m"), ok("2y"), ok("0"), ok("5ms")),
            (15_000, 5_400_000, 63_072_000_000, 0, 5)
        );
        for wrong in [
            "",
            "5",
            "m",
            "5 m",
            "-5m",
            "99999999999999999999s",
            "9999999999999y",
        ] {
            assert!(parse_duration_ms(wrong).is_err(), "{wrong:?}");
        }
        let size = |text: &str| ByteSize::read(&RawValue::Text(text.into()));
        assert_eq!(size("1.5GiB"), Ok(ByteSize(3 << 29)));
        assert_eq!(size("100"), Ok(ByteSize(100)));
        assert!(size("-1MiB").is_err() && size("NaNMiB").is_err());
    }
}
