//! `docs/start.md` followed: its commands are run, its configurations used, on one node and on three; and all
//! configurations of the documentation can be used.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::servers::{Cairn, Server, eventually, free_port, get, skip};
use super::tools::{code_blocks, printed, program, read, replaced, succeed, write};

/// The part of the page under a heading.
fn part(heading: &str) -> String {
    let page = read("docs/start.md");
    let from = page
        .split_once(&format!("\n## {heading}\n"))
        .expect(heading)
        .1;
    from.split("\n## ").next().unwrap().to_owned()
}

fn block(part: &str, language: &str) -> Vec<String> {
    let blocks = code_blocks(part).into_iter();
    blocks
        .filter(|(of, _)| of == language)
        .map(|(_, text)| text)
        .collect()
}

/// Every line of the part's `sh` blocks, run by a shell that has `cairn`, this node and this file.
fn follow(part: &str, folder: &Path, file: &Path, port: u16, skipped: &str) -> usize {
    let mut ran = 0;
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let link = bin.join("cairn");
    if !link.exists() {
        std::os::unix::fs::symlink(Cairn::program(), &link).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for line in block(part, "sh").concat().lines() {
        if !skipped.is_empty() && line.contains(skipped) {
            continue;
        }
        let line = line.replace("/etc/cairn/cairn.toml", &file.display().to_string());
        let mut command = Command::new("sh");
        command.args(["-c", &line]);
        Cairn::hide_test_variables(&mut command);
        command
            .env("PATH", &path)
            .env("CAIRN_URL", format!("http://127.0.0.1:{port}"));
        eventually(&line, Duration::from_secs(60), || {
            let output = command.output().unwrap();
            let text = printed(&output);
            if output.status.success() && !text.trim().is_empty() {
                Ok(())
            } else {
                Err(text)
            }
        });
        ran += 1;
    }
    ran
}

fn node(folder: &Path, name: &str, file: &Path, port: u16) -> Server {
    let mut command = Cairn::command();
    command.args(["serve", "--config"]).arg(file);
    let mut server = Server::start(name, command, folder);
    server.wait_until(Duration::from_secs(120), || {
        get(&format!("http://127.0.0.1:{port}/-/ready")).is_ok_and(|answer| answer.status == 200)
    });
    server
}

/// The page's configuration with a folder and ports of ours.
fn configuration(text: &str, data: &Path, port: u16) -> String {
    let text = replaced(text, "/var/lib/cairn", &data.display().to_string());
    format!("http.listen = \"127.0.0.1:{port}\"\ningest.self_scrape_interval = \"1s\"\n{text}")
}

#[test]
fn one_board() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let part = part("One board");
    let shown = &block(&part, "toml")[0];
    let port = free_port();
    let file = write(
        folder.path(),
        "cairn.toml",
        &configuration(shown, &folder.path().join("data"), port),
    );
    // What stands before the start is run before it; what asks a node waits for one.
    let before: String = part.split("systemctl enable").next().unwrap().to_owned() + "\n```\n";
    assert_eq!(follow(&before, folder.path(), &file, port, ""), 2);
    let _node = node(folder.path(), "cairn", &file, port);
    assert_eq!(follow(&part, folder.path(), &file, port, ""), 5);
}

#[test]
fn three_boards() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let part = part("Three boards");
    let shown = &block(&part, "toml")[0];
    let peers: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let with_peers = peers
        .iter()
        .enumerate()
        .fold(shown.clone(), |text, (at, port)| {
            replaced(
                &text,
                &format!("10.0.0.{}:9095", at + 1),
                &format!("127.0.0.1:{port}"),
            )
        });
    let files: Vec<_> = (0..3)
        .map(|at| {
            let data = folder.path().join(format!("data-{at}"));
            let text = configuration(&with_peers, &data, ports[at]);
            let own = format!(
                "peer.listen = \"127.0.0.1:{0}\"\nnode.name = \"board-{at}\"\n",
                peers[at]
            );
            write(folder.path(), &format!("cairn-{at}.toml"), &(own + &text))
        })
        .collect();
    // All must be there before any is ready.
    let start = |at: usize| {
        let mut command = Cairn::command();
        command.args(["serve", "--config"]).arg(&files[at]);
        Server::start(&format!("board-{at}"), command, folder.path())
    };
    let mut nodes: Vec<Server> = (0..3).map(start).collect();
    for (node, port) in nodes.iter_mut().zip(&ports) {
        node.wait_until(Duration::from_secs(120), || {
            get(&format!("http://127.0.0.1:{port}/-/ready"))
                .is_ok_and(|answer| answer.status == 200)
        });
    }
    for (file, port) in files.iter().zip(&ports) {
        assert_eq!(follow(&part, folder.path(), file, *port, ""), 3);
    }
    // Whatever node is asked: all three tell of themselves.
    for port in &ports {
        let url = format!("http://127.0.0.1:{port}");
        eventually("all three nodes", Duration::from_secs(60), || {
            let printed =
                succeed(Cairn::command().args(["query", "--url", &url, "count(cairn_build_info)"]));
            if printed.contains('3') {
                Ok(())
            } else {
                Err(printed)
            }
        });
    }
}

