//! Boards find each other: in a real Consul, which is killed, emptied, locked and encrypted; and
//! by the names that Consul's DNS gives them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn::cluster::{
    Announcement, ConsulSettings, Discovery, DiscoveryKind, DiscoveryMetrics, DiscoverySettings,
    DnsSettings, Endpoint, Founding, KindSettings, Secret, Surroundings, open_discovery,
};
use cairn::model::Incarnation;
use cairn::runtime::{SystemChance, SystemClock};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::servers::{Consul, ConsulPorts, eventually, free_port, skip};

const MINUTE: Duration = Duration::from_secs(60);

/// What a health check asks: a port that answers 200 to everything while it is well.
struct Health {
    port: u16,
    well: Arc<AtomicBool>,
}

impl Health {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let well = Arc::new(AtomicBool::new(true));
        let answers = Arc::clone(&well);
        // Ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let status = if answers.load(Ordering::SeqCst) {
                    "200 OK"
                } else {
                    "503 No"
                };
                let answer =
                    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { port, well }
    }
}

/// A board, as far as discovery sees one.
struct Board {
    discovery: Box<dyn Discovery>,
    metrics: DiscoveryMetrics,
    health: Health,
    peer: String,
}

fn surroundings() -> Surroundings {
    Surroundings {
        clock: Arc::new(SystemClock::new()),
        chance: Arc::new(SystemChance),
        metrics: DiscoveryMetrics::default(),
    }
}

fn open(number: u16, consul: ConsulSettings) -> Board {
    let health = Health::start();
    let peer_port = free_port();
    let settings = DiscoverySettings {
        main: KindSettings {
            kind: DiscoveryKind::Consul,
        },
        consul,
        ..DiscoverySettings::default()
    };
    let announcement = Announcement {
        name: format!("board-{number}"),
        incarnation: Incarnation(u128::from(number)),
        zone: format!("shelf-{number}"),
        version: "0.1.0".to_owned(),
        peer: Endpoint {
            host: Some("127.0.0.1".to_owned()),
            port: peer_port,
        },
        http: Endpoint {
            host: None,
            port: health.port,
        },
    };
    let surroundings = surroundings();
    Board {
        discovery: open_discovery(&settings, &announcement, &surroundings).unwrap(),
        metrics: surroundings.metrics,
        health,
        peer: format!("127.0.0.1:{peer_port}"),
    }
}

fn at(url: &str) -> ConsulSettings {
    ConsulSettings {
        consul_http_addr: url.to_owned(),
        ..ConsulSettings::default()
    }
}

fn seen(discovery: &dyn Discovery) -> Vec<String> {
    let sighting = discovery.sightings().borrow().clone();
    sighting
        .peers
        .iter()
        .map(|peer| peer.address.clone())
        .collect()
}

/// Waits until each of `boards` sees exactly `others`.
fn see_each_other(boards: &[&Board], others: &[&Board]) {
    let mut expected: Vec<String> = others.iter().map(|board| board.peer.clone()).collect();
    expected.sort();
    eventually("boards see each other", MINUTE, || {
        for board in boards {
            let seen = seen(&*board.discovery);
            if seen != expected {
                let trouble = board.discovery.trouble();
                return Err(format!("{seen:?} instead of {expected:?}; {trouble:?}"));
            }
        }
        Ok(())
    });
}

fn by_name(name: &str, dns: u16) -> Box<dyn Discovery> {
    let settings = DiscoverySettings {
        main: KindSettings {
            kind: DiscoveryKind::Dns,
        },
        dns: DnsSettings {
            name: name.to_owned(),
            server: Some(format!("127.0.0.1:{dns}")),
        },
        ..DiscoverySettings::default()
    };
    let announcement = Announcement {
        name: "reader".to_owned(),
        incarnation: Incarnation(99),
        zone: String::new(),
        version: String::new(),
        peer: Endpoint {
            host: None,
            port: 1,
        },
        http: Endpoint {
            host: None,
            port: 1,
        },
    };
    open_discovery(&settings, &announcement, &surroundings()).unwrap()
}

fn resolves_to(name: &str, dns: u16, mut expected: Vec<String>) {
    expected.sort();
    // A name is asked for again after ten seconds at least: a new reader asks at once.
    eventually(name, MINUTE, || {
        let reader = by_name(name, dns);
        let mut found = Vec::new();
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(50));
            found = seen(&*reader);
            if found == expected {
                return Ok(());
            }
        }
        Err(format!(
            "{found:?} instead of {expected:?}; {:?}",
            reader.trouble()
        ))
    });
}

