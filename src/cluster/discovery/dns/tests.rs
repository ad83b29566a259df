//! The backend against a name server that plays by a script.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use domain::base::{MessageBuilder, Ttl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::Instant;

use super::*;
use crate::runtime::{SeededChance, SystemClock};

/// What the server knows.
#[derive(Clone, Default)]
struct Zone {
    a: BTreeMap<String, Vec<Ipv4Addr>>,
    aaaa: BTreeMap<String, Vec<Ipv6Addr>>,
    srv: BTreeMap<String, Vec<(String, u16)>>,
    /// Whether SRV answers bring addresses along.
    brings: bool,
    /// Answers with this code and nothing else.
    code: Option<Rcode>,
    /// Tells over UDP that the answer does not fit.
    truncates: bool,
}

fn name(text: &str) -> Name<Vec<u8>> {
    Name::from_str(text).unwrap()
}

impl Zone {
    fn answer(&self, asked: &[u8], udp: bool) -> Vec<u8> {
        const TTL: Ttl = Ttl::from_secs(30);
        let asked = Message::from_octets(asked).unwrap();
        let question = asked.sole_question().unwrap();
        let owner = question.qname().to_string();
        let builder = MessageBuilder::new_vec();
        let code = self.code.unwrap_or(Rcode::NOERROR);
        let mut answer = builder.start_answer(&asked, code).unwrap();
        if self.truncates && udp {
            answer.header_mut().set_tc(true);
            return answer.finish();
        }
        if self.code.is_some() {
            return answer.finish();
        }
        let own = name(&owner);
        match question.qtype() {
            Rtype::A => {
                for ip in self.a.get(&owner).into_iter().flatten() {
                    answer.push((&own, TTL, A::new(*ip))).unwrap();
                }
            }
            Rtype::AAAA => {
                for ip in self.aaaa.get(&owner).into_iter().flatten() {
                    answer.push((&own, TTL, Aaaa::new(*ip))).unwrap();
                }
            }
            _ => {
                for (target, port) in self.srv.get(&owner).into_iter().flatten() {
                    let srv = Srv::new(1, 1, *port, name(target));
                    answer.push((&own, TTL, srv)).unwrap();
                }
            }
        }
        let mut additional = answer.additional();
        if self.brings && question.qtype() == Rtype::SRV {
            for (host, ips) in &self.a {
                for ip in ips {
                    additional.push((name(host), TTL, A::new(*ip))).unwrap();
                }
            }
        }
        additional.finish()
    }
}

/// A server on one port, UDP and TCP.
async fn serve(zone: Zone) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).await.unwrap();
    let over_tcp = zone.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            let answer = zone.answer(&buffer[..len], true);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(len) = stream.read_u16().await {
                let mut asked = vec![0; usize::from(len)];
                stream.read_exact(&mut asked).await.unwrap();
                let answer = over_tcp.answer(&asked, false);
                stream
                    .write_u16(answer.len().try_into().unwrap())
                    .await
                    .unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    });
    address
}

fn asking(question: &str, server: SocketAddr) -> Asking {
    Asking {
        question: Question::parse(question).unwrap(),
        server: Some(server),
        metrics: DiscoveryMetrics::default(),
    }
}

async fn check(question: &str, zone: Zone, expected: &[&str]) {
    let asking = asking(question, serve(zone).await);
    let found = asking.resolve().await.unwrap();
    let mut addresses: Vec<String> = found.peers.into_iter().map(|peer| peer.address).collect();
    addresses.sort();
    assert_eq!(addresses, expected, "{question}");
    assert!(asking.metrics.requests() > 0);
}

