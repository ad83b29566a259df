//! What runs, and what it does: would catch an id that cannot be called off as it is listed.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn queries_of_all_nodes_are_listed_and_called_off() {
    let server = start(false).await;
    let list = "{\"cancelled\":0,\"queries\":[{\"id\":\"board-1/7\",\"tenant\":\"anonymous\",\"query\":\"up\",\"waiting\":false,\"began\":1.500,\"seconds\":1.234,\"samples\":3,\"peakMemoryBytes\":99}]}";
    let want = |data: &str| {
        format!(
            "{{\"status\":\"success\",\"data\":{data},\"warnings\":[\"board-2 does not say what it runs: it is away\"]}}"
        )
    };
    server
        .check("/api/v1/status/queries", 200, &want(list))
        .await;
    for id in ["board-1/7", "all"] {
        let got = server
            .post("/api/v1/admin/queries/cancel", &format!("id={id}"))
            .await;
        let list = list.replace("\"cancelled\":0", "\"cancelled\":1");
        assert_eq!(got.text(), want(&list));
    }
    for (id, reason) in [
        ("board-1/8", "may have ended"),
        ("7", "name one as listed"),
        ("", "name one"),
    ] {
        let got = server
            .post("/api/v1/admin/queries/cancel", &format!("id={id}"))
            .await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST);
        assert!(got.text().contains(reason), "{}", got.text());
    }
    // Not by a link that somebody follows.
    let got = server.get("/api/v1/admin/queries/cancel?id=all").await;
    assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_told_of_where_all_stats_are_wanted() {
    let server = start(false).await;
    let ask = async |stats: &str| {
        let path = format!("/api/v1/query?query=sum(rate(up[5m]))&stats={stats}");
        let got = server.get(&path).await;
        serde_json::from_slice::<serde_json::Value>(&got.body).unwrap()["data"]["stats"].clone()
    };
    assert!(ask("true").await.get("operators").is_none());
    let stats = ask("all").await;
    let operators = stats["operators"].as_array().unwrap();
    let told: Vec<(u64, &str, u64, u64)> = operators
        .iter()
        .map(|one| {
            let number = |name: &str| one[name].as_u64().unwrap();
            let what = one["operator"].as_str().unwrap();
            (number("depth"), what, number("series"), number("samples"))
        })
        .collect();
    assert_eq!(
        told,
        [(0, "sum", 1, 1), (1, "rate", 2, 2), (2, "read up", 2, 60)]
    );
}

#[test]
fn a_query_is_seen_while_it_runs_and_ends_when_it_is_called_off() {
    let mut registry = Registry::default();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(TimestampMs(300_000)));
    let register = Register::new(clock.clone());
    let metrics = QueryMetrics::register(&mut registry);
    let engine = Engine::new(QuerySettings::default(), clock, metrics);
    let engine = engine.with_register(register.clone()).with_memory(1_000);
    // Memory is everybody's together.
    let others = engine.context(None);
    let held = others.budget.reserve(990, 0).unwrap();
    let query = |text: &str| InstantQuery {
        tenant: TenantId::anonymous(),
        text: text.to_owned(),
        time: TimestampMs(300_000),
        lookback: None,
        limit: 0,
    };
    let ask = |text: &str| {
        let answer = engine.instant(&fixture(), &query(text), &engine.context(None));
        answer.map(drop).map_err(|error| error.to_string())
    };
    let full = ask("up").unwrap_err();
    assert!(
        full.contains("together need more than 1000 bytes"),
        "{full}"
    );
    drop(held);
    assert_eq!(ask("up"), Ok(()));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| ask("{job=\"slow\"}"));
        let running = loop {
            match register.list().pop() {
                Some(query) if !query.waiting => break query,
                _ => std::thread::yield_now(),
            }
        };
        assert_eq!(running.text, "{job=\"slow\"}");
        assert_eq!(register.cancel(Some(running.id), None), 1);
        let ended = slow.join().unwrap();
        assert_eq!(
            ended,
            Err("query was canceled in expression evaluation".to_owned())
        );
    });
    assert!(register.list().is_empty());
}
