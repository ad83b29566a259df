//! From calls of functions to operators.

use crate::query::error::Error;
use crate::query::function::{Evaluate, LabelJoin, LabelReplace, Special};
use crate::query::plan::{CallNode, Moment, Node, NodeKind, Selector};
use crate::query::syntax::Edges;
use crate::query::value::ValueType;

use super::absent::{Absent, AbsentOverTime, absent_labels};
use super::assemble::{Assembly, text};
use super::call::{Change, Labels, Map, Nameless, Only, Relabel, Swallow};
use super::constant::{Empty, Formula, Scalar};
use super::histogram::{Asked, Histograms};
use super::info::Info;
use super::labels::Distinct;
use super::operator::Input;
use super::scan::{Scan, Wanted};
use super::sort::{Order, Sort};

impl Assembly {
    /// A call that stands at a position of the text.
    pub(super) fn call(self, call: &CallNode, position: usize) -> Result<Input, Error> {
        let function = call.function;
        Ok(match function.evaluate {
            Evaluate::Sample(sample) => self.map(call, Change::Sample(sample))?,
            Evaluate::Calendar(part) => match call.args.is_empty() {
                true => self.calendar_of_step(part),
                false => self.map(call, Change::Value(part))?,
            },
            Evaluate::Step(time) => Box::new(Scalar::new(Formula::Time(time), self.steps)),
            Evaluate::Scalar(scalar) => {
                let inputs: Result<Vec<Input>, Error> =
                    call.args.iter().map(|arg| self.input(arg)).collect();
                Box::new(Scalar::new(Formula::Scalars(scalar, inputs?), self.steps))
            }
            Evaluate::Range(floats, mixed) => self.range_call(call, floats, mixed)?,
            Evaluate::Histogram(number) => self.map(call, Change::Histogram(number))?,
            Evaluate::Special(special) => self.special(call, special, position)?,
        })
    }

    /// The argument at a position.
    fn arg(self, call: &CallNode, at: usize) -> Result<&Node, Error> {
        call.args.get(at).ok_or_else(|| {
            Error::Invalid(format!(
                "expected at least {} argument(s) in call to {:?}",
                at + 1,
                call.function.name
            ))
        })
    }

    fn arg_input(self, call: &CallNode, at: usize) -> Result<Input, Error> {
        self.input(self.arg(call, at)?)
    }

    /// The scalar arguments, and where they begin.
    pub(super) fn scalars(self, call: &CallNode) -> Result<(Vec<Input>, Vec<usize>), Error> {
        let scalars = || {
            call.args
                .iter()
                .filter(|arg| arg.value_type() == ValueType::Scalar)
        };
        let inputs: Result<Vec<Input>, Error> = scalars().map(|arg| self.input(arg)).collect();
        Ok((inputs?, scalars().map(|arg| arg.span.start).collect()))
    }

    fn map(self, call: &CallNode, change: Change) -> Result<Input, Error> {
        let vector = self.arg(call, 0)?;
        Ok(Box::new(Map {
            change,
            vector: self.input(vector)?,
            scalars: self.scalars(call)?.0,
            steps: self.steps,
            distinct: self.distinct(vector),
            rows: None,
        }))
    }

    /// `hour()` and its like without argument: of the step's time.
    fn calendar_of_step(self, part: fn(f64) -> f64) -> Input {
        let seconds: fn(i64) -> f64 = |ms| super::times::seconds(ms.div_euclid(1_000) * 1_000);
        let time = Box::new(Scalar::new(Formula::Time(seconds), self.steps));
        Box::new(Map {
            change: Change::Value(part),
            vector: time,
            scalars: Vec::new(),
            steps: self.steps,
            distinct: None,
            rows: None,
        })
    }

