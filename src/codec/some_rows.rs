//! Some rows of a column of values: what comes behind the last of them is not looked at, and what
//! lies between them is not made into floats.

use std::ops::Range;

use super::predict::{self, Predictor};
use super::values::{Form, Shape};
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
    rows: impl ExactSizeIterator<Item = usize>,
    out: &mut Vec<f64>,
) -> Result<(), Error> {
    let (start, wanted) = (out.len(), rows.len());
    match shape {
        Shape::Constant(value) => out.resize(start + wanted, value),
        Shape::Varying {
            form,
            origin,
            scale,
        } => {
            let number = |row: usize| {
                let at = row
                    .checked_sub(1)
                    .map_or(Some(0), |at| path.get(at).copied());
                at.map(|at| origin.wrapping_add(at.wrapping_mul(scale)))
            };
            match form {
                Form::Decimal(exponent) => {
                    let power = decimal::power(exponent).unwrap_or(1.0);
                    out.extend(rows.map_while(|row| Some(decimal::float(number(row)?, power))));
                }
                Form::NearDecimal(exponent) => {
                    let power = decimal::power(exponent).unwrap_or(1.0);
                    out.extend(rows.map_while(|row| {
                        let near = decimal::ordered(decimal::float(number(row)?, power));
                        Some(decimal::unordered(near.wrapping_add(*errors.get(row)?)))
                    }));
                }
                Form::Ordered => {
                    out.extend(rows.map_while(|row| Some(decimal::unordered(number(row)?))));
                }
            }
        }
    }
    if out.len() - start == wanted {
        return Ok(());
    }
    Err(Error::invalid(WHAT, (out.len() - start) as u64))
}

/// The same for a run of rows.
pub(super) fn rebuild_run(
    shape: Shape,
    path: &[i64],
    errors: &[i64],
    rows: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), Error> {
    let Shape::Varying {
        form,
        origin,
        scale,
    } = shape
    else {
        return rebuild(shape, path, errors, rows, out);
    };
    // The first row is not in the path.
    let (first, rest) = (
        rows.start..rows.end.min(rows.start.max(1)),
        rows.start.max(1)..rows.end,
    );
    rebuild(shape, path, errors, first, out)?;
    if rest.is_empty() {
        return Ok(());
    }
    let wrong = || Error::invalid(WHAT, rest.end as u64);
    let path = path.get(rest.start - 1..rest.end - 1).ok_or_else(wrong)?;
    let numbers = path
        .iter()
        .map(|at| origin.wrapping_add(at.wrapping_mul(scale)));
    match form {
        Form::Decimal(exponent) => {
            let power = decimal::power(exponent).unwrap_or(1.0);
            out.extend(numbers.map(|number| decimal::float(number, power)));
        }
        Form::NearDecimal(exponent) => {
            let power = decimal::power(exponent).unwrap_or(1.0);
            let errors = errors.get(rest.clone()).ok_or_else(wrong)?;
            out.extend(numbers.zip(errors).map(|(number, error)| {
                let near = decimal::ordered(decimal::float(number, power));
                decimal::unordered(near.wrapping_add(*error))
            }));
        }
        Form::Ordered => out.extend(numbers.map(decimal::unordered)),
    }
    Ok(())
}
