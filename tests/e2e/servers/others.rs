//! Prometheus, node_exporter, vmagent, the OpenTelemetry Collector, Chromium.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Server, free_port, get};

/// A server of the tools' folder (`scripts/build-go-tools`).
pub fn built(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CAIRN_TOOLS_BIN")
        .map(PathBuf::from)
        .or_else(|| {
            let cache = std::env::var_os("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
            Some(cache.join("cairn/tools/bin"))
        })?;
    let path = folder.join(name);
    path.exists().then_some(path)
}

/// A program of the system.
fn installed(name: &str) -> Option<PathBuf> {
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&std::env::var_os("PATH")?)
        .chain(system)
        .map(|folder| folder.join(name))
        .find(|path| path.exists())
}

fn ready(server: &mut Server, url: &str) {
    server.wait_until(Duration::from_secs(60), || {
        get(url).is_ok_and(|answer| answer.status == 200)
    });
}

/// Debian's node_exporter.
pub struct NodeExporter {
    _server: Server,
    pub port: u16,
}

impl NodeExporter {
    pub fn start(folder: &Path) -> Result<Self, &'static str> {
        let program = installed("prometheus-node-exporter")
            .ok_or("Debian's prometheus-node-exporter is not installed")?;
        let port = free_port();
        let mut command = Command::new(program);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let mut server = Server::start("node_exporter", command, folder);
        ready(&mut server, &format!("http://127.0.0.1:{port}/metrics"));
        Ok(Self {
            _server: server,
            port,
        })
    }
}

/// Which Prometheus.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PrometheusKind {
    /// Version 3, built from the Go module proxy.
    Three,
    /// Debian 12's 2.42.
    Debian,
}

/// A Prometheus that scrapes targets every second and sends everything by remote-write.
pub struct Prometheus {
    pub server: Server,
    pub port: u16,
}

impl Prometheus {
    /// `remote_write` is the YAML of one entry of that list, or empty.
    pub fn start(
        kind: PrometheusKind,
        folder: &Path,
        targets: &[(&str, u16)],
        remote_write: &str,
    ) -> Result<Self, &'static str> {
        let (name, program) = match kind {
            PrometheusKind::Three => (
                "prometheus3",
                built("prometheus3")
                    .ok_or("prometheus3 is not built (scripts/build-go-tools prometheus)")?,
            ),
            PrometheusKind::Debian => (
                "prometheus2",
                installed("prometheus").ok_or("Debian's prometheus is not installed")?,
            ),
        };
        let port = free_port();
        let mut config =
            String::from("global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n");
        for (job, target) in targets.iter().chain([&("prometheus", port)]) {
            config.push_str(&format!("  - job_name: {job}\n    static_configs:\n      - targets: ['127.0.0.1:{target}']\n"));
        }
        if !remote_write.is_empty() {
            config.push_str(&format!(
                "remote_write:\n  - {}\n",
                remote_write.trim().replace('\n', "\n    ")
            ));
        }
        let file = folder.join(format!("{name}.yml"));
        fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join(name).display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        if kind == PrometheusKind::Three {
            command.arg("--enable-feature=native-histograms");
        }
        let mut server = Server::start(name, command, folder);
        ready(&mut server, &format!("http://127.0.0.1:{port}/-/ready"));
        Ok(Self { server, port })
    }

    /// A Prometheus of version 3 that scrapes nothing and takes remote-write.
    pub fn receiving(folder: &Path) -> Result<Self, &'static str> {
        Self::with_config(
            folder,
            "global: {}\n",
            &["--web.enable-remote-write-receiver"],
        )
    }

    /// A Prometheus of version 3 with a configuration and flags of its own.
    pub fn with_config(folder: &Path, config: &str, flags: &[&str]) -> Result<Self, &'static str> {
        let program = built("prometheus3")
            .ok_or("prometheus3 is not built (scripts/build-go-tools prometheus)")?;
        let port = free_port();
        let file = folder.join("own.yml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("own").display()
            ))
            .args(flags)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let mut server = Server::start("own", command, folder);
        ready(&mut server, &format!("http://127.0.0.1:{port}/-/ready"));
        Ok(Self { server, port })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Debian's VictoriaMetrics, which takes samples of any age.
pub struct VictoriaMetrics {
    _server: Server,
    port: u16,
}