    fn special(self, call: &CallNode, special: Special, position: usize) -> Result<Input, Error> {
        Ok(match special {
            Special::Absent => Box::new(Absent {
                vector: self.arg_input(call, 0)?,
                labels: absent_labels(self.arg(call, 0)?),
                count: self.steps.count,
                done: false,
            }),
            Special::AbsentOverTime => {
                let arg = self.arg(call, 0)?;
                let (windows, source, _) = self.range(arg)?;
                Box::new(AbsentOverTime {
                    windows,
                    source,
                    labels: absent_labels(arg),
                    position: arg.span.start,
                    done: false,
                })
            }
            Special::Scalar => Box::new(Only {
                vector: self.arg_input(call, 0)?,
                count: self.steps.count,
                done: false,
            }),
            Special::Vector => self.arg_input(call, 0)?,
            Special::LabelReplace | Special::LabelJoin => self.relabel(call, special)?,
            Special::Sort { descending } => self.sort(call, Order::Value, descending, position)?,
            Special::SortByLabel { descending } => {
                let names = call.args.iter().skip(1).map(text).collect();
                self.sort(call, Order::Labels(names), descending, position)?
            }
            Special::HistogramQuantile
            | Special::HistogramQuantiles
            | Special::HistogramFraction => self.histograms(call, special)?,
            Special::Timestamp => self.timestamp(call)?,
            Special::StartTimestamp => self.start_timestamp(call)?,
            Special::Info => self.info(call)?,
            Special::QueryContext(_) => Box::new(Empty),
        })
    }

    fn relabel(self, call: &CallNode, special: Special) -> Result<Input, Error> {
        let texts: Vec<String> = call.args.iter().skip(1).map(text).collect();
        let relabel = match (special, texts.as_slice()) {
            (Special::LabelReplace, [destination, replacement, source, regex]) => {
                LabelReplace::new(destination, replacement, source, regex).map(Relabel::Replace)
            }
            (_, [destination, separator, sources @ ..]) => {
                let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
                LabelJoin::new(destination, separator, &sources).map(Relabel::Join)
            }
            _ => Err("too few arguments".to_owned()),
        };
        Ok(Box::new(Labels {
            relabel: relabel.map_err(Error::Execution)?,
            vector: self.arg_input(call, 0)?,
            distinct: Distinct::default(),
        }))
    }

    fn sort(
        self,
        call: &CallNode,
        order: Order,
        descending: bool,
        position: usize,
    ) -> Result<Input, Error> {
        Ok(Box::new(Sort {
            order,
            descending,
            vector: self.arg_input(call, 0)?,
            instant: self.steps.is_instant(),
            position,
            sorted: None,
            held: None,
        }))
    }

    fn histograms(self, call: &CallNode, special: Special) -> Result<Input, Error> {
        let (asked, vector) = match special {
            Special::HistogramQuantile => (Asked::Quantile, 1),
            Special::HistogramQuantiles => (Asked::Quantiles(text(self.arg(call, 1)?)), 0),
            _ => (Asked::Fraction, 2),
        };
        let vector = self.arg(call, vector)?;
        let (scalars, scalar_positions) = self.scalars(call)?;
        Ok(Box::new(Histograms {
            asked,
            vector: self.input(vector)?,
            scalars,
            steps: self.steps,
            vector_position: vector.span.start,
            scalar_positions,
            done: None,
        }))
    }

    fn info(self, call: &CallNode) -> Result<Input, Error> {
        let base = self.arg(call, 0)?;
        let matchers = match call.args.get(1).map(|arg| &arg.kind) {
            Some(NodeKind::Instant(selector)) => selector.matchers.clone(),
            _ => Vec::new(),
        };
        let now = Moment {
            at: None,
            offset_ms: 0,
        };
        Ok(Box::new(Info {
            base: self.input(base)?,
            matchers,
            moment: base.first_moment().unwrap_or(now),
            steps: self.steps,
            done: None,
        }))
    }

    fn timestamp(self, call: &CallNode) -> Result<Input, Error> {
        let arg = self.arg(call, 0)?;
        let NodeKind::Instant(selector) = &arg.kind else {
            return self.map(call, Change::StepTime);
        };
        let scan = Scan::new(unsmoothed(selector), self.steps, Wanted::Timestamp);
        Ok(Box::new(Nameless {
            vector: Box::new(scan),
            distinct: self.distinct(arg),
        }))
    }

    fn start_timestamp(self, call: &CallNode) -> Result<Input, Error> {
        let arg = self.arg(call, 0)?;
        let selector = match &arg.kind {
            NodeKind::Instant(selector) if self.habits.start_timestamps => selector,
            _ => {
                return Ok(Box::new(Swallow {
                    vector: self.input(arg)?,
                }));
            }
        };
        let scan = Scan::new(unsmoothed(selector), self.steps, Wanted::Start);
        Ok(Box::new(Nameless {
            vector: Box::new(scan),
            distinct: self.distinct(arg),
        }))
    }
}

/// Times are those of samples that there are.
fn unsmoothed(selector: &Selector) -> Selector {
    Selector {
        edges: Edges::Plain,
        ..selector.clone()
    }
}
