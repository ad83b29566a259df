//! A column of floats as short whole numbers; every bit comes back.
//!
//! 1. Stale markers, NaNs, infinities and minus zeros are taken out (`exceptions.rs`).
//! 2. What is left becomes whole numbers: decimal mantissas, mantissas with a second column of
//!    rounding errors, or ordered bits (`decimal.rs`).
//! 3. The first is the *origin*, the common divisor of the differences the *scale* (negative when
//!    the first difference is), what remains the *path*, which begins at 0. So series that move
//!    alike have equal paths, whatever their size and place.
//! 4. A predictor turns the path into residuals (`predict.rs`, `choose.rs`).
//!
//! What becomes of the residuals is the page's choice. A column by itself, as histograms use it
//! for their fields, writes them as varints:
//!
//! ```text
//! u8      bits 0-1: 0 constant, 1 decimal, 2 decimal with errors, 3 ordered bits;
//!         bit 2: has exceptions, bit 3: its path is that of an earlier column of the page
//! constant:  u8 exponent and zigzag mantissa, or u8 255 and 8 bytes
//! others:    u8 exponent (not for ordered bits), zigzag origin, zigzag scale
//!            varint distance to the earlier column, or
//!            predictor of the path: u8 bits 0-2: kind, bit 3: a centre follows; zigzag centre
//!            varint length of the path's bytes
//!            errors: predictor and varint length of their bytes
//! varint length of the exceptions' bytes, if any
//! ```
//! and then the bytes of exceptions, path and errors.

use super::decimal;
use super::histogram::put_bits;
use super::predict::{self, Kind, Predictor};
use super::residuals;
use super::shape::{Form, Shape};
use super::varint::{put_i64, put_len, take_exact, take_f64, take_i64, take_len, take_u8};
use super::{Error, ROWS_MAX, choose, exceptions, some_rows};

const WHAT: &str = "a value column";

pub(super) const FORM_BITS: u8 = 0b11;
pub(super) const HAS_EXCEPTIONS: u8 = 1 << 2;
pub(super) const IS_REFERENCE: u8 = 1 << 3;
const HAS_CENTRE: u8 = 1 << 3;
const RAW_CONSTANT: u8 = 255;

/// A path as its predictor missed it.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub(super) struct Path {
    pub(super) predictor: Predictor,
    pub(super) residuals: Vec<i64>,
}

/// A column ready to be written.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) shape: Shape,
    pub(super) exceptions: Vec<u8>,
    /// Of a varying column.
    pub(super) path: Option<Path>,
    /// Of a [`Form::NearDecimal`] column: one residual more than the path has.
    pub(super) errors: Option<Path>,
}

/// Exponents with which rounding errors are tried, the likeliest first.
const NEAR_EXPONENTS: [u8; 5] = [9, 6, 3, 2, 12];

/// Decimals up to this exponent are taken without looking further.
const PLAIN_EXPONENT_MAX: u8 = 6;

/// Transforms a column.
pub(super) fn transform(values: &[f64]) -> Column {
    let constant = |value: f64, exceptions: Vec<u8>| Column {
        shape: Shape::Constant(value),
        exceptions,
        path: None,
        errors: None,
    };
    let Some(first) = values.first() else {
        return constant(0.0, Vec::new());
    };
    let same = |a: &f64, b: &f64| a.to_bits() == b.to_bits();
    if values.iter().all(|value| same(value, first)) {
        return constant(*first, Vec::new());
    }
    let mut taken_out = Vec::new();
    exceptions::encode(values, &mut taken_out);
    let Some(mut last) = values
        .iter()
        .copied()
        .find(|v| !exceptions::is_exception(*v))
    else {
        return constant(0.0, taken_out);
    };
    let filled: Vec<f64> = values
        .iter()
        .map(|value| {
            if !exceptions::is_exception(*value) {
                last = *value;
            }
            last
        })
        .collect();
    if filled
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if same(a, b)))
    {
        return constant(last, taken_out);
    }
    let mut column = best_form(&filled);
    column.exceptions = taken_out;
    column
}

/// The whole numbers that need the fewest bits.
fn best_form(values: &[f64]) -> Column {
    let mut best: Option<(Column, f64)> = None;
    let mut offer = |(column, bits): (Column, f64)| {
        if best.as_ref().is_none_or(|(_, least)| bits < *least) {
            best = Some((column, bits));
        }
    };
    let exact = decimal::mantissas(values);
    let plain = matches!(exact, Some((exponent, _)) if exponent <= PLAIN_EXPONENT_MAX);
    if let Some((exponent, mantissas)) = exact {
        offer(varying(Form::Decimal(exponent), &mantissas));
    }
    if !plain {
        for exponent in NEAR_EXPONENTS {
            let Some((mantissas, mut errors)) = decimal::near_mantissas(values, exponent) else {
                continue;
            };
            errors.insert(0, 0);
            let (predictor, residuals, error_bits) = choose::predictor(&errors);
            let (mut column, bits) = varying(Form::NearDecimal(exponent), &mantissas);
            column.errors = Some(Path {
                predictor,
                residuals,
            });
            offer((column, bits + error_bits));
        }
        let bits: Vec<i64> = values
            .iter()
            .map(|value| decimal::ordered(*value))
            .collect();
        offer(varying(Form::Ordered, &bits));
    }
    best.map_or_else(|| transform(&[]), |(column, _)| column)
}

