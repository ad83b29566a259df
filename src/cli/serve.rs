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
  cairn serve --read-only --config /etc/cairn.toml --data-dir /srv/look --http-listen 0.0.0.0:9010

Settings are looked for in this order, and the last one found wins: the default, the file, the
environment (CAIRN_SECTION__KEY), flags. `cairn check-config` shows what they amount to.

With --read-only the same program and the cluster's own configuration file show what is in its
bucket, beside the cluster or instead of one that is gone: nothing is written there, no sample is
taken, and nobody is joined. It wants a data directory of its own, for a cache.

SIGTERM stops the node cleanly, a second one at once; SIGHUP reads the configuration again.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only show what is in the bucket (section archive): join no cluster, take no samples, and
    /// write nothing but a cache in the data directory.
    #[arg(long)]
    read_only: bool,
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
        let run = match self.read_only {
            true => node::run_read_only,
            false => node::run,
        };
        let reload = move || self.config.load();
        match run(settings, Box::new(reload)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error.to_string());
                ExitCode::FAILURE
            }
        }
    }
}
