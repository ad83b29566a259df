//! The native histograms of one series, field by field over time.
//!
//! What changes seldom (kind, hint, schema, spans, bounds) is a *layout*, stored once however
//! often the series goes back to it. The fields of all histograms with one layout are columns:
//! bucket counts of integer histograms as absolute numbers over time, of which most stand still.
//!
//! ```text
//! varint  histograms; nothing more when 0
//! varint  runs of rows that are histograms; each: varint rows between, varint length - 1
//! varint  layouts; each:
//!     u8      bit 0: float, bits 1-2: reset hint
//!     zigzag  schema;  8 bytes zero threshold
//!     positive spans, negative spans: count, (zigzag offset, varint length)*
//!     varint  positive buckets, varint negative buckets
//!     custom bounds: count, 8 bytes each
//! varint  runs of layouts; each: varint layout, varint length - 1
//! for each layout, over its histograms:
//!     sums: a value column
//!     counts, zero counts, each positive, each negative bucket:
//!     a value column (float), or a whole-number column (integer):
//!         u8 bits 0-3: predictor and whether it has a centre; bit 4: no residual but zeros
//!         zigzag centre; zigzag first; zigzag varint residuals
//! ```

use std::sync::Arc;

use super::histogram::{hint_id, hint_of, put_bits, put_list, put_spans, take_list, take_spans};
use super::predict::{self, Kind, Predictor};
use super::varint::{put_i64, put_len, put_u64, take_f64, take_i64, take_len, take_u8, take_u64};
use super::{Error, ROWS_MAX, choose, values};
use crate::model::{Buckets, Histogram, ResetHint, Span};

const WHAT: &str = "a column of histograms";

/// Numbers in one column: 16 days of histograms with 170 buckets every 15 s. What decoding may
/// allocate follows from it (128 MiB), because columns that stand still take no bytes.
pub const HISTOGRAM_NUMBERS_MAX: usize = 1 << 24;

/// Layouts of one column. More would be one for each few samples.
const LAYOUTS_MAX: usize = 1 << 16;

const FLAT: u8 = 1 << 4;

/// What a histogram has besides counts and sum.
#[derive(Clone)]
struct Layout {
    float: bool,
    hint: ResetHint,
    schema: i32,
    zero_threshold: f64,
    positive_spans: Vec<Span>,
    negative_spans: Vec<Span>,
    positive: usize,
    negative: usize,
    custom_values: Vec<f64>,
}

impl Layout {
    fn of(histogram: &Histogram) -> Self {
        let (float, positive, negative) = match &histogram.buckets {
            Buckets::Integer {
                positive, negative, ..
            } => (false, positive.len(), negative.len()),
            Buckets::Float {
                positive, negative, ..
            } => (true, positive.len(), negative.len()),
        };
        Self {
            float,
            hint: histogram.reset_hint,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            positive_spans: histogram.positive_spans.clone(),
            negative_spans: histogram.negative_spans.clone(),
            positive,
            negative,
            custom_values: histogram.custom_values.clone(),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.float) | hint_id(self.hint) << 1);
        put_i64(out, i64::from(self.schema));
        put_bits(out, self.zero_threshold);
        put_spans(out, &self.positive_spans);
        put_spans(out, &self.negative_spans);
        put_len(out, self.positive);
        put_len(out, self.negative);
        put_list(out, &self.custom_values, |out, bound| put_bits(out, *bound));
    }

    fn take(input: &mut &[u8]) -> Result<Self, Error> {
        let flags = take_u8(input, WHAT)?;
        if flags > 7 {
            return Err(Error::invalid(WHAT, u64::from(flags)));
        }
        let schema = take_i64(input)?;
        Ok(Self {
            float: flags & 1 == 1,
            hint: hint_of(flags >> 1),
            schema: i32::try_from(schema)
                .map_err(|_| Error::invalid(WHAT, schema.cast_unsigned()))?,
            zero_threshold: take_f64(input, WHAT)?,
            positive_spans: take_spans(input)?,
            negative_spans: take_spans(input)?,
            positive: take_len(input, WHAT, HISTOGRAM_NUMBERS_MAX)?,
            negative: take_len(input, WHAT, HISTOGRAM_NUMBERS_MAX)?,
            custom_values: take_list(input, 8, |input| take_f64(input, WHAT))?,
        })
    }

    /// Numbers in one histogram of this layout.
    fn numbers(&self) -> usize {
        3 + self.positive + self.negative
    }
}

