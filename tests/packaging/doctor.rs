//! `cairn doctor` on real illnesses: each is named, with a remedy, and only what must be mended makes it fail.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::servers::{Cairn, Consul, ConsulPorts, free_port, skip};
use super::tools::printed;

/// What the doctor finds on a data directory with settings, and whether it ends well.
fn findings(data_dir: &Path, settings: &[&str]) -> (Vec<Value>, bool) {
    let mut command = Cairn::command();
    command
        .args(["doctor", "--json", "--data-dir"])
        .arg(data_dir);
    for setting in settings {
        command.args(["--set", setting]);
    }
    found(&mut command)
}

fn found(command: &mut Command) -> (Vec<Value>, bool) {
    let output = command.output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", printed(&output)));
    (
        json["findings"].as_array().unwrap().clone(),
        output.status.success(),
    )
}

/// The state of a check, and all that is said of it; the worst when there are several.
fn of(findings: &[Value], check: &str) -> (String, String) {
    let about: Vec<&Value> = findings
        .iter()
        .filter(|one| one["check"] == check)
        .collect();
    assert!(
        !about.is_empty(),
        "nothing is said of {check}: {findings:?}"
    );
    let worst = ["fail", "warn", "ok"]
        .into_iter()
        .find(|state| about.iter().any(|one| one["state"] == *state))
        .unwrap();
    for one in &about {
        assert_eq!(one["state"] == "ok", one["remedy"] == "", "{one}");
    }
    let said: Vec<String> = about.iter().map(|one| one.to_string()).collect();
    (worst.to_owned(), said.join("\n"))
}

/// Settings with which a check comes to a state and says something.
fn check(data_dir: &Path, settings: &[&str], name: &str, state: &str, wants: &[&str]) {
    let (all, well) = findings(data_dir, settings);
    let (worst, said) = of(&all, name);
    assert_eq!(worst, state, "{settings:?}: {all:?}");
    for want in wants {
        assert!(said.contains(want), "{want}: {said}");
    }
    if state == "fail" {
        assert!(!well, "{settings:?}: it must end with 1");
    }
}

#[test]
fn a_machine_that_is_fit_and_one_that_is_not() {
    // Not below /tmp, which is a tmpfs on many machines.
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let data = folder.path().join("data");
    let listen = format!("http.listen=127.0.0.1:{}", free_port());
    let set = listen.as_str();
    let (all, well) = findings(&data, &[set]);
    assert!(well, "{all:?}");
    for name in [
        "configuration",
        "data directory",
        "disk space",
        "http port",
        "discovery",
        "clock",
        "memory pages",
    ] {
        assert_eq!(of(&all, name).0, "ok", "{all:?}");
    }
    for measured in ["disk commits", "disk writes"] {
        of(&all, measured);
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "something was left behind"
    );

    check(
        &data,
        &["query.timeout=fast"],
        "configuration",
        "fail",
        &["query.timeout", "check-config"],
    );
    check(
        &data,
        &[set, "disk.min_free=1000TiB"],
        "disk space",
        "fail",
        &["writes are refused", "retention"],
    );
    check(
        &data,
        &[set, "memory_limit=1MiB"],
        "memory",
        "warn",
        &["memory_limit"],
    );
    check(
        &data,
        &[set, "http.max_connections=100000000"],
        "open files",
        "warn",
        &["LimitNOFILE"],
    );
    check(
        &data,
        &["http.listen=192.0.2.1:9009"],
        "http port",
        "fail",
        &["address of this machine"],
    );
    let local = format!("archive.local.path={}", folder.path().display());
    let nowhere = format!("{local}/nowhere");
    let kind = "archive.kind=local";
    check(
        &data,
        &[set, kind, &local],
        "bucket",
        "ok",
        &["nobody's yet"],
    );
    check(&data, &[set, kind, &nowhere], "bucket", "fail", &["mount"]);
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("http.listen={}", held.local_addr().unwrap());
    check(
        &data,
        &[&taken],
        "http port",
        "fail",
        &["another program", "ss -ltnp"],
    );
    drop(held);

    std::fs::write(folder.path().join("letters.txt"), "").unwrap();
    check(
        folder.path(),
        &[set],
        "data directory",
        "fail",
        &["letters.txt", "empty directory"],
    );
    check(
        &folder.path().join("letters.txt"),
        &[set],
        "data directory",
        "fail",
        &["is a file"],
    );
    let forgetting = Path::new("/dev/shm");
    if forgetting.is_dir() {
        check(
            &forgetting.join("cairn-doctor"),
            &[set],
            "file system",
            "fail",
            &["choose a data_dir on a disk"],
        );
    }
    check(
        Path::new("/proc/cairn"),
        &[set],
        "disk writes",
        "fail",
        &["write access"],
    );
}

