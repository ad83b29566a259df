//! Requests of remote-write, in both versions.

use std::collections::HashMap;

use prost::Message;

/// A version of remote-write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

impl Version {
    pub const fn headers(self) -> [(&'static str, &'static str); 3] {
        let (content_type, version) = match self {
            Self::V1 => ("application/x-protobuf", "0.1.0"),
            Self::V2 => (
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                "2.0.0",
            ),
        };
        [
            ("content-type", content_type),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", version),
        ]
    }
}

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct RequestV2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<TimeSeriesV2>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<Metadata>,
}

/// Always there and nothing in it, as Prometheus sends it for what it knows nothing of.
#[derive(Clone, PartialEq, Message)]
struct Metadata {}

/// One sample of each of these series, compressed.
pub fn request(version: Version, series: &[Vec<Label>], samples: Vec<Sample>) -> Vec<u8> {
    let both = series.iter().zip(samples);
    let message = match version {
        Version::V1 => {
            let timeseries = both.map(|(labels, sample)| TimeSeries {
                labels: labels.clone(),
                samples: vec![sample],
            });
            let timeseries = timeseries.collect();
            WriteRequest { timeseries }.encode_to_vec()
        }
        Version::V2 => {
            let mut symbols = Symbols::default();
            let timeseries = both.map(|(labels, sample)| TimeSeriesV2 {
                labels_refs: labels
                    .iter()
                    .flat_map(|label| [symbols.refer(&label.name), symbols.refer(&label.value)])
                    .collect(),
                samples: vec![sample],
                metadata: Some(Metadata {}),
            });
            let timeseries = timeseries.collect();
            let symbols = symbols.texts;
            RequestV2 {
                symbols,
                timeseries,
            }
            .encode_to_vec()
        }
    };
    snap::raw::Encoder::new().compress_vec(&message).unwrap()
}

/// Texts in the order of their first sight, behind the empty one.
struct Symbols<'a> {
    texts: Vec<String>,
    known: HashMap<&'a str, u32>,
}

impl Default for Symbols<'_> {
    fn default() -> Self {
        Self {
            texts: vec![String::new()],
            known: HashMap::new(),
        }
    }
}

impl<'a> Symbols<'a> {
    fn refer(&mut self, text: &'a str) -> u32 {
        *self.known.entry(text).or_insert_with(|| {
            self.texts.push(text.to_owned());
            self.texts.len() as u32 - 1
        })
    }
}
