//! What a person says to the cluster through this node: who is to be emptied, forgotten, gone on
//! without, and that the ring is to be divided.

use super::LocalMember;
use crate::cluster::decisions::{Decisions, Loss};
use crate::cluster::error::Error;
use crate::model::RingArc;

impl LocalMember {
    /// Marks a node, by its name or incarnation, to be emptied or no longer.
    ///
    /// # Errors
    /// When there is no such node, several have that name, or the control group cannot decide.
    pub fn drain(&self, node: &str, drain: bool) -> Result<(), Error> {
        self.decisions().drain(node, drain)
    }

    /// Gives a node, by its name or incarnation, up for ever.
    ///
    /// # Errors
    /// As [`LocalMember::drain`], and when it is live or something that it holds is needed.
    pub fn forget(&self, node: &str) -> Result<(), Error> {
        self.decisions().forget(node)
    }

    /// Lets partitions that have lost too many members go on with those that are left; without
    /// `accept_loss` only says which, and what would be lost.
    ///
    /// # Errors
    /// When one that is left does not say what it has, or the control group cannot decide.
    pub fn recover_ring(&self, accept_loss: bool) -> Result<Loss, Error> {
        self.decisions().recover(accept_loss)
    }

    /// Begins to divide the ring more finely, and says with which partition.
    ///
    /// # Errors
    /// When this node is alone, an older program is in the cluster, or the control group cannot
    /// decide.
    pub fn split_ring(&self) -> Result<RingArc, Error> {
        self.decisions().split()
    }

    fn decisions(&self) -> Decisions<'_> {
        Decisions {
            control: &self.control,
            store: &self.store,
            follower: &self.follower,
            me: self.me,
            peers: self.together.as_ref().map(|together| &together.peers),
            data: self.data.as_deref(),
        }
    }
}
