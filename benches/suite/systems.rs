//! The servers that are compared: Cairn, and what of Prometheus and VictoriaMetrics is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Server, free_port};
use super::{folder, ready};

/// One kind of server.
pub struct System {
    pub name: &'static str,
    program: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Cairn,
    Prometheus,
    VictoriaMetrics,
}

/// A server that runs.
pub struct Running {
    pub server: Server,
    port: u16,
}

impl Running {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn write_url(&self) -> String {
        format!("{}/api/v1/write", self.url())
    }
}

/// What is here.
pub fn systems() -> Vec<System> {
    let installed = |name: &str| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|folder| folder.join(name))
            .find(|path| path.exists())
    };
    let mut all = vec![System {
        name: "Cairn",
        program: env!("CARGO_BIN_EXE_cairn").into(),
        kind: Kind::Cairn,
    }];
    for (name, program, kind) in [
        ("Prometheus (installed)", "prometheus", Kind::Prometheus),
        (
            "VictoriaMetrics (installed)",
            "victoria-metrics",
            Kind::VictoriaMetrics,
        ),
    ] {
        match installed(program) {
            Some(program) => all.push(System {
                name,
                program,
                kind,
            }),
            None => println!("{program} is not installed: left out"),
        }
    }
    all
}

impl System {
    pub const fn is_cairn(&self) -> bool {
        matches!(self.kind, Kind::Cairn)
    }

    /// Starts it on `parent/NAME`, and waits until it is ready.
    pub fn start(&self, parent: &Path) -> Running {
        let port = free_port();
        let data = folder(parent, "data");
        let mut command = Command::new(&self.program);
        let path = match self.kind {
            Kind::Cairn => {
                command
                    .arg("serve")
                    .arg("--data-dir")
                    .arg(data.join("cairn"))
                    .arg(format!("--http-listen=127.0.0.1:{port}"));
                "/-/ready"
            }
            Kind::Prometheus => {
                let config = parent.join("prometheus.yml");
                std::fs::write(&config, "").unwrap();
                command
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!("--storage.tsdb.path={}", data.display()))
                    .arg("--storage.tsdb.retention.time=10y")
                    .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                    .arg("--web.enable-remote-write-receiver");
                "/-/ready"
            }
            Kind::VictoriaMetrics => {
                command
                    .arg(format!("-storageDataPath={}", data.display()))
                    .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
                    .arg("-retentionPeriod=100y")
                    .arg("-search.latencyOffset=1s");
                "/health"
            }
        };
        let mut server = Server::start(self.name, command, parent);
        ready(&mut server, &format!("http://127.0.0.1:{port}{path}"));
        Running { server, port }
    }
}
