//! What every operator is: something that is asked for one series after the other, each with its
//! values at all steps; and [`Run`], what surrounds the execution of one query.
//!
//! Series come in no particular order unless an operator says so. A label set may come in several
//! pieces, each with values at other steps (`Node::may_split` of the plan says where); two values
//! for one step are an error of the operator that would make them.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::model::{Matcher, Resolution, Samples, TenantId, TimeRange};
use crate::query::annotations::{Annotations, Note, Notes};
use crate::query::crew::{Help, Hired};
use crate::query::error::{Error, ErrorClass};
use crate::query::lanes::Turn;
use crate::query::plan::matchers_text;
use crate::query::profile::{Counted, Profile};
use crate::query::value::{ABSENT, StepSeries, is_absent};
use crate::query::watch::Watch;
use crate::runtime::Reservation;
use crate::source::{Moments, ReadContext, Selection, Source};

use super::opened::Opened;

/// One series after the other.
pub(in crate::query) trait Operator: Send {
    /// The next series, `None` when there are no more.
    fn next(&mut self, run: &Run<'_>) -> Result<Option<StepSeries>, Error>;
}

/// Any operator.
pub(in crate::query) type Input = Box<dyn Operator>;

/// Vectors that are kept for reuse, at most.
const SPARE_MAX: usize = 64;

/// What of the language is switched on, and the times that a query may be asked with.
#[derive(Clone, Copy, Debug)]
pub(in crate::query) struct Habits {
    /// How far back an instant selector looks.
    pub(in crate::query) lookback_ms: i64,
    /// Metric names are removed at the end only.
    pub(in crate::query) delayed_names: bool,
    /// The labels `__type__` and `__unit__` mean something.
    pub(in crate::query) type_and_unit: bool,
    /// Start timestamps take part.
    pub(in crate::query) start_timestamps: bool,
    /// What each operator does is kept.
    pub(in crate::query) profiled: bool,
    /// Several threads may take part.
    pub(in crate::query) apart: bool,
}

/// What is read of a selector.
#[derive(Clone, Debug)]
pub(super) struct Reads {
    /// Which series.
    pub(super) matchers: Vec<Matcher>,
    /// Of which times.
    pub(super) range: TimeRange,
    /// The only moments that are looked at, if there are such.
    pub(super) moments: Option<Moments>,
}

/// The execution of one query.
pub(in crate::query) struct Run<'a> {
    source: &'a dyn Source,
    tenant: TenantId,
    read: &'a ReadContext,
    /// What is switched on.
    pub(in crate::query) habits: Habits,
    annotations: RefCell<Annotations>,
    touched: Cell<u64>,
    fresh: Cell<u64>,
    spare: RefCell<Vec<Vec<f64>>>,
    profile: Option<Arc<Profile>>,
    turn: Option<&'a Turn<'a>>,
    help: Option<Help<'a>>,
    watch: Option<Watch>,
    /// What the next read gets, instead of asking storage.
    given: RefCell<Option<Opened>>,
}

/// What threads that evaluate parts of one query have in common.
pub(super) struct Ground<'a> {
    source: &'a dyn Source,
    tenant: TenantId,
    read: &'a ReadContext,
    habits: Habits,
    help: Option<Help<'a>>,
    watch: Option<Watch>,
}

impl Ground<'_> {
    /// The execution of a part, by the thread that asks.
    pub(super) fn run(&self) -> Run<'_> {
        let run = Run::new(self.source, self.tenant.clone(), self.read, self.habits);
        run.watched(self.watch.clone())
    }

    /// Whether helpers may take one more piece.
    pub(super) fn welcomes_help(&self) -> bool {
        self.help.is_some_and(|help| help.is_welcome())
    }
}

impl<'a> Run<'a> {
    /// Begins.
    pub(in crate::query) fn new(
        source: &'a dyn Source,
        tenant: TenantId,
        read: &'a ReadContext,
        habits: Habits,
    ) -> Self {
        Self {
            source,
            tenant,
            read,
            habits,
            annotations: RefCell::default(),
            touched: Cell::new(0),
            fresh: Cell::new(0),
            spare: RefCell::default(),
            profile: None,
            turn: None,
            help: None,
            watch: None,
            given: RefCell::default(),
        }
    }

    /// Lets others help where that pays; what each operator does is told of one thread.
    pub(in crate::query) fn helped(mut self, help: Help<'a>) -> Self {
        self.habits.apart = !self.habits.profiled;
        self.help = Some(help);
        self
    }

