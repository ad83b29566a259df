//! A person opens the page: a query is run, its table and its graph are there, on a desktop and on
//! a phone.

use std::time::Duration;

use super::servers::{Cairn, Chromium, eventually, skip};

fn story() -> Result<(), &'static str> {
    let folder = tempfile::tempdir().unwrap();
    let node = Cairn::start(folder.path(), &["ingest.self_scrape_interval=1s"]);
    eventually("its own metrics", Duration::from_secs(20), || {
        let count = node.query("count_over_time(up{job=\"cairn\"}[1m])")[0]["value"][1]
            .as_str()
            .map(str::to_owned);
        if count
            .as_deref()
            .is_some_and(|count| count.parse().unwrap_or(0.0) >= 4.0)
        {
            Ok(())
        } else {
            Err(format!("{count:?}"))
        }
    });
    let url = format!("{}/?q=up&range=5m", node.url());
    for size in ["1280,900", "390,844"] {
        let page = Chromium::dump(folder.path(), &url, size)?;
        assert!(page.contains("Cairn"), "{size}: no title in {page}");
        assert!(
            page.contains("<canvas"),
            "{size}: no graph was drawn in {page}"
        );
        assert!(
            page.contains("job=\"cairn\"") || page.contains("job=&quot;cairn&quot;"),
            "{size}: no table row in {page}"
        );
        for (sign, what) in [
            (">ready<", "state"),
            ("MiB", "memory"),
            ("/api/v1/write", "address to write to"),
        ] {
            assert!(page.contains(sign), "{size}: no {what} in {page}");
        }
    }
    let broken = Chromium::dump(
        folder.path(),
        &format!("{}/?q=sum(&range=5m", node.url()),
        "1280,900",
    )?;
    assert!(
        broken.contains("parse error"),
        "the page shows what is wrong with a query: {broken}"
    );
    assert!(
        broken.contains("<mark"),
        "the page shows where a query is wrong: {broken}"
    );
    Ok(())
}

#[test]
fn a_browser_opens_the_page_runs_a_query_and_sees_the_graph() {
    if let Err(reason) = story() {
        skip(
            "browser::a_browser_opens_the_page_runs_a_query_and_sees_the_graph",
            reason,
        );
    }
}
