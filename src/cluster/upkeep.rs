//! What a member does for its blocks, over and over: uploads, letting go of what the bucket has, the
//! sweeper on whoever leads, the scrub, and verification when it is ordered.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;

use super::assembly::Shared;
use super::blocks::{
    ArchiveStatus, BelievedTime, BringFile, Sweeper, SweeperParts, Uploader, UploaderParts,
};
use super::clocks::DeletionClock;
use super::flushes::Flushes;
use super::moves::Follower;
use super::peer::Blocking;
use super::scrub::{ScrubMetrics, ScrubStatus, Scrubber, ScrubberParts};
use super::tiering::Tiering;
use super::verify::{Verification, Verifier, VerifierParts, VerifyMetrics};
use super::ways::BuildParts;
use super::workers::Duty;
use crate::runtime::{CancelToken, Throttle};

/// What waits for the bucket is looked at so often: seals come one in minutes.
const UPLOAD_INTERVAL: Duration = Duration::from_secs(2);

/// The sweeper is asked so often whether it is time.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// What may leave the disk for the bucket is looked at so often: it has been there for hours.
const TIER_INTERVAL: Duration = Duration::from_secs(10);

/// A person is told of so many blocks; the metrics count all.
const UNHEALED_MAX: usize = 8;

/// The scrub looks so often whether a block is due: of a thousand blocks a week one is every ten
/// minutes.
const SCRUB_INTERVAL: Duration = Duration::from_secs(10);

/// A person waits for an order to begin.
const VERIFY_INTERVAL: Duration = Duration::from_secs(1);

/// All of it.
pub(super) struct Upkeep {
    bucket: Option<BucketWork>,
    scrubber: Arc<Scrubber>,
    verifier: Arc<Verifier>,
    verification: Verification,
}

fn bring(follower: &Arc<Follower>) -> BringFile {
    let follower = Arc::clone(follower);
    Arc::new(move |state, arc, entry, cancel| follower.fetch_file(state, arc, entry, cancel))
}

/// What there is to do where there is a bucket.
struct BucketWork {
    uploader: Arc<Uploader>,
    sweeper: Arc<Sweeper>,
    tiering: Arc<Tiering>,
}

impl Upkeep {
    pub(super) fn new(
        parts: &BuildParts<'_>,
        shared: &Shared<'_>,
        clock: DeletionClock,
        flushes: &Flushes,
        registry: &mut Registry,
    ) -> Self {
        let (control, follower) = (shared.control, shared.follower);
        let believed: BelievedTime = Arc::new(move |voters| clock.now(voters));
        let bucket = parts.archive.map(|archive| BucketWork {
            tiering: Arc::new(Tiering::of(parts, control)),
            uploader: Arc::new(Uploader::new(UploaderParts {
                store: Arc::clone(parts.store),
                control: Arc::clone(control),
                archive: archive.clone(),
                clock: Arc::clone(&parts.world.clock),
                chance: Arc::clone(&parts.world.chance),
                me: parts.me,
                throttle: Throttle::new(parts.settings.cluster.copy_bandwidth.0),
                manifests: Arc::clone(parts.manifests),
                hurry: Arc::clone(&flushes.hurry),
                bring: bring(follower),
                grace: parts.settings.seal.grace,
            })),
            sweeper: Arc::new(Sweeper::new(SweeperParts {
                archive: archive.clone(),
                control: Arc::clone(control),
                clock: Arc::clone(&parts.world.clock),
                believed,
                chance: Arc::clone(&parts.world.chance),
                manifests: Arc::clone(parts.manifests),
            })),
        });
        let scrubbed = bucket.as_ref().zip(parts.archive);
        let scrubber = Arc::new(Scrubber::new(ScrubberParts {
            store: Arc::clone(parts.store),
            control: Arc::clone(control),
            follower: Arc::clone(follower),
            manifests: Arc::clone(parts.manifests),
            bucket: scrubbed.map(|(work, archive)| (archive.clone(), Arc::clone(&work.uploader))),
            clock: Arc::clone(&parts.world.clock),
            me: parts.me,
            metrics: ScrubMetrics::register(registry),
        }));
        let verifier = Arc::new(Verifier::new(VerifierParts {
            orders: Arc::clone(parts.verifications),
            scrubber: Arc::clone(&scrubber),
            store: Arc::clone(parts.store),
            control: Arc::clone(control),
            manifests: Arc::clone(parts.manifests),
            clock: Arc::clone(&parts.world.clock),
            me: parts.me,
            metrics: VerifyMetrics::register(registry),
        }));
        let (who, chance) = ((control, parts.me), &parts.world.chance);
        let verification = Verification::new(parts.verifications, who, chance);
        Self {
            bucket,
            scrubber,
            verifier,
            verification,
        }
    }

    /// Threads that do it.
    pub(super) fn duties(&self) -> Vec<Duty> {
        let scrubber = Arc::clone(&self.scrubber);
        let scrub = move |cancel: &CancelToken| scrubber.round(cancel);
        let verifier = Arc::clone(&self.verifier);
        let verify = move |cancel: &CancelToken| verifier.round(cancel);
        let mut duties = vec![
            Duty::new("cairn-scrub", SCRUB_INTERVAL, scrub),
            Duty::new("cairn-verify", VERIFY_INTERVAL, verify),
        ];
        if let Some(bucket) = &self.bucket {
            let uploader = Arc::clone(&bucket.uploader);
            let upload = move |cancel: &CancelToken| uploader.round(cancel);
            duties.push(Duty::new("cairn-upload", UPLOAD_INTERVAL, upload));
            let sweeper = Arc::clone(&bucket.sweeper);
            let sweep = move |cancel: &CancelToken| sweeper.round(cancel);
            duties.push(Duty::new("cairn-sweep", SWEEP_INTERVAL, sweep));
            let tiering = Arc::clone(&bucket.tiering);
            let tier = move |cancel: &CancelToken| tiering.round(cancel);
            duties.push(Duty::new("cairn-tier", TIER_INTERVAL, tier));
        }
        duties
    }

    /// The bucket for a person, where there is one.
    pub(super) fn archive(&self) -> Option<ArchiveStatus> {
        Some(self.bucket.as_ref()?.uploader.status())
    }

    /// What keeps it from its work, beside what the bucket's status says.
    pub(super) fn trouble(&self) -> Vec<String> {
        let bucket = self.bucket.as_ref();
        let sweeper = bucket.and_then(|bucket| bucket.sweeper.trouble());
        let unhealed = self.scrub().into_iter().flat_map(|scrub| scrub.unhealed);
        let unhealed = unhealed.take(UNHEALED_MAX);
        sweeper.into_iter().chain(unhealed).collect()
    }

    /// What the scrub has found.
    pub(super) fn scrub(&self) -> Vec<ScrubStatus> {
        self.scrubber.status()
    }

    /// Verification of all nodes, which these are the ways to.
    pub(super) fn verification(&self, peers: Option<Blocking>) -> Verification {
        self.verification.over(peers)
    }

    #[cfg(test)]
    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    #[cfg(test)]
    pub(super) fn scrubber(&self) -> &Scrubber {
        &self.scrubber
    }

    #[cfg(test)]
    pub(super) fn uploader(&self) -> &Uploader {
        &self.bucket.as_ref().unwrap().uploader
    }

    #[cfg(test)]
    pub(super) fn tiering(&self) -> &Tiering {
        &self.bucket.as_ref().unwrap().tiering
    }

    #[cfg(test)]
    pub(super) fn sweeper(&self) -> &Sweeper {
        &self.bucket.as_ref().unwrap().sweeper
    }
}
