//! PromQL at random: one seed, one query. It follows the grammar and the functions' types, so most
//! queries mean something over the series of `random_data`; a few are wrong on purpose.
//!
//! Left out is what Prometheus itself does not answer twice the same: which series `limitk` keeps,
//! and the order of equal values.

#[path = "dice.rs"]
pub mod dice;
#[path = "random_query_words.rs"]
mod words;

use std::fmt::Write;

pub use dice::Dice;
use words::*;

/// Whether a query keeps some of its series by value.
pub fn keeps_some(query: &str) -> bool {
    query.starts_with("topk") || query.starts_with("bottomk")
}

/// How far two answers may differ, relatively. The variance of numbers that are large and close to
/// each other (times, say) has few digits that do not depend on the order of the series.
pub fn tolerance(query: &str) -> f64 {
    let spread = ["stddev", "stdvar"];
    let across = |word| {
        query
            .replace(&format!("{word}_over_time"), "")
            .contains(word)
    };
    if spread.into_iter().any(across) {
        1e-5
    } else {
        1e-12
    }
}

/// A query of this seed, mostly over the series of `random_native`.
pub fn native_query(seed: u64) -> String {
    let mut text = Text {
        dice: Dice(seed),
        native: true,
        out: String::new(),
    };
    text.vector(3);
    text.out
}

/// A query of this seed.
pub fn query(seed: u64) -> String {
    let mut text = Text {
        dice: Dice(seed),
        native: false,
        out: String::new(),
    };
    match text.dice.below(24) {
        0 => text.scalar(3),
        1 => text.wrong(),
        2 | 3 => text.most(),
        _ => text.vector(4),
    }
    text.out
}

struct Text {
    dice: Dice,
    /// Over native histograms.
    native: bool,
    out: String,
}

impl Text {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn pick(&mut self, choices: &[&str]) {
        let text = self.dice.of(choices);
        self.put(text);
    }

    fn vector(&mut self, depth: usize) {
        if depth == 0 {
            return self.instant();
        }
        if self.native && self.dice.one_in(4) {
            let (before, after) = NATIVE[self.dice.below(NATIVE.len())];
            self.put(before);
            self.vector(depth - 1);
            return self.put(after);
        }
        match self.dice.below(16) {
            0 | 1 => self.instant(),
            2 | 3 => self.sample(depth),
            4..=6 => self.over_time(depth),
            7..=9 => self.aggregate(depth),
            10..=12 => self.binary(depth),
            13 => self.special(depth),
            14 => {
                // A plus sign before an argument is where its remarks would begin; quantiles of
                // negative counts depend on the empty buckets that storage has added.
                self.pick(if self.native { &[""] } else { &["-", "+", ""] });
                self.put("(");
                self.vector(depth - 1);
                self.put(")");
            }
            _ => {
                self.put("vector(");
                self.scalar(depth - 1);
                self.put(")");
            }
        }
    }

    fn scalar(&mut self, depth: usize) {
        match if depth == 0 { 0 } else { self.dice.below(8) } {
            0..=2 => self.pick(NUMBERS),
            3 => self.pick(&[
                "time()",
                "pi()",
                "time() - 1.7e9",
                "min_of(1, 2)",
                "max_of(1, NaN)",
                "step()",
                "range()",
            ]),
            4 => {
                self.put("scalar(");
                self.vector(depth - 1);
                self.put(")");
            }
            5 => {
                self.put("-");
                self.scalar(depth - 1);
            }
            _ => {
                self.put("(");
                self.scalar(depth - 1);
                self.pick(&[
                    " + ",
                    " - ",
                    " * ",
                    " / ",
                    " % ",
                    " ^ ",
                    " atan2 ",
                    " == bool ",
                    " < bool ",
                    " >= bool ",
                ]);
                self.scalar(depth - 1);
                self.put(")");
            }
        }
    }

    /// A selector without what may follow it.
    fn selector(&mut self) {
        if self.dice.one_in(20) {
            return self.pick(&[
                "{__name__=~\"requests.*|up\"}",
                "{\"odd name\"}",
                "{__name__=\"memory_bytes\", job=\"a\"}",
                "{job=\"a\"}",
                "{\"odd name\", \"odd label\"=\"x\"}",
                "{__name__!=\"up\", job=\"b\"}",
            ]);
        }
        if self.native && !self.dice.one_in(12) {
            self.pick(NATIVE_METRICS);
        } else {
            self.pick(METRICS);
        }
        let count = [0, 0, 0, 1, 1, 2][self.dice.below(6)];
        if count > 0 || self.dice.one_in(12) {
            self.put("{");
            for at in 0..count {
                self.put(if at > 0 { "," } else { "" });
                self.pick(MATCHERS);
            }
            self.put("}");
        }
    }

