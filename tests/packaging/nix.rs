//! The NixOS module, package, flake, example and VM test, as far as that goes without NixOS: parsed by
//! Nix, evaluated against a stand-in for nixpkgs' library (`nix/lib.nix`), what comes out compared
//! with golden files and given to systemd and to the program itself.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::servers::{Cairn, Server, free_port, get, skip};
use super::tools::{printed, program, read, replaced, root, succeed, write};
use super::unit::{Unit, check_unit};

fn instantiate(folder: &Path) -> Result<Command, &'static str> {
    let program =
        program("nix-instantiate").ok_or("Nix is not installed (Debian's package nix-bin)")?;
    let mut command = Command::new(program);
    // Nothing is written to the machine's own store.
    for (name, place) in [("STORE", "store"), ("STATE", "var"), ("LOG", "log")] {
        command.env(format!("NIX_{name}_DIR"), folder.join(place));
    }
    command.stdin(Stdio::null());
    Ok(command)
}

/// What `nix/eval.nix` says to a question, or what Nix complains of.
fn ask(what: &Value) -> Result<Result<Value, String>, &'static str> {
    let folder = tempfile::tempdir().unwrap();
    let output = instantiate(folder.path())?
        .args(["--eval", "--strict", "--json"])
        .arg(root().join("tests/packaging/nix/eval.nix"))
        .args(["--argstr", "what", &what.to_string()])
        .output()
        .unwrap();
    Ok(if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(printed(&output))
    })
}

/// What the system gets from a configuration's `services.cairn`.
fn system(cairn: &Value) -> Result<Value, &'static str> {
    Ok(ask(&json!({"module": cairn}))?.unwrap_or_else(|error| panic!("{cairn}: {error}")))
}

/// The configuration file that a system gets.
fn toml_of(system: &Value) -> String {
    let command = system["source"].as_str().unwrap();
    assert!(
        command.contains("/bin/cairn check-config --config WRITTEN"),
        "it is checked when it is built: {command}"
    );
    let (_, rest) = command.split_once("WRITTEN<<<").unwrap();
    let (json, _) = rest.split_once(">>>").unwrap();
    toml::to_string(&serde_json::from_str::<toml::Value>(json).unwrap()).unwrap()
}

/// The unit's text, as NixOS writes it.
fn unit_of(system: &Value) -> String {
    let unit = &system["unit"];
    let line = |key: &str, value: &Value| match value {
        Value::Array(items) => items
            .iter()
            .map(|item| format!("{key}={}\n", item.as_str().unwrap()))
            .collect(),
        Value::String(text) => format!("{key}={text}\n"),
        other => format!("{key}={other}\n"),
    };
    let words = |key: &str| -> String {
        let list = unit[key].as_array().unwrap().iter();
        let words: Vec<&str> = list.map(|word| word.as_str().unwrap()).collect();
        words.join(" ")
    };
    let mut text = format!("[Unit]\n{}", line("Description", &unit["description"]));
    text.push_str(&format!(
        "Wants={}\nAfter={}\n",
        words("wants"),
        words("after")
    ));
    text.push_str("\n[Service]\n");
    for (key, value) in unit["serviceConfig"].as_object().unwrap() {
        text.push_str(&line(key, value));
    }
    text + &format!("\n[Install]\nWantedBy={}\n", words("wantedBy"))
}

/// `cairn check-config` on a file's text.
fn check_config(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "cairn.toml", text);
    succeed(
        Cairn::command()
            .args(["check-config", "--config"])
            .arg(file),
    )
}

/// Compares with a golden file, or writes it with `CAIRN_WRITE_REFERENCE`.
fn golden(name: &str, text: &str) {
    let path = root().join("tests/packaging/nix").join(name);
    if std::env::var_os("CAIRN_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "{} is not what the module gives now (CAIRN_WRITE_REFERENCE=1 writes it):\n{text}",
        path.display()
    );
}

