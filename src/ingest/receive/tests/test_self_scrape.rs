//! The node's own metrics, from the first second on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::self_scrape::SelfScrape;
use super::test_rig::{NOW, Rig};
use crate::cluster::Writer;
use crate::model::TenantId;

#[tokio::test]
async fn own_metrics_are_stored_at_once_and_again_and_their_end_is_marked() {
    let rig = Rig::new();
    let scrapes = Arc::new(AtomicU64::new(0));
    let exposed = {
        let scrapes = Arc::clone(&scrapes);
        Arc::new(move || {
            let count = scrapes.fetch_add(1, Ordering::SeqCst);
            let gone = if count == 0 { "gone 1\n" } else { "" };
            format!("# TYPE n counter\n# HELP n Number.\nn_total{{a=\"b\"}} {count}\n{gone}# EOF\n")
        })
    };
    let scrape = SelfScrape::new(
        Writer::new(rig.double.clone(), rig.gate.clone()),
        rig.clock.clone(),
        exposed,
        TenantId::anonymous(),
        "board-1".to_owned(),
        Duration::from_millis(20),
    );
    let task = tokio::spawn(scrape.run());
    let wait = |appends| {
        let double = rig.double.clone();
        async move {
            while double.appends.load(Ordering::SeqCst) < appends {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    };
    wait(1).await;
    let own =
        |name: &str, more: &str| format!("{name}{{{more}instance=\"board-1\", job=\"cairn\"}}");
    let n_total = own("n_total", "a=\"b\", ");
    let first: Vec<(String, String)> = rig
        .double
        .samples()
        .into_iter()
        .map(|(name, at, value)| {
            assert_eq!(at, NOW);
            (name, value)
        })
        .collect();
    let sample = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        first,
        [
            sample(&n_total, "0.0"),
            sample(&own("gone", ""), "1.0"),
            sample(&own("up", ""), "1.0"),
            sample(&own("scrape_duration_seconds", ""), "0.0"),
            sample(&own("scrape_samples_scraped", ""), "2.0"),
        ]
    );
    wait(2).await;
    let last = rig.double.samples().pop().unwrap();
    assert_eq!(last.0, own("gone", ""));
    assert_eq!(last.2, "NaN:7ff0000000000002");
    assert_eq!(rig.double.kept.lock().metadata.len(), 1);
    // The store forgets the ids: the next scrape is whole all the same.
    rig.double.forget_ids();
    wait(4).await;
    let values = rig.double.samples();
    assert!(values.iter().any(|s| s.0 == n_total && s.2 == "2.0"));
    task.abort();
}
