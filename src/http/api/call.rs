//! What an endpoint is called with, and what several of them need.

use crate::model::{Matcher, TenantId, TimeRange, TimestampMs};
use crate::query::syntax;
use crate::runtime::CancelToken;
use crate::source::{Coarsest, Partial, ReadContext, Selection};

use super::super::answer::{Remarks, Sink};
use super::super::params::Params;
use super::super::reply::ApiError;
use super::super::state::State;

/// One request to an endpoint.
pub(in super::super) struct Call {
    pub(in super::super) state: State,
    pub(in super::super) tenant: TenantId,
    pub(in super::super) params: Params,
    /// The part of the path that the route leaves open; empty for most.
    pub(in super::super) name: String,
    /// Ends when the client goes away or time is up.
    pub(in super::super) cancel: CancelToken,
    /// Where it is noted what the answer lacks, if the client takes one that is not whole.
    pub(in super::super) partial: Option<Partial>,
}

/// What answers a request: writes its data into the sink.
pub(in super::super) type Endpoint = fn(&Call, &mut Sink) -> Answered;

/// What an endpoint ends with.
pub(in super::super) type Answered = Result<Remarks, ApiError>;

/// What Prometheus says when an answer was cut.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

impl Call {
    /// For a read of the source, with a fresh budget.
    pub(super) fn context(&self) -> ReadContext {
        ReadContext {
            cancel: self.cancel.clone(),
            budget: self.state.engine.context(None).budget,
            partial: self.partial.clone(),
            coarsest: Coarsest::default(),
        }
    }

    /// `start` to `end`, all of time where they are not given.
    pub(super) fn range(&self) -> Result<TimeRange, ApiError> {
        Ok(TimeRange::new(
            self.params.time_or("start", TimestampMs::MIN)?,
            self.params.time_or("end", TimestampMs::MAX)?,
        ))
    }

    pub(super) fn selection(&self, matchers: Vec<Matcher>, range: TimeRange) -> Selection {
        Selection {
            tenant: self.tenant.clone(),
            matchers,
            range,
        }
    }

    /// The `match[]` parameters. One that every series could satisfy is refused.
    pub(super) fn matcher_sets(&self) -> Result<Vec<Vec<Matcher>>, String> {
        let sets: Vec<Vec<Matcher>> = self
            .params
            .all("match[]")
            .map(|text| syntax::parse_selector(text).map_err(|error| error.to_string()))
            .collect::<Result<_, _>>()?;
        if sets
            .iter()
            .any(|set| set.iter().all(Matcher::matches_empty))
        {
            return Err("match[] must contain at least one non-empty matcher".to_owned());
        }
        Ok(sets)
    }
}

/// Cuts a list to a limit (0: none) and says so.
pub(super) fn cut<T>(items: &mut Vec<T>, limit: usize) -> Remarks {
    let mut remarks = Remarks::default();
    if limit > 0 && items.len() > limit {
        items.truncate(limit);
        remarks.warnings.push(TRUNCATED.to_owned());
    }
    remarks
}

/// One more than asked for, so that a cut shows.
pub(super) const fn one_more(limit: usize) -> usize {
    if limit == 0 {
        0
    } else {
        limit.saturating_add(1)
    }
}
