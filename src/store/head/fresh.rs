//! Series that are new somewhere.

use super::layer::LayerData;

/// A series that a layer or its part of the log does not know yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    pub slot: u32,
    /// Whether the layer has one more series.
    pub held: bool,
    /// Whether the log needs its definition.
    pub define: bool,
}

impl Fresh {
    /// Marks a series as known; `None` when it was and the log is not written.
    #[cold]
    pub(super) fn note(data: &mut LayerData, local: u32, slot: u32, logged: bool) -> Option<Self> {
        let held = data.present.insert(local);
        if logged {
            data.defined.insert(local);
        }
        (held || logged).then_some(Self {
            slot,
            held,
            define: logged,
        })
    }
}