    fn moment(&mut self) {
        if self.dice.one_in(8) {
            self.put(" offset ");
            self.pick(&[
                "1m",
                "-1m",
                "30s",
                "5m",
                "7s",
                "-17s",
                "(1m + 30s)",
                "step()",
            ]);
        }
        if self.dice.one_in(12) {
            self.put(" @ ");
            self.pick(&[
                "start()",
                "end()",
                "1700000900",
                "1700001200.5",
                "1699999000",
            ]);
        }
    }

    fn instant(&mut self) {
        self.selector();
        if self.dice.one_in(25) {
            self.put(" smoothed");
        }
        self.moment();
    }

    fn range(&mut self, depth: usize) {
        if depth > 0 && self.dice.one_in(4) {
            let plain = self.dice.one_in(2);
            self.put(if plain { "" } else { "(" });
            if plain {
                self.selector();
            } else {
                self.vector(depth - 1);
                self.put(")");
            }
            self.put("[");
            self.pick(DURATIONS);
            self.put(":");
            self.pick(&["", "30s", "15s", "1m", "7s", "20s"]);
            self.put("]");
        } else {
            self.selector();
            self.put("[");
            self.pick(DURATIONS);
            self.put("]");
        }
        self.moment();
    }

    fn sample(&mut self, depth: usize) {
        let (name, scalars) = SAMPLE[self.dice.below(SAMPLE.len())];
        self.put(name);
        self.put("(");
        self.vector(depth - 1);
        for _ in 0..scalars {
            self.put(", ");
            self.scalar(1);
        }
        self.put(")");
    }

    fn over_time(&mut self, depth: usize) {
        match self.dice.below(12) {
            0 => {
                self.put("quantile_over_time(");
                self.pick(QUANTILES);
                self.put(", ");
                self.range(depth);
                self.put(")");
            }
            1 => {
                self.put("predict_linear(");
                self.range(depth);
                self.put(", ");
                self.scalar(1);
                self.put(")");
            }
            2 => {
                self.put("double_exponential_smoothing(");
                self.range(depth);
                let (one, other) = (
                    self.dice.of(QUANTILES),
                    self.dice.of(&["0.1", "0.5", "0.9"]),
                );
                let _ = write!(self.out, ", {one}, {other})");
            }
            3 => {
                self.pick(EXTENDED);
                self.put("(");
                self.selector();
                self.put("[");
                self.pick(DURATIONS);
                self.put("]");
                self.pick(&[" anchored", " smoothed"]);
                self.moment();
                self.put(")");
            }
            _ => {
                self.pick(OVER_TIME);
                self.put("(");
                self.range(depth);
                self.put(")");
            }
        }
    }

    fn grouping(&mut self) {
        if self.dice.one_in(3) {
            return;
        }
        self.pick(&[" by (", " by (", " without ("]);
        let count = self.dice.below(4);
        for at in 0..count {
            self.put(if at > 0 { ", " } else { "" });
            self.pick(LABELS);
        }
        self.put(") ");
    }

    fn aggregate(&mut self, depth: usize) {
        match self.dice.below(10) {
            0 => {
                self.put("quantile");
                self.grouping();
                self.put("(");
                self.pick(QUANTILES);
            }
            1 => {
                self.put("count_values");
                self.grouping();
                self.put("(\"");
                self.pick(&["value", "job", "code"]);
                // The last digit of a fraction may depend on the order of summands.
                self.put("\", round(");
                self.vector(depth - 1);
                return self.put("))");
            }
            2 => {
                self.put("limit_ratio");
                self.grouping();
                self.put("(");
                self.pick(&["0.3", "-0.7", "0.5", "1", "0", "-1", "1.5", "NaN"]);
            }
            _ => {
                self.pick(FOLDS);
                self.grouping();
                self.put("(");
                self.vector(depth - 1);
                return self.put(")");
            }
        }
        self.put(", ");
        self.vector(depth - 1);
        self.put(")");
    }

    /// At the top only: of equal values any may be kept, so only values can be compared.
    fn most(&mut self) {
        self.pick(&["topk", "bottomk"]);
        self.grouping();
        self.put("(");
        self.pick(&[
            "0",
            "1",
            "2",
            "3",
            "100",
            "2.7",
            "-1",
            "NaN",
            "scalar(up{job=\"a\", instance=\"1\"})",
        ]);
        self.put(", ");
        self.vector(3);
        self.put(")");
    }

