//! A tenant: an isolated set of series, chosen by `X-Scope-OrgID`.

use std::fmt;
use std::sync::Arc;

/// The longest tenant name in bytes, as Grafana Mimir has it.
pub const TENANT_LENGTH_MAX: usize = 150;

/// The name of a tenant; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TenantId(Arc<str>);

/// Why a text is no tenant name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// Nothing was given.
    #[error("the tenant name is empty: set X-Scope-OrgID")]
    Empty,
    /// More than [`TENANT_LENGTH_MAX`] bytes.
    #[error("the tenant name is {0} bytes long: at most {TENANT_LENGTH_MAX} are allowed")]
    TooLong(usize),
    /// A character outside the allowed alphabet, or a name with a meaning of its own.
    #[error(
        "{0:?} is not a tenant name: letters, digits and !-_.*'() are allowed, and not \".\", \"..\" or \"__mimir_cluster\" alone"
    )]
    Unsupported(String),
}

impl TenantId {
    /// The tenant that everything belongs to while tenancy is off.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(Arc::from("anonymous"))
    }

    /// Takes a name by the rules that Mimir's users know.
    ///
    /// # Errors
    /// Refuses the empty name, one that is too long, and one with other characters than letters,
    /// digits and ``!-_.*'()``.
    pub fn new(name: &str) -> Result<Self, TenantError> {
        if name.is_empty() {
            return Err(TenantError::Empty);
        }
        if name.len() > TENANT_LENGTH_MAX {
            return Err(TenantError::TooLong(name.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        if !name.chars().all(allowed) || matches!(name, "." | ".." | "__mimir_cluster") {
            return Err(TenantError::Unsupported(name.to_owned()));
        }
        Ok(Self(Arc::from(name)))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
