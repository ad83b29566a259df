//! The engine: a question in, an answer out. Parses, plans, executes, and brings the result into
//! the form and order in which Prometheus shows it.

use std::sync::Arc;
use std::time::Duration;

use crate::model::TenantId;
use crate::runtime::{
    Budget, BudgetLimits, CancelToken, Clock, Register, Registered, Rush, SharedBudget, cores,
};
use crate::source::{Coarsest, ReadContext, Source};

use super::crew::Crew;
use super::error::Error;
use super::exec::{Habits, Run, assemble, gather, raw_samples};
use super::form::{Evaluated, shape};
use super::lanes::Lanes;
use super::limits::{Gate, Pass};
use super::metrics::QueryMetrics;
use super::output::{QueryOutput, QueryStats};
use super::plan::{Node, NodeKind, plan};
use super::profile::Profile;
use super::question::{InstantQuery, Question, RangeQuery};
use super::results::{Asked, Plan, Results};
use super::settings::QuerySettings;
use super::slow::{Slow, log_slow};
use super::syntax::{ParseOptions, parse};
use super::value::{Steps, ValueType};
use super::watch::Watch;

/// Answers queries.
pub struct Engine {
    settings: QuerySettings,
    parse_options: ParseOptions,
    habits: Habits,
    gate: Gate,
    lanes: Lanes,
    crew: Crew,
    /// Answers that are kept, where any are.
    results: Option<Results>,
    /// Of all queries together; without it each has its own bound alone.
    memory: Option<SharedBudget>,
    register: Register,
    clock: Arc<dyn Clock>,
    metrics: QueryMetrics,
}

/// A place among the queries that run, given back when dropped.
pub struct Admitted<'a> {
    _entry: Registered,
    _pass: Pass<'a>,
}

impl Engine {
    /// With these settings; the clock times queries.
    #[must_use]
    pub fn new(settings: QuerySettings, clock: Arc<dyn Clock>, metrics: QueryMetrics) -> Self {
        let features = settings.enable_feature.iter().map(String::as_str);
        Self {
            parse_options: ParseOptions::of_features(features),
            habits: Habits {
                lookback_ms: milliseconds(settings.lookback_delta),
                delayed_names: settings.has("promql-delayed-name-removal"),
                // It changes what is stored, too: not among what `all` switches on.
                type_and_unit: settings.names("type-and-unit-labels"),
                start_timestamps: settings.has("use-start-timestamps"),
                profiled: false,
                apart: false,
            },
            gate: Gate::new(settings.max_concurrency),
            lanes: Lanes::new(Arc::clone(&clock), cores(), Rush::new(cores())),
            crew: Crew::new(Arc::clone(&clock), cores(), Rush::new(cores())),
            results: None,
            memory: None,
            register: Register::new(Arc::clone(&clock)),
            settings,
            clock,
            metrics,
        }
    }

    /// Lets all queries together hold so much memory.
    #[must_use]
    pub fn with_memory(mut self, bytes: u64) -> Self {
        self.memory = Some(SharedBudget::new(bytes));
        self
    }

    /// Keeps answers in so much memory, unless the settings say otherwise.
    #[must_use]
    pub fn with_results(mut self, bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let keep = || Results::new(bytes, self.metrics.clone());
        self.results = self.settings.cache_results.then(keep);
        self
    }

    /// Puts what runs on this list, where it can be seen and called off.
    #[must_use]
    pub fn with_register(mut self, register: Register) -> Self {
        self.register = register;
        self
    }

    /// Lets long queries stand back while there is a rush.
    #[must_use]
    pub fn with_rush(mut self, rush: Rush) -> Self {
        self.lanes = Lanes::new(Arc::clone(&self.clock), cores(), rush.clone());
        self.crew = Crew::new(Arc::clone(&self.clock), cores(), rush);
        self
    }

    /// The settings.
    #[must_use]
    pub const fn settings(&self) -> &QuerySettings {
        &self.settings
    }

    /// What of the language is switched on.
    #[must_use]
    pub const fn parse_options(&self) -> &ParseOptions {
        &self.parse_options
    }

