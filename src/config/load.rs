//! Reads file and environment, and puts flags on top.

use std::fs;
use std::path::Path;

use super::suggest::nearest;
use super::{Error, Origin, Settings};
use crate::runtime::RawValue;

/// What the names of environment variables begin with.
const ENVIRONMENT: &str = "CAIRN_";

/// Variables of that prefix that are not keys: the tools' own.
const NOT_KEYS: &[&str] = &[
    "CAIRN_CONFIG",
    "CAIRN_CACHE",
    "CAIRN_TOOLS_BIN",
    "CAIRN_URL",
];

/// The largest configuration file that is read, in bytes: far beyond any real one.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Sections that later versions bring; a key of theirs deserves a better answer than "unknown".
const NOT_YET: &[(&str, &str)] = &[
    ("cluster.", "the cluster"),
    ("discovery.", "the cluster"),
    ("peer.advertise", "the cluster"),
    ("node.capacity", "the cluster"),
    ("rules.", "rules and alerts"),
];

/// Keys that earlier versions had, and what is in their place.
const GONE: &[(&str, &str)] = &[(
    "ingest.series_cache_size",
    "how many spellings of series are remembered follows from memory_limit",
)];

/// What stands above the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The environment, as `std::env::vars` gives it.
    pub environment: Vec<(String, String)>,
    /// Flags that were given: flag, key, value.
    pub flags: Vec<(String, String, String)>,
}

/// Puts the settings together.
///
/// # Errors
/// The first thing that is wrong, with its place and the remedy.
pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    if let Some(path) = file {
        let origin = Origin::File(path.to_owned());
        for (key, raw) in read_file(path)? {
            set(&mut settings, &origin, &key, &raw)?;
        }
    }
    for (name, value) in &overrides.environment {
        if NOT_KEYS.contains(&name.as_str()) {
            continue;
        }
        if let Some(rest) = name.strip_prefix(ENVIRONMENT) {
            let key = rest.to_lowercase().replace("__", ".");
            let origin = Origin::Environment(name.clone());
            set(&mut settings, &origin, &key, &RawValue::Text(value.clone()))?;
        }
    }
    for (flag, key, value) in &overrides.flags {
        let origin = Origin::Flag(flag.clone());
        set(&mut settings, &origin, key, &RawValue::Text(value.clone()))?;
    }
    Ok(settings)
}

fn set(settings: &mut Settings, origin: &Origin, key: &str, raw: &RawValue) -> Result<(), Error> {
    match settings.set(key, raw) {
        Some(Ok(())) => Ok(()),
        Some(Err(message)) => Err(Error::Value {
            origin: origin.clone(),
            key: key.to_owned(),
            message,
        }),
        None => Err(unknown(origin, key)),
    }
}

fn unknown(origin: &Origin, key: &str) -> Error {
    if let Some((_, what)) = NOT_YET.iter().find(|(prefix, _)| key.starts_with(prefix)) {
        return Error::NotYet {
            origin: origin.clone(),
            key: key.to_owned(),
            what,
        };
    }
    if let Some((_, instead)) = GONE.iter().find(|(gone, _)| *gone == key) {
        return Error::Gone {
            origin: origin.clone(),
            key: key.to_owned(),
            instead,
        };
    }
    let reference = Settings::reference();
    Error::UnknownKey {
        origin: origin.clone(),
        key: key.to_owned(),
        suggestion: nearest(key, reference.iter().map(|known| known.key.as_str()))
            .map(str::to_owned),
    }
}

/// The file's keys with tables flattened to dots.
fn read_file(path: &Path) -> Result<Vec<(String, RawValue)>, Error> {
    let unreadable = |source| Error::Unreadable {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(unreadable(std::io::Error::other(format!(
            "it has {size} bytes, at most {FILE_BYTES_MAX} are read"
        ))));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| Error::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim().to_owned(),
        })?;
    let mut keys = Vec::new();
    flatten("", &table, &mut keys);
    Ok(keys)
}