/// Every configuration that a page shows can be used.
#[test]
fn configurations_in_the_documentation_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for page in [
        "docs/start.md",
        "docs/operate.md",
        "docs/install.md",
        "README.md",
    ] {
        for text in block(&read(page), "toml") {
            seen += 1;
            let file = write(folder.path(), "cairn.toml", &text);
            let output = Cairn::command()
                .args(["check-config", "--config"])
                .arg(file)
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{page}: {}\n{text}",
                printed(&output)
            );
        }
    }
    let packaged = super::tools::root().join("packaging/cairn.toml");
    succeed(
        Cairn::command()
            .args(["check-config", "--config"])
            .arg(packaged),
    );
    assert!(seen >= 4, "{seen}");
}

/// A Prometheus that writes to the old place and to the new one; both have the same.
fn moving() -> Result<(), String> {
    use super::servers::NodeExporter;
    let prometheus = program("prometheus").ok_or("Debian's prometheus is not installed")?;
    let old = program("victoria-metrics").ok_or("Debian's victoria-metrics is not installed")?;
    let shown = block(
        &part("Moving from Prometheus, VictoriaMetrics or Mimir"),
        "yaml",
    )
    .remove(0);
    assert_eq!(shown, read("docs/examples/moving.yml"));
    let folder = tempfile::tempdir().unwrap();
    let exporter = NodeExporter::start(folder.path())?;
    let cairn = Cairn::start(folder.path(), &[]);
    let port = free_port();
    let mut command = Command::new(old);
    command
        .arg(format!(
            "-storageDataPath={}",
            folder.path().join("old").display()
        ))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .arg("-search.latencyOffset=1s");
    let mut old = Server::start("old", command, folder.path());
    old.wait_until(Duration::from_secs(60), || {
        get(&format!("http://127.0.0.1:{port}/health")).is_ok_and(|answer| answer.status == 200)
    });
    let text = replaced(&shown, "old.lan:8428", &format!("127.0.0.1:{port}"));
    let text = replaced(
        &text,
        "cairn.lan:9009",
        &format!("127.0.0.1:{}", cairn.port),
    );
    let text = replaced(
        &text,
        "localhost:9100",
        &format!("127.0.0.1:{}", exporter.port),
    );
    let file = write(
        folder.path(),
        "prometheus.yml",
        &replaced(&text, "15s", "1s"),
    );
    let mut command = Command::new(prometheus);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("prometheus").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{}", free_port()));
    let _prometheus = Server::start("prometheus", command, folder.path());
    let count = |url: &str| -> Result<f64, String> {
        let form = [("query", "count({job=\"node\"})")];
        let json = super::servers::post_form(&format!("{url}/api/v1/query"), &form)?.json();
        let text = json["data"]["result"][0]["value"][1]
            .as_str()
            .ok_or(json.to_string())?
            .to_owned();
        text.parse().map_err(|_| text)
    };
    eventually("the same in both places", Duration::from_secs(120), || {
        let (new, old) = (
            count(&cairn.url())?,
            count(&format!("http://127.0.0.1:{port}"))?,
        );
        if new > 300.0 && (new - old).abs() < 1.0 {
            Ok(())
        } else {
            Err(format!("{new} and {old}"))
        }
    });
    Ok(())
}

