//! A built block is read again before what it was made of goes.
//!
//! Its sums are taken before its values are coded, so that they say nothing of what a decoder makes of them. Varints
//! are trusted; models that learn while they write, and folds, are looked at.

use super::block::{BuiltBlock, verify_block};
use super::error::Error;
use super::whole::Store;
use crate::runtime::CancelToken;

impl Store {
    /// Reads a block again and compares it with what was written: nothing else will have what is in it, or what its
    /// folds stand for.
    ///
    /// # Errors
    /// [`Error::Bug`] when it reads back otherwise; also when it cannot be read, or the work is called off.
    pub(super) fn read_back(&self, built: &BuiltBlock, cancel: &CancelToken) -> Result<(), Error> {
        let entry = &built.entry;
        self.tamper(built)?;
        let verified = verify_block(&built.path, entry.id, Some(entry), cancel)?;
        match verified.faults.first() {
            None => Ok(()),
            Some(fault) => Err(Error::Bug(format!(
                "a built block of {} samples reads back otherwise ({}): what it was made of stays as it is",
                entry.samples, fault.problem
            ))),
        }
    }

    /// Does nothing, but where a test wants a block that reads back otherwise.
    #[cfg_attr(
        not(test),
        expect(
            clippy::unnecessary_wraps,
            clippy::unused_self,
            reason = "tests fail here"
        )
    )]
    fn tamper(&self, _built: &BuiltBlock) -> Result<(), Error> {
        #[cfg(test)]
        self.faults.tamper(&_built.path)?;
        Ok(())
    }
}
