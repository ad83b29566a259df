//! `docs/collectors.md` and the files in `docs/examples`: every command of the page is run with its file, and
//! what it wrote is read back.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::servers::{
    Cairn, Consul, ConsulPorts, NodeExporter, Server, built, eventually, free_port, skip,
};
use super::tools::{code_blocks, program, read, replaced, write};

/// A section of the page: the example file's name and text, and the command under it.
struct Section {
    file: String,
    text: String,
    command: String,
}

/// The section of the page whose command names `file`.
fn section(file: &str) -> Section {
    let blocks = code_blocks(&read("docs/collectors.md"));
    let at = blocks
        .iter()
        .position(|(language, text)| language == "sh" && text.contains(file))
        .unwrap_or_else(|| panic!("docs/collectors.md has no command with {file}"));
    let (shown, command) = (&blocks[at - 1].1, &blocks[at].1);
    assert_eq!(
        *shown,
        read(&format!("docs/examples/{file}")),
        "docs/examples/{file} is not what docs/collectors.md shows"
    );
    Section {
        file: file.to_owned(),
        text: shown.clone(),
        command: command.trim().to_owned(),
    }
}

impl Section {
    /// Another address in file and command; it must be in one of them.
    fn with(mut self, from: &str, to: &str) -> Self {
        assert!(
            self.text.contains(from) || self.command.contains(from),
            "{}: there is no {from:?}",
            self.file
        );
        self.text = self.text.replace(from, to);
        self.command = self.command.replace(from, to);
        self
    }

    fn port(self, from: &str) -> Self {
        let to = format!("127.0.0.1:{}", free_port());
        self.with(from, &to)
    }

    /// To this node, every second.
    fn to(self, cairn: &Cairn) -> Self {
        let address = format!("127.0.0.1:{}", cairn.port);
        let mut here = self.with("cairn.lan:9009", &address);
        here.text = replaced(&here.text, "15s", "1s");
        here
    }

    /// Starts its command in a folder that has its file.
    fn start(self, folder: &Path, program: PathBuf) -> Server {
        write(folder, &self.file, &self.text);
        let mut command = Command::new(program);
        command
            .args(self.command.split_whitespace().skip(1))
            .current_dir(folder);
        Server::start(&self.file, command, folder)
    }
}

/// Waits until the store has at least so many series of a selector.
fn arrived(cairn: &Cairn, server: &mut Server, selector: &str, least: f64) {
    let count = format!("count({selector})");
    let told = format!("{}: {count}", server.name);
    eventually(&told, Duration::from_secs(120), || {
        let result = cairn.query(&count);
        let value = result[0]["value"][1]
            .as_str()
            .and_then(|value| value.parse::<f64>().ok());
        match value {
            Some(value) if value >= least => Ok(()),
            other => Err(format!(
                "{other:?}, at least {least} wanted\n{}",
                server.output()
            )),
        }
    });
}

/// What every story needs: a folder, a node, an exporter.
fn ground() -> Result<(tempfile::TempDir, Cairn, NodeExporter), String> {
    let folder = tempfile::tempdir().unwrap();
    let exporter = NodeExporter::start(folder.path())?;
    let cairn = Cairn::start(folder.path(), &[]);
    Ok((folder, cairn, exporter))
}

/// Exporter and listening address of a Prometheus-like program.
fn scraping(file: &str, listens: &str, cairn: &Cairn, exporter: &NodeExporter) -> Section {
    section(file)
        .to(cairn)
        .with("localhost:9100", &format!("127.0.0.1:{}", exporter.port))
        .port(listens)
}

fn prometheus() -> Result<(), String> {
    let program = program("prometheus").ok_or("Debian's prometheus is not installed")?;
    let (folder, cairn, exporter) = ground()?;
    let example = scraping("prometheus.yml", "localhost:9090", &cairn, &exporter);
    let mut server = example.start(folder.path(), program);
    arrived(
        &cairn,
        &mut server,
        "{job=\"node\",prometheus=\"home\"}",
        300.0,
    );
    Ok(())
}

