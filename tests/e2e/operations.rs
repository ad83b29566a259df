//! What an operator meets: starts that must fail with a reason, the command line, reload, pages.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::servers::{Cairn, Server, eventually, free_port, get, post};

fn run(arguments: &[&str]) -> Output {
    Cairn::command()
        .args(arguments)
        .env_remove("CAIRN_CONFIG")
        .output()
        .unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn refused(what: &str, arguments: &[&str], parts: &[&str]) {
    let output = run(arguments);
    assert!(!output.status.success(), "{what} should not start");
    for part in parts {
        assert!(
            complaint(&output).contains(part),
            "{what}: {part:?} is missing in {}",
            complaint(&output)
        );
    }
    assert!(
        !complaint(&output).contains("panicked"),
        "{what}: {}",
        complaint(&output)
    );
}

fn serve<'a>(data_dir: &'a Path, listen: &'a str) -> Vec<&'a str> {
    vec![
        "serve",
        "--data-dir",
        data_dir.to_str().unwrap(),
        "--http-listen",
        listen,
    ]
}

#[test]
fn a_start_that_cannot_work_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    refused(
        "a directory that is a file",
        &serve(&file.join("data"), "127.0.0.1:0"),
        &["file"],
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(
        "a taken port",
        &serve(&folder.path().join("a"), &address),
        &[&address, "in use"],
    );
    refused(
        "no address",
        &serve(&folder.path().join("a"), "nonsense"),
        &["http.listen", "nonsense"],
    );
    let node = Cairn::start(folder.path(), &[]);
    let pid = node.server.pid().to_string();
    refused(
        "a directory in use",
        &serve(&node.data_dir, "127.0.0.1:0"),
        &[node.data_dir.to_str().unwrap(), &pid],
    );
    let config = folder.path().join("cairn.toml");
    std::fs::write(&config, "retention.totl = \"2y\"\n").unwrap();
    let config = config.to_str().unwrap();
    refused(
        "a wrong key",
        &["check-config", "--config", config],
        &["retention.totl", "retention.total", config],
    );
    refused(
        "a wrong key",
        &["serve", "--config", config],
        &["retention.totl"],
    );
    refused(
        "a missing file",
        &["serve", "--config", "/nowhere.toml"],
        &["/nowhere.toml"],
    );
    // What may be put there later is no reason to refuse.
    std::fs::write(config, "discovery.consul.token_file = \"/nowhere/token\"\n").unwrap();
    let output = run(&["check-config", "--config", config]);
    assert!(output.status.success(), "{}", complaint(&output));
    for part in ["warning: ", "discovery.consul.token_file", "/nowhere/token"] {
        assert!(complaint(&output).contains(part), "{}", complaint(&output));
    }
}

#[test]
fn a_foreign_directory_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("precious.txt"), "mine").unwrap();
    refused(
        "a foreign directory",
        &serve(folder.path(), "127.0.0.1:0"),
        &[folder.path().to_str().unwrap()],
    );
    assert_eq!(
        std::fs::read_to_string(folder.path().join("precious.txt")).unwrap(),
        "mine"
    );
}