fn varying(form: Form, numbers: &[i64]) -> (Column, f64) {
    let origin = numbers.first().copied().unwrap_or(0);
    let mut path: Vec<i64> = numbers.iter().map(|n| n.wrapping_sub(origin)).collect();
    let scale = take_scale(form, &mut path);
    let (predictor, residuals, bits) = choose::predictor(&path);
    let column = Column {
        shape: Shape::Varying {
            form,
            origin,
            scale,
        },
        exceptions: Vec::new(),
        path: Some(Path {
            predictor,
            residuals,
        }),
        errors: None,
    };
    (column, bits)
}

/// Divides a path by what all of it can be divided by, and makes its first step positive.
fn take_scale(form: Form, path: &mut [i64]) -> i64 {
    if form == Form::Ordered {
        // Differences of ordered bits may wrap around, so only powers of two divide them.
        let zeros = path
            .iter()
            .fold(0, |all, number| all | number)
            .trailing_zeros();
        let shift = zeros.min(62);
        path.iter_mut().for_each(|number| *number >>= shift);
        return 1 << shift;
    }
    // Mantissas are below 2^53, their differences below 2^54: nothing overflows.
    let mut divisor = 0;
    for number in path.iter() {
        divisor = gcd(number.unsigned_abs(), divisor);
        if divisor == 1 {
            break;
        }
    }
    let sign = path.iter().find(|n| **n != 0).map_or(1, |n| n.signum());
    let scale = sign * divisor.max(1).cast_signed();
    if scale != 1 {
        path.iter_mut().for_each(|number| *number /= scale);
    }
    scale
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// How a column's path is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum PathPlace {
    /// In the column itself, in so many bytes.
    Own(usize),
    /// It is the path of the column so many places before.
    Reference(usize),
}

impl Column {
    /// The flag bits of the header.
    pub(super) fn flags(&self, path: PathPlace) -> u8 {
        let form = match self.shape {
            Shape::Constant(_) => 0,
            Shape::Varying { form, .. } => match form {
                Form::Decimal(_) => 1,
                Form::NearDecimal(_) => 2,
                Form::Ordered => 3,
            },
        };
        let exceptions = if self.exceptions.is_empty() {
            0
        } else {
            HAS_EXCEPTIONS
        };
        match path {
            PathPlace::Reference(_) => form | exceptions | IS_REFERENCE,
            PathPlace::Own(_) => form | exceptions,
        }
    }

    /// Appends the header after its flags.
    pub(super) fn put_header(&self, out: &mut Vec<u8>, path: PathPlace, errors_len: usize) {
        match self.shape {
            Shape::Constant(value) => put_constant(out, value),
            Shape::Varying {
                form,
                origin,
                scale,
            } => {
                if let Form::Decimal(exponent) | Form::NearDecimal(exponent) = form {
                    out.push(exponent);
                }
                put_i64(out, origin);
                put_i64(out, scale);
                match path {
                    PathPlace::Reference(distance) => put_len(out, distance),
                    PathPlace::Own(len) => put_path(out, self.path.as_ref(), len),
                }
                if matches!(form, Form::NearDecimal(_)) {
                    put_path(out, self.errors.as_ref(), errors_len);
                }
            }
        }
        if !self.exceptions.is_empty() {
            put_len(out, self.exceptions.len());
        }
    }
}

fn put_constant(out: &mut Vec<u8>, value: f64) {
    if !exceptions::is_exception(value)
        && let Some((exponent, mantissas)) = decimal::mantissas(&[value])
    {
        out.push(exponent);
        put_i64(out, mantissas.first().copied().unwrap_or(0));
        return;
    }
    out.push(RAW_CONSTANT);
    put_bits(out, value);
}

fn put_path(out: &mut Vec<u8>, path: Option<&Path>, len: usize) {
    if let Some(path) = path {
        put_predictor(out, path.predictor);
        put_len(out, len);
    }
}

/// Appends a predictor.
pub(super) fn put_predictor(out: &mut Vec<u8>, predictor: Predictor) {
    let Predictor { kind, centre } = predictor;
    if centre == 0 {
        out.push(kind.id());
    } else {
        out.push(kind.id() | HAS_CENTRE);
        put_i64(out, centre);
    }
}

/// Takes a predictor.
pub(super) fn take_predictor(input: &mut &[u8]) -> Result<Predictor, Error> {
    let id = take_u8(input, WHAT)?;
    let kind = Kind::ALL.get(usize::from(id & !HAS_CENTRE));
    let kind = *kind.ok_or(Error::UnknownEncoding { what: WHAT, id })?;
    let centre = if id & HAS_CENTRE == 0 {
        0
    } else {
        take_i64(input)?
    };
    Ok(Predictor { kind, centre })
}

