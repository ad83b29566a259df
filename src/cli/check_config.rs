//! `cairn check-config`: may this configuration be used?

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, EXIT_USAGE, complain, print, warn};
use crate::http::check_listen;
use crate::runtime::check_level;

const EXAMPLES: &str = "\
Examples:
  cairn check-config --config /etc/cairn.toml
  cairn check-config --config /etc/cairn.toml --json | jq .
  CAIRN_QUERY__TIMEOUT=30s cairn check-config";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print all settings as one JSON object.
    #[arg(long)]
    json: bool,
}

impl CheckConfig {
    pub(super) fn run(&self) -> ExitCode {
        let settings = match self.config.load() {
            Ok(settings) => settings,
            Err(error) => {
                complain(&error);
                return ExitCode::from(EXIT_USAGE);
            }
        };
        let level = check_level(&settings.telemetry).map_err(|error| error.to_string());
        let listen = check_listen(&settings.http).map_err(|error| error.to_string());
        if let Err(error) = level.and(listen) {
            complain(&error);
            return ExitCode::from(EXIT_USAGE);
        }
        for warning in unreadable_files(settings.shown().into_iter()) {
            warn(&warning);
        }
        if self.json {
            let all: serde_json::Map<String, serde_json::Value> = settings
                .shown()
                .into_iter()
                .map(|(key, value)| (key, value.into()))
                .collect();
            print(&serde_json::Value::Object(all).to_string());
            return ExitCode::SUCCESS;
        }
        let defaults = crate::config::Settings::default().shown();
        for ((key, value), (_, default)) in settings.shown().into_iter().zip(defaults) {
            print(&line(&key, &value, &default));
        }
        print("\n# This configuration can be used.");
        ExitCode::SUCCESS
    }
}

/// What is wrong with the files that settings name (their keys end in `_file`). No error: a check
/// may run before credentials are put in their place, or as somebody who must not read them.
fn unreadable_files(
    shown: impl Iterator<Item = (impl AsRef<str>, String)>,
) -> impl Iterator<Item = String> {
    let files = shown.filter(|(key, file)| key.as_ref().ends_with("_file") && !file.is_empty());
    files.filter_map(|(key, file)| {
        let error = std::fs::File::open(&file).err()?;
        let key = key.as_ref();
        Some(format!(
            "{key}: {file} cannot be read now ({error}): a node that needs it does not start"
        ))
    })
}

/// A setting as it would stand in a configuration file.
fn line(key: &str, value: &str, default: &str) -> String {
    if value.is_empty() {
        return format!("# {key} is not set");
    }
    let value_there = crate::config::as_toml(value);
    if value == default {
        format!("{key} = {value_there}")
    } else if default.is_empty() {
        format!("{key} = {value_there}  # changed: not set by default")
    } else {
        format!("{key} = {value_there}  # changed: the default is {default}")
    }
}

#[cfg(test)]
mod tests {
    use super::{line, unreadable_files};
    use crate::config::{Overrides, Settings, load};

    /// What is printed can be used as a configuration file, and means the same.
    #[test]
    fn what_is_shown_is_a_configuration_file() {
        let flags = [
            ("retention.total", "90d"),
            ("query.enable_feature", "a,b"),
            ("http.max_connections", "7"),
            ("node.name", "a \"quoted\" name"),
            ("multitenancy_enabled", "true"),
        ];
        let flags = flags.map(|(key, value)| (String::new(), key.to_owned(), value.to_owned()));
        let overrides = Overrides {
            flags: flags.to_vec(),
            ..Overrides::default()
        };
        let settings = load(None, &overrides).unwrap();
        let defaults = Settings::default().shown();
        let lines: Vec<String> = settings
            .shown()
            .iter()
            .zip(&defaults)
            .map(|((key, value), (_, default))| line(key, value, default))
            .collect();
        assert!(lines.contains(&"http.max_connections = 7  # changed: the default is 1024".into()));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines.join("\n")).unwrap();
        let again = load(Some(file.path()), &Overrides::default()).unwrap();
        assert_eq!(again, settings);
    }
    /// Would catch a missing key or token that is only noticed when the node starts.
    #[test]
    fn files_that_cannot_be_read_are_named() {
        let here = tempfile::NamedTempFile::new().unwrap();
        let here = here.path().display().to_string();
        let shown = [
            ("peer.tls.key_file", "/nowhere/peer.key".to_owned()),
            ("peer.tls.cert_file", here),
            ("peer.tls.ca_file", String::new()),
            ("data_dir", "/nowhere/data".to_owned()),
        ];
        let warnings: Vec<String> = unreadable_files(shown.into_iter()).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("peer.tls.key_file: /nowhere/peer.key cannot be read"));
    }
}