/// A skipped test says so.
fn told(test: &str, outcome: Result<(), &'static str>) {
    if let Err(reason) = outcome {
        skip(&format!("nix::{test}"), reason);
    }
}

/// A configuration that uses what the module has.
fn everything() -> Value {
    json!({
        "enable": true,
        "openFirewall": true,
        "openPeerFirewall": true,
        "environmentFile": "/run/secrets/cairn.env",
        "credentials": {"consul-token": "/run/secrets/consul-token", "peer-key": "/run/secrets/peer-key.pem"},
        "settings": {
            "memory_limit": "1GiB",
            "node": {"name": "board-1", "zone": "shelf-a"},
            "http": {"listen": "0.0.0.0:9019"},
            "discovery": {"kind": "consul", "consul": {"tags": ["home"]}},
            "peer": {"tls": {"ca_file": "/etc/cairn/ca.pem", "cert_file": "/etc/cairn/peer.pem"}},
            "retention": {"total": "1y", "local_size": "50GiB"},
            "telemetry": {"level": "info,cairn::query=debug"},
        },
    })
}

fn unit_and_file() -> Result<(), &'static str> {
    let made = system(&everything())?;
    assert_eq!(made["broken"], json!([]));
    assert_eq!(made["ports"], json!([9019, 9095]));
    assert_eq!(made["users"], json!(["cairn"]));
    let (unit, file) = (unit_of(&made), toml_of(&made));
    golden("cairn.service", &unit);
    golden("cairn.toml", &file);
    let shown = check_config(&file);
    for want in [
        "discovery.consul.token_file = \"/run/credentials/cairn.service/consul-token\"",
        "peer.tls.key_file = \"/run/credentials/cairn.service/peer-key\"",
        "memory_limit = \"1GiB\"",
    ] {
        assert!(shown.contains(want), "{want}:\n{shown}");
    }
    // As closed as the unit for everybody else.
    let (ours, theirs) = (Unit::ours(), Unit::parse(&unit));
    let nowhere = [
        "ExecStart",
        "ExecStartPre",
        "ExecReload",
        "EnvironmentFile",
        "MemoryMax",
        "WantedBy",
        "After",
    ];
    let on = |values: Vec<&str>| -> Vec<String> {
        values
            .iter()
            .map(|value| value.replace("yes", "true"))
            .collect()
    };
    for key in ours
        .keys()
        .filter(|key| !nowhere.contains(key) && *key != "Documentation")
    {
        let theirs = on(theirs.all(key));
        assert_eq!(theirs.join(" "), on(ours.all(key)).join(" "), "{key}");
    }
    assert_eq!(
        theirs.one("MemoryMax"),
        (2u64 << 30).to_string(),
        "in step with memory_limit"
    );
    let kill = "/nix/store/00000000000000000000000000000000-coreutils/bin/kill";
    check_unit(&replaced(&unit, kill, "/bin/kill"), &[])
}

#[test]
fn unit_and_configuration_file_are_what_they_were() {
    told(
        "unit_and_configuration_file_are_what_they_were",
        unit_and_file(),
    );
}

fn starts() -> Result<(), &'static str> {
    let made = system(&json!({"enable": true}))?;
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "cairn.toml", &toml_of(&made));
    let start = made["unit"]["serviceConfig"]["ExecStart"].as_str().unwrap();
    let arguments = start.replace("/etc/cairn/cairn.toml", &file.display().to_string());
    let port = free_port();
    let mut command = Cairn::command();
    command
        .args(arguments.split_whitespace().skip(1))
        .env("CAIRN_DATA_DIR", folder.path().join("data"))
        .env("CAIRN_HTTP__LISTEN", format!("127.0.0.1:{port}"));
    let mut node = Server::start("cairn", command, folder.path());
    node.wait_until(Duration::from_secs(60), || {
        get(&format!("http://127.0.0.1:{port}/-/ready")).is_ok_and(|answer| answer.status == 200)
    });
    let (code, _) = node.terminate(Duration::from_secs(60));
    assert_eq!(code, Some(0), "{}", node.output());
    Ok(())
}