#[test]
fn peers_certificates_and_discovery() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let data = folder.path().join("data");
    let gone = format!("127.0.0.1:{}", free_port());
    let own = format!("127.0.0.1:{}", free_port());
    let (listen, advertise) = (
        format!("http.listen=127.0.0.1:{}", free_port()),
        format!("peer.advertise={own}"),
    );
    let peer = format!("peer.listen={own}");
    let list = format!("discovery.static.peers={own},{gone}");
    let common = [listen.as_str(), &advertise, &peer];
    let with = |more: &[&str]| -> Vec<String> {
        common
            .iter()
            .chain(more)
            .map(|text| (*text).to_owned())
            .collect()
    };
    let check = |more: &[&str], name: &str, state: &str, wants: &[&str]| {
        let settings = with(more);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        check(&data, &settings, name, state, wants);
    };
    check(
        &["discovery.kind=static", &list],
        "peers",
        "warn",
        &[&gone, "firewall"],
    );
    check(
        &["discovery.kind=static", &list],
        "peer TLS",
        "warn",
        &["taken for one"],
    );
    let foreign = format!("discovery.static.peers={gone}");
    check(
        &["discovery.kind=static", &foreign],
        "discovery",
        "warn",
        &[&own, "not on the list"],
    );
    check(
        &["discovery.kind=static"],
        "discovery",
        "fail",
        &["peer.advertise"],
    );
    let missing = [
        "peer.tls.ca_file=/nowhere/ca.pem",
        "peer.tls.cert_file=/nowhere/c.pem",
        "peer.tls.key_file=/nowhere/k.pem",
    ];
    let tls: Vec<&str> = missing
        .iter()
        .copied()
        .chain(["discovery.kind=static", &list])
        .collect();
    check(&tls, "peer TLS", "fail", &["/nowhere/ca.pem", "PEM"]);
    let away = format!("discovery.consul.consul_http_addr=http://{gone}");
    check(
        &["discovery.kind=consul", &away],
        "discovery",
        "fail",
        &[&gone, "Consul agent"],
    );
    let dns = format!("discovery.dns.server={gone}");
    check(
        &[
            "discovery.kind=dns",
            "discovery.dns.name=cairn-peer.lan",
            &dns,
        ],
        "discovery",
        "fail",
        &["name server"],
    );
}

fn consul() -> Result<(), String> {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let acl = json!({"acl": {"enabled": true, "default_policy": "deny", "tokens": {"initial_management": "00000000-0000-0000-0000-000000000001"}}});
    let agent = Consul::start(folder.path(), ConsulPorts::free(), acl)?;
    let data = folder.path().join("data");
    let address = format!("discovery.consul.consul_http_addr={}", agent.url());
    let listen = format!("http.listen=127.0.0.1:{}", free_port());
    let peer = format!("peer.listen=127.0.0.1:{}", free_port());
    let with = |token: &'static str| {
        [
            listen.clone(),
            peer.clone(),
            "discovery.kind=consul".to_owned(),
            address.clone(),
            format!("discovery.consul.token={token}"),
        ]
    };
    let refused = with("00000000-0000-0000-0000-00000000dead");
    let refused: Vec<&str> = refused.iter().map(String::as_str).collect();
    check(
        &data,
        &refused,
        "discovery",
        "fail",
        &["403", "the token must exist"],
    );
    let taken = with("00000000-0000-0000-0000-000000000001");
    let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
    check(
        &data,
        &taken,
        "discovery",
        "ok",
        &["before the first start"],
    );
    // Asked of, and nobody registered.
    let services = Consul::command(
        folder.path(),
        &[
            "catalog",
            "services",
            &format!("-http-addr={}", agent.url()),
            "-token=00000000-0000-0000-0000-000000000001",
        ],
    )?;
    assert!(!services.contains("cairn"), "{services}");
    Ok(())
}

#[test]
fn consul_is_asked_and_nobody_is_registered() {
    if let Err(reason) = consul() {
        skip("doctor::consul_is_asked_and_nobody_is_registered", &reason);
    }
}

#[test]
fn a_node_that_runs_is_asked() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let node = Cairn::start(folder.path(), &[]);
    let listen = format!("http.listen=127.0.0.1:{}", node.port);
    let (all, well) = findings(&node.data_dir, &[&listen]);
    assert!(well, "{all:?}");
    for name in ["node", "writes", "cluster", "http port", "data directory"] {
        assert_eq!(of(&all, name).0, "ok", "{all:?}");
    }
    assert!(of(&all, "data directory").1.contains("is a node's"));
    drop(node);
    // What it wrote stays behind when the clock is set back.
    let identity = node_file(folder.path());
    let future = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400);
    std::fs::File::options()
        .write(true)
        .open(identity)
        .unwrap()
        .set_modified(future)
        .unwrap();
    check(
        &folder.path().join("cairn"),
        &[&listen],
        "clock",
        "fail",
        &["before the newest file"],
    );

    let full = tempfile::tempdir_in("/var/tmp").unwrap();
    let node = Cairn::start(full.path(), &["disk.min_free=1000TiB"]);
    let listen = format!("http.listen=127.0.0.1:{}", node.port);
    super::servers::eventually(
        "the node to see its disk",
        std::time::Duration::from_secs(60),
        || {
            let (all, well) = findings(&node.data_dir, &[&listen]);
            let (state, said) = of(&all, "writes");
            if state == "fail" && !well {
                Ok(())
            } else {
                Err(said)
            }
        },
    );
}

/// A file that the node wrote at its start.
fn node_file(folder: &Path) -> std::path::PathBuf {
    folder.join("cairn/identity")
}

/// What a person sees, and a bound of the process that only a real one shows.
#[test]
fn the_text_names_what_to_do() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 256; exec \"$0\" doctor --no-disk --http-listen 127.0.0.1:0 --data-dir \"$1\""])
        .arg(Cairn::program())
        .arg(folder.path());
    Cairn::hide_test_variables(&mut command);
    let output = command.output().unwrap();
    let text = printed(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("256 may be open") && text.contains("-> LimitNOFILE=65536"),
        "{text}"
    );
    assert!(text.contains("1 to think of, none that fails"), "{text}");
    assert!(!text.contains("disk commits"), "it was told not to: {text}");
}