/// A column's header as it was read.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) shape: Shape,
    pub(super) path: Option<PathHeader>,
    /// Predictor and bytes of the errors.
    pub(super) errors: Option<(Predictor, usize)>,
    /// Bytes of the exceptions.
    pub(super) exceptions_len: usize,
}

/// Where a path is.
#[derive(Clone, Copy, Debug)]
pub(super) enum PathHeader {
    /// Here, in so many bytes.
    Own(Predictor, usize),
    /// It is that of the column so many places before.
    Reference(usize),
}

impl Header {
    /// Takes a header after its flags.
    pub(super) fn take(flags: u8, input: &mut &[u8]) -> Result<Self, Error> {
        let form = flags & FORM_BITS;
        let mut header = Self {
            shape: Shape::Constant(0.0),
            path: None,
            errors: None,
            exceptions_len: 0,
        };
        if form == 0 {
            if flags & IS_REFERENCE != 0 {
                return Err(Error::invalid(WHAT, u64::from(flags)));
            }
            header.shape = Shape::Constant(take_constant(input)?);
        } else {
            let form = match form {
                1 => Form::Decimal(take_exponent(input)?),
                2 => Form::NearDecimal(take_exponent(input)?),
                _ => Form::Ordered,
            };
            header.shape = Shape::Varying {
                form,
                origin: take_i64(input)?,
                scale: take_i64(input)?,
            };
            let len = |input: &mut &[u8]| take_len(input, WHAT, usize::MAX);
            header.path = Some(if flags & IS_REFERENCE == 0 {
                PathHeader::Own(take_predictor(input)?, len(input)?)
            } else {
                PathHeader::Reference(len(input)?)
            });
            if let Form::NearDecimal(_) = form {
                header.errors = Some((take_predictor(input)?, len(input)?));
            }
        }
        if flags & HAS_EXCEPTIONS != 0 {
            header.exceptions_len = take_len(input, WHAT, usize::MAX)?;
        }
        Ok(header)
    }
}

fn take_exponent(input: &mut &[u8]) -> Result<u8, Error> {
    let exponent = take_u8(input, WHAT)?;
    match decimal::power(exponent) {
        Some(_) => Ok(exponent),
        None => Err(Error::invalid(WHAT, u64::from(exponent))),
    }
}

fn take_constant(input: &mut &[u8]) -> Result<f64, Error> {
    let exponent = take_u8(input, WHAT)?;
    if exponent == RAW_CONSTANT {
        return take_f64(input, WHAT);
    }
    let power = decimal::power(exponent).ok_or(Error::invalid(WHAT, u64::from(exponent)))?;
    Ok(decimal::float(take_i64(input)?, power))
}

/// Restores a path from its bytes.
pub(super) fn restore(
    predictor: Predictor,
    bytes: &[u8],
    rows: usize,
    out: &mut Vec<i64>,
) -> Result<(), Error> {
    residuals::decode(bytes, rows, out)?;
    predict::restore(predictor, out);
    Ok(())
}

/// Appends a column by itself. It does not say how many rows it has.
pub(super) fn encode(values: &[f64], out: &mut Vec<u8>) {
    let column = transform(values);
    let bytes = |path: Option<&Path>| {
        let mut bytes = Vec::new();
        residuals::encode(path.map_or(&[][..], |path| &path.residuals), &mut bytes);
        bytes
    };
    let (path, errors) = (bytes(column.path.as_ref()), bytes(column.errors.as_ref()));
    let place = PathPlace::Own(path.len());
    out.push(column.flags(place));
    column.put_header(out, place, errors.len());
    out.extend_from_slice(&column.exceptions);
    out.extend_from_slice(&path);
    out.extend_from_slice(&errors);
}

/// Takes a column by itself, which must have `rows` rows.
pub(super) fn decode(input: &mut &[u8], rows: usize) -> Result<Vec<f64>, Error> {
    Error::bound("rows of a value column", rows, ROWS_MAX)?;
    let flags = take_u8(input, WHAT)?;
    if flags & !(FORM_BITS | HAS_EXCEPTIONS) != 0 {
        return Err(Error::invalid(WHAT, u64::from(flags)));
    }
    let header = Header::take(flags, input)?;
    let taken_out = take_exact(input, header.exceptions_len, WHAT)?;
    let (mut path, mut errors) = (Vec::new(), Vec::new());
    if let Some(PathHeader::Own(predictor, len)) = header.path {
        let bytes = take_exact(input, len, WHAT)?;
        restore(predictor, bytes, rows.saturating_sub(1), &mut path)?;
    }
    if let Some((predictor, len)) = header.errors {
        restore(predictor, take_exact(input, len, WHAT)?, rows, &mut errors)?;
    }
    let mut out = Vec::new();
    some_rows::rebuild_run(header.shape, &path, &errors, 0..rows, &mut out)?;
    exceptions::apply(taken_out, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests;