#[test]
fn what_the_module_starts_runs() {
    told("what_the_module_starts_runs", starts());
}

fn refusals() -> Result<(), &'static str> {
    for (settings, want) in [
        (
            json!({"retention": {"total": "1 year"}}),
            "services.cairn.settings.retention.total is not of type",
        ),
        (
            json!({"memory_limit": "95%"}),
            "memory_limit is not of type",
        ),
        (
            json!({"query": {"max_points": -1}}),
            "query.max_points is not of type",
        ),
        (
            json!({"query": {"enable_feature": "all"}}),
            "query.enable_feature is not of type",
        ),
        (
            json!({"discovery": {"kind": "zookeeper"}}),
            "discovery.kind is not of type",
        ),
        (json!({"data_dir": "cairn-data"}), "data_dir is not of type"),
        (
            json!({"multitenancy_enabled": "yes"}),
            "multitenancy_enabled is not of type",
        ),
        (
            json!({"disk": {"min_free": "lots"}}),
            "disk.min_free is not of type",
        ),
    ] {
        let refused = ask(&json!({"module": {"enable": true, "settings": settings}}))?;
        let error = refused.expect_err(&settings.to_string());
        assert!(error.contains(want), "{settings}: {error}");
    }
    let option = ask(&json!({"module": {"enable": true, "openFirewal": true}}))?;
    assert!(option.unwrap_err().contains("openFirewal"));
    for (settings, want) in [
        (json!({"retntion": {"total": "1y"}}), "unknown key retntion"),
        (
            json!({"retention": {"totl": "1y"}, "http": {"port": 1}}),
            "unknown key http.port, retention.totl",
        ),
    ] {
        let made = system(&json!({"enable": true, "settings": settings}))?;
        let broken = made["broken"].to_string();
        assert!(broken.contains(want), "{settings}: {broken}");
    }
    Ok(())
}

#[test]
fn wrong_types_and_unknown_keys_are_refused() {
    told("wrong_types_and_unknown_keys_are_refused", refusals());
}

/// Would catch a type in `forms.nix` that is narrower than what the program takes.
fn defaults() -> Result<(), &'static str> {
    let mut settings = json!({});
    for key in cairn::config::reference() {
        let value: Value = match (key.form, key.default.as_str()) {
            ("a whole number" | "true or false", default) => default.parse().unwrap(),
            ("a list of texts", default) => {
                json!(default.split_terminator(',').collect::<Vec<_>>())
            }
            (_, "") => continue,
            // In a unit, a directory is named in full.
            ("a path", default) => json!(format!("/{default}")),
            (_, default) => json!(default),
        };
        let place = key
            .key
            .split('.')
            .fold(&mut settings, |at, name| &mut at[name]);
        *place = value;
    }
    let made = system(&json!({"enable": true, "settings": settings}))?;
    assert_eq!(made["broken"], json!([]));
    let shown = check_config(&toml_of(&made));
    let changed: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("# changed"))
        .collect();
    assert!(
        changed.len() == 1 && changed[0].starts_with("data_dir"),
        "{changed:?}"
    );
    // Another directory is not StateDirectory's.
    assert_eq!(
        made["tmpfiles"],
        json!(["d /cairn-data 0750 cairn cairn -"])
    );
    assert_eq!(
        made["unit"]["serviceConfig"]["ReadWritePaths"],
        json!(["/cairn-data"])
    );
    Ok(())
}

#[test]
fn every_key_takes_its_default() {
    told("every_key_takes_its_default", defaults());
}

