//! Containers, Kubernetes, Consul, HAProxy, nginx: three nodes run with the settings of the compose file, the
//! proxies stand before them, the dashboard and the alerts are asked of them; manifests are built, and every
//! setting in them is checked by the program.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::dashboards::{answer, of_the_alerts, of_the_dashboard};
use super::remote_write::{body, now_ms, send, series};
use super::servers::{
    Cairn, Consul, ConsulPorts, Server, eventually, free_port, get, post, post_form, skip,
};
use super::tools::{program, read, replaced, root, succeed, write, yaml};

/// Panels that may show nothing on three healthy nodes that a list joins and nobody annoys.
const MAY_BE_EMPTY: &[&str] = &["Consul or DNS", "Refused"];

struct Node {
    server: Server,
    port: u16,
}

impl Node {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Three nodes with the environment of `compose.yaml`, its names replaced by ports of this machine.
fn three_nodes(folder: &Path) -> Result<Vec<Node>, String> {
    let compose = yaml(&read("packaging/container/compose.yaml")).ok_or("Python has no yaml")?;
    let services = compose[0]["services"].as_object().unwrap();
    assert_eq!(services.len(), 3);
    let ports: BTreeMap<&String, u16> = services.keys().map(|name| (name, free_port())).collect();
    let bucket = folder.join("bucket");
    std::fs::create_dir(&bucket).unwrap();
    let mut nodes = Vec::new();
    for (name, service) in services {
        assert_eq!(
            service["image"], "cairn",
            "{name}: what all have in common is there"
        );
        let volume = service["volumes"][0].as_str().unwrap();
        assert!(
            compose[0]["volumes"][volume.split(':').next().unwrap()].is_object(),
            "{volume}"
        );
        let port = free_port();
        let mut command = Cairn::command();
        command.arg("serve");
        for (key, value) in service["environment"].as_object().unwrap() {
            let mut value = value.as_str().unwrap().to_owned();
            for (name, port) in &ports {
                value = value.replace(&format!("{name}:9095"), &format!("127.0.0.1:{port}"));
            }
            command.env(key, value);
        }
        command
            .env("CAIRN_DATA_DIR", folder.join(name))
            .env("CAIRN_HTTP__LISTEN", format!("127.0.0.1:{port}"))
            .env("CAIRN_PEER__LISTEN", format!("127.0.0.1:{}", ports[name]))
            .env("CAIRN_ARCHIVE__KIND", "local")
            .env("CAIRN_ARCHIVE__LOCAL__PATH", &bucket)
            .env("CAIRN_INGEST__SELF_SCRAPE_INTERVAL", "1s");
        nodes.push(Node {
            server: Server::start(name, command, folder),
            port,
        });
    }
    for node in &mut nodes {
        let ready = format!("http://127.0.0.1:{}/-/ready", node.port);
        node.server.wait_until(Duration::from_secs(120), || {
            get(&ready).is_ok_and(|answer| answer.status == 200)
        });
    }
    Ok(nodes)
}

/// An example's text with its three boards' addresses replaced by those of the nodes.
fn with_boards(text: &str, nodes: &[Node]) -> String {
    nodes
        .iter()
        .enumerate()
        .fold(text.to_owned(), |text, (at, node)| {
            replaced(
                &text,
                &format!("10.0.0.{}:9009", at + 1),
                &format!("127.0.0.1:{}", node.port),
            )
        })
}

fn haproxy(folder: &Path, nodes: &[Node]) -> Result<(Server, String), String> {
    let program = program("haproxy").ok_or("there is no haproxy")?;
    let port = free_port();
    let text = with_boards(&read("packaging/haproxy/cairn.cfg"), nodes);
    let text = replaced(&text, "bind :9009", &format!("bind 127.0.0.1:{port}"));
    let file = write(folder, "haproxy.cfg", &text);
    let checked = succeed(Command::new(&program).args(["-c", "-f"]).arg(&file));
    assert!(!checked.contains("Warning"), "{checked}");
    let mut command = Command::new(&program);
    command.args(["-db", "-f"]).arg(&file);
    started("haproxy", command, folder, port)
}

fn nginx(folder: &Path, nodes: &[Node]) -> Result<(Server, String), String> {
    let program = program("nginx").ok_or("there is no nginx")?;
    let port = free_port();
    let text = with_boards(&read("packaging/nginx/cairn.conf"), nodes);
    let text = replaced(&text, "listen 9009;", &format!("listen 127.0.0.1:{port};"));
    let site = write(folder, "nginx/site.conf", &text);
    let place = folder.join("nginx");
    let around = format!(
        "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log {0}/error.log;\nevents {{}}\nhttp {{\n    access_log off;\n    \
         client_body_temp_path {0}/body;\n    proxy_temp_path {0}/proxy;\n    fastcgi_temp_path {0}/fastcgi;\n    \
         uwsgi_temp_path {0}/uwsgi;\n    scgi_temp_path {0}/scgi;\n    include {1};\n}}\n",
        place.display(),
        site.display()
    );
    let file = write(folder, "nginx/nginx.conf", &around);
    succeed(Command::new(&program).args(["-t", "-c"]).arg(&file));
    let mut command = Command::new(&program);
    command.arg("-c").arg(&file);
    started("nginx", command, folder, port)
}

fn started(
    name: &str,
    command: Command,
    folder: &Path,
    port: u16,
) -> Result<(Server, String), String> {
    let url = format!("http://127.0.0.1:{port}");
    let mut server = Server::start(name, command, folder);
    server.wait_until(Duration::from_secs(60), || {
        get(&format!("{url}/-/ready")).is_ok_and(|answer| answer.status == 200)
    });
    Ok((server, url))
}

/// A sample by one way in, asked for by another.
fn written_and_read(name: &str, write_url: &str, read_url: &str) {
    let sample = series(
        &[("__name__", "through"), ("proxy", name)],
        &[(now_ms(), 7.0)],
    );
    let answer = send(write_url, &body(vec![sample])).unwrap();
    assert!(
        answer.status / 100 == 2,
        "{name}: {} {}",
        answer.status,
        answer.text()
    );
    let query = format!("through{{proxy=\"{name}\"}}");
    let answer = post_form(&format!("{read_url}/api/v1/query"), &[("query", &query)]).unwrap();
    assert_eq!(
        answer.json()["data"]["result"][0]["value"][1],
        "7",
        "{}",
        answer.text()
    );
    // Larger than what proxies take by themselves; that it is rubbish is for Cairn to say.
    let rubbish = post(
        &format!("{write_url}/api/v1/write"),
        &[("content-encoding", "snappy")],
        &vec![0xff; 3 << 20],
    );
    let rubbish = rubbish.unwrap();
    assert!(
        [400, 415].contains(&rubbish.status),
        "{name}: {} {}",
        rubbish.status,
        rubbish.text()
    );
}

/// Every expression of dashboard and alerts, asked of a healthy cluster.
fn dashboards(url: &str) {
    eventually(
        "every panel to show something",
        Duration::from_secs(120),
        || {
            let empty: Vec<String> = of_the_dashboard()
                .iter()
                .filter(|asked| {
                    !MAY_BE_EMPTY.contains(&asked.name.as_str()) && answer(url, asked).is_empty()
                })
                .map(|asked| format!("{}: {}", asked.name, asked.expression))
                .collect();
            if empty.is_empty() {
                Ok(())
            } else {
                Err(empty.join("\n"))
            }
        },
    );
    for asked in of_the_alerts().unwrap() {
        let fires = answer(url, &asked);
        assert!(fires.is_empty(), "{}: {fires:?}", asked.name);
    }
}

fn three_boards() -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes = three_nodes(folder.path())?;
    let proxies = [haproxy(folder.path(), &nodes), nginx(folder.path(), &nodes)];
    let mut ways: Vec<(String, String)> = Vec::new();
    for proxy in &proxies {
        match proxy {
            Ok((server, url)) => ways.push((server.name.clone(), url.clone())),
            Err(reason) => skip("homes::three_boards (one of the proxies)", reason),
        }
    }
    for (name, url) in &ways {
        written_and_read(name, url, &ways.last().unwrap().1);
    }
    dashboards(&nodes[0].url());
    // One board goes: whoever comes by a proxy does not notice.
    nodes[2].server.kill();
    for (name, url) in &ways {
        for round in 0..6 {
            let answer = post_form(
                &format!("{url}/api/v1/query"),
                &[("query", "count(through)")],
            )
            .unwrap();
            assert_eq!(answer.status, 200, "{name}, {round}: {}", answer.text());
            let sample = series(
                &[("__name__", "on"), ("proxy", name)],
                &[(now_ms(), f64::from(round))],
            );
            let written = send(url, &body(vec![sample])).unwrap();
            assert!(
                written.status / 100 == 2,
                "{name}, {round}: {} {}",
                written.status,
                written.text()
            );
        }
    }
    let down = of_the_alerts()
        .unwrap()
        .into_iter()
        .find(|asked| asked.name == "CairnMemberDown");
    let down = down.unwrap();
    let url = nodes[0].url();
    eventually(
        "the alert of a board that is down",
        Duration::from_secs(120),
        || {
            let fires = answer(&url, &down);
            if fires.is_empty() {
                Err(down.expression.clone())
            } else {
                Ok(())
            }
        },
    );
    Ok(())
}

