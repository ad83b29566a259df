//! The program: hands the arguments to [`cairn::cli`] and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    cairn::cli::run()
}
