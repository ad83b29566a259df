//! A protobuf reader that borrows: fields one after the other, nothing allocated, nothing copied.
//!
//! It does what any protobuf parser must: fields in any order, unknown ones skipped, repeated
//! scalars packed or not; that the last of several singular fields wins is up to its users, who
//! just assign. Lengths are checked before they are believed, groups (an old encoding that nobody
//! sends) are skipped to a bounded depth. It knows nothing of any message.
//! (protobuf.dev/programming-guides/encoding)

/// Groups inside groups that are skipped before the message is refused.
const GROUP_DEPTH_MAX: usize = 16;

/// What makes bytes no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends inside a field.
    #[error("it ends in the middle of a field")]
    Truncated,
    /// More than ten bytes, or more than 64 bits.
    #[error("a number has more than 64 bits")]
    Varint,
    /// Field number 0, or beyond 2^29.
    #[error("a field number is out of range")]
    FieldNumber,
    /// Wire type 6 or 7, or the end of a group that never began.
    #[error("a field has a wire type that does not exist")]
    WireType,
    /// A known field with another wire type than its definition says.
    #[error("field {0} has the wrong wire type")]
    Mismatch(u32),
    /// Groups nested too deeply.
    #[error("groups are nested more than {GROUP_DEPTH_MAX} deep")]
    Depth,
}

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// Integers, booleans, enumerations.
    Varint(u64),
    /// Doubles and fixed integers.
    Fixed64(u64),
    /// Texts, messages, packed lists.
    Bytes(&'a [u8]),
    /// Floats; no message here has any.
    Fixed32,
    /// A group, skipped.
    Group,
}

impl<'a> Field<'a> {
    /// The bytes of a text, a message or a packed list.
    ///
    /// # Errors
    /// When the field has another wire type.
    pub fn bytes(self, number: u32) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::Mismatch(number)),
        }
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// When the field has another wire type.
    pub fn varint(self, number: u32) -> Result<u64, WireError> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(WireError::Mismatch(number)),
        }
    }

    /// An `int64`.
    ///
    /// # Errors
    /// When the field has another wire type.
    pub fn int64(self, number: u32) -> Result<i64, WireError> {
        self.varint(number).map(u64::cast_signed)
    }

    /// A `sint32`.
    ///
    /// # Errors
    /// When the field has another wire type.
    pub fn sint32(self, number: u32) -> Result<i32, WireError> {
        self.varint(number).map(zigzag_32)
    }

    /// A `double`.
    ///
    /// # Errors
    /// When the field has another wire type.
    pub fn double(self, number: u32) -> Result<f64, WireError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(WireError::Mismatch(number)),
        }
    }
}

/// Undoes zig-zag; bits above the 32nd are dropped, as protobuf says.
fn zigzag_32(value: u64) -> i32 {
    let low = u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0);
    (low >> 1).cast_signed() ^ -(low & 1).cast_signed()
}

/// Undoes zig-zag.
#[must_use]
pub fn zigzag_64(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// A message, read from its front.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// From its first field.
    #[must_use]
    pub const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Bytes not read yet.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next field; `None` at the end of the message.
    ///
    /// # Errors
    /// When the bytes are no protobuf.
    #[inline]
    pub fn field(&mut self) -> Result<Option<(u32, Field<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, kind) = self.tag()?;
        let field = match kind {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(self.fixed64()?),
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).map_err(|_| WireError::Truncated)?;
                Field::Bytes(self.take(len)?)
            }
            3 => {
                self.skip_group(number)?;
                Field::Group
            }
            5 => {
                self.take(4)?;
                Field::Fixed32
            }
            _ => return Err(WireError::WireType),
        };
        Ok(Some((number, field)))
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u64), WireError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| WireError::FieldNumber)?;
        if number == 0 || number >= 1 << 29 {
            return Err(WireError::FieldNumber);
        }
        Ok((number, tag & 7))
    }

    /// A bare number, as packed lists have them.
    ///
    /// # Errors
    /// When it ends early or has more than 64 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        match self.rest.split_first() {
            Some((first, rest)) if *first < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*first))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            if at == 9 && *byte > 1 {
                return Err(WireError::Varint);
            }
            value |= u64::from(*byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(WireError::Truncated)
    }

    fn fixed64(&mut self) -> Result<u64, WireError> {
        let (bytes, rest) = self
            .rest
            .split_first_chunk::<8>()
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Skips to the end of the group `number`, whose start tag has been read.
    fn skip_group(&mut self, number: u32) -> Result<(), WireError> {
        let mut open = [0u32; GROUP_DEPTH_MAX];
        let mut depth = 0usize;
        let mut current = number;
        loop {
            let (inner, kind) = self.tag()?;
            match kind {
                0 => drop(self.varint()?),
                1 => drop(self.take(8)?),
                2 => {
                    let len = self.varint()?;
                    let len = usize::try_from(len).map_err(|_| WireError::Truncated)?;
                    self.take(len)?;
                }
                3 => {
                    *open.get_mut(depth).ok_or(WireError::Depth)? = current;
                    depth += 1;
                    current = inner;
                }
                4 if inner == current => {
                    let Some(outer) = depth.checked_sub(1) else {
                        return Ok(());
                    };
                    depth = outer;
                    current = open.get(depth).copied().unwrap_or(0);
                }
                5 => drop(self.take(4)?),
                _ => return Err(WireError::WireType),
            }
        }
    }
}

