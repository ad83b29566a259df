//! Where history goes.

use super::Error;
use super::history::Piece;

/// What a format had no place for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Left {
    /// Native histograms that were left out.
    pub histograms: u64,
    /// Stale markers that were left out.
    pub stale: u64,
    /// NaN values that are told from stale markers no more.
    pub nans: u64,
}

/// Takes pieces of history.
pub trait Sink {
    /// Takes one piece.
    ///
    /// # Errors
    /// When it cannot be written.
    fn put(&mut self, piece: &Piece) -> Result<(), Error>;

    /// Ends what was begun and says what had no place.
    ///
    /// # Errors
    /// When it cannot be written.
    fn finish(&mut self) -> Result<Left, Error>;
}
