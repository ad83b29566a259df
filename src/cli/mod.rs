//! The program's commands, one file each.
//!
//! A command takes its parsed arguments and gives an exit code: 0 done, 1 it failed, 2 the
//! arguments or the configuration are wrong.

mod at;
mod blocks;
mod check_config;
mod client;
mod compare;
mod completions;
mod delete;
mod doctor;
mod drain;
mod explain;
mod flush;
mod give_up;
mod graph;
mod queries;
mod query;
mod recover;
mod restore;
mod ring;
mod serve;
mod status;
mod table;
mod time;
mod transfer;
mod verify;
mod verify_cluster;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Overrides, Settings};

/// Exit code for wrong arguments and wrong configurations, as clap has it.
const EXIT_USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  cairn serve                                    a node with everything at its defaults
  cairn serve --config /etc/cairn.toml           a configured one
  cairn query 'rate(cairn_ingest_stored_total[5m])'
  cairn query --last 1h --graph 'process_resident_memory_bytes'
  cairn status
  cairn ring                                     the cluster and what is wrong with it
  cairn drain board-3                            empty a node before it goes
  cairn flush                                    seal and upload everything now
  cairn restore --config /etc/cairn.toml         have a lost cluster back from its bucket";

/// A Prometheus-compatible metrics store for small machines.
#[derive(Parser, Debug)]
#[command(name = "cairn", version = version(), after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a node until it is told to stop.
    Serve(serve::Serve),
    /// Say whether a configuration can be used, and what it amounts to.
    CheckConfig(check_config::CheckConfig),
    /// Examine a machine and a configuration, before and after the start.
    Doctor(doctor::Doctor),
    /// Ask a node a PromQL query.
    Query(query::Query),
    /// List the queries that run on all nodes, or call them off.
    Queries(queries::Queries),
    /// Say what a node is, holds and receives.
    Status(status::Status),
    /// Show a cluster: nodes, replicas, moves, and what is wrong.
    Ring(ring::Ring),
    /// Empty a node, so that it can be switched off for good.
    Drain(drain::Drain),
    /// Get a cluster going again that has lost too much to do so by itself.
    Recover(recover::Recover),
    /// Seal and upload everything that a node holds, now.
    Flush(flush::Flush),
    /// Delete samples of series, show them again, or list what is deleted.
    Delete(delete::Delete),
    /// Prepare an empty node from the bucket.
    Restore(restore::Restore),
    /// List the blocks of a stopped node, and where their bytes are.
    Blocks(blocks::Blocks),
    /// Read every byte of all blocks, of a stopped node or a cluster, and say what is wrong.
    Verify(verify::Verify),
    /// Move history in from Prometheus, VictoriaMetrics or OpenMetrics files.
    Import(transfer::Import),
    /// Move history out, into files for Prometheus, VictoriaMetrics or OpenMetrics.
    Export(transfer::Export),
    /// Print a script that completes commands and flags in a shell.
    Completions(completions::Completions),
}

/// Where settings come from; the same flags for every command that reads them.
#[derive(Args, Debug)]
struct ConfigArgs {
    /// The configuration file (TOML). Without it: defaults, environment and flags.
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "CAIRN_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    /// Where the node keeps its data (key data_dir).
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where HTTP is served (key http.listen).
    #[arg(long, value_name = "ADDR")]
    http_listen: Option<String>,
    /// Where peers are served (key peer.listen).
    #[arg(long, value_name = "ADDR")]
    peer_listen: Option<String>,
    /// Any other key, such as --set query.timeout=30s. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Settings, String> {
        let mut flags = Vec::new();
        for (flag, key, value) in [
            ("--data-dir", "data_dir", &self.data_dir),
            ("--http-listen", "http.listen", &self.http_listen),
            ("--peer-listen", "peer.listen", &self.peer_listen),
        ] {
            if let Some(value) = value {
                flags.push((flag.to_owned(), key.to_owned(), value.clone()));
            }
        }
        for pair in &self.set {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("--set {pair}: write --set KEY=VALUE"))?;
            flags.push((format!("--set {key}"), key.to_owned(), value.to_owned()));
        }
        let environment = std::env::vars_os()
            .filter_map(|(name, value): (OsString, OsString)| {
                Some((name.into_string().ok()?, value.into_string().ok()?))
            })
            .collect();
        let overrides = Overrides { environment, flags };
        config::load(self.config.as_deref(), &overrides).map_err(|error| error.to_string())
    }
}

/// Runs the command that the process' arguments name.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Ring(command) => command.run(),
        Command::Drain(command) => command.run(),
        Command::Recover(command) => command.run(),
        Command::Flush(command) => command.run(),
        Command::Delete(command) => command.run(),
        Command::Restore(command) => command.run(),
        Command::CheckConfig(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Query(command) => command.run(),
        Command::Queries(command) => command.run(),
        Command::Blocks(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Import(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::Completions(command) => command.run(),
    }
}

/// Writes a line to standard output; a closed pipe ends the output, not the program.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
}

/// Prints what a command answers, or says what went wrong.
fn conclude(answer: Result<String, String>) -> ExitCode {
    match answer {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// The version, and the commit where whoever built the program said so (`CAIRN_REVISION`).
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match crate::node::REVISION {
        "" => version.to_owned(),
        revision => format!("{version} ({revision})"),
    }
}

/// Says on standard error what went wrong.
fn complain(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "error: {text}");
}

/// Says on standard error what may go wrong later.
fn warn(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "warning: {text}");
}

/// The help of every command as Markdown: `docs/reference/cli.md`, which a test holds to it.
#[must_use]
pub fn reference_page() -> String {
    use clap::CommandFactory;
    use std::fmt::Write;
    let mut cli = Cli::command().term_width(100);
    let mut page = String::from(
        "# Command line\n\nWritten by `scripts/check --write` from the code; do not edit it by hand.\n",
    );
    let _ = write!(
        page,
        "\n## cairn\n\n```text\n{}```\n",
        plain(&cli.render_long_help().to_string())
    );
    let names: Vec<String> = cli
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    for name in names.iter().filter(|name| *name != "help") {
        if let Some(command) = cli.find_subcommand_mut(name) {
            describe(&mut page, command.clone(), &format!("cairn {name}"));
        }
    }
    page
}

/// A command's help, and that of the commands below it.
fn describe(page: &mut String, command: clap::Command, name: &str) {
    use std::fmt::Write;
    let mut command = command.term_width(100).bin_name(name);
    let _ = write!(
        page,
        "\n## {name}\n\n```text\n{}```\n",
        plain(&command.render_long_help().to_string())
    );
    let below: Vec<clap::Command> = command.get_subcommands().cloned().collect();
    for below in below.into_iter().filter(|one| one.get_name() != "help") {
        let name = format!("{name} {}", below.get_name());
        describe(page, below, &name);
    }
}

/// Without spaces at the ends of lines.
fn plain(help: &str) -> String {
    help.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}
