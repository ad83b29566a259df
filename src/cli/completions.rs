//! `cairn completions`: a completion script for a shell.

use std::process::ExitCode;

use clap::{Args, CommandFactory};

use super::Cli;

const EXAMPLES: &str = "\
Examples:
  cairn completions bash > /usr/share/bash-completion/completions/cairn
  cairn completions zsh  > ~/.zfunc/_cairn
  cairn completions fish > ~/.config/fish/completions/cairn.fish";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// Which shell.
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(&self) -> ExitCode {
        clap_complete::generate(
            self.shell,
            &mut Cli::command(),
            "cairn",
            &mut std::io::stdout(),
        );
        ExitCode::SUCCESS
    }
}