fn find_each_other(folder: &Path) -> Result<(), &'static str> {
    let consul = Consul::start(folder, ConsulPorts::free(), json!({}))?;
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let [one, two, three] = [1, 2, 3].map(|number| open(number, at(&consul.url())));
    see_each_other(&[&one, &two, &three], &[&one, &two, &three]);
    let sighting = one.discovery.sightings().borrow().clone();
    let said = sighting.peers.iter().find(|peer| peer.address == two.peer);
    let said = said.unwrap().said.clone().unwrap();
    assert_eq!(
        (said.name.as_str(), said.zone.as_str()),
        ("board-2", "shelf-2")
    );
    assert_eq!(said.incarnation, Incarnation(2));

    // The names that Grafana, HAProxy and a board without Consul's API use. By default Consul
    // puts three records into a small UDP answer, without a word: five have to come.
    let [four, five] = [4, 5].map(|number| open(number, at(&consul.url())));
    let five_boards = [&one, &two, &three, &four, &five];
    let http = five_boards.map(|board| format!("127.0.0.1:{}", board.health.port));
    resolves_to(
        "_cairn._tcp.service.consul",
        consul.ports.dns,
        http.to_vec(),
    );
    let everywhere = vec!["127.0.0.1:9009".to_owned()];
    resolves_to("cairn.service.consul:9009", consul.ports.dns, everywhere);
    let peers = five_boards.map(|board| board.peer.clone());
    resolves_to(
        "_cairn-peer._tcp.service.consul",
        consul.ports.dns,
        peers.to_vec(),
    );
    runtime.block_on(async { tokio::join!(four.discovery.close(), five.discovery.close()) });
    see_each_other(&[&one, &two, &three], &[&one, &two, &three]);

    // Nothing happens: nobody is asked.
    let requests = || -> u64 {
        let all = [&one, &two, &three]
            .into_iter()
            .map(|board| board.metrics.requests());
        all.sum()
    };
    let before = requests();
    assert!(before <= 45, "{before} requests to get to know each other");
    std::thread::sleep(Duration::from_secs(15));
    let quiet = requests() - before;
    assert!(
        quiet <= 3,
        "{quiet} requests in 15 quiet seconds of three boards"
    );

    // One stops cleanly, one falls ill and recovers.
    runtime.block_on(three.discovery.close());
    see_each_other(&[&one, &two], &[&one, &two]);
    two.health.well.store(false, Ordering::SeqCst);
    see_each_other(&[&one], &[&one]);
    two.health.well.store(true, Ordering::SeqCst);
    see_each_other(&[&one, &two], &[&one, &two]);

    // One is started again under its name, with a wiped disk and on other ports: no ghost stays.
    drop(two);
    let again = open(2, at(&consul.url()));
    see_each_other(&[&one, &again], &[&one, &again]);
    Ok(())
}

#[test]
fn boards_find_each_other_in_consul() {
    let folder = tempfile::tempdir().unwrap();
    if let Err(reason) = find_each_other(folder.path()) {
        skip("discovery::boards_find_each_other_in_consul", reason);
    }
}

fn killed_and_emptied(folder: &Path) -> Result<(), &'static str> {
    // The boards are there first.
    Consul::program()?;
    let ports = ConsulPorts::free();
    let url = format!("http://127.0.0.1:{}", ports.http);
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let [one, two, three] = [1, 2, 3].map(|number| open(number, at(&url)));
    std::thread::sleep(Duration::from_secs(1));
    assert!(one.discovery.trouble().unwrap().contains("gives no answer"));
    assert!(!one.discovery.sightings().borrow().answered);

    let mut consul = Consul::start(folder, ports, json!({}))?;
    let all = [&one, &two, &three];
    see_each_other(&all, &all);
    consul.kill();
    eventually("the loss is told", MINUTE, || {
        one.discovery
            .trouble()
            .ok_or_else(|| "no trouble".to_owned())
    });
    std::thread::sleep(Duration::from_secs(2));
    // What was seen stays seen.
    see_each_other(&all, &all);

    let consul = consul.restart_empty();
    eventually("all register again", MINUTE, || {
        let known = super::servers::get(&format!("{}/v1/agent/services", consul.url())).unwrap();
        let known = known.json().as_object().unwrap().len();
        if known == 6 {
            Ok(())
        } else {
            Err(format!("{known} services"))
        }
    });
    see_each_other(&all, &all);
    eventually("nothing is wrong any more", MINUTE, || {
        let troubles = all.map(|board| board.discovery.trouble());
        if troubles == [None, None, None] {
            Ok(())
        } else {
            Err(format!("{troubles:?}"))
        }
    });
    for board in all {
        let requests = board.metrics.requests();
        assert!(
            requests <= 60,
            "{requests} requests through a loss of Consul"
        );
    }
    // Somebody else's tidying takes a board off the list: it comes back when it is looked for,
    // which the loss of a connection brings about at once and time within minutes.
    Ok(())
}

