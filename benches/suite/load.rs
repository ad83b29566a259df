//! Synthetic load like node_exporter's: targets of 250 series, a fifth constant, half counters, the
//! rest gauges and classic histograms. A pure function of series and step.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::http::post;
use super::messages::{Label, Sample, Version, request};

const SERIES_PER_TARGET: usize = 250;
const STEP_MS: i64 = 15_000;
const BATCH: usize = 5_000;
const CONNECTIONS: usize = 4;
/// Requests, encoded.
pub struct Load {
    version: Version,
    bodies: Vec<Vec<u8>>,
    samples: usize,
    end_ms: i64,
}

impl Load {
    pub fn new(version: Version, series: usize, steps: usize) -> Self {
        // It ends now, as a real sender's does.
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis() as i64;
        let start = now / STEP_MS * STEP_MS - steps as i64 * STEP_MS;
        let at_step = |step: usize| start + step as i64 * STEP_MS;
        let labels: Vec<Vec<Label>> = (0..series).map(labels).collect();
        let mut bodies = Vec::new();
        for step in 0..steps {
            for (batch, chunk) in labels.chunks(BATCH).enumerate() {
                let samples = (batch * BATCH..batch * BATCH + chunk.len()).map(|series| Sample {
                    value: value(series, step),
                    timestamp: at_step(step),
                });
                bodies.push(request(version, chunk, samples.collect()));
            }
        }
        Self {
            version,
            bodies,
            samples: series * steps,
            end_ms: at_step(steps - 1),
        }
    }

    pub fn samples(&self) -> usize {
        self.samples
    }

    pub fn end_ms(&self) -> i64 {
        self.end_ms
    }

    /// Sends everything over a few connections, in order of time.
    pub fn send(&self, url: &str) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| self.send_rest(url, &next));
            }
        });
    }

    /// Takes one body after the other and sends it, until none is left.
    fn send_rest(&self, url: &str, next: &AtomicUsize) {
        while let Some(body) = self.bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
            self.send_one(url, body);
        }
    }

    fn send_one(&self, url: &str, body: &[u8]) {
        let answer = post(url, &self.version.headers(), body).unwrap();
        assert!(
            answer.status / 100 == 2,
            "{}: {}",
            answer.status,
            answer.text()
        );
    }
}

fn labels(series: usize) -> Vec<Label> {
    let (target, template) = (series / SERIES_PER_TARGET, series % SERIES_PER_TARGET);
    let label = |name: &str, value: String| Label {
        name: name.into(),
        value,
    };
    let mut labels = match template {
        0..50 => vec![
            label("__name__", format!("load_info_{}", template % 10)),
            label("device", format!("disk{}", template / 10)),
        ],
        50..175 => vec![
            label("__name__", format!("load_counter_{}_total", template % 25)),
            label("cpu", format!("{}", (template - 50) / 25)),
        ],
        175..225 => vec![label("__name__", format!("load_gauge_{}", template - 175))],
        _ => {
            let le = [
                0.005,
                0.01,
                0.025,
                0.05,
                0.1,
                0.25,
                0.5,
                1.0,
                2.5,
                5.0,
                10.0,
                f64::INFINITY,
            ][(template - 225) % 12];
            let le = if le.is_finite() {
                le.to_string()
            } else {
                "+Inf".to_owned()
            };
            vec![
                label("__name__", "load_latency_seconds_bucket".into()),
                label("handler", format!("/path/{}", (template - 225) / 12)),
                label("le", le),
            ]
        }
    };
    labels.push(label("instance", format!("node-{target:05}:9100")));
    labels.push(label("job", "load".into()));
    labels.push(label("datacenter", "home".into()));
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    labels
}

/// `SplitMix64` of a number.
fn random(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn value(series: usize, step: usize) -> f64 {
    let noise = random((series as u64) << 32 | step as u64) as f64 / u64::MAX as f64;
    let template = series % SERIES_PER_TARGET;
    match template {
        0..50 => template as f64,
        50..100 => step as f64 * 150.0 + (noise * 20.0).floor(),
        100..175 => ((step as f64 * 14.7 + noise * 5.0) * 100.0).floor() / 100.0,
        175..200 => (noise * 10_000.0).floor() * 4096.0,
        200..225 => noise,
        _ => (step * ((template - 225) % 12 + 1)) as f64,
    }
}
