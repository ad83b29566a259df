//! What both versions share: negotiation, encodings, bounds, availability.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::test_rig::{NOW, Rig, V1_TYPE, V2_TYPE, snappy, written};
use super::test_v1::{request, series};
use super::test_v2::{Builder, small_histogram};
use crate::cluster::{
    Command, Control, Introduction, LocalControl, Refusing, Tombstone, TombstoneId, join_or_found,
};
use crate::ingest::settings::IngestSettings;
use crate::model::{Deletion, Incarnation, MatchOp, Matcher, TenantId, TimeRange, TimestampMs};
use crate::runtime::{ByteSize, SeededChance};
use crate::store::MemoryEngine;
use prost::Message as _;

fn one_sample() -> Vec<u8> {
    request(vec![series(&[("__name__", "up")], &[(NOW, 1.0)])]).encode_to_vec()
}

#[tokio::test]
async fn an_empty_body_is_a_success() {
    let rig = Rig::new();
    for (content_type, headers) in [(V1_TYPE, None), (V2_TYPE, Some([0, 0, 0]))] {
        for body in [Vec::new(), snappy(b"")] {
            let answer = rig
                .send_body(Some(content_type), Some("snappy"), body)
                .await;
            assert_eq!((answer.status, written(&answer)), (204, headers));
        }
    }
}

#[tokio::test]
async fn headers_may_be_missing_and_unknown_ones_are_415() {
    let rig = Rig::new();
    let ok = rig.send_body(None, None, snappy(&one_sample())).await;
    assert_eq!(ok.status, 204);
    for (content_type, encoding) in [
        (Some("application/json"), Some("snappy")),
        (
            Some("application/x-protobuf;proto=io.prometheus.write.v3.Request"),
            Some("snappy"),
        ),
        (Some(V1_TYPE), Some("br")),
        (Some(V1_TYPE), Some("identity")),
    ] {
        let answer = rig
            .send_body(content_type, encoding, snappy(&one_sample()))
            .await;
        assert_eq!(answer.status, 415, "{content_type:?} {encoding:?}");
        assert!(answer.body.contains("send "), "{}", answer.body);
    }
    // The body decides nothing: a message of 1.0 announced as 2.0 is a bad message of 2.0, or one
    // that says nothing, but never stored as 1.0.
    let before = rig.double.samples().len();
    rig.send_body(Some(V2_TYPE), None, snappy(&one_sample()))
        .await;
    assert_eq!(rig.double.samples().len(), before);
}

#[tokio::test]
async fn every_encoding_is_taken() {
    use std::io::Write as _;
    let rig = Rig::new();
    let body = one_sample();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&body).unwrap();
    for (encoding, sent) in [
        ("snappy", snappy(&body)),
        ("zstd", zstd::encode_all(&body[..], 1).unwrap()),
        ("gzip", gzip.finish().unwrap()),
    ] {
        let answer = rig.send_body(Some(V1_TYPE), Some(encoding), sent).await;
        assert_eq!(answer.status, 204, "{encoding}: {}", answer.body);
    }
    assert_eq!(rig.double.samples().len(), 3);
}

#[tokio::test]
async fn sizes_are_bounded_on_both_sides_of_decompression() {
    let rig = Rig::with(IngestSettings {
        max_recv_msg_size: ByteSize(1_000),
        max_decompressed_size: ByteSize(10_000),
        ..IngestSettings::default()
    });
    let bomb = snappy(&vec![0; 10_001]);
    assert!(bomb.len() < 1_000);
    for (body, key) in [
        (vec![0; 1_001], "ingest.max_recv_msg_size"),
        (bomb, "ingest.max_decompressed_size"),
    ] {
        let answer = rig.send_body(Some(V2_TYPE), Some("snappy"), body).await;
        assert_eq!(answer.status, 413);
        assert!(answer.body.contains(key), "{}", answer.body);
        assert_eq!(written(&answer), Some([0, 0, 0]));
    }
}

