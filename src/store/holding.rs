//! What of whom is held here: what is deleted is gone when nobody holds any of it.

use std::sync::Arc;

use super::error::Error;
use super::tier::Reading;
use super::view::{ReadView, listed};
use super::whole::Store;
use crate::model::{BlockId, Deletion, RingArc, Samples, TenantId};
use crate::runtime::{Budget, BudgetLimits, CancelToken};
use crate::source::{Coarsest, ReadContext, Selection, SourceError};

/// What the list of series of one partition may take while it is looked for the first of them that
/// has something: the series of a whole 4 GB board.
const LIST_BYTES_MAX: u64 = 256 << 20;

impl Store {
    /// Whether a partition holds anything of a deletion, in the head or in applied blocks.
    ///
    /// # Errors
    /// When a block cannot be read, or it is called off.
    pub fn holds_any_of(
        &self,
        arc: RingArc,
        deletion: &Deletion,
        cancel: &CancelToken,
    ) -> Result<bool, Error> {
        let (shown, head) = {
            let views = self.views.read();
            let shown = views.get(&arc).cloned().unwrap_or_default();
            (shown, Arc::new(self.head.view().only(&[arc])))
        };
        let view = ReadView {
            head,
            blocks: listed([(&arc, &shown)].into_iter(), deletion.range)?,
            remembered: Arc::clone(&self.remembered),
        };
        has_any(view, deletion, cancel)
    }

    /// The tenants that have something in a block of a partition, sorted; `None`: it is not applied
    /// there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn tenants_of_block(
        &self,
        arc: RingArc,
        id: BlockId,
    ) -> Result<Option<Vec<TenantId>>, Error> {
        let shown = self.view_of(arc);
        let Some(block) = shown.find(id)? else {
            return Ok(None);
        };
        block.reader(&Reading::background())?.tenants().map(Some)
    }

    /// Whether a block, as one partition shows it, has anything of a deletion; `None`: it is not
    /// applied there.
    ///
    /// # Errors
    /// When it cannot be read, or it is called off.
    pub fn block_holds(
        &self,
        arc: RingArc,
        id: BlockId,
        deletion: &Deletion,
        cancel: &CancelToken,
    ) -> Result<Option<bool>, Error> {
        let shown = self.view_of(arc);
        let Some(block) = shown.find(id)? else {
            return Ok(None);
        };
        let view = ReadView {
            head: Arc::new(self.head.view().only(&[])),
            blocks: vec![(arc, Arc::clone(block))],
            remembered: Arc::clone(&self.remembered),
        };
        has_any(view, deletion, cancel).map(Some)
    }
}

fn has_any(view: ReadView, deletion: &Deletion, cancel: &CancelToken) -> Result<bool, Error> {
    let selection = Selection {
        tenant: deletion.tenant.clone(),
        matchers: deletion.matchers.clone(),
        range: deletion.range,
    };
    let context = ReadContext {
        cancel: cancel.clone(),
        budget: Budget::new(BudgetLimits {
            memory_bytes: LIST_BYTES_MAX,
            samples: u64::MAX,
        }),
        partial: None,
        coarsest: Coarsest::default(),
    };
    let failed = |error: SourceError| Error::Unavailable(error.to_string());
    let mut stream = view.select(&selection, None, &context).map_err(failed)?;
    let first = stream.next(&mut Samples::default()).map_err(failed)?;
    Ok(first.is_some())
}