fn flatten(prefix: &str, table: &toml::Table, keys: &mut Vec<(String, RawValue)>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            toml::Value::Table(inner) => flatten(&format!("{key}."), inner, keys),
            other => keys.push((key, raw(other))),
        }
    }
}

fn raw(value: &toml::Value) -> RawValue {
    match value {
        toml::Value::String(text) => RawValue::Text(text.clone()),
        toml::Value::Integer(number) => RawValue::Integer(*number),
        toml::Value::Float(number) => RawValue::Float(*number),
        toml::Value::Boolean(flag) => RawValue::Bool(*flag),
        toml::Value::Array(items) => RawValue::List(items.iter().map(raw).collect()),
        other => RawValue::Text(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn load_text(text: &str, overrides: &Overrides) -> Result<Settings, Error> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        load(Some(file.path()), overrides)
    }

    #[test]
    fn the_later_wins_default_file_environment_flag() {
        let text = "data_dir = \"/a\"\nnode = { name = \"n\", zone = \"z\" }\ntelemetry.level = \"debug\"\n";
        let mut overrides = Overrides::default();
        assert_eq!(
            load_text(text, &overrides).unwrap().main.data_dir,
            Path::new("/a")
        );
        overrides.environment = vec![
            ("CAIRN_DATA_DIR".into(), "/b".into()),
            ("CAIRN_NODE__ZONE".into(), "y".into()),
            ("CAIRN_CACHE".into(), "/x".into()),
            ("PATH".into(), "/x".into()),
        ];
        let settings = load_text(text, &overrides).unwrap();
        assert_eq!(settings.main.data_dir, Path::new("/b"));
        assert_eq!(
            (settings.node.name.as_deref(), settings.node.zone.as_str()),
            (Some("n"), "y")
        );
        overrides.flags = vec![("--data-dir".into(), "data_dir".into(), "/c".into())];
        assert_eq!(
            load_text(text, &overrides).unwrap().main.data_dir,
            Path::new("/c")
        );
    }

    /// `scripts/run` and `scripts/bench` start the program with what the set-up exports.
    #[test]
    fn what_the_set_up_exports_is_taken_for_no_key() {
        let lines = include_str!("../../scripts/setup.sh").lines();
        let exported = lines.filter_map(|line| line.trim().strip_prefix("export "));
        let names = exported.filter_map(|rest| rest.split('=').next());
        let environment: Vec<(String, String)> = names
            .map(|name| (name.to_owned(), "/x".to_owned()))
            .collect();
        assert!(environment.iter().any(|(name, _)| name == "CAIRN_CACHE"));
        let overrides = Overrides {
            environment,
            flags: Vec::new(),
        };
        assert!(load_text("", &overrides).is_ok(), "{overrides:?}");
    }

    fn check(text: &str, want: &[&str]) {
        let error = load_text(text, &Overrides::default())
            .unwrap_err()
            .to_string();
        for part in want {
            assert!(error.contains(part), "{error:?} should contain {part:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_the_remedy() {
        check(
            "datadir = \"/a\"",
            &["unknown key \"datadir\"", "did you mean \"data_dir\"?"],
        );
        check(
            "telemetry.format = \"xml\"",
            &["telemetry.format", "\"human\" or \"json\""],
        );
        check(
            "memory_limit = \"95%\"",
            &["memory_limit", "\"1%\" to \"90%\""],
        );
        check(
            "multitenancy_enabled = 7",
            &["multitenancy_enabled", "neither true nor false"],
        );
        check("a = [", &["is not valid TOML"]);
        check(
            "[rules]\nfiles = \"x\"",
            &["rules.files", "does not have yet"],
        );
        check(
            "ingest.series_cache_size = 100",
            &[
                "series_cache_size",
                "not a key any more",
                "memory_limit",
                "remove it",
            ],
        );
        let missing = load(
            Some(Path::new("/nowhere/cairn.toml")),
            &Overrides::default(),
        );
        assert!(
            missing
                .unwrap_err()
                .to_string()
                .contains("/nowhere/cairn.toml: cannot be read")
        );
    }
}