#[test]
fn three_boards_behind_proxies_with_dashboard_and_alerts() {
    if let Err(reason) = three_boards() {
        skip(
            "homes::three_boards_behind_proxies_with_dashboard_and_alerts",
            &reason,
        );
    }
}

/// Would catch a key that does not exist, a probe or port that nobody serves.
fn kubernetes() -> Result<(), String> {
    let text = match program("kubectl") {
        Some(kubectl) => succeed(
            Command::new(kubectl)
                .arg("kustomize")
                .arg(root().join("packaging/kubernetes")),
        ),
        None => read("packaging/kubernetes/cairn.yaml"),
    };
    let all = yaml(&text).ok_or("Python has no yaml")?;
    let of = |kind: &str, name: &str| -> &Value {
        let found = all
            .iter()
            .find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    let set = of("StatefulSet", "cairn");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let peers = of("Service", set["spec"]["serviceName"].as_str().unwrap());
    assert_eq!(
        (
            &peers["spec"]["clusterIP"],
            &peers["spec"]["publishNotReadyAddresses"]
        ),
        (&Value::from("None"), &Value::from(true))
    );

    let fields = [
        ("$(POD_NAME)", "cairn-0"),
        ("$(POD_NAMESPACE)", "metrics"),
        ("$(POD_IP)", "10.1.2.3"),
    ];
    let mut command = Cairn::command();
    command.args(["check-config", "--json"]);
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        if let Some(value) = variable["value"].as_str() {
            let value = fields
                .iter()
                .fold(value.to_owned(), |text, (field, value)| {
                    text.replace(field, value)
                });
            assert!(!value.contains('$'), "{name}: {value}");
            command.env(name, value);
        }
    }
    let settings: Value = serde_json::from_str(&succeed(&mut command)).unwrap();
    assert_eq!(
        settings["discovery.dns.name"],
        "cairn-peer.metrics.svc.cluster.local"
    );
    assert_eq!(settings["peer.advertise"], "10.1.2.3:9095");
    assert_eq!(
        settings["data_dir"],
        container["volumeMounts"][0]["mountPath"]
    );

    let port_of = |name: &str| -> u64 {
        let ports = container["ports"].as_array().unwrap().iter();
        let mut found = ports.filter(|port| port["name"] == name);
        found.next().unwrap()["containerPort"].as_u64().unwrap()
    };
    let ends = |key: &str, port: u64| {
        settings[key]
            .as_str()
            .unwrap()
            .ends_with(&format!(":{port}"))
    };
    assert!(ends("http.listen", port_of("http")) && ends("peer.listen", port_of("peer")));
    let paths = read("docs/reference/http.md");
    for probe in ["livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        assert!(paths.contains(&format!("`{path}`")), "{path} is not served");
    }
    Ok(())
}

