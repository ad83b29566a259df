//! Some rows of a column of values: what comes behind the last of them is not looked at, and what
//! lies between them is not made into floats.

use std::ops::Range;

use super::predict::{self, Predictor};
use super::shape::{Form, Shape};
use super::{Error, decimal, residuals};

const WHAT: &str = "a value column";

/// Restores the beginning of a path; what comes after it is not looked at.
pub(super) fn restore(
    predictor: Predictor,
    bytes: &[u8],
    rows: usize,
    out: &mut Vec<i64>,
) -> Result<(), Error> {
    residuals::decode_some(bytes, rows, out)?;
    predict::restore(predictor, out);
    Ok(())
}

/// Appends the values of some rows of a column: `path` (without its 0) and `errors` are restored
/// as far as these rows need them; what they do not reach is an error.
pub(super) fn rebuild(
    shape: Shape,
    path: &[i64],
    errors: &[i64],
    rows: impl ExactSizeIterator<Item = usize> + Clone,
    out: &mut Vec<f64>,
) -> Result<(), Error> {
    let (wanted, errors_of) = (rows.len(), rows.clone());
    let steps = rows.map_while(|row| match row.checked_sub(1) {
        None => Some(0),
        Some(at) => path.get(at).copied(),
    });
    let errors = errors_of.map_while(|row| errors.get(row).copied());
    put(shape, steps, errors, wanted, out)
}

/// The same for a run of rows.
pub(super) fn rebuild_run(
    shape: Shape,
    path: &[i64],
    errors: &[i64],
    rows: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), Error> {
    // The first row is not in the path. What is cut short here is noticed by its number.
    let behind = rows.start.saturating_sub(1)..rows.end.saturating_sub(1);
    let behind = behind.start.min(path.len())..behind.end.min(path.len());
    let first = (rows.start == 0 && !rows.is_empty()).then_some(0);
    let steps = path.get(behind).unwrap_or_default().iter().copied();
    let errors = errors.get(rows.clone()).unwrap_or_default().iter().copied();
    put(
        shape,
        first.into_iter().chain(steps),
        errors,
        rows.len(),
        out,
    )
}

/// Appends so many values, which are at these steps of a path and off by these errors.
fn put(
    shape: Shape,
    steps: impl Iterator<Item = i64>,
    errors: impl Iterator<Item = i64>,
    wanted: usize,
    out: &mut Vec<f64>,
) -> Result<(), Error> {
    let start = out.len();
    match shape {
        Shape::Constant(value) => out.resize(start + wanted, value),
        Shape::Varying {
            form,
            origin,
            scale,
        } => {
            let numbers = steps.map(|at| origin.wrapping_add(at.wrapping_mul(scale)));
            match form {
                Form::Decimal(exponent) => {
                    let power = decimal::power(exponent).unwrap_or(1.0);
                    out.extend(numbers.map(|number| decimal::float(number, power)));
                }
                Form::NearDecimal(exponent) => {
                    let power = decimal::power(exponent).unwrap_or(1.0);
                    out.extend(numbers.zip(errors).map(|(number, error)| {
                        let near = decimal::ordered(decimal::float(number, power));
                        decimal::unordered(near.wrapping_add(error))
                    }));
                }
                Form::Ordered => out.extend(numbers.map(decimal::unordered)),
            }
        }
    }
    if out.len() - start == wanted {
        return Ok(());
    }
    Err(Error::invalid(WHAT, (out.len() - start) as u64))
}
