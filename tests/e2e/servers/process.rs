//! A process with its output in a file, killed when it is dropped.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server.
pub struct Server {
    pub name: String,
    child: Child,
    output: PathBuf,
}

impl Server {
    /// Starts a program with its output in `folder/name.log`.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Self {
        let output = folder.join(format!("{name}.log"));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&output)
            .unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {command:?} cannot be started: {error}"));
        Self {
            name: name.to_owned(),
            child,
            output,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Waits until `ready`; fails with the server's output when it ends before or takes too long.
    pub fn wait_until(&mut self, patience: Duration, mut ready: impl FnMut() -> bool) {
        let deadline = Instant::now() + patience;
        while !ready() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!(
                    "{} ended with {status} before it was ready:\n{}",
                    self.name,
                    self.output()
                );
            }
            assert!(
                Instant::now() < deadline,
                "{} was not ready within {patience:?}:\n{}",
                self.name,
                self.output()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `kill -9`, at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A signal, by its name.
    pub fn signal(&self, name: &str) {
        let (name, pid) = (format!("-{name}"), self.pid().to_string());
        let sent = Command::new("kill").args([name, pid]).status().unwrap();
        assert!(sent.success(), "{sent}");
    }

    /// SIGTERM; gives the exit code and how long it took.
    pub fn terminate(&mut self, patience: Duration) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        self.signal("TERM");
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), begun.elapsed());
            }
            assert!(
                begun.elapsed() < patience,
                "{} did not stop within {patience:?}:\n{}",
                self.name,
                self.output()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let output = self.output();
            let tail: Vec<&str> = output.lines().rev().take(40).collect();
            println!("--- last lines of {}:", self.name);
            for line in tail.iter().rev() {
                println!("{line}");
            }
        }
    }
}

impl Server {
    /// Waits until it ends by itself; its exit code.
    pub fn wait_for_end(&mut self, patience: Duration) -> Option<i32> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                Instant::now() < deadline,
                "{} did not end within {patience:?}:\n{}",
                self.name,
                self.output()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Whether tests that take long are wanted (`CAIRN_LONG=1`); if not, says that this one is skipped.
pub fn long(test: &str) -> bool {
    let wanted = std::env::var("CAIRN_LONG").is_ok_and(|wanted| wanted == "1");
    if !wanted {
        skip(
            test,
            "it takes longer than CI has; run it with CAIRN_LONG=1",
        );
    }
    wanted
}

/// A port that nobody listens on just now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Says on the terminal and in the list of `scripts/test` that a test was skipped, and why.
pub fn skip(test: &str, reason: &str) {
    let line = format!("skipped: {test}: {reason}");
    println!("{line}");
    if let Ok(path) = std::env::var("CAIRN_SKIPPED")
        && let Ok(mut file) = File::options().create(true).append(true).open(path)
    {
        let _ = writeln!(file, "{line}");
    }
}

/// Repeats `check` until it gives a value; fails with what it last complained of.
pub fn eventually<T>(
    what: &str,
    patience: Duration,
    mut check: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match check() {
            Ok(value) => return value,
            Err(complaint) if Instant::now() >= deadline => {
                panic!("{what} (within {patience:?}): {complaint}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
