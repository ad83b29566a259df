//! The program under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Answer, Server, free_port, get, post_form};

/// A node on a data directory; it can be killed and started again on the same one.
pub struct Cairn {
    pub server: Server,
    pub port: u16,
    pub data_dir: PathBuf,
    folder: PathBuf,
    settings: Vec<String>,
}

impl Cairn {
    /// The program.
    pub fn program() -> PathBuf {
        std::env::var_os("CAIRN_BIN")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_cairn")), PathBuf::from)
    }

    /// The program as cargo built it for this test run: another build than `program()` where that
    /// is a released one. It can be told to be a later version (`TEST_ONLY_CAIRN_BUILD`).
    pub fn other_build() -> PathBuf {
        PathBuf::from(env!("CARGO_BIN_EXE_cairn"))
    }

    /// Runs a command of the program: whether it succeeded, and what it said.
    pub fn run(arguments: &[&str]) -> (bool, String) {
        let output = Self::command().args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.success(), said)
    }

    /// A command of the program.
    pub fn command() -> Command {
        let mut command = Command::new(Self::program());
        Self::hide_test_variables(&mut command);
        command
    }

    /// Takes the variables away that are for these tests: all that begin with `CAIRN_` are
    /// settings to the program.
    pub fn hide_test_variables(command: &mut Command) {
        let all = std::env::vars_os().map(|(name, _)| name);
        for name in all.filter(|name| name.to_string_lossy().starts_with("CAIRN_")) {
            command.env_remove(name);
        }
    }

    /// Starts a node below `folder` and waits until it is ready.
    pub fn start(folder: &Path, settings: &[&str]) -> Self {
        let data_dir = folder.join("cairn");
        Self::start_on(
            folder,
            &data_dir,
            free_port(),
            settings.iter().map(|s| (*s).to_owned()).collect(),
        )
    }

    /// Starts a node on a directory and port, with `--set` for each of `settings`.
    pub fn start_on(folder: &Path, data_dir: &Path, port: u16, settings: Vec<String>) -> Self {
        Self::start_as(&["serve"], folder, data_dir, port, settings)
    }

    /// The same by other words than `serve` alone.
    pub fn start_as(
        words: &[&str],
        folder: &Path,
        data_dir: &Path,
        port: u16,
        settings: Vec<String>,
    ) -> Self {
        Self::start_by(Self::command(), words, folder, data_dir, port, settings)
    }

    /// Starts a node below `folder` to which a signal means nothing.
    pub fn start_ignoring(folder: &Path, signal: &str) -> Self {
        let mut command = Command::new("sh");
        Self::hide_test_variables(&mut command);
        let script = format!("trap '' {signal}; exec \"$0\" \"$@\"");
        command.arg("-c").arg(script).arg(Self::program());
        let (data_dir, port) = (folder.join("cairn"), free_port());
        Self::start_by(command, &["serve"], folder, &data_dir, port, Vec::new())
    }

    fn start_by(
        mut command: Command,
        words: &[&str],
        folder: &Path,
        data_dir: &Path,
        port: u16,
        settings: Vec<String>,
    ) -> Self {
        command
            .args(words)
            .arg("--data-dir")
            .arg(data_dir)
            .arg("--http-listen")
            .arg(format!("127.0.0.1:{port}"));
        for setting in &settings {
            command.arg("--set").arg(setting);
        }
        let mut server = Server::start("cairn", command, folder);
        server.wait_until(Duration::from_secs(60), || {
            get(&format!("http://127.0.0.1:{port}/-/ready"))
                .is_ok_and(|answer| answer.status == 200)
        });
        Self {
            server,
            port,
            data_dir: data_dir.to_owned(),
            folder: folder.to_owned(),
            settings,
        }
    }

    /// `kill -9`, then a new process on the same directory and port.
    pub fn crash_and_restart(self) -> Self {
        let Self {
            mut server,
            port,
            data_dir,
            folder,
            settings,
        } = self;
        server.kill();
        drop(server);
        Self::start_on(&folder, &data_dir, port, settings)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A form to an endpoint below `/api/v1/`.
    pub fn api(&self, endpoint: &str, form: &[(&str, &str)]) -> Answer {
        post_form(&format!("{}/api/v1/{endpoint}", self.url()), form).unwrap()
    }

    /// The result of an instant query.
    pub fn query(&self, expression: &str) -> serde_json::Value {
        let answer = self.api("query", &[("query", expression)]);
        assert_eq!(answer.status, 200, "{expression}: {}", answer.text());
        answer.json()["data"]["result"].clone()
    }
}
