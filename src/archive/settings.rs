//! Settings of the archive.

use std::path::PathBuf;

use crate::runtime::{RawValue, Setting};

/// Where sealed blocks are copied to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ArchiveKind {
    /// Nowhere: the nodes' disks are all there is.
    #[default]
    None,
    /// S3-compatible storage.
    S3,
    /// A directory.
    Local,
}

impl Setting for ArchiveKind {
    const FORM: &'static str = "\"s3\", \"local\" or \"none\"";

    fn read(raw: &RawValue) -> Result<Self, String> {
        match raw.to_string().as_str() {
            "none" => Ok(Self::None),
            "s3" => Ok(Self::S3),
            "local" => Ok(Self::Local),
            other => Err(format!("{other:?} is no archive: write {}", Self::FORM)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::None => "none",
            Self::S3 => "s3",
            Self::Local => "local",
        }
        .to_owned()
    }
}

crate::settings! {
    /// Where sealed blocks are copied to.
    pub struct KindSettings at "archive." {
        /// What sealed blocks are copied to: S3-compatible storage such as Garage, a directory, or
        /// nothing. The same on all nodes of a cluster.
        kind: ArchiveKind = ArchiveKind::None,
    }
}

crate::settings! {
    /// A directory as the archive.
    pub struct LocalSettings at "archive.local." {
        /// The directory, which must be there: a second disk, or a share that all nodes of the
        /// cluster have mounted.
        path: Option<PathBuf> = None,
    }
}

crate::settings! {
    /// S3-compatible storage as the archive.
    pub struct S3Settings at "archive.s3." {
        /// The address of the storage, such as `http://10.0.0.1:3900`. Unset: Amazon's, of the
        /// region.
        endpoint: Option<String> = None,
        /// The region; what Garage calls `s3_region`.
        region: String = "garage".to_owned(),
        /// The bucket, which must be there.
        bucket: String = String::new(),
        /// What the names of all objects begin with, so that one bucket may serve several
        /// clusters.
        prefix: String = String::new(),
        /// Whether the bucket's name goes into the path, as Garage and MinIO want it, and not into
        /// the host's name.
        path_style: bool = true,
        /// The file with the access key's id. Unset: `AWS_ACCESS_KEY_ID` in the environment, else
        /// what the machine's instance profile says.
        access_key_file: Option<PathBuf> = None,
        /// The file with the secret key. Unset: `AWS_SECRET_ACCESS_KEY` in the environment, else
        /// what the machine's instance profile says.
        secret_key_file: Option<PathBuf> = None,
        /// The file (PEM) with the authority that signed the storage's certificate. Unset: those
        /// that the system trusts.
        ca_cert: Option<PathBuf> = None,
    }
}

/// All sections together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArchiveSettings {
    /// Which of them is meant.
    pub main: KindSettings,
    /// The directory.
    pub local: LocalSettings,
    /// The storage.
    pub s3: S3Settings,
    /// Whether whatever would change it is refused. No key: `cairn serve --read-only` says so.
    pub read_only: bool,
}
