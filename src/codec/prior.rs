use super::range::Bit;
pub(super) fn bits() -> Vec<Bit> { vec![Bit::UNKNOWN; 16*3*65+65*3] }
