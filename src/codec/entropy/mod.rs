//! Residuals by how long they are, in as many bits as that is likely to be: a seventh less than the varints of
//! `residuals.rs` under zstd, at four times the time to read a whole page.
//!
//! Of each residual its bit length is a symbol, then its sign and the three bits below its highest
//! one, and what lies below these goes as it is: noise has no model. How long it will be is guessed by one of four
//! models, after how long the last few were. All models begin with fixed chances and learn by themselves, so each
//! stream can be read alone.
//!
//! `nibble.rs` is the model, `stream.rs` makes bytes of symbols, `residuals.rs` says which symbols a
//! residual is, and `path.rs` cuts what is long, so that its middle can be read without its beginning. What else was
//! thought of is in `docs/decisions/0040-old-pages-are-coded.md`.

mod nibble;
mod path;
mod residuals;
mod stream;

pub(super) use path::{decode, encode};
