//! An agent that plays by a script, and a node that speaks to it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::cluster::discovery::consul::*;
use crate::cluster::discovery::{DiscoveryMetrics, Endpoint};
use crate::model::Incarnation;
use crate::runtime::{SeededChance, SystemClock};

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// `GET /v1/...`
    pub(super) line: String,
    pub(super) head: String,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn is(&self, start: &str) -> bool {
        self.line.starts_with(start)
    }

    pub(super) fn token(&self) -> Option<&str> {
        let line = self.head.lines().find(|l| l.starts_with("x-consul-token:"));
        line.map(|line| line.split_once(':').unwrap().1.trim())
    }
}

/// What the agent does with a request.
pub(super) enum Act {
    /// Status, `X-Consul-Index`, body.
    Answer(u16, Option<u64>, String),
    /// Answers nothing for a long time.
    Hold,
    /// Closes the connection.
    HangUp,
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
}

pub(super) fn ok(body: &str) -> Act {
    Act::Answer(200, None, body.to_owned())
}

pub(super) type Script = Box<dyn FnMut(&Asked) -> Act + Send>;

/// An agent on a loopback port.
pub(super) struct Agent {
    pub(super) address: String,
    pub(super) asked: Arc<Mutex<Vec<Asked>>>,
    pub(super) serving: JoinHandle<()>,
}

impl Agent {
    pub(super) async fn start(script: impl FnMut(&Asked) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let seen = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&seen), Arc::clone(&script)));
            }
        });
        Self {
            address,
            asked,
            serving,
        }
    }

    pub(super) fn count(&self, start: &str) -> usize {
        let asked = self.asked.lock();
        asked.iter().filter(|asked| asked.is(start)).count()
    }

    pub(super) async fn wait_for(&self, start: &str, times: usize) -> Vec<Asked> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.count(start) < times {
            assert!(
                Instant::now() < deadline,
                "{start} was not asked {times} times: {:#?}",
                self.asked.lock()
            );
            sleep(Duration::from_millis(10)).await;
        }
        let asked = self.asked.lock();
        asked.iter().filter(|a| a.is(start)).cloned().collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(super) async fn serve(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<Asked>>>,
    script: Arc<Mutex<Script>>,
) {
    let mut bytes = Vec::new();
    let asked = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        if body.len() >= length {
            break Asked {
                line: head.lines().next().unwrap().to_owned(),
                head: head.to_owned(),
                body: body.to_owned(),
            };
        }
    };
    let act = script.lock()(&asked);
    seen.lock().push(asked);
    let bytes = match act {
        Act::HangUp => return,
        Act::Hold => {
            sleep(Duration::from_secs(600)).await;
            return;
        }
        Act::Raw(bytes) => bytes,
        Act::Answer(status, index, body) => {
            let index = index.map_or(String::new(), |index| {
                format!("X-Consul-Index: {index}\r\n")
            });
            let length = body.len();
            format!("HTTP/1.1 {status} x\r\n{index}Content-Length: {length}\r\n\r\n{body}").into()
        }
    };
    // The other side may have gone.
    let _ = stream.write_all(&bytes).await;
}

pub(super) fn node() -> Announcement {
    Announcement {
        name: "board-1".to_owned(),
        incarnation: Incarnation(1),
        zone: "a".to_owned(),
        version: "0.1.0".to_owned(),
        peer: Endpoint {
            host: Some("10.0.0.1".to_owned()),
            port: 9095,
        },
        http: Endpoint {
            host: None,
            port: 9009,
        },
    }
}

pub(super) fn surroundings() -> Surroundings {
    Surroundings {
        clock: Arc::new(SystemClock::new()),
        chance: Arc::new(SeededChance::new(1)),
        metrics: DiscoveryMetrics::default(),
    }
}

pub(super) fn at(address: &str) -> ConsulSettings {
    ConsulSettings {
        consul_http_addr: address.to_owned(),
        ..ConsulSettings::default()
    }
}

pub(super) fn healthy(peers: &[&str]) -> String {
    let entry = |peer: &&str| {
        let (host, port) = peer.rsplit_once(':').unwrap();
        serde_json::json!({
            "Node": {"Node": "n", "Address": "192.0.2.1"},
            "Service": {"Address": host, "Port": port.parse::<u16>().unwrap()},
        })
    };
    serde_json::Value::from(peers.iter().map(entry).collect::<Vec<_>>()).to_string()
}

pub(super) fn addresses(consul: &Consul) -> Vec<String> {
    let seen = consul.sightings().borrow().clone();
    seen.peers.iter().map(|peer| peer.address.clone()).collect()
}

pub(super) const WATCH: &str = "GET /v1/health/service/cairn-peer?passing&stale";
pub(super) const REGISTER: &str = "PUT /v1/agent/service/register?replace-existing-checks=true";
pub(super) const LOOK: &str = "GET /v1/agent/services?filter=Service%20%3D%3D%20%22cairn-peer%22";