    /// Helpers for a moment, at most so many.
    pub(super) fn hire(&self, most: usize) -> Option<Hired<'a>> {
        self.help.map(|help| help.hire(most))
    }

    /// What threads that evaluate parts of it have in common.
    pub(super) fn ground(&self) -> Ground<'a> {
        Ground {
            source: self.source,
            tenant: self.tenant.clone(),
            read: self.read,
            habits: self.habits,
            help: self.help,
            watch: self.watch.clone(),
        }
    }

    /// Gives the next read its series.
    pub(super) fn give(&self, opened: Opened) {
        *self.given.borrow_mut() = Some(opened);
    }

    /// Waits when it is another's turn.
    pub(in crate::query) fn in_turn(mut self, turn: &'a Turn<'a>) -> Self {
        self.turn = Some(turn);
        self
    }

    /// Says what it reads.
    pub(in crate::query) fn watched(mut self, watch: Option<Watch>) -> Self {
        self.watch = watch;
        self
    }

    /// Keeps what each operator does.
    pub(in crate::query) fn with_profile(mut self, profile: Option<Arc<Profile>>) -> Self {
        self.habits.profiled = profile.is_some();
        self.profile = profile;
        self
    }

    /// Where it is kept what operators do, if anybody wants to know.
    pub(super) fn profile(&self) -> Option<&Profile> {
        self.profile.as_deref()
    }

    /// Series and all of their samples in a range from storage.
    pub(super) fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Opened, Error> {
        self.read(Reads {
            matchers: matchers.to_vec(),
            range,
            moments: None,
        })
    }

    /// Series and samples from storage.
    pub(super) fn read(&self, reads: Reads) -> Result<Opened, Error> {
        self.check()?;
        if let Some(given) = self.given.take() {
            return Ok(given);
        }
        let (selection, moments) = self.selection(reads);
        let (range, context) = (selection.range, self.context_of_a_read());
        let open = || match moments {
            Some(moments) => self.source.select_newest(&selection, moments, &context),
            None => self.source.select(&selection, &context),
        };
        let stream = match &self.profile {
            Some(profile) => {
                let what = format!("read {}", matchers_text(&selection.matchers));
                Counted::open(profile, &what, open)?
            }
            None => open()?,
        };
        let stream = match &self.watch {
            Some(watch) => watch.over(range, stream),
            None => stream,
        };
        Ok(Opened::alone(stream, context.coarsest))
    }

    /// It is noted by itself what a read meets that was downsampled.
    fn context_of_a_read(&self) -> ReadContext {
        ReadContext {
            coarsest: self.read.coarsest.part(),
            ..self.read.clone()
        }
    }

    fn selection(&self, reads: Reads) -> (Selection, Option<Moments>) {
        let selection = Selection {
            tenant: self.tenant.clone(),
            matchers: reads.matchers,
            range: reads.range,
        };
        (selection, reads.moments)
    }

    /// Series and samples from storage, in streams that several threads may read.
    pub(super) fn select_apart(&self, reads: Reads) -> Result<Vec<Opened>, Error> {
        self.check()?;
        let (selection, moments) = self.selection(reads);
        let context = self.context_of_a_read();
        let streams = self.source.select_apart(&selection, moments, &context)?;
        let watched = |stream| match &self.watch {
            Some(watch) => watch.over(selection.range, stream),
            None => stream,
        };
        let streams = streams.into_iter().map(watched).collect();
        Ok(Opened::several(streams, &context.coarsest))
    }

    /// To be asked once a series and every few thousand steps.
    pub(super) fn check(&self) -> Result<(), Error> {
        let cancel = &self.read.cancel;
        cancel
            .check()
            .map_err(|why| Error::stopped(why, "expression evaluation"))?;
        self.turn.map_or(Ok(()), |turn| turn.look(cancel))
    }

    /// Takes nothing yet, to be grown.
    pub(super) fn reservation(&self) -> Result<Reservation, Error> {
        Ok(self.read.budget.reserve(0, 0)?)
    }

    /// Takes memory and samples for as long as the reservation is held.
    pub(super) fn reserve(&self, bytes: usize, samples: usize) -> Result<Reservation, Error> {
        Ok(self.read.budget.reserve(wide(bytes), wide(samples))?)
    }

    /// As many absent values.
    pub(super) fn values(&self, count: usize) -> Result<Vec<f64>, Error> {
        let mut values = self.spare.borrow_mut().pop().unwrap_or_default();
        if values.capacity() < count {
            // A hostile subquery has more steps than memory: refused before it is taken.
            drop(self.reserve(count.saturating_mul(size_of::<f64>()), 0)?);
        }
        values.clear();
        values.resize(count, ABSENT);
        Ok(values)
    }

    /// Values that are no longer needed.
    pub(super) fn recycle(&self, values: Vec<f64>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(values);
        }
    }

    /// Says so where samples of the expression that begins there were downsampled.
    pub(super) fn note_folds(&self, samples: &Samples, position: usize) {
        let all = samples.folds.iter().map(|(_, fold)| fold.resolution);
        if let Some(resolution) = all.max() {
            self.note(Note::Downsampled(resolution), position);
        }
    }

    /// Has something to say about the expression that begins there.
    pub(super) fn note(&self, note: Note, position: usize) {
        self.annotations.borrow_mut().add(note, position);
    }

    /// Does what Prometheus does after something else, such as reading a right operand before the
    /// left one; what is said meanwhile is to be repeated then, for the last to speak is heard.
    pub(super) fn early<T>(&self, work: impl FnOnce() -> T) -> (T, Annotations) {
        let before = self.annotations.take();
        let result = work();
        let said = self.annotations.replace(before);
        (result, said)
    }

    /// Repeats what was said early.
    pub(super) fn repeat(&self, said: Annotations) {
        self.annotations.borrow_mut().merge(said);
    }

    /// Takes over what a function had to say.
    pub(super) fn notes(&self, notes: &mut Notes) {
        let said = notes.take();
        if !said.is_empty() {
            self.annotations.borrow_mut().merge(said);
        }
    }

    /// Counts samples that were looked at, and how many of them had not been before.
    pub(super) fn count(&self, touched: usize, fresh: usize) {
        self.touched.set(self.touched.get() + wide(touched));
        self.fresh.set(self.fresh.get() + wide(fresh));
    }

    /// Counts what was counted elsewhere.
    pub(super) fn add_counts(&self, (touched, fresh): (u64, u64)) {
        self.touched.set(self.touched.get() + touched);
        self.fresh.set(self.fresh.get() + fresh);
    }

    /// The samples counted so far: looked at, and read.
    pub(in crate::query) fn counts(&self) -> (u64, u64) {
        (self.touched.get(), self.fresh.get())
    }

    /// Whether nothing was said so far.
    pub(in crate::query) fn is_silent(&self) -> bool {
        self.annotations.borrow().is_empty() && self.read.coarsest.met() == Resolution::Raw
    }

    /// What was said at all. What was downsampled is named even where no sample of it came to the query: an answer
    /// may lack what stood in the interval behind its range.
    pub(in crate::query) fn all_annotations(&self) -> Annotations {
        let mut said = self.annotations.take();
        let met = self.read.coarsest.met();
        let note = Note::Downsampled(met);
        if met != Resolution::Raw && !said.has(&note) {
            said.add(note, 0);
        }
        said
    }

    /// What was said so far.
    pub(in crate::query) fn take_annotations(&self) -> Annotations {
        self.annotations.take()
    }
}

