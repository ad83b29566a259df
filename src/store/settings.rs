//! Settings of the store: how long data are kept, and how much of the disk stays free.

use std::time::Duration;

use super::downsample_policy::DownsamplePolicy;
use super::tenant_retention::{Kept, TenantRetentions};
use crate::model::TenantId;
use crate::runtime::ByteSize;

crate::settings! {
    /// What is kept.
    pub struct RetentionSettings at "retention." {
        /// Samples older than this are deleted, a block at a time. Unset: nothing is deleted by
        /// age.
        total: Option<Duration> = None,
        /// Where there is an archive: blocks older than this leave this node's disk once the archive
        /// has them, and queries read them from there. Unset: they stay as long as
        /// `retention.local_size` lets them.
        local: Option<Duration> = None,
        /// What sealed blocks may take of this node's disk. Where there is an archive, the oldest
        /// leave the disk once the archive has them, and an eighth of this is for what queries
        /// fetched from there; without one, the oldest are deleted. Unset: no bound.
        local_size: Option<ByteSize> = None,
        /// Tenants of which more or less is kept than of all others, the same on all nodes:
        /// `tenant=total`, `tenant=total/local`, or `tenant=/local`, such as `team-a=30d`,
        /// `team-b=forever`, `team-c=2y/60d`. Blocks hold several tenants and are rewritten without
        /// those whose time is over; one leaves a disk when all in it may.
        tenants: TenantRetentions = TenantRetentions::default(),
        /// From what age on samples are kept only as one in five minutes (`5m`) or one in an hour
        /// (`1h`), with count, sum, minimum, maximum and counter resets of those that go, the same on
        /// all nodes: `30d:5m`, `1y:1h`. Whole blocks are rewritten; nothing brings the samples back.
        /// Unset: all stay as they were written.
        downsample: DownsamplePolicy = DownsamplePolicy::default(),
    }
}

crate::settings! {
    /// What of the disk stays free.
    pub struct DiskSettings at "disk." {
        /// With less than this free, writes are answered with 503 and the reason, until space is
        /// free again. Reads go on.
        min_free: ByteSize = ByteSize::mib(256),
        /// The size of the file `reserve` in the data directory. It is given up when others have
        /// filled the disk in spite of `disk.min_free`, so that what is in memory can still be
        /// sealed and the node can stop cleanly. 0: none.
        reserve: ByteSize = ByteSize::mib(32),
    }
}

impl RetentionSettings {
    /// How long a tenant's samples are kept; `None`: for ever.
    #[must_use]
    pub fn total_of(&self, tenant: &TenantId) -> Option<Duration> {
        match self.tenants.0.get(tenant).and_then(|own| own.total) {
            Some(Kept::For(own)) => Some(own),
            Some(Kept::Forever) => None,
            None => self.total,
        }
    }

    /// How long anything is kept, whosever it is; `None`: for ever.
    #[must_use]
    pub fn total_longest(&self) -> Option<Duration> {
        let own = self.tenants.0.keys().map(|tenant| self.total_of(tenant));
        own.fold(self.total, |longest, own| Some(longest?.max(own?)))
    }

    /// How long samples are kept of those who lose them first; `None`: all are kept as long as any.
    #[must_use]
    pub fn total_shortest(&self) -> Option<Duration> {
        let own = self.tenants.0.keys().filter_map(|one| self.total_of(one));
        let shortest = own.chain(self.total).min();
        shortest.filter(|_| shortest != self.total_longest())
    }

    /// How long a tenant's blocks stay on the disk; `None`: as long as there is room.
    #[must_use]
    pub fn local_of(&self, tenant: &TenantId) -> Option<Duration> {
        let own = self.tenants.0.get(tenant).and_then(|own| own.local);
        own.or(self.local)
    }

    /// How long anybody's blocks stay; `None`: as long as there is room.
    #[must_use]
    pub fn local_longest(&self) -> Option<Duration> {
        let own = self.tenants.0.keys().map(|tenant| self.local_of(tenant));
        own.fold(self.local, |longest, own| Some(longest?.max(own?)))
    }

    /// After how long the first of them may leave; `None`: all stay as long as any.
    #[must_use]
    pub fn local_shortest(&self) -> Option<Duration> {
        let own = self.tenants.0.keys().filter_map(|one| self.local_of(one));
        let shortest = own.chain(self.local).min();
        shortest.filter(|_| shortest != self.local_longest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{RawValue, Setting};

    fn read(text: &str) -> TenantRetentions {
        TenantRetentions::read(&RawValue::Text(text.to_owned())).unwrap()
    }

    fn days(count: u64) -> Duration {
        Duration::from_secs(count * 86_400)
    }

    /// Would catch a tenant that is given another's time, and a block that goes as a whole while
    /// somebody keeps something in it.
    #[test]
    fn a_tenant_has_its_own_time_or_that_of_all() {
        let of = |total: Option<u64>, local: Option<u64>, tenants: &str| RetentionSettings {
            total: total.map(days),
            local: local.map(days),
            tenants: read(tenants),
            ..RetentionSettings::default()
        };
        let tenant = |name: &str| TenantId::new(name).unwrap();
        let settings = of(Some(30), None, "a=10d,b=90d/5d,c=forever,d=/2d");
        let totals = ["a", "b", "c", "d", "e"].map(|name| settings.total_of(&tenant(name)));
        let want = [Some(10), Some(90), None, Some(30), Some(30)];
        assert_eq!(totals, want.map(|count| count.map(days)));
        assert_eq!(settings.total_longest(), None);
        assert_eq!(settings.total_shortest(), Some(days(10)));
        assert_eq!(settings.local_of(&tenant("b")), Some(days(5)));
        assert_eq!(settings.local_of(&tenant("a")), None);
        assert_eq!(settings.local_longest(), None);
        assert_eq!(settings.local_shortest(), Some(days(2)));
        let settings = of(Some(30), Some(7), "b=90d/60d");
        assert_eq!(settings.total_longest(), Some(days(90)));
        assert_eq!(settings.total_shortest(), Some(days(30)));
        assert_eq!(settings.local_longest(), Some(days(60)));
        assert_eq!(settings.local_shortest(), Some(days(7)));
        let alike = of(Some(30), Some(7), "b=30d/7d");
        assert_eq!(
            (alike.total_shortest(), alike.local_shortest()),
            (None, None)
        );
        let never = RetentionSettings::default();
        assert_eq!(
            (never.total_longest(), never.total_shortest()),
            (None, None)
        );
    }
}