#[test]
fn manifests_for_kubernetes_are_whole() {
    if let Err(reason) = kubernetes() {
        skip("homes::manifests_for_kubernetes_are_whole", &reason);
    }
}

/// The second image of the Containerfile has these and few more.
#[test]
fn the_program_needs_no_library_that_the_image_lacks() {
    let needed = succeed(Command::new("ldd").arg(Cairn::program()));
    let there = [
        "linux-vdso",
        "libstdc++.so.6",
        "libgcc_s.so.1",
        "libm.so.6",
        "libc.so.6",
        "ld-linux",
    ];
    for line in needed.lines() {
        assert!(there.iter().any(|name| line.contains(name)), "{line}");
    }
    let file = read("packaging/container/Containerfile");
    let rust = read("rust-toolchain.toml");
    let oldest = format!("FROM rust:{}-", env!("CARGO_PKG_RUST_VERSION"));
    assert!(file.contains(&oldest), "{oldest} ({rust})");
    let settings = file
        .lines()
        .find_map(|line| line.strip_prefix("ENV "))
        .unwrap();
    let mut command = Cairn::command();
    command.arg("check-config");
    command.envs(
        settings
            .split_whitespace()
            .map(|pair| pair.split_once('=').unwrap()),
    );
    succeed(&mut command);
}