/// Appends a column; positions rise.
pub(super) fn encode(histograms: &[(u32, Arc<Histogram>)], out: &mut Vec<u8>) -> Result<(), Error> {
    put_len(out, histograms.len());
    if histograms.is_empty() {
        return Ok(());
    }
    put_positions(histograms, out);
    let (layouts, of_each) = group(histograms);
    let numbers = of_each
        .iter()
        .filter_map(|at| layouts.get(*at))
        .fold(0usize, |sum, (layout, _)| {
            sum.saturating_add(layout.numbers())
        });
    Error::bound(
        "numbers in a histogram column",
        numbers,
        HISTOGRAM_NUMBERS_MAX,
    )?;
    Error::bound("layouts of a histogram column", layouts.len(), LAYOUTS_MAX)?;
    put_len(out, layouts.len());
    for (layout, _) in &layouts {
        layout.put(out);
    }
    let runs: Vec<&[usize]> = of_each.chunk_by(|a, b| a == b).collect();
    put_len(out, runs.len());
    for run in runs {
        put_len(out, run.first().copied().unwrap_or(0));
        put_len(out, run.len() - 1);
    }
    for (layout, members) in &layouts {
        put_fields(layout, members, out);
    }
    Ok(())
}

/// The layouts in the order of their first use with their histograms, and the layout of each.
#[allow(
    clippy::type_complexity,
    reason = "two lists that belong together, used once"
)]
fn group(histograms: &[(u32, Arc<Histogram>)]) -> (Vec<(Layout, Vec<&Histogram>)>, Vec<usize>) {
    let mut known = std::collections::BTreeMap::<Vec<u8>, usize>::new();
    let mut layouts: Vec<(Layout, Vec<&Histogram>)> = Vec::new();
    let mut of_each = Vec::with_capacity(histograms.len());
    for (_, histogram) in histograms {
        let layout = Layout::of(histogram);
        let mut key = Vec::new();
        layout.put(&mut key);
        let at = *known.entry(key).or_insert_with(|| {
            layouts.push((layout, Vec::new()));
            layouts.len() - 1
        });
        if let Some((_, members)) = layouts.get_mut(at) {
            members.push(histogram);
        }
        of_each.push(at);
    }
    (layouts, of_each)
}

fn put_positions(histograms: &[(u32, Arc<Histogram>)], out: &mut Vec<u8>) {
    let runs: Vec<_> = histograms
        .chunk_by(|a, b| b.0.wrapping_sub(a.0) == 1)
        .collect();
    put_len(out, runs.len());
    let mut end = 0u32;
    for run in runs {
        let first = run.first().map_or(0, |entry| entry.0);
        put_u64(out, u64::from(first.saturating_sub(end)));
        put_len(out, run.len() - 1);
        end = run.last().map_or(end, |entry| entry.0.saturating_add(1));
    }
}

fn take_positions(input: &mut &[u8], count: usize, rows: usize) -> Result<Vec<u32>, Error> {
    let runs = take_len(input, WHAT, count)?;
    let mut positions = Vec::new();
    let mut at = 0usize;
    for _ in 0..runs {
        at = at.saturating_add(take_len(input, WHAT, rows)?);
        let len = take_len(input, WHAT, rows)? + 1;
        Error::bound(WHAT, at.saturating_add(len), rows)?;
        for position in at..at + len {
            positions.push(u32::try_from(position).map_err(|_| Error::invalid(WHAT, at as u64))?);
        }
        at += len;
    }
    if positions.len() == count {
        return Ok(positions);
    }
    Err(Error::invalid(WHAT, positions.len() as u64))
}

fn put_fields(layout: &Layout, members: &[&Histogram], out: &mut Vec<u8>) {
    let sums: Vec<f64> = members.iter().map(|h| h.sum).collect();
    values::encode(&sums, out);
    if layout.float {
        let all: Vec<_> = members.iter().filter_map(|h| float_fields(h)).collect();
        let mut column = Vec::new();
        for field in 0..layout.numbers() - 1 {
            column.clear();
            column.extend(all.iter().filter_map(|h| {
                let (count, zero_count, positive, negative) = *h;
                field_of(field, count, zero_count, positive, negative)
            }));
            values::encode(&column, out);
        }
        return;
    }
    let all: Vec<_> = members.iter().filter_map(|h| integer_fields(h)).collect();
    let mut column = Vec::new();
    for field in 0..layout.numbers() - 1 {
        column.clear();
        column.extend(
            all.iter()
                .filter_map(|(count, zero_count, positive, negative)| {
                    field_of(field, *count, *zero_count, positive, negative)
                }),
        );
        put_integers(&column, out);
    }
}