/// Would catch a reload where a restart is needed, and the other way round.
fn triggers() -> Result<(), &'static str> {
    assert!(read("src/node/reload.rs").contains("const LIVE: &str = \"telemetry.level\";"));
    let with = |settings: Value| -> Result<(String, String), &'static str> {
        let made = system(&json!({"enable": true, "settings": settings}))?;
        Ok((
            made["unit"]["restartTriggers"].to_string(),
            made["source"].to_string(),
        ))
    };
    let before = with(json!({"telemetry": {"level": "info"}}))?;
    let louder = with(json!({"telemetry": {"level": "debug"}}))?;
    let other = with(json!({"telemetry": {"level": "info", "format": "json"}}))?;
    assert!(
        before.0 == louder.0 && before.1 != louder.1,
        "{before:?} {louder:?}"
    );
    assert!(before.0 != other.0, "{before:?} {other:?}");
    Ok(())
}

#[test]
fn only_what_a_reload_changes_is_a_reload() {
    told("only_what_a_reload_changes_is_a_reload", triggers());
}

fn boards() -> Result<(), &'static str> {
    let boards = ask(&json!({"boards": true}))?.unwrap();
    let boards = boards.as_object().unwrap();
    assert_eq!(boards.len(), 6);
    let folder = tempfile::tempdir().unwrap();
    for (name, board) in boards {
        let services = &board["services"];
        assert_eq!(services["cairn"]["broken"], json!([]), "{name}");
        let shown = check_config(&toml_of(&services["cairn"]));
        assert!(
            shown.contains(&format!("node.name = \"{name}\"")),
            "{shown}"
        );
        if let Ok(consul) = super::servers::Consul::program() {
            let mut config = services["consul"]["extraConfig"].clone();
            config["data_dir"] = json!(folder.path().join(name));
            let file = write(folder.path(), "consul.json", &config.to_string());
            succeed(Command::new(consul).arg("validate").arg(file));
        }
        assert_eq!(services["grafana"].is_object(), name == "board-1", "{name}");
    }
    let collector = &boards["board-2"]["services"]["opentelemetry-collector"]["settings"];
    if let Some(program) = super::servers::built("otelcol") {
        // JSON is YAML.
        let file = write(folder.path(), "otelcol.yaml", &collector.to_string());
        succeed(
            Command::new(program)
                .args(["validate", "--config"])
                .arg(file),
        );
    } else {
        skip(
            "nix::six_boards (the Collector's part)",
            "otelcol is not built",
        );
    }
    let grafana = &boards["board-1"]["services"]["grafana"]["provision"];
    let source = &grafana["datasources"]["settings"]["datasources"][0];
    assert_eq!(
        (&source["type"], &source["uid"]),
        (&json!("prometheus"), &json!("cairn"))
    );
    Ok(())
}

#[test]
fn six_boards() {
    told("six_boards", boards());
}

fn flake() -> Result<(), &'static str> {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(root().join("nixos")).unwrap() {
        let file = file.unwrap().path();
        succeed(instantiate(folder.path())?.arg("--parse").arg(file));
    }
    let flake = ask(&json!({"flake": true}))?.unwrap();
    assert_eq!(
        flake["package"],
        json!({"pname": "cairn", "version": env!("CARGO_PKG_VERSION"), "description": env!("CARGO_PKG_DESCRIPTION")})
    );
    assert_eq!(flake["boards"].as_array().unwrap().len(), 6);
    assert_eq!(flake["checks"], json!(["three-machines"]));
    assert_eq!(flake["module"], true);
    for (name, machine) in flake["machines"].as_object().unwrap() {
        assert_eq!(machine["cairn"]["broken"], json!([]), "{name}");
        check_config(&toml_of(&machine["cairn"]));
    }
    if program("python3").is_some() {
        let script = write(
            folder.path(),
            "test.py",
            flake["testScript"].as_str().unwrap(),
        );
        succeed(
            Command::new("python3")
                .args(["-m", "py_compile"])
                .arg(script),
        );
    }
    Ok(())
}

#[test]
fn package_flake_and_machines_evaluate() {
    told("package_flake_and_machines_evaluate", flake());
}
