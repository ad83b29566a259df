//! The series of a selector, or of a function of its ranges, evaluated by several threads at once.
//!
//! What storage gives may come in several streams (`Source::select_apart`). Each is evaluated by an
//! operator of its own, and what comes of them is handed on in their order: the same series in the
//! same order as from one thread, and the same remarks. Rounds bound what is held: a round ends when
//! it has made [`HELD_MAX`] bytes or all, no thread makes more than that of one stream, and nothing is
//! worked on while that is handed on.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::query::annotations::Annotations;
use crate::query::crew::Hired;
use crate::query::error::Error;
use crate::query::value::StepSeries;

use super::labels::Distinct;
use super::opened::Opened;
use super::operator::{Ground, Held, Input, Operator, Reads, Run};

/// What a round makes, about, and what a thread makes of one stream at most before it leaves it: far
/// more than what it costs to wake a thread.
const HELD_MAX: u64 = 4 << 20;

/// Evaluates a node by several threads where that pays.
pub(super) struct Apart {
    task: Task,
    reads: Reads,
    /// Names are dropped that may leave equal label sets: one thread does not see the other's.
    distinct: Option<Distinct>,
    state: State,
}

/// What is evaluated of each stream: makes its operator.
struct Task(Box<dyn Fn() -> Result<Input, Error> + Send + Sync>);

enum State {
    /// Nothing has been read.
    New,
    /// One stream: evaluated by the query's thread as it is asked for.
    One(Input),
    /// Several.
    Several {
        waiting: VecDeque<Opened>,
        made: VecDeque<Made>,
    },
}

/// What has been made of a stream.
struct Made {
    series: std::vec::IntoIter<StepSeries>,
    /// What `series` is accounted for with.
    _held: Option<Held>,
    bytes: u64,
    said: Annotations,
    counts: (u64, u64),
    /// What has not been made: the query's thread goes on with it when it is asked for.
    rest: Option<Input>,
    /// What it ended with.
    failure: Option<Error>,
}

/// What threads share in a round.
struct Round<'a> {
    waiting: &'a mut VecDeque<Opened>,
    made: Vec<Option<Made>>,
    bytes: u64,
    /// There is no use in going on.
    over: bool,
}

impl Apart {
    /// Of an operator that reads these series and no others, made anew for each stream.
    pub(super) fn new(
        make: impl Fn() -> Result<Input, Error> + Send + Sync + 'static,
        reads: Reads,
        distinct: Option<Distinct>,
    ) -> Self {
        Self {
            task: Task(Box::new(make)),
            reads,
            distinct,
            state: State::New,
        }
    }

    fn open(&self, run: &Run<'_>) -> Result<State, Error> {
        let mut waiting: VecDeque<_> = run.select_apart(self.reads.clone())?.into();
        if waiting.len() > 1 {
            let made = VecDeque::new();
            return Ok(State::Several { waiting, made });
        }
        let input = (self.task.0)()?;
        if let Some(stream) = waiting.pop_front() {
            run.give(stream);
        }
        Ok(State::One(input))
    }
}

impl Task {
    /// One round of all threads: what it has made, in order.
    fn round(
        &self,
        waiting: &mut VecDeque<Opened>,
        run: &Run<'_>,
    ) -> Result<VecDeque<Made>, Error> {
        let hired = run.hire(waiting.len().saturating_sub(1));
        let ground = run.ground();
        let round = Mutex::new(Round {
            waiting,
            made: Vec::new(),
            bytes: 0,
            over: false,
        });
        std::thread::scope(|scope| {
            for _ in 0..hired.as_ref().map_or(0, Hired::count) {
                let help = || while ground.welcomes_help() && self.one(&round, &ground) {};
                let thread = std::thread::Builder::new().name("query-help".to_owned());
                if thread.spawn_scoped(scope, help).is_err() {
                    // The query's own thread does all that nobody else does.
                    break;
                }
            }
            let alone = || -> Result<(), Error> {
                while self.one(&round, &ground) {
                    run.check()?;
                }
                Ok(())
            };
            let worked = alone();
            round.lock().over |= worked.is_err();
            worked
        })?;
        Ok(round.into_inner().made.into_iter().flatten().collect())
    }

    /// Evaluates the next stream. `false`: the round is over.
    fn one(&self, round: &Mutex<Round<'_>>, ground: &Ground<'_>) -> bool {
        let (place, stream) = {
            let mut round = round.lock();
            if round.over || round.bytes >= HELD_MAX {
                return false;
            }
            let Some(stream) = round.waiting.pop_front() else {
                return false;
            };
            round.made.push(None);
            (round.made.len() - 1, stream)
        };
        let made = self.evaluate(stream, ground);
        let mut round = round.lock();
        round.bytes += made.bytes;
        round.over |= made.failure.is_some();
        if let Some(slot) = round.made.get_mut(place) {
            *slot = Some(made);
        }
        true
    }

    fn evaluate(&self, stream: Opened, ground: &Ground<'_>) -> Made {
        let run = ground.run();
        run.give(stream);
        let (mut held, mut rest) = (None, None);
        let mut all = || -> Result<(), Error> {
            let held = held.insert(Held::new(&run)?);
            let mut input = (self.0)()?;
            while let Some(series) = input.next(&run)? {
                held.push(series)?;
                if held.bytes() >= HELD_MAX {
                    rest = Some(input);
                    break;
                }
            }
            Ok(())
        };
        let failure = all().err();
        Made {
            bytes: held.as_ref().map_or(0, Held::bytes),
            series: held.as_mut().map_or_else(Vec::new, Held::take).into_iter(),
            _held: held,
            said: run.take_annotations(),
            counts: run.counts(),
            rest,
            failure,
        }
    }
}

impl Made {
    /// The next series, or how it ended.
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        run.repeat(std::mem::take(&mut self.said));
        run.add_counts(std::mem::take(&mut self.counts));
        match (self.series.next(), &mut self.rest) {
            (Some(series), _) => Ok(Some(series)),
            (None, Some(rest)) => rest.next(run),
            (None, None) => self.failure.take().map_or(Ok(None), Err),
        }
    }
}

impl Operator for Apart {
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error> {
        loop {
            let mut state = std::mem::replace(&mut self.state, State::New);
            let next = match &mut state {
                State::New => {
                    self.state = self.open(run)?;
                    continue;
                }
                State::One(input) => input.next(run),
                State::Several { waiting, made } => match made.front_mut() {
                    Some(first) => match first.next(run) {
                        Ok(None) => {
                            made.pop_front();
                            self.state = state;
                            continue;
                        }
                        next => next,
                    },
                    None if waiting.is_empty() => Ok(None),
                    None => {
                        *made = self.task.round(waiting, run)?;
                        self.state = state;
                        continue;
                    }
                },
            };
            let several = matches!(state, State::Several { .. });
            self.state = state;
            let next = next?;
            if let (Some(series), Some(distinct), true) = (&next, &mut self.distinct, several) {
                distinct.check_series(series)?;
            }
            return Ok(next);
        }
    }
}
