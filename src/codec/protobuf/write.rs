//! A protobuf writer: fields one after the other at the end of a buffer.
//!
//! Nothing is left out: a zero that is put is on the wire. It knows nothing of any message.

use super::super::varint::{put_bytes, put_u64};

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;

/// A message that is being written.
#[derive(Debug)]
pub struct Message<'a>(&'a mut Vec<u8>);

impl<'a> Message<'a> {
    /// At the end of a buffer.
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    fn tag(&mut self, number: u32, kind: u64) {
        put_u64(self.0, u64::from(number) << 3 | kind);
    }

    /// An unsigned integer, an enumeration, a boolean.
    pub fn uint(&mut self, number: u32, value: u64) {
        self.tag(number, VARINT);
        put_u64(self.0, value);
    }

    /// An `int64` or `int32`.
    pub fn int(&mut self, number: u32, value: i64) {
        self.uint(number, value.cast_unsigned());
    }

    /// A `sint64` or `sint32`.
    pub fn sint(&mut self, number: u32, value: i64) {
        self.uint(number, zigzag(value));
    }

    /// A `double`.
    pub fn double(&mut self, number: u32, value: f64) {
        self.tag(number, FIXED_64);
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    /// A text or bytes.
    pub fn bytes(&mut self, number: u32, value: &[u8]) {
        self.tag(number, BYTES);
        put_bytes(self.0, value);
    }

    /// A repeated `double`, packed; an empty one is left out.
    pub fn doubles(&mut self, number: u32, values: &[f64]) {
        if values.is_empty() {
            return;
        }
        self.tag(number, BYTES);
        put_u64(self.0, 8 * values.len() as u64);
        for value in values {
            self.0.extend_from_slice(&value.to_bits().to_le_bytes());
        }
    }

    /// A repeated `sint64`, packed; an empty one is left out.
    pub fn sints(&mut self, number: u32, values: &[i64]) {
        if values.is_empty() {
            return;
        }
        self.tag(number, BYTES);
        let start = self.0.len();
        for value in values {
            put_u64(self.0, zigzag(*value));
        }
        self.measure(start);
    }

    /// A message inside this one.
    pub fn message<R>(&mut self, number: u32, write: impl FnOnce(&mut Message<'_>) -> R) -> R {
        self.tag(number, BYTES);
        let start = self.0.len();
        let written = write(&mut Message(self.0));
        self.measure(start);
        written
    }

    /// Puts the length of what stands from `start` on before it.
    fn measure(&mut self, start: usize) {
        let end = self.0.len();
        put_u64(self.0, (end - start) as u64);
        let len = self.0.len() - end;
        if let Some(tail) = self.0.get_mut(start..) {
            tail.rotate_right(len);
        }
    }
}

/// Small magnitudes become small numbers.
const fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::super::{Field, Reader, repeated_double, repeated_varint, zigzag_64};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            whole in any::<i64>(),
            number in any::<f64>(),
            text in prop::collection::vec(any::<u8>(), 0..300),
            list in prop::collection::vec(any::<i64>(), 1..50),
            floats in prop::collection::vec(-1e9..1e9f64, 1..50),
        ) {
            let mut out = Vec::new();
            let mut message = Message::new(&mut out);
            message.int(1, whole);
            message.sint(2, whole);
            message.double(3, number);
            message.message(4, |inner| {
                inner.bytes(5, &text);
                inner.sints(6, &list);
                inner.sints(8, &[]);
            });
            message.doubles(7, &floats);
            message.doubles(8, &[]);
            let mut reader = Reader::new(&out);
            let mut inner: &[u8] = &[];
            let mut seen = Vec::new();
            while let Some((at, field)) = reader.field().unwrap() {
                seen.push(at);
                match at {
                    1 => prop_assert_eq!(field.int64(at), Ok(whole)),
                    2 => prop_assert_eq!(field.varint(at).map(zigzag_64), Ok(whole)),
                    3 => prop_assert_eq!(field.double(at).unwrap().to_bits(), number.to_bits()),
                    4 => inner = field.bytes(at).unwrap(),
                    _ => {
                        let mut back = Vec::new();
                        repeated_double(at, field, |value| back.push(value)).unwrap();
                        prop_assert_eq!(&back, &floats);
                    }
                }
            }
            prop_assert_eq!(seen, [1, 2, 3, 4, 7]);
            let mut reader = Reader::new(inner);
            prop_assert_eq!(reader.field(), Ok(Some((5, Field::Bytes(&text)))));
            let (at, field) = reader.field().unwrap().unwrap();
            let mut back = Vec::new();
            repeated_varint(at, field, |value| back.push(zigzag_64(value))).unwrap();
            prop_assert_eq!((at, back), (6, list));
            prop_assert_eq!(reader.field(), Ok(None));
        }
    }
}