#[test]
fn consul_may_be_killed_and_lose_everything() {
    let folder = tempfile::tempdir().unwrap();
    if let Err(reason) = killed_and_emptied(folder.path()) {
        skip(
            "discovery::consul_may_be_killed_and_lose_everything",
            reason,
        );
    }
}

/// The least that a token must allow.
const POLICY: &str = r#"
service "cairn" { policy = "write" }
service "cairn-peer" { policy = "write" }
node_prefix "" { policy = "read" }
session_prefix "" { policy = "write" }
key_prefix "cairn/" { policy = "write" }
"#;

/// The token of whoever may do everything.
pub const MANAGEMENT: &str = "11111111-2222-3333-4444-555555555555";

/// An agent that denies what no token allows, and a token that allows what a node needs.
pub fn guarded(folder: &Path, mut more: Value) -> Result<(Consul, String), &'static str> {
    let management = MANAGEMENT;
    more["acl"] = json!({
        "enabled": true, "default_policy": "deny",
        "tokens": {"initial_management": management, "agent": management},
    });
    let consul = Consul::start(folder, ConsulPorts::free(), more)?;
    let url = consul.url();
    let acl = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        let access = [format!("-http-addr={url}"), format!("-token={management}")];
        all.extend(access.iter().map(String::as_str));
        Consul::command(folder, &all)
    };
    let rules = format!("-rules={POLICY}");
    eventually("the policy is written", MINUTE, || {
        acl(&["acl", "policy", "create", "-name=cairn", &rules])
    });
    let token = acl(&[
        "acl",
        "token",
        "create",
        "-policy-name=cairn",
        "-format=json",
    ])
    .unwrap();
    let token: serde_json::Value = serde_json::from_str(&token).unwrap();
    let token = token["SecretID"].as_str().unwrap().to_owned();
    Ok((consul, token))
}

fn acls(folder: &Path) -> Result<(), &'static str> {
    let (consul, token) = guarded(folder, json!({}))?;
    let url = consul.url();
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    // A stranger is refused, and the reason is told; the right token in the file mends it.
    let file = folder.join("token");
    std::fs::write(&file, "99999999-2222-3333-4444-555555555555").unwrap();
    let filed = open(
        1,
        ConsulSettings {
            token_file: Some(file.clone()),
            ..at(&url)
        },
    );
    let trouble = eventually("the refusal is told", MINUTE, || {
        let trouble = filed.discovery.trouble().unwrap_or_default();
        if trouble.contains("registering") {
            Ok(trouble)
        } else {
            Err(trouble)
        }
    });
    assert!(
        trouble.contains("403") && trouble.contains("token"),
        "{trouble}"
    );
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let inline = open(
        2,
        ConsulSettings {
            token: Secret::new(token),
            ..at(&url)
        },
    );
    see_each_other(&[&filed, &inline], &[&filed, &inline]);
    let Founding::Record(record) = inline.discovery.founding() else {
        panic!("Consul has a record");
    };
    let decided = runtime.block_on(record.decide("a cluster".into()));
    assert_eq!(decided.unwrap(), "a cluster");
    // Without a token nobody is seen, and nobody gets in.
    let stranger = open(3, at(&url));
    eventually("the stranger is refused", MINUTE, || {
        stranger
            .discovery
            .trouble()
            .ok_or_else(|| "no trouble".to_owned())
    });
    assert_eq!(seen(&*stranger.discovery), Vec::<String>::new());
    runtime.block_on(filed.discovery.close());
    see_each_other(&[&inline], &[&inline]);
    Ok(())
}

#[test]
fn acls_are_obeyed_and_their_refusals_told() {
    let folder = tempfile::tempdir().unwrap();
    if let Err(reason) = acls(folder.path()) {
        skip("discovery::acls_are_obeyed_and_their_refusals_told", reason);
    }
}