#[test]
#[allow(clippy::too_many_lines, reason = "a list of cases")]
fn a_fresh_node_has_its_own_metrics_and_answers_everything() {
    let folder = tempfile::tempdir().unwrap();
    let node = Cairn::start(folder.path(), &["ingest.self_scrape_interval=1s"]);
    eventually("its own metrics", Duration::from_secs(20), || {
        match node.query("count({job=\"cairn\"})")[0]["value"][1]
            .as_str()
            .map(str::parse::<u32>)
        {
            Some(Ok(count)) if count > 20 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let url = node.url();
    let output = run(&["query", "--url", &url, "up{job=\"cairn\"}"]);
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("up{"),
        "{}",
        complaint(&output)
    );
    let output = run(&[
        "query",
        "--url",
        &url,
        "--last",
        "1m",
        "--step",
        "1s",
        "--graph",
        "up{job=\"cairn\"}",
    ]);
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("━━ up{"),
        "{}",
        complaint(&output)
    );
    let output = run(&["status", "--url", &url]);
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("series"),
        "{}",
        complaint(&output)
    );
    let output = run(&["status", "--url", &url, "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(status.is_object(), "{status}");
    let output = run(&["query", "--url", &url, "sum("]);
    assert!(
        output.status.code() == Some(1) && complaint(&output).contains("parse error"),
        "{}",
        complaint(&output)
    );

    for path in [
        "/",
        "/-/healthy",
        "/-/ready",
        "/metrics",
        "/api/v1/status/buildinfo",
        "/api/v1/status/tsdb",
        "/api/v1/status/runtimeinfo",
        "/api/v1/status/flags",
        "/api/v1/status/config",
        "/api/v1/targets",
        "/api/v1/rules",
        "/api/v1/alerts",
        "/api/v1/alertmanagers",
        "/api/v1/metadata",
        "/api/v1/labels",
        "/api/v1/label/__name__/values",
        "/api/v1/query?query=1%2B1&time=4",
        "/prometheus/api/v1/query?query=up",
        "/api/v1/format_query?query=up%2Bup",
        "/api/v1/parse_query?query=up",
        "/api/v1/query_exemplars?query=up&start=0&end=1",
        "/api/v1/series?match[]=up",
    ] {
        let answer = get(&format!("{url}{path}")).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}

#[test]
fn grafanas_save_and_test_works_on_an_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let node = Cairn::start(folder.path(), &["ingest.self_scrape_interval=0s"]);
    let answer = node.api("query", &[("query", "1+1"), ("time", "4")]);
    assert_eq!(
        answer.json()["data"],
        serde_json::json!({"resultType": "scalar", "result": [4, "2"]})
    );
    let build = get(&format!("{}/api/v1/status/buildinfo", node.url()))
        .unwrap()
        .json();
    assert!(
        build["data"]["version"].as_str().unwrap().starts_with("3."),
        "{build}"
    );
    let missing = get(&format!("{}/config/v1/rules", node.url())).unwrap();
    assert_eq!(
        (missing.status, missing.text().contains("page not found")),
        (404, true)
    );
}

/// Would catch a reload that takes a broken file, says nothing of what waits, or lies about it.
#[test]
fn a_configuration_is_read_again_or_refused_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cairn.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("telemetry.level = \"info\"\n");
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut command = Cairn::command();
    command
        .args(serve(&folder.path().join("data"), &listen))
        .arg("--config")
        .arg(&file);
    let mut server = Server::start("cairn", command, folder.path());
    server.wait_until(Duration::from_secs(60), || {
        get(&format!("http://{listen}/-/ready")).is_ok_and(|answer| answer.status == 200)
    });
    let reload = || post(&format!("http://{listen}/-/reload"), &[], b"").unwrap();
    let succeeded = || {
        let status = get(&format!("http://{listen}/api/v1/status/runtimeinfo")).unwrap();
        status.json()["data"]["reloadConfigSuccess"].clone()
    };

    write("telemetry.level = \"debug\"\nhttp.max_connections = 7\n");
    assert_eq!(reload().status, 200);
    let output = server.output();
    assert!(
        output.contains("http.max_connections") && !output.contains("keys=telemetry.level"),
        "what waits for the next start is named, and only that: {output}"
    );
    assert_eq!(succeeded(), true);

    write("telemetry.levle = \"debug\"\n");
    let refused = reload();
    assert_eq!(refused.status, 500);
    assert!(
        refused.text().contains("telemetry.level"),
        "{}",
        refused.text()
    );
    assert_eq!(succeeded(), false);

    write("telemetry.level = \"info\"\n");
    let pid = server.pid().to_string();
    Command::new("kill").args(["-HUP", &pid]).status().unwrap();
    eventually("the signal to be obeyed", Duration::from_secs(10), || {
        (succeeded() == true)
            .then_some(())
            .ok_or_else(|| server.output())
    });
}

/// However early it comes: the node ends within seconds, and what it had is there afterwards.
#[test]
fn a_stop_at_any_moment_of_a_start_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("cairn");
    for step in 0..12 {
        let mut child = Cairn::command()
            .args(serve(&data_dir, "127.0.0.1:0"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(step * 25));
        let pid = child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        let ended = eventually("the node to end", Duration::from_secs(30), || {
            let ended = child.try_wait().unwrap();
            ended.ok_or_else(|| "it still runs".to_owned())
        });
        // Before it listens for signals, the signal itself ends it.
        assert!(ended.success() || ended.signal() == Some(15), "{ended}");
    }
    let node = Cairn::start(folder.path(), &[]);
    drop(node);
}
