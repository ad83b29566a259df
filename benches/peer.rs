//! What a message between peers costs over loopback: a small question, a stream of large answers,
//! a stream of both directions. Beside criterion's times it prints CPU time, both nodes and the
//! kernel's share together.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn::cluster::{
    Caller, ClusterId, GrpcTransport, Identity, Incoming, Method, Outgoing, PeerMetrics,
    PeerServer, PeerWiring, Service, Services, Serving, Session, Transport,
};
use cairn::model::Incarnation;
use cairn::runtime::{SystemChance, SystemClock, cpu_seconds};
use criterion::{Criterion, Throughput};
use tokio::runtime::Runtime;

const LARGE: usize = 64 << 10;
const MESSAGES: usize = 512;
const PATIENCE: Duration = Duration::from_secs(10);

struct Echo;

impl Service for Echo {
    fn call<'a>(&'a self, _: &'a Caller, _: Method, body: Bytes) -> Serving<'a, Bytes> {
        Box::pin(async move { Ok(body) })
    }

    fn stream<'a>(
        &'a self,
        _: &'a Caller,
        _: Method,
        body: Bytes,
        answers: Outgoing,
    ) -> Serving<'a, ()> {
        Box::pin(async move {
            for _ in 0..MESSAGES {
                answers.send(body.clone()).await.ok();
            }
            Ok(())
        })
    }

    fn duplex<'a>(
        &'a self,
        _: &'a Caller,
        _: Method,
        mut messages: Incoming,
        answers: Outgoing,
    ) -> Serving<'a, ()> {
        Box::pin(async move {
            let acknowledged = Bytes::from_static(b"ok");
            while let Some(Ok(_)) = messages.recv().await {
                answers.send(acknowledged.clone()).await.ok();
            }
            Ok(())
        })
    }
}

fn wiring(number: u128) -> PeerWiring {
    PeerWiring {
        identity: Identity::new(Caller {
            cluster: Some(ClusterId(1)),
            generation: 1,
            incarnation: Incarnation(number),
            session: Session {
                starts: 1,
                nonce: number,
            },
        }),
        tls: None,
        metrics: PeerMetrics::default(),
        clock: Arc::new(SystemClock::new()),
        chance: Arc::new(SystemChance),
    }
}

/// Measures, and says what CPU time each message took.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    bytes: usize,
    messages: usize,
    mut run: impl FnMut(),
) {
    let mut group = criterion.benchmark_group("peer");
    let all = u64::try_from(bytes * messages).unwrap();
    group.throughput(Throughput::Bytes(all));
    let (mut runs, mut cpu) = (0_u32, 0.0);
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| {
            #[allow(clippy::disallowed_methods, reason = "a bench measures time")]
            let began = std::time::Instant::now();
            let before = cpu_seconds();
            for _ in 0..count {
                run();
            }
            cpu += cpu_seconds() - before;
            runs += u32::try_from(count).unwrap();
            began.elapsed()
        });
    });
    let messages = f64::from(runs) * f64::from(u32::try_from(messages).unwrap());
    println!("{name}: {:.1} us of CPU a message", cpu * 1e6 / messages);
}

fn main() {
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let services = Arc::new(Services::default());
    let echo: Arc<dyn Service> = Arc::new(Echo);
    services.enter(&Method::ALL, &echo);
    let listener = runtime.block_on(PeerServer::listen("127.0.0.1:0")).unwrap();
    let server = PeerServer::serve(listener, services, wiring(2)).unwrap();
    let transport = GrpcTransport::new(wiring(1));
    let to = Incarnation(2);
    transport.know(to, &[server.address().to_string()]);
    let criterion = &mut Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();

    let small = Bytes::from_static(&[1; 64]);
    measure(criterion, "a small question", 64, 1, || {
        let asked = transport.call(to, Method::Cut, small.clone(), PATIENCE);
        assert_eq!(runtime.block_on(asked).unwrap().len(), 64);
    });
    let large = Bytes::from(vec![7; LARGE]);
    measure(criterion, "a stream of 64 KiB", LARGE, MESSAGES, || {
        runtime.block_on(async {
            let asked = transport.stream(to, Method::Pull, large.clone(), PATIENCE);
            let mut answers = asked.await.unwrap();
            let mut heard = 0;
            while let Some(answer) = answers.recv().await {
                heard += answer.unwrap().len();
            }
            assert_eq!(heard, LARGE * MESSAGES);
        });
    });
    for (name, bytes) in [
        ("appends of 16 KiB", 16 << 10),
        ("appends of 64 KiB", LARGE),
    ] {
        let message = large.slice(..bytes);
        let duplex = runtime
            .block_on(transport.duplex(to, Method::Append))
            .unwrap();
        let (messages, mut answers) = (duplex.messages, duplex.answers);
        measure(criterion, name, bytes, MESSAGES, || {
            runtime.block_on(async {
                tokio::join!(send_all(&messages, &message), receive_all(&mut answers));
            });
        });
    }
    criterion.final_summary();
}

/// Sends a message over and over.
async fn send_all(messages: &cairn::cluster::Outgoing, message: &Bytes) {
    for _ in 0..MESSAGES {
        messages.send(message.clone()).await.unwrap();
    }
}

/// Waits for an answer to each.
async fn receive_all(answers: &mut cairn::cluster::Incoming) {
    for _ in 0..MESSAGES {
        answers.recv().await.unwrap().unwrap();
    }
}