/// Field by number: count, zero count, positive buckets, negative buckets.
fn field_of<T: Copy>(
    field: usize,
    count: T,
    zero_count: T,
    positive: &[T],
    negative: &[T],
) -> Option<T> {
    match field {
        0 => Some(count),
        1 => Some(zero_count),
        _ => positive
            .get(field - 2)
            .or_else(|| negative.get((field - 2).checked_sub(positive.len())?))
            .copied(),
    }
}

fn float_fields(histogram: &Histogram) -> Option<(f64, f64, &[f64], &[f64])> {
    match &histogram.buckets {
        Buckets::Float {
            count,
            zero_count,
            positive,
            negative,
        } => Some((*count, *zero_count, positive, negative)),
        Buckets::Integer { .. } => None,
    }
}

/// The fields with absolute bucket counts; sums wrap around, as any deltas must come back.
fn integer_fields(histogram: &Histogram) -> Option<(i64, i64, Vec<i64>, Vec<i64>)> {
    let absolute = |deltas: &[i64]| {
        deltas
            .iter()
            .scan(0i64, |sum, delta| {
                *sum = sum.wrapping_add(*delta);
                Some(*sum)
            })
            .collect()
    };
    match &histogram.buckets {
        Buckets::Integer {
            count,
            zero_count,
            positive,
            negative,
        } => Some((
            count.cast_signed(),
            zero_count.cast_signed(),
            absolute(positive),
            absolute(negative),
        )),
        Buckets::Float { .. } => None,
    }
}

fn put_integers(column: &[i64], out: &mut Vec<u8>) {
    let origin = column.first().copied().unwrap_or(0);
    let path: Vec<i64> = column.iter().map(|n| n.wrapping_sub(origin)).collect();
    if path.iter().all(|number| *number == 0) {
        out.push(FLAT | Kind::Delta.id());
        put_i64(out, origin);
        return;
    }
    let (predictor, residuals, _) = choose::predictor(&path);
    let flat = residuals.iter().all(|residual| *residual == 0);
    let at = out.len();
    values::put_predictor(out, predictor);
    if let Some(head) = out.get_mut(at).filter(|_| flat) {
        *head |= FLAT;
    }
    put_i64(out, origin);
    if !flat {
        residuals
            .iter()
            .for_each(|residual| put_i64(out, *residual));
    }
}

fn take_integers(input: &mut &[u8], rows: usize) -> Result<Vec<i64>, Error> {
    let head = take_u8(input, WHAT)?;
    // The predictor's own reader sees its byte without our flag.
    let predictor = if head & 0b1000 == 0 {
        values::take_predictor(&mut &[head & !FLAT][..])?
    } else {
        let kind = values::take_predictor(&mut &[head & !FLAT & !0b1000][..])?.kind;
        let centre = take_i64(input)?;
        Predictor { kind, centre }
    };
    let origin = take_i64(input)?;
    let count = rows.saturating_sub(1);
    let mut residuals = if head & FLAT == 0 {
        if input.len() < count {
            return Err(Error::truncated(WHAT, count - input.len()));
        }
        Vec::with_capacity(count)
    } else {
        vec![0; count]
    };
    while residuals.len() < count {
        residuals.push(take_i64(input)?);
    }
    predict::restore(predictor, &mut residuals);
    let mut column = Vec::with_capacity(rows);
    column.push(origin);
    column.extend(residuals.iter().map(|number| origin.wrapping_add(*number)));
    Ok(column)
}

/// Decodes the column that `bytes` are, of a series with `rows` samples.
pub(super) fn decode(mut bytes: &[u8], rows: usize) -> Result<Vec<(u32, Arc<Histogram>)>, Error> {
    let input = &mut bytes;
    Error::bound("rows of a histogram column", rows, ROWS_MAX)?;
    let count = take_len(input, WHAT, rows)?;
    if count == 0 {
        super::varint::finished(input, WHAT)?;
        return Ok(Vec::new());
    }
    let positions = take_positions(input, count, rows)?;
    // A layout has 15 bytes at least.
    let layouts = take_list(input, 15, Layout::take)?;
    let of_each = take_layout_runs(input, count, layouts.len())?;
    let mut members = vec![0usize; layouts.len()];
    let mut numbers = 0usize;
    for at in &of_each {
        if let (Some(layout), Some(members)) = (layouts.get(*at), members.get_mut(*at)) {
            *members += 1;
            numbers = numbers.saturating_add(layout.numbers());
        }
    }
    Error::bound(
        "numbers in a histogram column",
        numbers,
        HISTOGRAM_NUMBERS_MAX,
    )?;
    let mut columns = Vec::new();
    for (layout, members) in layouts.iter().zip(&members) {
        if *members == 0 {
            return Err(Error::invalid(WHAT, 0));
        }
        columns.push(take_fields(layout, *members, input)?.into_iter());
    }
    super::varint::finished(input, WHAT)?;
    positions
        .into_iter()
        .zip(of_each)
        .map(|(position, at)| {
            let histogram = columns.get_mut(at).and_then(Iterator::next);
            histogram
                .map(|histogram| (position, Arc::new(histogram)))
                .ok_or(Error::invalid(WHAT, u64::from(position)))
        })
        .collect()
}