fn agent() -> Result<(), String> {
    let program = built("prometheus3").ok_or("prometheus3 is not built")?;
    let (folder, cairn, exporter) = ground()?;
    let example = scraping("prometheus-agent.yml", "localhost:9091", &cairn, &exporter);
    let mut server = example.start(folder.path(), program);
    arrived(&cairn, &mut server, "{job=\"node\"}", 300.0);
    Ok(())
}

fn vmagent() -> Result<(), String> {
    let program = program("vmagent").ok_or("Debian's vmagent is not installed")?;
    let (folder, cairn, exporter) = ground()?;
    let example = scraping("vmagent.yml", "localhost:8429", &cairn, &exporter);
    let mut server = example.start(folder.path(), program);
    arrived(&cairn, &mut server, "{job=\"node\"}", 300.0);
    Ok(())
}

fn telegraf() -> Result<(), String> {
    let program =
        built("telegraf").ok_or("Telegraf is not built (scripts/build-go-tools telegraf)")?;
    let (folder, cairn, exporter) = ground()?;
    let example = section("telegraf.conf")
        .to(&cairn)
        .with("localhost:9100", &format!("127.0.0.1:{}", exporter.port));
    let mut server = example.start(folder.path(), program);
    arrived(
        &cairn,
        &mut server,
        "{__name__=~\"prometheus_node_.*|node_.*\"}",
        200.0,
    );
    arrived(&cairn, &mut server, "{__name__=~\"mem_.*\"}", 5.0);
    Ok(())
}

fn collector() -> Result<(), String> {
    let program = built("otelcol").ok_or("the OpenTelemetry Collector is not built")?;
    let (folder, cairn, exporter) = ground()?;
    let consul = Consul::start(folder.path(), ConsulPorts::free(), json!({}))?;
    let service = json!({"service": {"name": "node", "port": exporter.port, "address": "127.0.0.1", "tags": ["metrics"]}});
    write(folder.path(), "service.json", &service.to_string());
    let address = format!("-http-addr={}", consul.url());
    Consul::command(
        folder.path(),
        &["services", "register", &address, "service.json"],
    )?;
    let example = section("otelcol.yaml")
        .to(&cairn)
        .with(
            "localhost:8500",
            &format!("127.0.0.1:{}", consul.ports.http),
        )
        .with("port: 8888", &format!("port: {}", free_port()))
        .port("localhost:4317")
        .port("localhost:4318")
        .port("localhost:13133");
    let mut server = example.start(folder.path(), program);
    arrived(&cairn, &mut server, "{job=\"node\",node=\"n1\"}", 300.0);
    Ok(())
}

#[test]
fn prometheus_writes_as_documented() {
    told("prometheus_writes_as_documented", prometheus());
}

#[test]
fn a_prometheus_agent_writes_as_documented() {
    told("a_prometheus_agent_writes_as_documented", agent());
}

#[test]
fn vmagent_writes_as_documented() {
    told("vmagent_writes_as_documented", vmagent());
}

#[test]
fn telegraf_writes_as_documented() {
    told("telegraf_writes_as_documented", telegraf());
}

#[test]
fn the_collector_finds_targets_in_consul_and_writes_as_documented() {
    told(
        "the_collector_finds_targets_in_consul_and_writes_as_documented",
        collector(),
    );
}

fn told(test: &str, outcome: Result<(), String>) {
    if let Err(reason) = outcome {
        skip(&format!("collectors::{test}"), &reason);
    }
}

/// Would catch an example that no page shows and no test runs.
#[test]
fn every_example_is_shown() {
    for entry in std::fs::read_dir(super::tools::root().join("docs/examples")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        // The one for moving is tests/packaging/start.rs'.
        if name != "moving.yml" {
            section(&name);
        }
    }
}