fn boards() -> Zone {
    let v4 = |last| Ipv4Addr::new(10, 0, 0, last);
    Zone {
        a: [
            ("cairn-peer.lan".to_owned(), vec![v4(1), v4(2)]),
            ("board-1.lan".to_owned(), vec![v4(1)]),
            ("board-2.lan".to_owned(), vec![v4(2)]),
        ]
        .into(),
        aaaa: [(
            "cairn-peer.lan".to_owned(),
            vec!["fd00::3".parse().unwrap()],
        )]
        .into(),
        srv: [(
            "_cairn-peer._tcp.lan".to_owned(),
            vec![
                ("board-1.lan".to_owned(), 9095),
                ("board-2.lan".to_owned(), 9195),
            ],
        )]
        .into(),
        ..Zone::default()
    }
}

#[tokio::test]
async fn names_become_peers() {
    let all = ["10.0.0.1:9095", "10.0.0.2:9095", "[fd00::3]:9095"];
    check("cairn-peer.lan", boards(), &all).await;
    let ported = ["10.0.0.1:77", "10.0.0.2:77", "[fd00::3]:77"];
    check("cairn-peer.lan:77", boards(), &ported).await;
    let services = ["10.0.0.1:9095", "10.0.0.2:9195"];
    check("_cairn-peer._tcp.lan", boards(), &services).await;
    let brings = Zone {
        brings: true,
        ..boards()
    };
    check("_cairn-peer._tcp.lan", brings, &services).await;
    let truncates = Zone {
        truncates: true,
        ..boards()
    };
    check("_cairn-peer._tcp.lan", truncates, &services).await;
    let nobody = Zone {
        code: Some(Rcode::NXDOMAIN),
        ..boards()
    };
    check("cairn-peer.lan", nobody, &[]).await;
    let mut unserved = boards();
    let service = unserved.srv.get_mut("_cairn-peer._tcp.lan").unwrap();
    *service = vec![(".".to_owned(), 0)];
    check("_cairn-peer._tcp.lan", unserved, &[]).await;
}

#[tokio::test]
async fn a_server_that_fails_is_told_of() {
    let failing = Zone {
        code: Some(Rcode::SERVFAIL),
        ..boards()
    };
    let settings = DnsSettings {
        name: "cairn-peer.lan".to_owned(),
        server: Some(serve(failing).await.to_string()),
    };
    let surroundings = Surroundings {
        clock: Arc::new(SystemClock::new()),
        chance: Arc::new(SeededChance::new(1)),
        metrics: DiscoveryMetrics::default(),
    };
    let dns = Dns::open(&settings, &surroundings).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while dns.trouble().is_none() {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(20)).await;
    }
    assert!(dns.trouble().unwrap().contains("cairn-peer.lan"));
    assert!(!dns.sightings().borrow().answered);
    assert!(matches!(dns.founding(), Founding::NoArbiter));
    dns.close().await;
    let asked = surroundings.metrics.requests();
    assert!((1..=3).contains(&asked), "{asked}");
}

#[tokio::test]
async fn peers_of_a_name_are_seen() {
    let settings = DnsSettings {
        name: "cairn-peer.lan".to_owned(),
        server: Some(serve(boards()).await.to_string()),
    };
    let surroundings = Surroundings {
        clock: Arc::new(SystemClock::new()),
        chance: Arc::new(SeededChance::new(1)),
        metrics: DiscoveryMetrics::default(),
    };
    let dns = Dns::open(&settings, &surroundings).unwrap();
    let mut sightings = dns.sightings();
    sightings.changed().await.unwrap();
    assert_eq!(sightings.borrow().peers.len(), 3);
    assert_eq!(dns.trouble(), None);
}

#[test]
fn names_that_are_none_are_named() {
    for (text, word) in [
        ("", "no name"),
        ("a..b", "dns.name"),
        ("cairn.lan:http", "no port"),
        ("cairn.lan:0", "no port"),
        ("_cairn._tcp.lan:9095", "say the ports"),
    ] {
        let error = Question::parse(text).unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
    let settings = DnsSettings {
        name: "a".to_owned(),
        server: Some("consul".to_owned()),
    };
    assert!(
        server(&settings)
            .unwrap_err()
            .to_string()
            .contains("dns.server")
    );
}
