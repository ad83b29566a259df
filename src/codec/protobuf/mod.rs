//! Protobuf without messages: fields read from the front of a slice, fields put at the end of a
//! buffer. What the foreign formats are that are spelt with it is their readers' and writers'
//! business.

mod read;
mod write;

pub use read::{Field, Reader, WireError, repeated_double, repeated_varint, zigzag_64};
pub use write::Message;
