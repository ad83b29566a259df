//! Remote-write 2.0.

use super::test_messages::{
    Count, ExemplarV2, Histogram, MetadataV2, RequestV2, SampleV2, Span, TimeSeriesV2,
};
use super::test_rig::{NOW, Rig, V2_TYPE, snappy, written};

/// Builds requests: texts become references.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) request: RequestV2,
}

impl Builder {
    pub(super) fn new() -> Self {
        let mut builder = Self::default();
        builder.symbol("");
        builder
    }

    pub(super) fn symbol(&mut self, text: &str) -> u32 {
        let symbols = &mut self.request.symbols;
        let known = symbols.iter().position(|s| s == text.as_bytes());
        let at = known.unwrap_or_else(|| {
            symbols.push(text.as_bytes().to_vec());
            symbols.len() - 1
        });
        u32::try_from(at).unwrap()
    }

    pub(super) fn refs(&mut self, labels: &[(&str, &str)]) -> Vec<u32> {
        labels
            .iter()
            .flat_map(|(name, value)| [self.symbol(name), self.symbol(value)])
            .collect()
    }

    pub(super) fn series(&mut self, labels: &[(&str, &str)]) -> &mut TimeSeriesV2 {
        let labels_refs = self.refs(labels);
        self.request.timeseries.push(TimeSeriesV2 {
            labels_refs,
            ..TimeSeriesV2::default()
        });
        self.request.timeseries.last_mut().unwrap()
    }

    pub(super) fn float(&mut self, labels: &[(&str, &str)], at: i64, value: f64) -> &mut Self {
        self.series(labels).samples = vec![sample(at, value, 0)];
        self
    }
}

fn sample(timestamp: i64, value: f64, start_timestamp: i64) -> SampleV2 {
    SampleV2 {
        value,
        timestamp,
        start_timestamp,
    }
}

pub(super) fn small_histogram(at: i64) -> Histogram {
    Histogram {
        count: Some(Count::Int(3)),
        sum: 4.5,
        positive_spans: vec![Span {
            offset: 0,
            length: 2,
        }],
        positive_deltas: vec![1, 1],
        timestamp: at,
        ..Histogram::default()
    }
}

#[tokio::test]
async fn samples_are_counted_in_the_headers() {
    let rig = Rig::new();
    for round in 0..3i64 {
        let mut builder = Builder::new();
        for job in ["a", "b", "c"] {
            builder.float(&[("__name__", "up"), ("job", job)], NOW + round, 1.0);
        }
        builder.series(&[("__name__", "h")]).histograms = vec![small_histogram(NOW + round)];
        let refs = builder.refs(&[("trace_id", "abc")]);
        let with = builder.series(&[("__name__", "e")]);
        with.samples = vec![sample(NOW + round, 2.0, 0)];
        with.exemplars = vec![ExemplarV2 {
            labels_refs: refs,
            value: 0.25,
            timestamp: NOW,
        }];
        let answer = rig.send(V2_TYPE, &builder.request).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
        assert_eq!(written(&answer), Some([4, 1, 1]));
    }
    let registers = rig
        .double
        .registers
        .load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(registers, 5);
    assert_eq!(rig.double.samples().len(), 15);
    assert_eq!(rig.double.kept.lock().exemplars.len(), 3);
}

#[tokio::test]
async fn another_symbol_table_names_the_same_series() {
    let rig = Rig::new();
    let mut first = Builder::new();
    first.float(&[("__name__", "up"), ("job", "a")], NOW, 1.0);
    let mut second = Builder::new();
    for unused in ["x", "y", "a", "job"] {
        second.symbol(unused);
    }
    // A symbol twice is the sender's fault, and harmless.
    second.request.symbols.push(b"up".to_vec());
    second.float(&[("__name__", "up"), ("job", "a")], NOW, 2.0);
    for builder in [&first, &second] {
        assert_eq!(rig.send(V2_TYPE, &builder.request).await.status, 204);
    }
    let registers = rig
        .double
        .registers
        .load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(registers, 1);
}

#[tokio::test]
async fn series_that_break_a_rule_are_refused_and_the_rest_stored() {
    let rig = Rig::new();
    let up = [("__name__", "bad"), ("job", "a")];
    let mut cases: Vec<(Builder, &str)> = Vec::new();
    let mut case = |text, make: &dyn Fn(&mut Builder)| {
        let mut builder = Builder::new();
        builder.float(&[("__name__", "good")], NOW, 1.0);
        make(&mut builder);
        cases.push((builder, text));
    };
    case("refers to a symbol that the request does not have", &|b| {
        b.float(&up, NOW, 1.0);
        b.request.timeseries[1].labels_refs[3] = 99;
    });
    case("odd number of label references", &|b| {
        b.float(&up, NOW, 1.0);
        b.request.timeseries[1].labels_refs.pop();
    });
    case("both samples and histograms", &|b| {
        let series = b.series(&up);
        series.samples = vec![sample(NOW, 1.0, 0)];
        series.histograms = vec![small_histogram(NOW)];
    });
    case("neither samples nor histograms", &|b| {
        b.series(&up);
    });
    case("metric name is missing", &|b| {
        b.float(&[("job", "a")], NOW, 1.0);
    });
    case("an exemplar has no timestamp", &|b| {
        let refs = b.refs(&[("trace_id", "abc")]);
        b.series(&[("__name__", "kept")]).exemplars = vec![ExemplarV2 {
            labels_refs: refs,
            value: 1.0,
            timestamp: 0,
        }];
    });
    case("an exemplar: it refers to a symbol", &|b| {
        b.series(&[("__name__", "kept")]).exemplars = vec![ExemplarV2 {
            labels_refs: vec![77, 78],
            value: 1.0,
            timestamp: NOW,
        }];
    });
    for (builder, text) in cases {
        for _ in 0..2 {
            let answer = rig.send(V2_TYPE, &builder.request).await;
            assert_eq!(answer.status, 400, "{text}");
            assert!(answer.body.contains(text), "{text} in {}", answer.body);
            assert_eq!(written(&answer), Some([1, 0, 0]), "{text}");
        }
    }
    let names: Vec<String> = rig.double.samples().into_iter().map(|s| s.0).collect();
    assert!(names.iter().all(|name| name == "good"), "{names:?}");
}