/// A failure met before the end of an operand that Prometheus evaluates earlier: where that one
/// fails as well, its failure is the one to tell.
pub(super) fn earlier_failure(met: Error, operand: &mut Input, run: &Run<'_>) -> Error {
    if met.class() != ErrorClass::Execution || matches!(met, Error::Budget(_)) {
        return met;
    }
    loop {
        match operand.next(run) {
            Ok(Some(series)) => run.recycle(series.values),
            Ok(None) => return met,
            Err(Error::Budget(_)) => return met,
            Err(earlier) => return earlier,
        }
    }
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Series that are held in memory, and accounted for.
pub(super) struct Held {
    /// The series.
    pub(super) series: Vec<StepSeries>,
    reservation: Reservation,
}

impl Held {
    /// None yet.
    pub(super) fn new(run: &Run<'_>) -> Result<Self, Error> {
        Ok(Self {
            series: Vec::new(),
            reservation: run.reservation()?,
        })
    }

    /// All that an operator has.
    pub(super) fn all(input: &mut Input, run: &Run<'_>) -> Result<Self, Error> {
        let mut held = Self::new(run)?;
        while let Some(series) = input.next(run)? {
            held.push(series)?;
        }
        Ok(held)
    }

    /// The series; they stay accounted for as long as this lives.
    pub(super) fn take(&mut self) -> Vec<StepSeries> {
        std::mem::take(&mut self.series)
    }

    /// The bytes that they are accounted for with.
    pub(super) const fn bytes(&self) -> u64 {
        self.reservation.memory_bytes()
    }

    /// One more.
    pub(super) fn push(&mut self, series: StepSeries) -> Result<(), Error> {
        account(&mut self.reservation, &series)?;
        self.series.push(series);
        Ok(())
    }
}

/// Takes what a series needs.
pub(super) fn account(reservation: &mut Reservation, series: &StepSeries) -> Result<(), Error> {
    let mut present = series.values.iter().filter(|v| !is_absent(**v)).count();
    let mut bytes = series.values.capacity() * size_of::<f64>() + series.labels.text_len() + 128;
    for (_, histogram) in series.histograms.iter() {
        present += histogram.weight();
        bytes += histogram.bytes() + size_of::<usize>();
    }
    Ok(reservation.grow(wide(bytes), wide(present))?)
}

/// The values of a scalar at all steps.
pub(super) fn scalar_values(input: &mut Input, run: &Run<'_>) -> Result<Vec<f64>, Error> {
    Ok(match input.next(run)? {
        Some(series) => series.values,
        None => Vec::new(),
    })
}
