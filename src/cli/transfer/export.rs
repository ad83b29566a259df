//! `cairn export`: history out of a running node, into files that other programs read.
//!
//! One UTC day after the other is read by remote read (streamed chunks), so that memory is bounded by
//! what one series has in a day, and a day is where one can go on. What a server finds too much for
//! one request is asked for in halves.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::link::{Link, Reply};
use super::position::PositionFile;
use super::{Format, Selection};
use crate::cli::at::AtTenant;
use crate::cli::{conclude, time};
use crate::model::{TimeRange, TimestampMs};
use crate::runtime::{Clock, SystemClock};
use crate::transfer::{
    BlockSink, Frames, Left, OpenMetricsSink, Position, Sink, VictoriaSink, Wanted, read_request,
};

const EXAMPLES: &str = "\
Examples:
  cairn export prometheus blocks             then move the folders in blocks into Prometheus' data
  cairn export victoriametrics - | curl -T - -X POST http://vm:8428/api/v1/import
  cairn export openmetrics all.om --match '{job=\"node\"}' --start now-30d
  cairn export prometheus blocks --position out.json     goes on where it was

Blocks hold everything but start timestamps. The two texts hold no native histograms; OpenMetrics
holds no stale markers, and JSON lines have the same word for them and for other NaN. What was left
out is counted. Any server of remote read may be given: another Prometheus, or Mimir's /prometheus.";

/// How long one read may take.
const TIMEOUT: Duration = Duration::from_secs(300);
const DAY_MS: i64 = 86_400_000;
/// The least time that is asked for at once.
const STEP_MS_MIN: i64 = 60_000;

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("url", |arg| arg.help("The node, or any other server of remote read at /api/v1/read below this address")))]
#[command(mut_arg("json", |arg| arg.help("Print the outcome as one JSON object, on standard error where the output is standard output")))]
pub(in crate::cli) struct Export {
    /// What to write.
    #[arg(value_enum)]
    format: Format,
    /// The file (- is standard output), or with prometheus the directory for blocks.
    path: PathBuf,
    #[command(flatten)]
    at: AtTenant,
    #[command(flatten)]
    selection: Selection,
    /// Where to note how far it is; the same command goes on there.
    #[arg(long, value_name = "FILE")]
    position: Option<PathBuf>,
}

/// Where the history goes.
enum Target {
    Blocks(Box<BlockSink>),
    Victoria(VictoriaSink<Out>),
    OpenMetrics(OpenMetricsSink<Out>),
}

impl Target {
    fn sink(&mut self) -> &mut dyn Sink {
        match self {
            Self::Blocks(sink) => sink.as_mut(),
            Self::Victoria(sink) => sink,
            Self::OpenMetrics(sink) => sink,
        }
    }

    /// Ends a day: what of it was put is on its way to the disk. Gives the bytes of a text so far.
    fn end_day(&mut self) -> Result<u64, String> {
        let write = |out: &mut Out| out.settle().map_err(|error| error.to_string());
        match self {
            Self::Blocks(sink) => {
                sink.end_day().map_err(|error| error.to_string())?;
                Ok(0)
            }
            Self::Victoria(sink) => write(sink.out()),
            Self::OpenMetrics(sink) => write(sink.out()),
        }
    }
}

/// A file or standard output, and how much was written.
struct Out {
    to: Box<dyn Write>,
    file: Option<File>,
    bytes: u64,
}

impl Out {
    /// Opens a text to go on behind so many bytes.
    fn open(path: &Path, from: u64) -> Result<Self, String> {
        if path == Path::new("-") {
            if from > 0 {
                return Err("standard output cannot go on where it was: write to a file".to_owned());
            }
            let to = Box::new(BufWriter::new(std::io::stdout()));
            return Ok(Self {
                to,
                file: None,
                bytes: 0,
            });
        }
        let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        let file = options.open(path).map_err(wrong)?;
        file.set_len(from).map_err(wrong)?;
        let to = Box::new(BufWriter::with_capacity(
            1 << 20,
            file.try_clone().map_err(wrong)?,
        ));
        Ok(Self {
            to,
            file: Some(file),
            bytes: from,
        })
    }

