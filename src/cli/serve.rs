//! `cairn serve`: run a node until it is told to stop.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigArgs, EXIT_USAGE, complain};
use crate::node;

const EXAMPLES: &str = "\
Examples:
  cairn serve
  cairn serve --config /etc/cairn.toml
  cairn serve --data-dir /srv/cairn --http-listen 127.0.0.1:9009
  CAIRN_MEMORY_LIMIT=512MiB cairn serve --set retention.total=90d

Settings are looked for in this order, and the last one found wins: the default, the file, the
environment (CAIRN_SECTION__KEY), flags. `cairn check-config` shows what they amount to.

SIGTERM stops the node cleanly, SIGHUP reads the configuration again.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
}

impl Serve {
    pub(super) fn run(self) -> ExitCode {
        let settings = match self.config.load() {
            Ok(settings) => settings,
            Err(error) => {
                complain(&error);
                return ExitCode::from(EXIT_USAGE);
            }
        };
        let reload = move || self.config.load();
        match node::run(settings, Box::new(reload)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error.to_string());
                ExitCode::FAILURE
            }
        }
    }
}
