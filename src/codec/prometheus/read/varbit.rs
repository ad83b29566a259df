//! Prometheus' variable bit widths: whole numbers by eight classes of size, timestamps by four, and
//! floats as the difference in bits to the float before (`tsdb/docs/format/chunks.md` there).

use crate::codec::Error;
use crate::codec::bits::BitReader;

/// Bits that hold a number of each class, by the ones before it; the last class has all 64.
const CLASSES: [u32; 8] = [3, 6, 9, 12, 18, 25, 56, 64];

/// The same for differences of differences of timestamps in chunks of floats.
const TIME_CLASSES: [u32; 4] = [14, 17, 20, 64];

/// How many ones stand before a zero, or `max` of them with no zero behind.
fn ones(reader: &mut BitReader<'_>, max: usize) -> Result<usize, Error> {
    let mut count = 0;
    while count < max && reader.read_bit()? {
        count += 1;
    }
    Ok(count)
}

/// A number of `len` bits between -(2^(len-1) - 1) and 2^(len-1).
fn signed(bits: u64, len: u32) -> i64 {
    if len < 64 && bits > 1 << (len - 1) {
        return bits.cast_signed().wrapping_sub(1 << len);
    }
    bits.cast_signed()
}

fn read_signed(reader: &mut BitReader<'_>, classes: &[u32]) -> Result<i64, Error> {
    let ones = ones(reader, classes.len())?;
    match ones.checked_sub(1).and_then(|class| classes.get(class)) {
        None => Ok(0),
        Some(len) => Ok(signed(reader.read(*len)?, *len)),
    }
}

/// A whole number with a sign.
pub(super) fn read_int(reader: &mut BitReader<'_>) -> Result<i64, Error> {
    read_signed(reader, &CLASSES)
}

/// A difference of differences of timestamps of floats.
pub(super) fn read_time(reader: &mut BitReader<'_>) -> Result<i64, Error> {
    read_signed(reader, &TIME_CLASSES)
}

/// A whole number without a sign.
pub(super) fn read_uint(reader: &mut BitReader<'_>) -> Result<u64, Error> {
    let ones = ones(reader, CLASSES.len())?;
    match ones.checked_sub(1).and_then(|class| CLASSES.get(class)) {
        None => Ok(0),
        Some(len) => reader.read(*len),
    }
}

/// Go's `binary.PutVarint` in the stream of bits: whole bytes, wherever they begin.
pub(super) fn read_varint(reader: &mut BitReader<'_>) -> Result<u64, Error> {
    let mut value = 0_u64;
    for at in 0..10 {
        let byte = reader.read(8)?;
        if at == 9 && byte > 1 {
            return Err(Error::Invalid {
                what: "a varint",
                value: byte,
            });
        }
        value |= (byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            break;
        }
    }
    Ok(value)
}

/// A column of floats, each as what differs from the one before.
#[derive(Clone, Debug)]
pub(super) struct Floats {
    last: u64,
    /// Zero bits before and behind what was written last; none yet at first.
    frame: Option<(u32, u32)>,
}

impl Floats {
    /// Behind a first float, which stands whole.
    pub(super) fn behind(first: f64) -> Self {
        Self {
            last: first.to_bits(),
            frame: None,
        }
    }

    pub(super) fn read(&mut self, reader: &mut BitReader<'_>) -> Result<f64, Error> {
        if !reader.read_bit()? {
            return Ok(f64::from_bits(self.last));
        }
        if reader.read_bit()? {
            let leading = reader.read(5)?;
            let len = match reader.read(6)? {
                0 => 64,
                len => len,
            };
            let trailing = 64_u64.checked_sub(leading + len);
            let trailing = trailing.ok_or(Error::Invalid {
                what: "a float's width",
                value: len,
            })?;
            let narrow = |bits: u64| u32::try_from(bits).unwrap_or(64);
            self.frame = Some((narrow(leading), narrow(trailing)));
        }
        let (leading, trailing) = self.frame.ok_or(Error::Invalid {
            what: "a float without a width before it",
            value: 0,
        })?;
        let len = 64 - leading - trailing;
        self.last ^= reader.read(len)? << trailing;
        Ok(f64::from_bits(self.last))
    }
}