/// Feeds a repeated varint field to `each`, packed or not.
///
/// # Errors
/// When it is neither.
#[inline]
pub fn repeated_varint(
    number: u32,
    field: Field<'_>,
    mut each: impl FnMut(u64),
) -> Result<(), WireError> {
    match field {
        Field::Varint(value) => each(value),
        Field::Bytes(packed) => {
            let mut reader = Reader::new(packed);
            while reader.remaining() > 0 {
                each(reader.varint()?);
            }
        }
        _ => return Err(WireError::Mismatch(number)),
    }
    Ok(())
}

/// Feeds a repeated double field to `each`, packed or not.
///
/// # Errors
/// When it is neither.
pub fn repeated_double(
    number: u32,
    field: Field<'_>,
    mut each: impl FnMut(f64),
) -> Result<(), WireError> {
    match field {
        Field::Fixed64(bits) => each(f64::from_bits(bits)),
        Field::Bytes(packed) => {
            let (whole, rest) = packed.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(WireError::Truncated);
            }
            whole
                .iter()
                .for_each(|bytes| each(f64::from_le_bytes(*bytes)));
        }
        _ => return Err(WireError::Mismatch(number)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u32, Field<'_>)>, WireError> {
        let mut reader = Reader::new(bytes);
        let mut fields = Vec::new();
        while let Some(field) = reader.field()? {
            fields.push(field);
        }
        Ok(fields)
    }

    #[test]
    fn every_wire_type_is_read_or_skipped() {
        let bytes = [
            0x08, 0x96, 0x01, // 1: varint 150
            0x12, 0x02, b'h', b'i', // 2: bytes
            0x19, 1, 0, 0, 0, 0, 0, 0, 0, // 3: fixed64
            0x25, 1, 0, 0, 0, // 4: fixed32
            0x2b, 0x33, 0x34, 0x08, 0x01, 0x2c, // 5: group with group 6 and a varint
        ];
        assert_eq!(
            all(&bytes).unwrap(),
            [
                (1, Field::Varint(150)),
                (2, Field::Bytes(b"hi")),
                (3, Field::Fixed64(1)),
                (4, Field::Fixed32),
                (5, Field::Group),
            ]
        );
    }

    #[test]
    fn broken_messages_are_refused_for_what_they_are() {
        let deep: Vec<u8> = vec![0x0b; 40];
        for (bytes, error) in [
            (&[0x08][..], WireError::Truncated),
            (&[0x08, 0x80], WireError::Truncated),
            (&[0x12, 0x05, 1], WireError::Truncated),
            (
                &[
                    0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
                ],
                WireError::Truncated,
            ),
            (&[0x19, 1, 2], WireError::Truncated),
            (
                &[
                    0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
                ],
                WireError::Varint,
            ),
            (&[0x00], WireError::FieldNumber),
            (&[0x0e], WireError::WireType),
            (&[0x0c], WireError::WireType),
            (&[0x0b, 0x14], WireError::WireType),
            (&deep, WireError::Depth),
        ] {
            assert_eq!(all(bytes), Err(error), "{bytes:x?}");
        }
    }

    #[test]
    fn zigzag_is_undone() {
        let cases = [(0u64, 0i64), (1, -1), (2, 1), (u64::MAX, i64::MIN)];
        for (wire, value) in cases {
            assert_eq!(zigzag_64(wire), value);
        }
        assert_eq!(zigzag_32(u64::from(u32::MAX)), i32::MIN);
        assert_eq!(zigzag_32(105), -53);
    }
}
