//! Executes a plan: one operator per file, each yielding one series over all steps at a time.
//!
//! What this part does not know: PromQL's text, where samples come from, and how answers are
//! written.

mod absent;
mod aggregate;
mod apart;
mod arithmetic;
mod assemble;
mod assemble_call;
mod call;
mod coarse;
mod constant;
mod fold_histograms;
mod histogram;
mod info;
mod join;
mod labels;
mod measured;
mod mixed;
mod neighbours;
mod opened;
mod operator;
mod output;
mod pick;
mod pieces;
mod range;
mod scan;
mod scan_mixed;
mod sets;
mod sort;
mod tally;
mod times;
mod window;

pub(super) use assemble::{assemble, raw_samples};
pub(super) use operator::{Habits, Run};
pub(super) use output::{Raw, gather};