/// What an instant query gives, of anybody who speaks Prometheus' API.
fn number(url: &str, query: &str) -> Result<f64, String> {
    let form = [("query", query)];
    let answer = super::servers::post_form(&format!("{url}/api/v1/query"), &form)?;
    let text = answer.text();
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|_| text)?;
    let value = json["data"]["result"][0]["value"][1].as_str();
    value
        .and_then(|text| text.parse().ok())
        .ok_or(json.to_string())
}

/// A Prometheus with samples in its head, and a VictoriaMetrics with one sample: the places to move
/// from, with the Prometheus' data directory.
fn old_places(folder: &Path) -> Result<(Server, u16, Server, u16, String), String> {
    let prometheus = program("prometheus").ok_or("Debian's prometheus is not installed")?;
    let victoria =
        program("victoria-metrics").ok_or("Debian's victoria-metrics is not installed")?;
    let (old, older) = (free_port(), free_port());
    let config = format!(
        "scrape_configs:\n  - job_name: own\n    scrape_interval: 1s\n    static_configs:\n      - targets: [\"127.0.0.1:{old}\"]\n"
    );
    let file = write(folder, "prometheus.yml", &config);
    let data = folder.join("prometheus").display().to_string();
    let mut command = Command::new(prometheus);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={data}"))
        .arg("--web.enable-admin-api")
        .arg(format!("--web.listen-address=127.0.0.1:{old}"));
    let prometheus = Server::start("prometheus", command, folder);
    let mut command = Command::new(victoria);
    command
        .arg(format!("-storageDataPath={}", folder.join("vm").display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{older}"))
        .arg("-search.latencyOffset=1s");
    let victoria = Server::start("victoria", command, folder);
    let lines = format!("http://127.0.0.1:{older}/api/v1/import/prometheus");
    eventually("VictoriaMetrics takes it", Duration::from_secs(60), || {
        let sent = super::servers::post(&lines, &[], b"moved_from_victoria 7\n")?;
        (sent.status == 204).then_some(()).ok_or(sent.text())
    });
    eventually("samples in Prometheus", Duration::from_secs(60), || {
        let query = "count_over_time(up[5m])";
        let have = number(&format!("http://127.0.0.1:{old}"), query)?;
        (have >= 2.0).then_some(()).ok_or(format!("{have}"))
    });
    eventually("VictoriaMetrics gives it", Duration::from_secs(60), || {
        let query = "count_over_time(moved_from_victoria[5m])";
        number(&format!("http://127.0.0.1:{older}"), query)
    });
    Ok((prometheus, old, victoria, older, data))
}

/// The page's commands that move history: a snapshot of a running Prometheus, and VictoriaMetrics'
/// lines.
fn moving_history() -> Result<(), String> {
    let heading = "Moving from Prometheus, VictoriaMetrics or Mimir";
    let commands = block(&part(heading), "sh").concat();
    let folder = tempfile::tempdir().unwrap();
    let (_prometheus, old, _victoria, older, data) = old_places(folder.path())?;
    let cairn = Cairn::start(folder.path(), &[]);
    let mut text = commands;
    for (shown, own) in [
        ("old.lan:9090", format!("127.0.0.1:{old}")),
        ("old.lan:8428", format!("127.0.0.1:{older}")),
        ("cairn.lan:9009", format!("127.0.0.1:{}", cairn.port)),
        ("/var/lib/prometheus", data),
        ("<name>", "*".to_owned()),
    ] {
        text = replaced(&text, shown, &own);
    }
    let program = format!("{} import", Cairn::program().display());
    let mut command = Command::new("sh");
    command.args(["-e", "-c", &text.replace("cairn import", &program)]);
    Cairn::hide_test_variables(&mut command);
    succeed(&mut command);
    let moved = number(&cairn.url(), "count_over_time(moved_from_victoria[10m])")?;
    assert!((moved - 1.0).abs() < f64::EPSILON, "{moved}");
    let scraped = number(&cairn.url(), "count_over_time(up{job=\"own\"}[10m])")?;
    assert!(scraped >= 2.0, "{scraped}");
    Ok(())
}

#[test]
fn moving_with_history() {
    if let Err(reason) = moving_history() {
        skip("start::moving_with_history", &reason);
    }
}

#[test]
fn moving_side_by_side() {
    if let Err(reason) = moving() {
        skip("start::moving_side_by_side", &reason);
    }
}