/// Makes an authority and certificates below a folder; the server's part of the configuration.
pub fn certificates(folder: &Path, address: &str) -> Value {
    let address = format!("-additional-ipaddress={address}");
    for arguments in [
        &["tls", "ca", "create"][..],
        &["tls", "cert", "create", "-server", "-dc=dc1", &address],
        &["tls", "cert", "create", "-client", "-dc=dc1"],
    ] {
        Consul::command(folder, arguments).unwrap();
    }
    let file = |name: &str| folder.join(name);
    json!({
        "ca_file": file("consul-agent-ca.pem"),
        "cert_file": file("dc1-server-consul-0.pem"),
        "key_file": file("dc1-server-consul-0-key.pem"),
        "verify_incoming": true,
    })
}

fn tls(folder: &Path) -> Result<(), &'static str> {
    Consul::program()?;
    let more = json!({"tls": {"https": certificates(folder, "127.0.0.1")}});
    let file = |name: &str| folder.join(name);
    let consul = Consul::start(folder, ConsulPorts::free(), more)?;
    let url = format!("https://127.0.0.1:{}", consul.ports.https);
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let known = ConsulSettings {
        ca_cert: Some(file("consul-agent-ca.pem")),
        client_cert: Some(file("dc1-client-consul-0.pem")),
        client_key: Some(file("dc1-client-consul-0-key.pem")),
        ..at(&url)
    };
    let one = open(1, known.clone());
    let unchecked = ConsulSettings {
        ca_cert: None,
        tls_skip_verify: true,
        ..known.clone()
    };
    let two = open(2, unchecked);
    see_each_other(&[&one, &two], &[&one, &two]);
    // Who does not know the authority does not talk; who has no certificate is not talked to.
    let check = |settings: ConsulSettings, word: &str| {
        let board = open(3, settings);
        let trouble = eventually("TLS fails", MINUTE, || {
            board
                .discovery
                .trouble()
                .ok_or_else(|| "no trouble".to_owned())
        });
        assert!(trouble.to_lowercase().contains(word), "{trouble}");
        assert!(!board.discovery.sightings().borrow().answered);
    };
    Consul::command(folder, &["tls", "ca", "create", "-domain=other"]).unwrap();
    let foreign = ConsulSettings {
        ca_cert: Some(file("other-agent-ca.pem")),
        ..known.clone()
    };
    check(foreign, "certificate");
    let nobody = ConsulSettings {
        client_cert: None,
        client_key: None,
        ..known
    };
    check(nobody, "certificate");
    Ok(())
}

#[test]
fn consul_is_spoken_to_over_mutual_tls() {
    let folder = tempfile::tempdir().unwrap();
    if let Err(reason) = tls(folder.path()) {
        skip("discovery::consul_is_spoken_to_over_mutual_tls", reason);
    }
}

fn founding(folder: &Path) -> Result<(), &'static str> {
    let consul = Consul::start(folder, ConsulPorts::free(), json!({}))?;
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let boards: Vec<Board> = (1..=5)
        .map(|number| open(number, at(&consul.url())))
        .collect();
    let decide = async |board: &Board, number: usize| loop {
        let Founding::Record(record) = board.discovery.founding() else {
            panic!("Consul has a record");
        };
        match record
            .decide(format!("cluster of board {number}").into())
            .await
        {
            Ok(record) => return record,
            Err(error) => {
                println!("board {number}: {error}");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    };
    let race = async {
        tokio::join!(
            decide(&boards[0], 1),
            decide(&boards[1], 2),
            decide(&boards[2], 3),
            decide(&boards[3], 4),
            decide(&boards[4], 5),
        )
    };
    let race = async { tokio::time::timeout(MINUTE, race).await };
    let (one, two, three, four, five) = runtime.block_on(race).expect("a decision in a minute");
    assert_eq!([&two, &three, &four, &five], [&one; 4]);
    assert!(one.starts_with(b"cluster of board "));
    // A latecomer, and one who asks twice, get the same.
    let late = open(6, at(&consul.url()));
    assert_eq!(runtime.block_on(decide(&late, 6)), one);
    assert_eq!(runtime.block_on(decide(&boards[0], 7)), one);
    let sessions = super::servers::get(&format!("{}/v1/session/list", consul.url())).unwrap();
    assert_eq!(sessions.json(), json!([]), "no session is left");
    let keys = super::servers::get(&format!("{}/v1/kv/cairn/?keys", consul.url())).unwrap();
    assert_eq!(
        keys.json(),
        json!(["cairn/cairn/founding"]),
        "no lock is left"
    );
    Ok(())
}

#[test]
fn a_cluster_is_founded_once_however_many_try() {
    let folder = tempfile::tempdir().unwrap();
    if let Err(reason) = founding(folder.path()) {
        skip(
            "discovery::a_cluster_is_founded_once_however_many_try",
            reason,
        );
    }
}