    /// What surrounds one query: its time, at most the server's, and its budget.
    #[must_use]
    pub fn context(&self, timeout: Option<Duration>) -> ReadContext {
        let timeout = timeout.map_or(self.settings.timeout, |asked| {
            asked.min(self.settings.timeout)
        });
        let limits = BudgetLimits {
            memory_bytes: self.settings.max_memory.0,
            samples: self.settings.max_samples,
        };
        ReadContext {
            cancel: CancelToken::with_timeout(timeout),
            budget: match &self.memory {
                Some(memory) => memory.account(limits),
                None => Budget::new(limits),
            },
            partial: None,
            coarsest: Coarsest::default(),
        }
    }

    /// Takes a place among the queries that run, for a read that is none.
    ///
    /// # Errors
    /// When its time is up before there is one.
    pub fn admit(
        &self,
        tenant: &TenantId,
        what: &str,
        context: &ReadContext,
    ) -> Result<Admitted<'_>, Error> {
        let ReadContext { cancel, budget, .. } = context;
        let entry = self.register.enter(tenant, what, cancel, budget);
        let pass = self.gate.enter(cancel)?;
        entry.runs();
        Ok(Admitted {
            _entry: entry,
            _pass: pass,
        })
    }

    /// Answers a question about one moment.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn instant(
        &self,
        source: &dyn Source,
        query: &InstantQuery,
        context: &ReadContext,
    ) -> Result<QueryOutput, Error> {
        self.instant_with(source, query, context, false)
    }

    /// The same; with `profiled` it is kept what each operator does.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn instant_with(
        &self,
        source: &dyn Source,
        query: &InstantQuery,
        context: &ReadContext,
        profiled: bool,
    ) -> Result<QueryOutput, Error> {
        let question = Question {
            tenant: &query.tenant,
            text: &query.text,
            steps: Steps::instant(query.time),
            range: false,
            lookback: query.lookback,
            limit: query.limit,
            profiled,
            fresh: true,
        };
        self.counted(source, &question, context)
    }

    /// Answers a question about many moments.
    ///
    /// # Errors
    /// As [`Error`] says; also for times that make no sense and for too many of them.
    pub fn range(
        &self,
        source: &dyn Source,
        query: &RangeQuery,
        context: &ReadContext,
    ) -> Result<QueryOutput, Error> {
        self.range_with(source, query, context, false)
    }

    /// The same; with `profiled` it is kept what each operator does.
    ///
    /// # Errors
    /// As [`Engine::range`].
    pub fn range_with(
        &self,
        source: &dyn Source,
        query: &RangeQuery,
        context: &ReadContext,
        profiled: bool,
    ) -> Result<QueryOutput, Error> {
        let question = Question {
            tenant: &query.tenant,
            text: &query.text,
            steps: self.steps(query)?,
            range: true,
            lookback: query.lookback,
            limit: query.limit,
            profiled,
            fresh: query.fresh,
        };
        self.counted(source, &question, context)
    }

    fn steps(&self, query: &RangeQuery) -> Result<Steps, Error> {
        let refuse = |text: &str| Err(Error::Invalid(text.to_owned()));
        let length = query.end.0.saturating_sub(query.start.0);
        if length < 0 {
            return refuse(
                "invalid parameter \"end\": end timestamp must not be before start time",
            );
        }
        if query.step_ms <= 0 {
            return refuse(
                "invalid parameter \"step\": zero or negative query resolution step widths are \
                 not accepted. Try a positive integer",
            );
        }
        let intervals = u64::try_from(length / query.step_ms).unwrap_or(u64::MAX);
        if intervals > self.settings.max_points {
            return Err(Error::TooManyPoints(self.settings.max_points));
        }
        Ok(Steps {
            start: query.start,
            step_ms: query.step_ms,
            count: usize::try_from(intervals).unwrap_or(0) + 1,
            until: query.end,
        })
    }

    fn counted(
        &self,
        source: &dyn Source,
        question: &Question<'_>,
        context: &ReadContext,
    ) -> Result<QueryOutput, Error> {
        let began = self.clock.elapsed();
        let result = self.answer(source, question, context);
        let took = self.clock.elapsed().saturating_sub(began);
        match &result {
            Ok(output) => {
                let stats = &output.stats;
                let touched = stats.total_queryable_samples;
                self.metrics.succeeded(took, touched, stats.samples_read);
            }
            Err(error) => self.metrics.failed(took, error.class()),
        }
        result
    }

    fn answer(
        &self,
        source: &dyn Source,
        question: &Question<'_>,
        context: &ReadContext,
    ) -> Result<QueryOutput, Error> {
        let began = self.clock.elapsed();
        let _admitted = self.admit(question.tenant, question.text, context)?;
        self.metrics.running(self.gate.running());
        let entered = self.clock.elapsed();
        let node = self.plan(question)?;
        let mut habits = self.habits;
        if let Some(lookback) = question.lookback.filter(|lookback| !lookback.is_zero()) {
            habits.lookback_ms = milliseconds(lookback);
        }
        let turn = self.lanes.begin();
        let profile = question
            .profiled
            .then(|| Arc::new(Profile::new(Arc::clone(&self.clock))));
        let results = self.results.as_ref().filter(|_| !question.fresh);
        let plan = results.and_then(|results| {
            results.plan(Asked {
                question,
                node: &node,
                source,
                context,
                lookback_ms: habits.lookback_ms,
            })
        });
        let watch = plan.is_some().then(Watch::default);
        let run = Run::new(source, question.tenant.clone(), context, habits)
            .with_profile(profile.clone())
            .watched(watch.clone())
            .in_turn(&turn)
            .helped(self.crew.begin());
        let planned = self.clock.elapsed();
        let known_steps = plan.as_ref().map_or(0, Plan::known_steps);
        let raw = match (plan, &watch) {
            (Some(plan), Some(watch)) => in_pieces(plan, &node, &run, watch),
            _ => evaluate(&node, question, &run),
        };
        self.metrics.rested(turn.rested());
        let raw = raw?;
        let evaluated = self.clock.elapsed();
        let (value, truncated) = shape(raw, &node, question);
        let held = context.budget.reserve(value.bytes(), 0)?;
        let ended = self.clock.elapsed();
        let (total_queryable_samples, samples_read) = run.counts();
        let stats = QueryStats {
            queue: entered.saturating_sub(began),
            prepare: planned.saturating_sub(entered),
            evaluate: evaluated.saturating_sub(planned),
            sort: ended.saturating_sub(evaluated),
            total: ended.saturating_sub(began),
            total_queryable_samples,
            samples_read,
            peak_samples: context.budget.peak_samples(),
            bucket_bytes: context.budget.bytes_fetched(),
            known_steps,
        };
        log_slow(&Slow {
            tenant: question.tenant,
            text: question.text,
            node: &node,
            steps: question.steps.count,
            stats: &stats,
            memory_bytes: context.budget.peak_memory_bytes(),
        });
        Ok(QueryOutput {
            value,
            annotations: run.all_annotations(),
            truncated,
            stats,
            held: Some(Arc::new(held)),
            operators: profile.map_or_else(Vec::new, |profile| profile.finish()),
        })
    }

    fn plan(&self, question: &Question<'_>) -> Result<Node, Error> {
        let expr = parse(question.text, &self.parse_options)?;
        let default_step = milliseconds(self.settings.default_evaluation_interval);
        let node = plan(&expr, &question.steps, question.range, default_step)?;
        let kind = node.value_type();
        if question.range && !matches!(kind, ValueType::Vector | ValueType::Scalar) {
            return Err(Error::Invalid(format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                kind.documented()
            )));
        }
        Ok(node)
    }
}

/// With what is known from before.
fn in_pieces(
    plan: Plan<'_>,
    node: &Node,
    run: &Run<'_>,
    watch: &Watch,
) -> Result<Evaluated, Error> {
    let evaluate = |steps: Steps| gather(assemble(node, steps, run.habits)?, run);
    let said = || (run.is_silent(), run.counts().0);
    plan.answer(evaluate, said, watch).map(Evaluated::Series)
}

fn evaluate(node: &Node, question: &Question<'_>, run: &Run<'_>) -> Result<Evaluated, Error> {
    match (node.value_type(), &node.kind) {
        (ValueType::String, NodeKind::Text(text)) => Ok(Evaluated::Text(text.clone())),
        (ValueType::Matrix, _) => {
            raw_samples(node, question.steps.start, run).map(Evaluated::Samples)
        }
        _ => {
            let input = assemble(node, question.steps, run.habits)?;
            Ok(Evaluated::Series(gather(input, run)?))
        }
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
