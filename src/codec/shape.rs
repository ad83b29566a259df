//! What a column of whole numbers stands for: all that makes floats of it but its path.

/// What whole numbers stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// Mantissas of this power of ten.
    Decimal(u8),
    /// Mantissas, and how many floats each is off.
    NearDecimal(u8),
    /// Ordered bits.
    Ordered,
}

/// A column's values but for the path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// One value everywhere.
    Constant(f64),
    /// `origin + scale * path`.
    Varying { form: Form, origin: i64, scale: i64 },
}
