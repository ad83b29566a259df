//! Settings and the token file.

use super::rig::*;
use crate::cluster::discovery::Secret;
use crate::cluster::discovery::consul::*;

#[tokio::test]
async fn the_token_file_may_change_and_must_be_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "old\n").unwrap();
    let agent = Agent::start(|asked| {
        if asked.is(WATCH) {
            Act::Hold
        } else {
            ok("true")
        }
    })
    .await;
    let settings = ConsulSettings {
        token_file: Some(file.clone()),
        ..at(&agent.address)
    };
    let consul = Consul::open(&settings, &node(), &surroundings()).unwrap();
    let asked = agent.wait_for(REGISTER, 2).await;
    assert_eq!(asked[1].token(), Some("old"));
    std::fs::write(&file, "new").unwrap();
    let key = api::Key {
        name: "k",
        datacenter: None,
    };
    assert!(consul.api.create(key, b"v").await.unwrap());
    assert_eq!(
        agent.wait_for("PUT /v1/kv", 1).await[0].token(),
        Some("new")
    );
    for (text, word) in [
        ("", "empty"),
        ("a\nb", "characters"),
        (&"x".repeat(5000), "at most 4096"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = consul.api.create(key, b"v").await.unwrap_err().to_string();
        assert!(
            error.contains(word) && error.contains("token_file"),
            "{error}"
        );
    }
    std::fs::remove_file(&file).unwrap();
    let error = consul.api.create(key, b"v").await.unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
    let both = ConsulSettings {
        token: Secret::new("x".to_owned()),
        ..settings
    };
    let error = Consul::open(&both, &node(), &surroundings()).err().unwrap();
    assert!(error.to_string().contains("keep one"), "{error}");
    assert!(
        !format!("{both:?}").contains("\"x\""),
        "secrets are not shown"
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_named_at_the_start() {
    let check = |settings: ConsulSettings, key: &str| {
        let error = Consul::open(&settings, &node(), &surroundings()).err();
        let error = error.unwrap().to_string();
        assert!(error.contains(key), "{key}: {error}");
    };
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    let tls = at("https://127.0.0.1:1");
    let ca_cert = Some(empty.clone());
    check(
        ConsulSettings {
            ca_cert,
            ..tls.clone()
        },
        "ca_cert",
    );
    let missing = Some(folder.path().join("missing.pem"));
    check(
        ConsulSettings {
            ca_cert: missing,
            ..tls.clone()
        },
        "ca_cert",
    );
    let client_cert = Some(empty.clone());
    check(
        ConsulSettings {
            client_cert,
            ..tls.clone()
        },
        "client_key is not set",
    );
    let client_key = Some(empty);
    check(
        ConsulSettings { client_key, ..tls },
        "client_cert is not set",
    );
    check(at("ftp://127.0.0.1"), "consul_http_addr");
    let datacenters = (0..17).map(|n| format!("dc{n}")).collect();
    check(
        ConsulSettings {
            datacenters,
            ..ConsulSettings::default()
        },
        "datacenters",
    );
}