#[tokio::test]
async fn the_first_symbol_must_be_empty() {
    let rig = Rig::new();
    let mut builder = Builder::new();
    builder.float(&[("__name__", "up")], NOW, 1.0);
    let mut none = builder.request.clone();
    none.symbols.clear();
    builder.request.symbols[0] = b"x".to_vec();
    for request in [builder.request, none] {
        let answer = rig.send(V2_TYPE, &request).await;
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("first symbol"), "{}", answer.body);
        assert_eq!(written(&answer), Some([0, 0, 0]));
    }
    assert_eq!(rig.double.samples(), []);
}

#[tokio::test]
async fn start_timestamps_come_through() {
    let rig = Rig::new();
    let mut builder = Builder::new();
    builder.series(&[("__name__", "c_total")]).samples =
        vec![sample(NOW, 1.0, NOW - 60_000), sample(NOW + 1, 2.0, 0)];
    let mut histogram = small_histogram(NOW);
    histogram.start_timestamp = NOW - 1;
    builder.series(&[("__name__", "h")]).histograms = vec![histogram];
    for _ in 0..2 {
        assert_eq!(rig.send(V2_TYPE, &builder.request).await.status, 204);
    }
    let starts: Vec<bool> = rig
        .double
        .samples()
        .iter()
        .map(|(_, _, text)| text.contains(" since "))
        .collect();
    // Floats without a start go their own way, in front of the others.
    assert_eq!(starts, [false, true, true, false, true, true]);
    let text = &rig.double.samples()[1].2;
    assert_eq!(*text, format!("1.0 since {}", NOW - 60_000));
}

#[tokio::test]
async fn metadata_is_kept_by_family_and_offered_when_it_changes() {
    let rig = Rig::new();
    let request = |help: &str| {
        let mut builder = Builder::new();
        let refs = (builder.symbol(help), builder.symbol("seconds"));
        for (name, kind) in [
            ("took_seconds_bucket", 3),
            ("took_seconds_sum", 3),
            ("took_seconds_count", 3),
            ("requests_total", 1),
            ("q_sum", 5),
            ("silent", 0),
        ] {
            let series = builder.series(&[("__name__", name), ("job", "a")]);
            series.samples = vec![sample(NOW, 1.0, 0)];
            let (help_ref, unit_ref) = if kind == 0 { (0, 0) } else { refs };
            series.metadata = Some(MetadataV2 {
                kind,
                help_ref,
                unit_ref,
            });
        }
        builder.request
    };
    let families = |help: &str| -> Vec<String> {
        [
            "took_seconds histogram",
            "requests_total counter",
            "q summary",
        ]
        .map(|family| format!("anonymous {family} {help:?} \"seconds\""))
        .to_vec()
    };
    for _ in 0..2 {
        assert_eq!(rig.send(V2_TYPE, &request("one")).await.status, 204);
        assert_eq!(rig.double.kept.lock().metadata, families("one"));
    }
    for _ in 0..2 {
        assert_eq!(rig.send(V2_TYPE, &request("two")).await.status, 204);
        let want = [families("one"), families("two")].concat();
        assert_eq!(rig.double.kept.lock().metadata, want);
    }
    assert_eq!(rig.double.samples().len(), 24);
}

#[tokio::test]
async fn references_may_be_unpacked_and_symbols_come_last() {
    use prost::Message as _;
    let rig = Rig::new();
    let mut builder = Builder::new();
    builder.float(&[("__name__", "up"), ("job", "a")], NOW, 1.0);
    let series = &builder.request.timeseries[0];
    let mut unpacked = Vec::new();
    for reference in &series.labels_refs {
        unpacked.extend([0x08, u8::try_from(*reference).unwrap()]);
    }
    let without = TimeSeriesV2 {
        labels_refs: Vec::new(),
        ..series.clone()
    };
    unpacked.extend(without.encode_to_vec());
    let mut body = vec![0x2a, u8::try_from(unpacked.len()).unwrap()];
    body.extend(unpacked);
    body.extend(
        RequestV2 {
            timeseries: Vec::new(),
            ..builder.request.clone()
        }
        .encode_to_vec(),
    );
    for body in [body, builder.request.encode_to_vec()] {
        let answer = rig.send_body(Some(V2_TYPE), None, snappy(&body)).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    }
    // Packed or not, it is one spelling.
    let registers = rig
        .double
        .registers
        .load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(registers, 1);
    assert_eq!(rig.double.samples()[0].0, "up{job=\"a\"}");
}