#[tokio::test]
async fn what_may_succeed_later_is_503_with_a_jittered_retry_after() {
    let rig = Rig::new();
    let mut waits = std::collections::BTreeSet::new();
    rig.gate
        .refuse(Refusing::Disk, Some("the disk is full: add one".to_owned()));
    for _ in 0..30 {
        // 503 also where a part of the request deserves a 400.
        let bad = series(&[("a", "1")], &[(NOW, 1.0)]);
        let good = series(&[("__name__", "up")], &[(NOW, 1.0)]);
        let answer = rig.send(V1_TYPE, &request(vec![bad, good])).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.body, "the disk is full: add one\n");
        let wait = answer
            .headers
            .iter()
            .find(|(name, _)| *name == "Retry-After");
        waits.insert(wait.unwrap().1.parse::<u64>().unwrap());
    }
    assert!(waits.len() > 3 && waits.first() >= Some(&1) && waits.last() <= Some(&10));
    rig.gate.refuse(Refusing::Disk, None);

    rig.double.log_fails.store(true, Ordering::SeqCst);
    let mut builder = Builder::new();
    builder.float(&[("__name__", "up")], NOW, 1.0);
    let answer = rig.send(V2_TYPE, &builder.request).await;
    // In the head, but not durable: nothing counts as written.
    assert_eq!((answer.status, written(&answer)), (503, Some([0, 0, 0])));
}

#[tokio::test]
async fn a_clock_that_was_never_set_judges_nothing() {
    let rig = Rig::new();
    rig.clock.set(TimestampMs(86_400_000));
    let answer = rig
        .send_body(Some(V1_TYPE), None, snappy(&one_sample()))
        .await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("clock"), "{}", answer.body);
    rig.clock.set(TimestampMs(NOW));
    let answer = rig
        .send_body(Some(V1_TYPE), None, snappy(&one_sample()))
        .await;
    assert_eq!(answer.status, 204);
}

#[tokio::test]
async fn times_may_be_anything_up_to_the_grace_period() {
    let rig = Rig::new();
    let times = [
        NOW + 600_000,
        NOW - 1,
        1,
        0,
        -1,
        i64::MIN,
        NOW - 10_000_000_000,
    ];
    let all = times.map(|at| (at, 1.0));
    let up = series(&[("__name__", "up")], &all);
    assert_eq!(rig.send(V1_TYPE, &request(vec![up])).await.status, 204);
    let got: Vec<i64> = rig.double.samples().iter().map(|s| s.1).collect();
    assert_eq!(got, times);
    for late in [NOW + 600_001, i64::MAX] {
        let up = series(&[("__name__", "up")], &[(late, 1.0)]);
        let answer = rig.send(V1_TYPE, &request(vec![up])).await;
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("ingest.creation_grace_period"));
    }
}

#[tokio::test]
async fn a_series_limit_refuses_new_series_only() {
    let rig = Rig::new();
    rig.double.series_max.store(2, Ordering::SeqCst);
    let names = ["a", "b", "c"];
    for _ in 0..2 {
        let all = names.map(|name| series(&[("__name__", name)], &[(NOW, 1.0)]));
        let answer = rig.send(V1_TYPE, &request(all.to_vec())).await;
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("stored 2 samples"), "{}", answer.body);
        assert!(answer.body.contains("c: the number of series"));
    }
    assert_eq!(rig.double.samples().len(), 4);
}

