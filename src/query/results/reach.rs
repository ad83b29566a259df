//! Which samples the value at a step may depend on, as far as a plan tells: those from so long
//! before the step to so long after it.

use crate::query::function::{Evaluate, Special};
use crate::query::plan::{Node, NodeKind, RangeInput, Selector};
use crate::query::syntax::{AggregateOp, Edges};

/// Milliseconds before and after a step; either may be negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reach {
    pub(super) back_ms: i64,
    pub(super) ahead_ms: i64,
}

/// What there is to say of a part of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// It looks at no sample.
    Nothing,
    /// Each step looks at samples around it, and at nothing else.
    Around(Reach),
    /// Steps have more in common than the question, or look elsewhere.
    Other,
}

impl Part {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Other, _) | (_, Self::Other) => Self::Other,
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (Self::Around(one), Self::Around(other)) => Self::Around(Reach {
                back_ms: one.back_ms.max(other.back_ms),
                ahead_ms: one.ahead_ms.max(other.ahead_ms),
            }),
        }
    }
}

impl Reach {
    /// Of a plan; `None`: its steps cannot be kept one by one, or there is nothing to keep.
    pub(super) fn of(node: &Node, lookback_ms: i64) -> Option<Self> {
        match part(node, lookback_ms) {
            Part::Around(reach) => Some(reach),
            Part::Nothing | Part::Other => None,
        }
    }
}

fn selected(selector: &Selector, range_ms: i64, lookback_ms: i64) -> Part {
    let moment = selector.moment;
    if moment.at.is_some() {
        return Part::Other;
    }
    let beyond = match selector.edges {
        Edges::Plain => 0,
        Edges::Anchored | Edges::Smoothed => lookback_ms,
    };
    Part::Around(Reach {
        back_ms: moment
            .offset_ms
            .saturating_add(range_ms)
            .saturating_add(beyond),
        ahead_ms: beyond.saturating_sub(moment.offset_ms),
    })
}

fn part(node: &Node, lookback_ms: i64) -> Part {
    let of = |node: &Node| part(node, lookback_ms);
    match &node.kind {
        NodeKind::Number(_) | NodeKind::Text(_) => Part::Nothing,
        NodeKind::Instant(selector) => selected(selector, lookback_ms, lookback_ms),
        NodeKind::Range(RangeInput::Stored { selector, range_ms }) => {
            selected(selector, *range_ms, lookback_ms)
        }
        NodeKind::Range(RangeInput::Computed(subquery)) => {
            let moment = subquery.moment;
            match of(&subquery.expr) {
                _ if moment.at.is_some() => Part::Other,
                Part::Around(inner) => Part::Around(Reach {
                    back_ms: moment
                        .offset_ms
                        .saturating_add(subquery.range_ms)
                        .saturating_add(inner.back_ms),
                    ahead_ms: inner.ahead_ms.saturating_sub(moment.offset_ms),
                }),
                other => other,
            }
        }
        NodeKind::Once(inner) | NodeKind::Negate(inner) | NodeKind::Plus(inner) => of(inner),
        NodeKind::Binary(binary) => of(&binary.left).and(of(&binary.right)),
        NodeKind::Aggregate(aggregate) => match aggregate.op {
            // Which series they leave out may depend on those of other steps.
            AggregateOp::Limitk | AggregateOp::LimitRatio => Part::Other,
            _ => {
                let param = aggregate.param.as_ref().map_or(Part::Nothing, of);
                of(&aggregate.expr).and(param)
            }
        },
        NodeKind::Call(call) => match call.function.evaluate {
            // It reads more than its arguments say.
            Evaluate::Special(Special::Info) => Part::Other,
            _ => call.args.iter().map(of).fold(Part::Nothing, Part::and),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;
    use crate::query::plan::plan;
    use crate::query::syntax::{ParseOptions, parse};
    use crate::query::value::Steps;

    fn check(text: &str, want: Option<(i64, i64)>) {
        let steps = Steps {
            start: TimestampMs(1_000_000),
            step_ms: 1_000,
            count: 100,
            until: TimestampMs(1_099_000),
        };
        let options = ParseOptions::of_features(["all"]);
        let expr = parse(text, &options).unwrap();
        let node = plan(&expr, &steps, true, 60_000).unwrap();
        let found = Reach::of(&node, 300_000).map(|reach| (reach.back_ms, reach.ahead_ms));
        assert_eq!(found, want, "{text}");
    }

    #[test]
    fn a_plan_tells_which_samples_a_step_may_depend_on() {
        check("up", Some((300_000, 0)));
        check("up offset 1m", Some((360_000, -60_000)));
        check("up offset -1m", Some((240_000, 60_000)));
        check("sum(rate(up[5m] offset 1m)) / up", Some((360_000, 0)));
        check("rate(up[2m])", Some((120_000, 0)));
        check(
            "max_over_time(rate(up[5m])[1h:1m] offset 10m)",
            Some((4_500_000, -600_000)),
        );
        check("topk(scalar(up offset 1h), -up)", Some((3_900_000, 0)));
        check("rate(up[5m] smoothed)", Some((600_000, 300_000)));
        check(
            "quantile_over_time(0.5, up[1m]) > vector(time())",
            Some((60_000, 0)),
        );
        for whole in [
            "1",
            "vector(time())",
            "up @ 5",
            "up + (up @ end())",
            "rate(up[5m] @ start())",
            "max_over_time(up[1h:] @ 7)",
            "limitk(2, up)",
            "info(up)",
        ] {
            check(whole, None);
        }
    }
}
