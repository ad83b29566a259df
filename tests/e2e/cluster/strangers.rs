//! Whoever comes to the peer port and is no peer: garbage, a browser, another cluster, a false
//! identity, an old start, too much; and two copies of one disk. Refused with the reason, logged
//! once a minute for each of them, counted, harmless.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn::cluster::{
    Caller, ClusterId, GrpcTransport, Identity, Method, PeerMetrics, PeerWiring, Session, Transport,
};
use cairn::model::Incarnation;
use cairn::runtime::{SystemChance, SystemClock};

use super::lab::{Board, Lab};
use super::stories::{agree, under_load};
use crate::servers::{eventually, skip};

const PATIENCE: Duration = Duration::from_secs(60);

/// Says something to a board's peer port, and gives what comes back before it is closed.
fn shout(board: &Board, what: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(format!("{}:9095", board.address)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(what);
    let mut answer = Vec::new();
    let _ = stream.take(1 << 20).read_to_end(&mut answer);
    answer
}

/// Asks a board something as somebody; gives how it refuses.
fn ask_as(caller: Caller, board: &Board, to: Incarnation, method: Method, body: Bytes) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let transport: Arc<dyn Transport> = GrpcTransport::new(PeerWiring {
            identity: Identity::new(caller),
            tls: None,
            metrics: PeerMetrics::default(),
            clock: Arc::new(SystemClock::new()),
            chance: Arc::new(SystemChance),
        });
        transport.know(to, &[format!("{}:9095", board.address)]);
        match transport.call(to, method, body, PATIENCE).await {
            Ok(answer) => format!("answered with {} bytes", answer.len()),
            Err(error) => error.to_string(),
        }
    })
}

/// Ids of the cluster and of a board, as it says them itself.
fn ids(board: &Board) -> (ClusterId, Incarnation) {
    let cluster = board.cluster().unwrap();
    let read = |name: &str| u128::from_str_radix(cluster[name].as_str().unwrap(), 16).unwrap();
    (ClusterId(read("cluster")), Incarnation(read("incarnation")))
}

fn refused(board: &Board, reason: &str) -> f64 {
    board.metric("cairn_peer_refused_total", &format!("reason=\"{reason}\""))
}

/// Lines of a board's log about a refusal of this machine for a reason.
fn lines(board: &Board, containing: &str) -> usize {
    let output = board.output();
    output
        .lines()
        .filter(|line| line.contains(containing))
        .count()
}

/// What anybody can send who reaches the port.
fn bad_input(lab: &Lab) {
    let board = &lab.boards[0];
    for _ in 0..20 {
        shout(board, &[0xa7; 4096]);
    }
    let browser = shout(board, b"GET / HTTP/1.1\r\nHost: cairn\r\n\r\n");
    let browser = String::from_utf8_lossy(&browser).into_owned();
    assert!(
        browser.contains("port on which Cairn's nodes talk"),
        "{browser}"
    );
    // The beginning of HTTP/2, then frames of nonsense.
    shout(
        board,
        &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0x5a; 512]].concat(),
    );
    assert!(
        refused(board, "garbage") >= 21.0,
        "{}",
        refused(board, "garbage")
    );
    let garbage = lines(board, "is not HTTP/2");
    assert!(
        (1..=2).contains(&garbage),
        "{garbage} lines for 20 times the same"
    );
}