fn consul() -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let agent = Consul::start(folder.path(), ConsulPorts::free(), serde_json::json!({}))?;
    let node = Cairn::start(folder.path(), &[]);
    let text = replaced(
        &read("packaging/consul/cairn.json"),
        "127.0.0.1:9009",
        &format!("127.0.0.1:{}", node.port),
    );
    // Passing within a second, not ten.
    let text = replaced(&text, "\"interval\": \"10s\"", "\"interval\": \"1s\"");
    write(folder.path(), "service.json", &text);
    let address = format!("-http-addr={}", agent.url());
    Consul::command(
        folder.path(),
        &["services", "register", &address, "service.json"],
    )?;
    eventually("the service to be healthy", Duration::from_secs(60), || {
        let answer = get(&format!("{}/v1/health/service/cairn?passing", agent.url()))?;
        let found = answer.json();
        if found[0]["Service"]["Port"] == 9009 {
            Ok(())
        } else {
            Err(found.to_string())
        }
    });
    Ok(())
}

#[test]
fn consul_takes_the_service_definition() {
    if let Err(reason) = consul() {
        skip("homes::consul_takes_the_service_definition", &reason);
    }
}

/// What runs in a shell is at least a shell script.
#[test]
fn scripts_are_scripts() {
    for script in [
        "scripts/package",
        "packaging/debian/postinst",
        "packaging/debian/prerm",
        "packaging/debian/postrm",
        "tests/packaging/in_overlay.sh",
        "tests/packaging/package_story.sh",
    ] {
        let shell = read(script).lines().next().unwrap().contains("bash");
        let mut command = Command::new(if shell { "bash" } else { "sh" });
        succeed(
            command
                .arg("-n")
                .arg(root().join(script))
                .stdin(Stdio::null()),
        );
    }
    if program("python3").is_some() {
        let parse = "import ast, sys; [ast.parse(open(file).read()) for file in sys.argv[1:]]";
        succeed(
            Command::new("python3")
                .args(["-c", parse])
                .arg(root().join("scripts/bench-flash"))
                .arg(root().join("scripts/bench-goals"))
                .arg(root().join("scripts/steady_writes.py"))
                .arg(root().join("packaging/licenses.py")),
        );
    }
}