    fn settle(&mut self) -> std::io::Result<u64> {
        self.to.flush()?;
        if let Some(file) = &self.file {
            file.sync_data()?;
        }
        Ok(self.bytes)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// What was done.
#[derive(Default)]
struct Outcome {
    samples: u64,
    left: Left,
    blocks: Option<usize>,
}

impl Export {
    pub(in crate::cli) fn run(&self) -> ExitCode {
        let answer = self.export().map(|outcome| {
            if self.at.node.json {
                outcome.json()
            } else {
                outcome.text()
            }
        });
        if self.path != Path::new("-") {
            return conclude(answer);
        }
        // Standard output has the history.
        match answer {
            Ok(text) => {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
                ExitCode::SUCCESS
            }
            error => conclude(error),
        }
    }

    fn export(&self) -> Result<Outcome, String> {
        let wanted = self.selection.wanted()?;
        let link = Link::new(&self.at.node.url, self.at.tenant(), TIMEOUT)?;
        let of = format!("{} to {}", link.base(), self.path.display());
        let mut position = PositionFile::open(self.position.as_deref(), of)?;
        let days = self.days(&wanted)?;
        let from = position.begun();
        let mut target = self.target(from.at)?;
        let bar = ProgressBar::new(days.len() as u64);
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} days  {msg}  {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let mut read = Read {
            link,
            step_ms: DAY_MS,
            outcome: Outcome::default(),
        };
        for day in days {
            bar.inc(1);
            // Days are numbered from 1970 on, so that it is the same one tomorrow.
            let number = u64::try_from(day.start.0.div_euclid(DAY_MS)).unwrap_or(0);
            if number < from.slice {
                continue;
            }
            let left = || format!("of {}", time::show(day.start).get(..10).unwrap_or_default());
            read.day(&wanted, day, target.sink())
                .map_err(|error| format!("{}: {error}", left()))?;
            position.keep(Position {
                part: String::new(),
                slice: number + 1,
                at: target.end_day()?,
            })?;
            bar.set_message(format!("{} samples", read.outcome.samples));
        }
        read.outcome.left = target.sink().finish().map_err(|error| error.to_string())?;
        target.end_day()?;
        if let Target::Blocks(sink) = &target {
            read.outcome.blocks = Some(sink.written().len());
        }
        bar.finish_and_clear();
        Ok(read.outcome)
    }

    fn target(&self, from: u64) -> Result<Target, String> {
        let path = &self.path;
        Ok(match self.format {
            Format::Prometheus => {
                let sink = BlockSink::new(path).map_err(|error| error.to_string())?;
                Target::Blocks(Box::new(sink))
            }
            Format::Victoriametrics => Target::Victoria(VictoriaSink::new(Out::open(path, from)?)),
            Format::Openmetrics => {
                Target::OpenMetrics(OpenMetricsSink::new(Out::open(path, from)?))
            }
        })
    }

    /// The UTC days of the history, the first and the last cut to what is wanted.
    fn days(&self, wanted: &Wanted) -> Result<Vec<TimeRange>, String> {
        let now = SystemClock::new().now();
        let end = wanted.range.end.min(now.plus_ms(DAY_MS));
        let start = match wanted.range.start {
            TimestampMs::MIN => match self.first_day(end)? {
                Some(start) => start,
                None => return Ok(Vec::new()),
            },
            start => start,
        };
        let mut days = Vec::new();
        let mut at = start.0;
        while at <= end.0 {
            let next = (at.div_euclid(DAY_MS) + 1).saturating_mul(DAY_MS);
            let last = TimestampMs((next - 1).min(end.0));
            days.push(TimeRange::new(TimestampMs(at), last));
            at = next;
        }
        Ok(days)
    }

    /// The day of the first sample, found by asking whether there are any names before a time.
    fn first_day(&self, end: TimestampMs) -> Result<Option<TimestampMs>, String> {
        let node = self.at.node(TIMEOUT);
        let any_before = |end: i64| -> Result<bool, String> {
            let end = time::seconds(TimestampMs(end));
            let form = [("start", "0"), ("end", end.as_str()), ("limit", "1")];
            let answer = node.post("labels", &form)?;
            Ok(answer.data.as_array().is_some_and(|all| !all.is_empty()))
        };
        if !any_before(end.0)? {
            return Ok(None);
        }
        let (mut none, mut some) = (0, end.0.div_euclid(DAY_MS) + 1);
        while none < some {
            let middle = none + (some - none) / 2;
            if any_before((middle + 1) * DAY_MS - 1)? {
                some = middle;
            } else {
                none = middle + 1;
            }
        }
        Ok(Some(TimestampMs(some * DAY_MS)))
    }
}

/// Reads days.
struct Read {
    link: Link,
    /// How much time is asked for at once; shorter when a server finds it too much.
    step_ms: i64,
    outcome: Outcome,
}

impl Read {
    fn day(&mut self, wanted: &Wanted, day: TimeRange, sink: &mut dyn Sink) -> Result<(), String> {
        let mut at = day.start.0;
        while at <= day.end.0 {
            let end = (at + self.step_ms - 1).min(day.end.0);
            let part = Wanted {
                range: TimeRange::new(TimestampMs(at), TimestampMs(end)),
                matchers: wanted.matchers.clone(),
            };
            match self.part(&part, sink)? {
                None => at = end + 1,
                Some(reply) if is_too_much(&reply) && self.step_ms / 2 >= STEP_MS_MIN => {
                    self.step_ms /= 2;
                }
                Some(reply) => {
                    let status = reply.status;
                    let text = reply.text.lines().next().unwrap_or_default();
                    return Err(format!(
                        "{} answers {status} to a remote read ({text})",
                        self.link.base()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Reads a part of a day; a refusal is given back, nothing was written then.
    fn part(&mut self, part: &Wanted, sink: &mut dyn Sink) -> Result<Option<Reply>, String> {
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-read-version", "0.1.0"),
        ];
        let mut stream = match self
            .link
            .stream("/api/v1/read", &headers, read_request(part))?
        {
            Ok(stream) => stream,
            Err(reply) => return Ok(Some(reply)),
        };
        let mut frames = Frames::default();
        while let Some(bytes) = stream.next()? {
            frames.push(&bytes);
            while let Some(pieces) = frames.take().map_err(|error| error.to_string())? {
                for mut piece in pieces {
                    // Chunks may reach beyond what was asked for.
                    piece.samples.clip(part.range);
                    self.outcome.samples += piece.samples.len() as u64;
                    sink.put(&piece).map_err(|error| error.to_string())?;
                }
            }
        }
        if frames.is_empty() {
            Ok(None)
        } else {
            Err("the answer broke off within a frame".to_owned())
        }
    }
}

/// Whether less at once may be answered.
fn is_too_much(reply: &Reply) -> bool {
    matches!(reply.status, 400 | 413 | 422 | 503 | 500)
}

impl Outcome {
    fn json(&self) -> String {
        json!({
            "samples": self.samples, "blocks": self.blocks,
            "left": {
                "histograms": self.left.histograms, "stale": self.left.stale,
                "nans": self.left.nans,
            },
        })
        .to_string()
    }

    fn text(&self) -> String {
        let Left {
            histograms,
            stale,
            nans,
        } = self.left;
        let mut text = format!("{} samples read", self.samples);
        if let Some(blocks) = self.blocks {
            text.push_str(&format!(", {blocks} blocks written"));
        }
        for (count, what) in [
            (
                histograms,
                "native histograms were left out: the format has none",
            ),
            (stale, "stale markers were left out: the format has none"),
            (nans, "values that are NaN became null, as stale markers do"),
        ] {
            if count > 0 {
                text.push_str(&format!("\n{count} {what}"));
            }
        }
        text
    }
}