impl VictoriaMetrics {
    pub fn start(folder: &Path) -> Result<Self, &'static str> {
        let program =
            installed("victoria-metrics").ok_or("Debian's victoria-metrics is not installed")?;
        let port = free_port();
        let mut command = Command::new(program);
        command
            .arg(format!(
                "-storageDataPath={}",
                folder.join("victoria").display()
            ))
            .arg("-retentionPeriod=100y")
            .arg("-search.latencyOffset=1s")
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"));
        let mut server = Server::start("victoria-metrics", command, folder);
        ready(&mut server, &format!("http://127.0.0.1:{port}/health"));
        Ok(Self {
            _server: server,
            port,
        })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Debian's HAProxy before some nodes, as `docs/operate.md` sets it up.
pub struct HaProxy {
    _server: Server,
    port: u16,
}

impl HaProxy {
    /// `nodes` are URLs.
    pub fn start(folder: &Path, nodes: &[String]) -> Result<Self, &'static str> {
        let program = installed("haproxy").ok_or("Debian's haproxy is not installed")?;
        let port = free_port();
        let mut config = format!(
            "defaults\n  mode http\n  timeout connect 2s\n  timeout client 5m\n  timeout server 5m\n  option redispatch\n  retries 2\nlisten cairn\n  bind 127.0.0.1:{port}\n  balance roundrobin\n  option httpchk GET /-/ready\n"
        );
        for (at, node) in nodes.iter().enumerate() {
            let address = node.trim_start_matches("http://");
            config.push_str(&format!(
                "  server board-{at} {address} check inter 1s fall 2 rise 1\n"
            ));
        }
        let file = folder.join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(&file);
        let mut server = Server::start("haproxy", command, folder);
        ready(&mut server, &format!("http://127.0.0.1:{port}/-/ready"));
        Ok(Self {
            _server: server,
            port,
        })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Debian's vmagent.
pub struct VmAgent {
    _server: Server,
}

impl VmAgent {
    pub fn start(folder: &Path, target: u16, write_url: &str) -> Result<Self, &'static str> {
        let program = installed("vmagent")
            .ok_or("Debian's vmagent (package victoria-metrics) is not installed")?;
        let config = folder.join("vmagent.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: vmagent-node\n    static_configs:\n      - targets: ['127.0.0.1:{target}']\n"
        );
        fs::write(&config, text).unwrap();
        let port = free_port();
        let mut command = Command::new(program);
        command
            .arg(format!("-promscrape.config={}", config.display()))
            .arg(format!("-remoteWrite.url={write_url}"))
            .arg(format!(
                "-remoteWrite.tmpDataPath={}",
                folder.join("vmagent").display()
            ))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"));
        let mut server = Server::start("vmagent", command, folder);
        ready(&mut server, &format!("http://127.0.0.1:{port}/health"));
        Ok(Self { _server: server })
    }
}

/// The OpenTelemetry Collector.
pub struct OtelCollector {
    pub server: Server,
}

impl OtelCollector {
    /// Runs a configuration with `extensions: health_check` on `health_port`.
    pub fn start(folder: &Path, config: &str, health_port: u16) -> Result<Self, &'static str> {
        let program = built("otelcol")
            .ok_or("the OpenTelemetry Collector is not built (scripts/build-go-tools otelcol)")?;
        let file = folder.join("otelcol.yml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(&file)
            .arg("--feature-gates=exporter.prometheusremotewritexporter.enableSendingRW2");
        let mut server = Server::start("otelcol", command, folder);
        ready(&mut server, &format!("http://127.0.0.1:{health_port}/"));
        Ok(Self { server })
    }
}

/// A headless browser.
pub struct Chromium;

impl Chromium {
    /// Opens a page, lets its scripts run for a while, and gives what the page has become.
    pub fn dump(folder: &Path, url: &str, size: &str) -> Result<String, &'static str> {
        let output = Self::command(folder, size)?
            .arg("--dump-dom")
            .arg(url)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "chromium: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(folder: &Path, size: &str) -> Result<Command, &'static str> {
        let program = installed("chromium").ok_or("Debian's chromium is not installed")?;
        let mut command = Command::new(program);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--virtual-time-budget=15000",
        ]);
        command.arg(format!("--window-size={size}"));
        command.arg(format!(
            "--user-data-dir={}",
            folder.join("chromium").display()
        ));
        Ok(command)
    }
}
