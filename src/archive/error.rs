//! Why the bucket cannot do something.

/// What of an error's text is passed on.
const REASON_CHARS_MAX: usize = 400;

/// What a caller can do about it is the variant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The bucket knows the caller, or does not, and refuses either way.
    #[error(
        "{bucket} refuses this node: {reason}: look whether archive.s3.access_key_file and archive.s3.secret_key_file hold a key that may read and write the bucket"
    )]
    Refused {
        /// The bucket in words.
        bucket: String,
        /// What it said.
        reason: String,
    },
    /// There is no such bucket or directory.
    #[error("{bucket} does not exist: {remedy}")]
    NoBucket {
        /// The bucket in words.
        bucket: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Requests are signed with the time, and the two clocks are too far apart.
    #[error(
        "{bucket} refuses every request because the clocks differ by {off_s} s (bound 900 s): set the clock of this machine or of the storage"
    )]
    Clock {
        /// The bucket in words.
        bucket: String,
        /// How far this node's clock is ahead, in seconds; negative: behind.
        off_s: i64,
    },
    /// An object that should be there is not.
    #[error("{bucket} has no object {name}")]
    Missing {
        /// The bucket in words.
        bucket: String,
        /// The object.
        name: String,
    },
    /// An object is not what it should be.
    #[error("the object {name} in {bucket} is damaged: {problem}")]
    Corrupt {
        /// The bucket in words.
        bucket: String,
        /// The object.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A newer program wrote an object.
    #[error("{what} is of format {format}, and this version reads up to {known}: use a newer one")]
    Newer {
        /// What it is.
        what: String,
        /// Its format.
        format: u32,
        /// The newest that is known.
        known: u32,
    },
    /// The bucket holds another cluster.
    #[error("{0}")]
    Foreign(String),
    /// Nobody waits for it any more.
    #[error("it was called off")]
    CalledOff,
    /// The bucket is away, slow, full or broken: it may work later.
    #[error("{bucket} cannot {operation}: {reason}")]
    Unavailable {
        /// The bucket in words.
        bucket: String,
        /// What was asked of it.
        operation: &'static str,
        /// What happened.
        reason: String,
    },
}

impl Error {
    /// Whether it is about one object and not about the whole bucket.
    #[must_use]
    pub const fn is_of_object(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. } | Self::Corrupt { .. } | Self::Newer { .. }
        )
    }
}

/// An error with all that caused it.
pub(super) fn whole_text(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let cause = inner.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = inner.source();
    }
    text
}

/// One line of what may be a page of XML.
pub(super) fn shorten(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(REASON_CHARS_MAX).collect()
}
