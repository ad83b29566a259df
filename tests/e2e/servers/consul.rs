//! A real Consul agent: one server that is its own datacenter, on free ports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::others::built;
use super::{Server, free_port, get};

/// Where an agent listens.
#[derive(Clone, Copy)]
pub struct ConsulPorts {
    pub http: u16,
    pub https: u16,
    pub dns: u16,
    serf: u16,
    raft: u16,
}

impl ConsulPorts {
    pub fn free() -> Self {
        Self {
            http: free_port(),
            https: free_port(),
            dns: free_port(),
            serf: free_port(),
            raft: free_port(),
        }
    }
}

/// A running agent.
pub struct Consul {
    pub server: Server,
    pub ports: ConsulPorts,
    folder: PathBuf,
    more: Value,
}

impl Consul {
    /// The program, or why it is not there.
    pub fn program() -> Result<PathBuf, &'static str> {
        built("consul").ok_or("Consul is not built (scripts/build-go-tools consul)")
    }

    /// Starts an agent with an empty data directory below `folder`; `more` is added to its
    /// configuration.
    pub fn start(folder: &Path, ports: ConsulPorts, more: Value) -> Result<Self, &'static str> {
        let program = Self::program()?;
        let data_dir = folder.join("consul");
        let _ = fs::remove_dir_all(&data_dir);
        let mut config = json!({
            "node_name": "n1", "datacenter": "dc1", "server": true, "bootstrap_expect": 1,
            "data_dir": data_dir, "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1",
            "disable_update_check": true, "log_level": "warn",
            "connect": {"enabled": false}, "performance": {"raft_multiplier": 1},
            "ports": {
                "http": ports.http, "https": ports.https, "dns": ports.dns, "grpc": -1,
                "grpc_tls": -1, "serf_lan": ports.serf, "serf_wan": -1, "server": ports.raft,
            },
        });
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        let file = folder.join("consul.json");
        fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(program);
        command.arg("agent").arg("-config-file").arg(&file);
        let mut server = Server::start("consul", command, folder);
        let leader = format!("http://127.0.0.1:{}/v1/status/leader", ports.http);
        server.wait_until(Duration::from_secs(60), || {
            get(&leader).is_ok_and(|answer| answer.status == 200 && answer.text().contains(':'))
        });
        Ok(Self {
            server,
            ports,
            folder: folder.to_owned(),
            more,
        })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.http)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// A new agent on the same ports that knows nothing.
    pub fn restart_empty(mut self) -> Self {
        self.server.kill();
        let Self {
            ports,
            folder,
            more,
            server,
        } = self;
        drop(server);
        Self::start(&folder, ports, more).unwrap()
    }

    /// Runs `consul ARGUMENTS...` in `folder` and gives what it prints.
    pub fn command(folder: &Path, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(Self::program().unwrap())
            .args(arguments)
            .current_dir(folder)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }
}
