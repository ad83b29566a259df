//! The messages of both versions as prost encodes them: an encoder that is not ours.

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub(super) metadata: Vec<MetricMetadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub(super) exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "4")]
    pub(super) histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Label {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Sample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
    #[prost(int64, tag = "3")]
    pub(super) timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MetricMetadata {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(string, tag = "2")]
    pub(super) family: String,
    #[prost(string, tag = "4")]
    pub(super) help: String,
    #[prost(string, tag = "5")]
    pub(super) unit: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::ingest) struct Histogram {
    #[prost(oneof = "Count", tags = "1, 2")]
    pub(in crate::ingest) count: Option<Count>,
    #[prost(double, tag = "3")]
    pub(in crate::ingest) sum: f64,
    #[prost(sint32, tag = "4")]
    pub(in crate::ingest) schema: i32,
    #[prost(double, tag = "5")]
    pub(in crate::ingest) zero_threshold: f64,
    #[prost(oneof = "ZeroCount", tags = "6, 7")]
    pub(in crate::ingest) zero_count: Option<ZeroCount>,
    #[prost(message, repeated, tag = "8")]
    pub(in crate::ingest) negative_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "9")]
    pub(in crate::ingest) negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub(in crate::ingest) negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub(in crate::ingest) positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    pub(in crate::ingest) positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub(in crate::ingest) positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub(in crate::ingest) reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub(in crate::ingest) timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub(in crate::ingest) custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    pub(in crate::ingest) start_timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(in crate::ingest) enum Count {
    #[prost(uint64, tag = "1")]
    Int(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(in crate::ingest) enum ZeroCount {
    #[prost(uint64, tag = "6")]
    Int(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(in crate::ingest) struct Span {
    #[prost(sint32, tag = "1")]
    pub(in crate::ingest) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(in crate::ingest) length: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RequestV2 {
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(super) symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    pub(super) timeseries: Vec<TimeSeriesV2>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TimeSeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<SampleV2>,
    #[prost(message, repeated, tag = "3")]
    pub(super) histograms: Vec<Histogram>,
    #[prost(message, repeated, tag = "4")]
    pub(super) exemplars: Vec<ExemplarV2>,
    #[prost(message, optional, tag = "5")]
    pub(super) metadata: Option<MetadataV2>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct SampleV2 {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
    #[prost(int64, tag = "3")]
    pub(super) start_timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ExemplarV2 {
    #[prost(uint32, repeated, tag = "1")]
    pub(super) labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
    #[prost(int64, tag = "3")]
    pub(super) timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct MetadataV2 {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(uint32, tag = "3")]
    pub(super) help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub(super) unit_ref: u32,
}
