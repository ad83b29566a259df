//! File, environment and flags become the layers' settings.
//!
//! The order is: defaults, then the file, then the environment (`CAIRN_SECTION__KEY`), then flags;
//! the later wins. An unknown key is an error that suggests the nearest known one. What a key
//! means stands in the layer that uses it; here they are only put together.

mod error;
mod load;
mod origin;
mod reference;
mod settings;
mod suggest;

pub use error::Error;
pub use load::{Overrides, load};
pub use origin::Origin;
pub use reference::{reference, reference_page};
pub use settings::{MainSettings, MemoryLimit, NodeSettings, Settings, as_toml};