#[tokio::test]
async fn series_that_the_store_forgot_are_registered_again() {
    let rig = Rig::new();
    for (round, rounds) in (0..3).zip(1usize..) {
        let mut builder = Builder::new();
        builder.float(&[("__name__", "a")], NOW + round, 1.0);
        builder.series(&[("__name__", "h")]).histograms = vec![small_histogram(NOW)];
        builder.float(&[("__name__", "b")], NOW + round, 2.0);
        let answer = rig.send(V2_TYPE, &builder.request).await;
        assert_eq!((answer.status, written(&answer)), (204, Some([2, 1, 0])));
        assert_eq!(rig.double.samples().len(), 3 * rounds);
        rig.double.forget_ids();
    }
    // The second and third request were told once, and knew the new ids afterwards.
    assert_eq!(rig.double.appends.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_new_generation_of_the_cache_loses_nothing() {
    let rig = Rig::new();
    for round in 0..4 {
        let up = series(&[("__name__", "up")], &[(NOW, f64::from(round))]);
        assert_eq!(rig.send(V1_TYPE, &request(vec![up])).await.status, 204);
        rig.clock.advance(Duration::from_secs(3600));
    }
    assert_eq!(rig.double.samples().len(), 4);
    assert_eq!(rig.double.registers.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_large_request_goes_in_parts() {
    let rig = Rig::new();
    let samples: Vec<(i64, f64)> = (0..100_000).map(|i| (NOW - i, 1.0)).collect();
    let up = series(&[("__name__", "up")], &samples);
    assert_eq!(rig.send(V1_TYPE, &request(vec![up])).await.status, 204);
    assert_eq!(rig.double.samples().len(), 100_000);
    assert_eq!(rig.double.appends.load(Ordering::SeqCst), 4);
}

/// However many senders there are and however slowly they send: what has come of their bodies has
/// one bound.
#[tokio::test]
async fn bodies_that_are_still_being_read_have_one_bound() {
    let rig = Rig::new();
    let (mut slow, mut other) = (rig.receiver.room(), rig.receiver.room());
    slow.grow_to(40 << 20).unwrap();
    other.grow_to(24 << 20).unwrap();
    let body = snappy(&one_sample());
    let refused = rig.send_body(Some(V1_TYPE), None, body.clone()).await;
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("try again later"), "{}", refused.body);
    assert!(other.grow_to((24 << 20) + 1).is_err());
    drop(other);
    let taken = rig.send_body(Some(V1_TYPE), None, body).await;
    assert_eq!(taken.status, 204);
}

/// Would catch a sample that is taken and never seen because a delete hides it, and one beside it
/// that is refused.
#[tokio::test]
async fn what_is_being_deleted_is_not_taken() {
    let engine = std::sync::Arc::new(MemoryEngine::new(std::path::Path::new("unused")));
    let control = std::sync::Arc::new(LocalControl::open(engine.clone()).unwrap());
    let (me, introduction) = (Incarnation(1), Introduction::default());
    let chance = SeededChance::new(1);
    join_or_found(
        control.as_ref(),
        engine.as_ref(),
        me,
        &introduction,
        &chance,
    )
    .unwrap();
    let tombstone = |id, name: &str| {
        Command::Tombstone(Tombstone {
            id: TombstoneId(id),
            deletion: Deletion {
                tenant: TenantId::anonymous(),
                matchers: vec![Matcher::new("__name__", MatchOp::Equal, name).unwrap()],
                range: TimeRange::new(TimestampMs(NOW - 9), TimestampMs(NOW - 2)),
            },
            at: TimestampMs(NOW),
        })
    };
    let knowing = control.clone();
    let rig = Rig::over(IngestSettings::default(), |writer| writer.knowing(knowing));
    let body = |at: i64| {
        let up = series(&[("__name__", "up")], &[(NOW - at, 1.0)]);
        let down = series(&[("__name__", "down")], &[(NOW - at, 1.0)]);
        request(vec![up, down])
    };
    assert_eq!(rig.send(V1_TYPE, &body(5)).await.status, 204);
    control.propose(&tombstone(7, "up")).unwrap();
    for (at, status) in [(1, 204), (2, 400), (9, 400), (10, 204)] {
        let before = rig.double.samples().len();
        let answer = rig.send(V1_TYPE, &body(at)).await;
        assert_eq!(answer.status, status, "{at}: {}", answer.body);
        let stored = rig.double.samples().len() - before;
        assert_eq!(stored, if status == 204 { 2 } else { 1 }, "{at}");
        if status == 400 {
            assert!(answer.body.contains("being deleted"), "{}", answer.body);
        }
    }
    // Many samples of one series at once, some of them refused.
    let many = [(NOW - 10, 1.0), (NOW - 5, 2.0), (NOW - 4, 3.0), (NOW, 4.0)];
    let many = request(vec![series(&[("__name__", "up")], &many)]);
    let answer = rig.send(V1_TYPE, &many).await;
    assert!(
        answer.body.starts_with("stored 2 samples; refused 2"),
        "{}",
        answer.body
    );
    let undone = Command::TombstoneUndone(TombstoneId(7));
    control.propose(&undone).unwrap().into_result().unwrap();
    assert_eq!(rig.send(V1_TYPE, &many).await.status, 204);
}
