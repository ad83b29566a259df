//! `cairn check-config`: may this configuration be used?

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, EXIT_USAGE, complain, print};
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
        if let Err(error) = check_level(&settings.telemetry) {
            complain(&error.to_string());
            return ExitCode::from(EXIT_USAGE);
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
            let mark = if value == default { "" } else { "   # changed" };
            let value = if value.is_empty() { "(unset)" } else { &value };
            print(&format!("{key} = {value}{mark}"));
        }
        print("\nThe configuration can be used.");
        ExitCode::SUCCESS
    }
}
