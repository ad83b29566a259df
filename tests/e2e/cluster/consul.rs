//! Three boards that find each other in a Consul with ACLs and TLS, cut off from each other but not
//! from Consul, and the other way round.

use std::time::Duration;

use serde_json::json;

use super::lab::Lab;
use super::stories::{agree, under_this_load};
use crate::discovery::{MANAGEMENT, certificates, guarded};
use crate::servers::{Consul, eventually, long, skip};

const PATIENCE: Duration = Duration::from_secs(90);

/// How many of the service's nodes Consul calls healthy.
fn healthy(consul: &Consul, wanted: usize) {
    let url = format!(
        "{}/v1/health/service/cairn?passing&token={MANAGEMENT}",
        consul.url()
    );
    eventually("Consul shows who is healthy", PATIENCE, || {
        let found = crate::servers::get(&url)?;
        let count = found.json().as_array().map_or(0, Vec::len);
        (count == wanted)
            .then_some(())
            .ok_or_else(|| format!("{count} are healthy: {}", found.text()))
    });
}

fn story(lab: &mut Lab, folder: &std::path::Path) -> Result<(), &'static str> {
    Consul::program()?;
    let address = lab.another_address();
    let tls = certificates(folder, &address);
    let file = |name: &str| folder.join(name).display().to_string();
    let more = json!({"client_addr": "0.0.0.0", "tls": {"https": tls}});
    let (consul, token) = guarded(folder, more)?;
    std::fs::write(file("token"), token).unwrap();
    for (key, value) in [
        (
            "consul_http_addr",
            format!("https://{address}:{}", consul.ports.https),
        ),
        ("ca_cert", file("consul-agent-ca.pem")),
        ("client_cert", file("dc1-client-consul-0.pem")),
        ("client_key", file("dc1-client-consul-0-key.pem")),
        ("token_file", file("token")),
    ] {
        lab.set(format!("discovery.consul.{key}={value}"));
    }
    lab.start_all();
    healthy(&consul, 3);
    under_this_load(lab, |lab, load| {
        // Consul still calls it healthy: it answers, and the two others are the majority.
        for other in [1, 2] {
            lab.cut_both(0, other, true);
        }
        std::thread::sleep(Duration::from_secs(8));
        load.read_back(&lab.boards[1..]);
        for other in [1, 2] {
            lab.cut_both(0, other, false);
        }
        eventually("it answers for all again", PATIENCE, || {
            load.missing_on(&lab.boards[0])
        });
        // The other way round; a restart needs no Consul either.
        lab.cut_address(1, &address, true);
        std::thread::sleep(Duration::from_secs(4));
        lab.boards[1].kill();
        lab.start(1);
        lab.wait_ready(PATIENCE);
        load.read_back(&lab.boards);
        lab.cut_address(1, &address, false);
        healthy(&consul, 3);
    });
    agree(lab);
    Ok(())
}

/// Would catch a node that believes Consul more than its peers, or needs it to go on.
#[test]
fn consul_and_peers_are_cut_off_each_without_the_other() {
    let name = "cluster::consul_cut_off";
    if !long(name) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "discovery.kind=consul",
        "cluster.bootstrap_expect=3",
        "seal.grace=0s",
    ];
    let mut lab = match Lab::new(folder.path(), 3, &settings) {
        Ok(lab) => lab,
        Err(reason) => return skip(name, &reason),
    };
    if let Err(reason) = story(&mut lab, folder.path()) {
        skip(name, reason);
    }
}
