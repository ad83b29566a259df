//! `cairn completions`: a completion script for a shell.

use std::process::ExitCode;

use clap::{Args, CommandFactory};

use super::{Cli, print};

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
        // Written at once: the generator takes a closed pipe for a mistake of the program.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "cairn", &mut script);
        print(String::from_utf8_lossy(&script).trim_end());
        ExitCode::SUCCESS
    }
}
