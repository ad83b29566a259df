//! How many of n members count as what (the replication protocol's section 2).

/// The numbers of a set of members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Quorum {
    members: usize,
}

impl Quorum {
    /// The numbers of a set of so many members.
    pub(super) const fn of(members: usize) -> Self {
        Self { members }
    }

    /// W = R: so many acknowledge a write or answer a read.
    pub(super) const fn majority(self) -> usize {
        self.members / 2 + 1
    }

    /// C: the least that meets every write majority; what a seal or a newcomer gathers from.
    pub(super) const fn meeting(self) -> usize {
        self.members.saturating_sub(self.majority()) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_protocol_holds() {
        let rows = [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 3, 2), (5, 3, 3)];
        for (n, w, c) in rows {
            let quorum = Quorum::of(n);
            assert_eq!((quorum.majority(), quorum.meeting()), (w, c), "n = {n}");
            // Any C members meet any W members.
            assert!(c + w > n);
        }
    }
}
