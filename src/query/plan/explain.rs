//! A plan in words, for people.

use std::fmt::Write;

use super::node::{Moment, Node, NodeKind, RangeInput, Selector};
use crate::model::{METRIC_NAME, MatchOp, Matcher};

/// Characters of what one node is called, and nodes that are told of.
const WORDS_MAX: usize = 200;
const NODES_MAX: usize = 100;

impl Node {
    /// What it is, without what is below it.
    pub(in crate::query) fn describe(&self) -> String {
        let text = match &self.kind {
            NodeKind::Number(number) => format!("number {number}"),
            NodeKind::Text(text) => format!("text {text:?}"),
            NodeKind::Instant(selector) => format!("newest of {}", selected(selector)),
            NodeKind::Range(RangeInput::Stored { selector, range_ms }) => {
                format!("samples of {} in {}", selected(selector), span(*range_ms))
            }
            NodeKind::Range(RangeInput::Computed(subquery)) => {
                let at = moment(subquery.moment);
                let (range, step) = (span(subquery.range_ms), span(subquery.step_ms));
                format!("subquery over {range} every {step}{at}")
            }
            NodeKind::Once(_) => "once for all steps".to_owned(),
            NodeKind::Negate(_) => "negate".to_owned(),
            NodeKind::Plus(_) => "plus sign".to_owned(),
            NodeKind::Binary(binary) => format!("binary {:?}", binary.op),
            NodeKind::Aggregate(aggregate) => {
                let mut text = format!("{:?}", aggregate.op).to_lowercase();
                if aggregate.without || !aggregate.grouping.is_empty() {
                    let how = if aggregate.without { "without" } else { "by" };
                    let labels = aggregate.grouping.join(", ");
                    text.push_str(&format!(" {how} ({labels})"));
                }
                text
            }
            NodeKind::Call(call) => call.function.name.to_owned(),
        };
        text.chars().take(WORDS_MAX).collect()
    }

    /// The whole plan on one line: each node after the one above it, deeper ones behind more `>`.
    pub(in crate::query) fn outline(&self) -> String {
        let mut out = String::new();
        let mut waiting = vec![(0, self)];
        let mut told = 0;
        while let Some((depth, node)) = waiting.pop() {
            told += 1;
            if told > NODES_MAX {
                out.push_str(" ...");
                break;
            }
            if depth > 0 {
                let _ = write!(out, " {} ", ">".repeat(depth));
            }
            out.push_str(&node.describe());
            let below = node.below().into_iter().rev();
            waiting.extend(below.map(|node| (depth + 1, node)));
        }
        out
    }

    fn below(&self) -> Vec<&Self> {
        match &self.kind {
            NodeKind::Number(_)
            | NodeKind::Text(_)
            | NodeKind::Instant(_)
            | NodeKind::Range(RangeInput::Stored { .. }) => Vec::new(),
            NodeKind::Range(RangeInput::Computed(subquery)) => vec![&subquery.expr],
            NodeKind::Once(inner) | NodeKind::Negate(inner) | NodeKind::Plus(inner) => {
                vec![inner.as_ref()]
            }
            NodeKind::Binary(binary) => vec![&binary.left, &binary.right],
            NodeKind::Aggregate(aggregate) => {
                let param = aggregate.param.iter();
                param.chain([&aggregate.expr]).collect()
            }
            NodeKind::Call(call) => call.args.iter().collect(),
        }
    }
}

/// Matchers as PromQL writes them.
pub(in crate::query) fn matchers_text(matchers: &[Matcher]) -> String {
    let name = matchers
        .iter()
        .find(|matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal);
    let rest: Vec<String> = matchers
        .iter()
        .filter(|matcher| !name.is_some_and(|name| std::ptr::eq(name, *matcher)))
        .map(|matcher| {
            format!(
                "{}{}{:?}",
                matcher.name(),
                matcher.op().symbol(),
                matcher.value()
            )
        })
        .collect();
    let name = name.map_or("", Matcher::value);
    if rest.is_empty() && !name.is_empty() {
        return name.to_owned();
    }
    format!("{name}{{{}}}", rest.join(","))
}

fn selected(selector: &Selector) -> String {
    let edges = format!("{:?}", selector.edges).to_lowercase();
    let edges = if edges == "plain" {
        String::new()
    } else {
        format!(" {edges}")
    };
    format!(
        "{}{edges}{}",
        matchers_text(&selector.matchers),
        moment(selector.moment)
    )
}

fn moment(moment: Moment) -> String {
    let at = moment.at.map(|at| format!(" @ {}", at / 1000));
    let offset = (moment.offset_ms != 0).then(|| format!(" offset {}", span(moment.offset_ms)));
    at.into_iter().chain(offset).collect()
}

fn span(ms: i64) -> String {
    if ms % 1000 == 0 {
        format!("{}s", ms / 1000)
    } else {
        format!("{ms}ms")
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use crate::model::TimestampMs;
    use crate::query::syntax::{ParseOptions, parse};
    use crate::query::value::Steps;

    #[test]
    fn a_plan_is_told_in_words() {
        for (query, want) in [
            (
                "sum by (job) (rate(a_total{code!=\"500\"}[5m] offset 1m)) / 2",
                "binary Div > sum by (job) >> rate >>> samples of a_total{code!=\"500\"} offset 60s in 300s > number 2",
            ),
            (
                "topk(3, max_over_time(up[1h:1m] @ 60))",
                "once for all steps > topk >> number 3 >> max_over_time >>> subquery over 3600s every 60s @ 60 >>>> newest of up",
            ),
        ] {
            let expr = parse(query, &ParseOptions::ALL).unwrap();
            let steps = Steps {
                count: 2,
                step_ms: 1000,
                ..Steps::instant(TimestampMs(100_000))
            };
            let node = plan(&expr, &steps, true, 60_000).unwrap();
            assert_eq!(node.outline(), want);
        }
        let long = format!("a{}", " + a".repeat(60));
        let expr = parse(&long, &ParseOptions::ALL).unwrap();
        let node = plan(&expr, &Steps::instant(TimestampMs(0)), false, 60_000).unwrap();
        assert!(node.outline().ends_with(" ..."));
    }
}
