//! Chunks of floats (encoding 1, "XOR").

use super::varbit::{Floats, read_time, read_varint};
use crate::codec::Error;
use crate::codec::bits::BitReader;
use crate::codec::varint::unzigzag;

/// Gives every sample of a chunk to `each`.
pub(super) fn read(data: &[u8], mut each: impl FnMut(i64, f64)) -> Result<(), Error> {
    let mut reader = BitReader::new(data);
    let count = reader.read(16)?;
    if count == 0 {
        return Ok(());
    }
    let mut at = unzigzag(read_varint(&mut reader)?);
    let first = f64::from_bits(reader.read(64)?);
    each(at, first);
    let mut column = Floats::behind(first);
    let mut delta = 0_i64;
    for place in 1..count {
        delta = if place == 1 {
            read_varint(&mut reader)?.cast_signed()
        } else {
            delta.wrapping_add(read_time(&mut reader)?)
        };
        at = at.wrapping_add(delta);
        each(at, column.read(&mut reader)?);
    }
    Ok(())
}
