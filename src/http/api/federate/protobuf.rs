//! Families as protobuf: `MetricFamily` messages of `io.prometheus.client`, each with its length
//! before it (`metrics.proto` of prometheus/client_model).

use crate::codec::prometheus::put_client_histogram;
use crate::codec::protobuf::Message;
use crate::codec::varint::put_len;
use crate::model::{Buckets, Histogram, METRIC_NAME, Value};

use super::family::{Family, Member, Shape, cumulative};
use super::format::Format;

const UNTYPED: u64 = 3;
const HISTOGRAM: u64 = 4;
const GAUGE_HISTOGRAM: u64 = 5;

pub(super) fn write(out: &mut Vec<u8>, family: Family<'_>, format: Format) {
    let mut whole = Vec::new();
    let mut message = Message::new(&mut whole);
    message.bytes(1, format.metric_name(family.name).as_bytes());
    message.uint(
        3,
        match (family.shape, family.gauge) {
            (Shape::Float, _) => UNTYPED,
            (_, false) => HISTOGRAM,
            (_, true) => GAUGE_HISTOGRAM,
        },
    );
    for member in family.members {
        message.message(4, |metric| put_metric(metric, member, format));
    }
    put_len(out, whole.len());
    out.extend_from_slice(&whole);
}

fn put_metric(metric: &mut Message<'_>, member: &Member, format: Format) {
    let mut put_label = |name: &str, value: &str| {
        metric.message(1, |label| {
            label.bytes(1, format.label_name(name).as_bytes());
            label.bytes(2, value.as_bytes());
        });
    };
    for (name, value) in member
        .labels
        .iter()
        .filter(|(name, _)| *name != METRIC_NAME)
    {
        put_label(name, value);
    }
    if member.labels.get("instance").is_none() {
        put_label("instance", "");
    }
    match &member.value {
        Value::Float(value) => metric.message(5, |untyped| untyped.double(1, *value)),
        Value::Histogram(histogram) => metric.message(7, |message| {
            if member.shape == Shape::Classic {
                put_classic(message, histogram);
            } else {
                put_client_histogram(message, histogram);
            }
        }),
    }
    metric.int(6, member.at);
}

/// Bucket counts as floats: that is what Prometheus gives, and both kinds are read.
fn put_classic(message: &mut Message<'_>, histogram: &Histogram) {
    match &histogram.buckets {
        Buckets::Integer { count, .. } => message.uint(1, *count),
        Buckets::Float { count, .. } => message.double(4, *count),
    }
    message.double(2, histogram.sum);
    for (bound, count) in cumulative(histogram) {
        message.message(3, |bucket| {
            bucket.double(2, bound);
            bucket.double(4, count);
        });
    }
}