    fn binary(&mut self, depth: usize) {
        let operator = self.dice.of(&[
            "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", ">", "<=", ">=", "and", "or",
            "unless", "== bool", "< bool", ">= bool",
        ]);
        let operator = match self.native && self.dice.one_in(2) {
            true => self
                .dice
                .of(&["+", "-", "+", "*", "/", "</", ">/", "==", "!="]),
            false => operator,
        };
        let set = ["and", "or", "unless"].contains(&operator);
        let scalar = !set && self.dice.one_in(3);
        let before = self.dice.one_in(2);
        self.put("(");
        if scalar && before {
            self.scalar(2);
        } else {
            self.vector(depth - 1);
        }
        let _ = write!(self.out, " {operator} ");
        if !scalar {
            self.matching(set);
        }
        if scalar && !before {
            self.scalar(2);
        } else {
            self.vector(depth - 1);
        }
        self.put(")");
    }

    fn matching(&mut self, set: bool) {
        if self.dice.one_in(3) {
            return;
        }
        self.pick(&["on (", "on (", "ignoring ("]);
        self.pick(&[
            "job",
            "job, instance",
            "",
            "code",
            "instance",
            "le, job",
            "job, room",
        ]);
        self.put(") ");
        if set {
            return;
        }
        if self.dice.one_in(2) {
            self.pick(&[
                "group_left ",
                "group_left() ",
                "group_right() ",
                "group_left(version) ",
                "group_right(zone) ",
            ]);
        }
        if self.dice.one_in(10) {
            self.pick(&[
                "fill(0) ",
                "fill_left(1) ",
                "fill_right(-2) ",
                "fill_left(1) fill_right(NaN) ",
            ]);
        }
    }

    fn special(&mut self, depth: usize) {
        let (before, after) = [
            (
                "label_replace(",
                ", \"x\", \"$1-$0\", \"instance\", \"(.)\")",
            ),
            ("label_replace(", ", \"job\", \"\", \"job\", \"a\")"),
            (
                "label_replace(",
                ", \"instance\", \"$1\", \"room\", \"(k).*\")",
            ),
            (
                "label_replace(",
                ", \"__name__\", \"renamed\", \"job\", \"(a|b)\")",
            ),
            (
                "label_join(",
                ", \"all\", \"-\", \"job\", \"instance\", \"code\")",
            ),
            ("label_join(", ", \"job\", \"/\", \"job\")"),
            ("sort_by_label(", ", \"job\", \"instance\")"),
            ("sort_by_label_desc(", ", \"code\")"),
            ("info(", ", {version=~\".+\", __name__=\"build_info\"})"),
            ("count(limitk by (job) (2, ", "))"),
            ("histogram_quantile(0.9, ", ")"),
            ("histogram_fraction(0, 0.5, ", ")"),
            ("histogram_quantiles(", ", \"q\", 0.1, 0.5, 0.99)"),
        ][self.dice.below(13)];
        self.put(before);
        let histogram = before.starts_with("histogram");
        match self.dice.below(4) {
            0 if histogram => self.put("latency_seconds_bucket"),
            1 if histogram => self.put("rate(latency_seconds_bucket[5m])"),
            2 if histogram => self.put("sum by (job, le) (increase(latency_seconds_bucket[2m]))"),
            _ => self.vector(depth - 1),
        }
        self.put(after);
    }

    /// Type errors, syntax errors, and data that refuse each other.
    fn wrong(&mut self) {
        match self.dice.below(12) {
            0 => {
                self.pick(OVER_TIME);
                self.put("(");
                self.vector(1);
                self.put(")");
            }
            1 => {
                self.pick(FOLDS);
                self.put("(");
                self.scalar(2);
                self.put(")");
            }
            2 => {
                self.selector();
                self.put(" and ");
                self.scalar(1);
            }
            3 => {
                self.scalar(1);
                self.put(" > ");
                self.scalar(1);
            }
            4 => self.put("requests_total / on (job) memory_bytes"),
            5 => self.put("requests_total * on (job) group_left memory_bytes"),
            6 => self.put("label_replace(up, \"instance\", \"\", \"job\", \".*\")"),
            7 => self.put("label_replace(up, \"~\", \"$1\", \"job\", \"(.*\")"),
            8 => {
                self.vector(2);
                self.pick(&[")", "[", " offset", " @ x", "{", " by (job)", "[5m]"]);
            }
            9 => {
                self.pick(&[
                    "abs()",
                    "abs(up, up)",
                    "nothing_like_it(up)",
                    "rate(up[5m], 1)",
                    "sum by job (up)",
                    "topk(up)",
                ]);
            }
            10 => {
                self.put("rate(");
                self.selector();
                self.put("[0s])");
            }
            _ => {
                self.put("-{__name__=~\"memory_bytes|capacity\"} + ");
                self.vector(1);
            }
        }
    }
}