fn take_layout_runs(input: &mut &[u8], count: usize, layouts: usize) -> Result<Vec<usize>, Error> {
    let runs = take_len(input, WHAT, count)?;
    let mut of_each = Vec::new();
    for _ in 0..runs {
        let layout = take_u64(input)?;
        let at = usize::try_from(layout)
            .ok()
            .filter(|at| *at < layouts)
            .ok_or(Error::invalid(WHAT, layout))?;
        let len = take_len(input, WHAT, count)? + 1;
        Error::bound(WHAT, of_each.len() + len, count)?;
        of_each.resize(of_each.len() + len, at);
    }
    if of_each.len() == count {
        return Ok(of_each);
    }
    Err(Error::invalid(WHAT, of_each.len() as u64))
}

/// All histograms of one layout.
fn take_fields(layout: &Layout, rows: usize, input: &mut &[u8]) -> Result<Vec<Histogram>, Error> {
    let sums = values::decode(input, rows)?;
    let fields = layout.numbers() - 1;
    let buckets: Vec<Buckets> = if layout.float {
        let columns: Vec<Vec<f64>> = take_columns(fields, input, |i| values::decode(i, rows))?;
        let rows = transposed(&columns, rows, layout);
        rows.map(|(count, zero_count, positive, negative)| Buckets::Float {
            count,
            zero_count,
            positive,
            negative,
        })
        .collect()
    } else {
        let columns: Vec<Vec<i64>> = take_columns(fields, input, |i| take_integers(i, rows))?;
        let rows = transposed(&columns, rows, layout);
        rows.map(|(count, zero_count, positive, negative)| Buckets::Integer {
            count: count.cast_unsigned(),
            zero_count: zero_count.cast_unsigned(),
            positive: deltas(positive),
            negative: deltas(negative),
        })
        .collect()
    };
    let all = sums.into_iter().zip(buckets);
    let histogram = |(sum, buckets)| Histogram {
        schema: layout.schema,
        zero_threshold: layout.zero_threshold,
        sum,
        buckets,
        positive_spans: layout.positive_spans.clone(),
        negative_spans: layout.negative_spans.clone(),
        custom_values: layout.custom_values.clone(),
        reset_hint: layout.hint,
    };
    Ok(all.map(histogram).collect())
}

fn take_columns<T>(
    fields: usize,
    input: &mut &[u8],
    take: impl Fn(&mut &[u8]) -> Result<Vec<T>, Error>,
) -> Result<Vec<Vec<T>>, Error> {
    // Two bytes at least each.
    if input.len() / 2 < fields {
        return Err(Error::truncated(WHAT, fields));
    }
    (0..fields).map(|_| take(input)).collect()
}

fn transposed<T: Copy + Default>(
    columns: &[Vec<T>],
    rows: usize,
    layout: &Layout,
) -> impl Iterator<Item = (T, T, Vec<T>, Vec<T>)> {
    let at = |row: usize, field: usize| {
        let column = columns.get(field);
        column
            .and_then(|column| column.get(row))
            .copied()
            .unwrap_or_default()
    };
    let (positive, negative) = (2 + layout.positive, 2 + layout.positive + layout.negative);
    (0..rows).map(move |row| {
        (
            at(row, 0),
            at(row, 1),
            (2..positive).map(|field| at(row, field)).collect(),
            (positive..negative).map(|field| at(row, field)).collect(),
        )
    })
}

/// Absolute counts to differences, as the model has them.
fn deltas(mut counts: Vec<i64>) -> Vec<i64> {
    let mut before = 0;
    for count in &mut counts {
        *count = count.wrapping_sub(std::mem::replace(&mut before, *count));
    }
    counts
}