/// What somebody can say who speaks the protocol.
fn false_identities(lab: &Lab) {
    let board = &lab.boards[0];
    let (cluster, incarnation) = ids(board);
    let session = Session {
        starts: 1,
        nonce: 7,
    };
    let caller = |cluster, incarnation, session| Caller {
        cluster,
        generation: 0,
        incarnation,
        session,
    };
    let stranger = Incarnation(0xbad);
    let ask = |caller, to, method, body: &'static [u8]| {
        ask_as(caller, board, to, method, Bytes::from_static(body))
    };
    // Another cluster, none, a cluster without a node of that name, an incarnation that is not here.
    let other = caller(Some(ClusterId(!cluster.0)), stranger, session);
    let said = ask(other, incarnation, Method::Status, b"");
    assert!(said.contains("belongs to cluster"), "{said}");
    let nobody = caller(None, stranger, session);
    let said = ask(nobody, incarnation, Method::Status, b"");
    assert!(!said.contains("answered"), "{said}");
    let lost = caller(Some(cluster), stranger, session);
    let said = ask(lost.clone(), Incarnation(0xdead), Method::Status, b"");
    assert!(said.contains("answers there instead"), "{said}");
    // Somebody who claims to be a board in an earlier start, and in its present one.
    let (_, second) = ids(&lab.boards[1]);
    let copied = caller(Some(cluster), second, session);
    let said = ask(copied, incarnation, Method::Status, b"");
    assert!(
        said.contains("copies of one disk") || said.contains("copy of"),
        "{said}"
    );
    // Messages that are none, for every method; and one that is too long.
    for method in Method::ALL {
        let said = ask(lost.clone(), incarnation, method, &[0xff; 300]);
        assert!(!said.contains("panicked"), "{method:?}: {said}");
    }
    let long = Bytes::from(vec![0; 8 << 20]);
    let said = ask_as(lost, board, incarnation, Method::Raft, long);
    assert!(!said.contains("answered"), "{said}");
    assert!(refused(board, "cluster") > 0.0 && refused(board, "not_me") > 0.0);
    assert!(refused(board, "copied_session") + refused(board, "old_session") > 0.0);
    assert!(board.ready().unwrap().contains("ready"));
}

/// A copy of a board's disk is started beside it.
fn two_copies(lab: &mut Lab) {
    lab.boards[1].kill();
    let (from, to) = (lab.boards[1].data_dir(), lab.boards[3].data_dir());
    let copied = Command::new("cp")
        .arg("--archive")
        .arg(from)
        .arg(to)
        .status();
    assert!(copied.unwrap().success());
    lab.start(1);
    lab.wait_ready(PATIENCE);
    lab.start(3);
    let (code, said) = lab.boards[3].wait_for_end(PATIENCE);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("copy of") || said.contains("copies of one disk"),
        "{said}"
    );
    assert!(
        lab.boards[1]
            .ready()
            .is_ok_and(|ready| ready.contains("ready"))
    );
}

/// Another cluster's board is pointed at this one by mistake.
fn another_cluster(lab: &mut Lab) {
    let list = lab.static_peers_of(3);
    lab.boards[3].wipe();
    lab.set(format!(
        "discovery.static.peers={}:9095",
        lab.boards[3].address
    ));
    lab.start(3);
    lab.wait_ready(PATIENCE);
    lab.boards[3].terminate();
    lab.set(format!("{list},{}:9095", lab.boards[3].address));
    lab.start(3);
    lab.wait_ready(PATIENCE);
    // It serves what is its own, and counts nowhere else.
    let mine = ids(&lab.boards[0]).0;
    assert_ne!(ids(&lab.boards[3]).0, mine);
    eventually("both sides stay what they are", PATIENCE, || {
        let nodes = lab.boards[0].cluster()?["nodes"]
            .as_array()
            .map_or(0, Vec::len);
        (nodes == 3)
            .then_some(())
            .ok_or_else(|| format!("{nodes} nodes"))
    });
    lab.boards[3].kill();
    lab.set(list);
}

/// Would catch a port that a stranger can stop, flood the log through, or speak for a member on.
#[test]
fn strangers_on_the_peer_port_are_told_why_and_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "discovery.kind=static",
        "cluster.bootstrap_expect=3",
        "seal.grace=0s",
    ];
    let mut lab = match Lab::new(folder.path(), 4, &settings) {
        Ok(lab) => lab,
        Err(reason) => return skip("cluster::strangers", &reason),
    };
    let founders = lab.static_peers_of(3);
    lab.set(founders);
    lab.targets = 3;
    (0..3).for_each(|board| lab.start(board));
    lab.wait_ready(PATIENCE);
    under_load(&mut lab, |lab| {
        bad_input(lab);
        false_identities(lab);
        two_copies(lab);
        another_cluster(lab);
    });
    agree(&lab);
    for board in &lab.boards[..3] {
        let lines = lines(board, "refused on the peer port");
        println!("{}: {lines} lines about refusals", board.name);
        assert!(lines < 60, "{}", board.output());
    }
    let output: Vec<String> = lab.boards.iter().map(Board::output).collect();
    assert!(output.iter().all(|said| !said.contains("panicked")));
}
