//! Retention of tenants that differ from the rest, as it is written in the configuration:
//! `team-a=30d`, `team-b=2y/60d` (total, local), `team-c=/7d` (only local), `team-d=forever`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::TenantId;
use crate::runtime::{RawValue, Setting, show_duration};

/// How long something is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// So long.
    For(Duration),
    /// Whatever the others' retention is.
    Forever,
}

/// What differs for one tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TenantRetention {
    /// `None`: as for all others.
    pub total: Option<Kept>,
    /// `None`: as for all others.
    pub local: Option<Duration>,
}

/// The tenants that differ.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TenantRetentions(pub BTreeMap<TenantId, TenantRetention>);

impl TenantRetentions {
    /// Whether all tenants are alike.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

const FOREVER: &str = "forever";

impl TenantRetention {
    fn read(text: &str) -> Result<Self, String> {
        let (total, local) = match text.split_once('/') {
            Some((total, local)) => (total.trim(), Some(local.trim())),
            None => (text.trim(), None),
        };
        let duration = |text: &str| {
            let duration = Duration::read(&RawValue::Text(text.to_owned()))?;
            if duration.is_zero() {
                return Err("0 keeps nothing: write forever, or how long".to_owned());
            }
            Ok(duration)
        };
        let total = match total {
            "" => None,
            FOREVER => Some(Kept::Forever),
            text => Some(Kept::For(duration(text)?)),
        };
        let local = local.map(duration).transpose()?;
        if total.is_none() && local.is_none() {
            return Err("it says nothing".to_owned());
        }
        Ok(Self { total, local })
    }

    fn show(&self) -> String {
        let total = match self.total {
            None => String::new(),
            Some(Kept::Forever) => FOREVER.to_owned(),
            Some(Kept::For(duration)) => show_duration(duration),
        };
        match self.local {
            None => total,
            Some(local) => format!("{total}/{}", show_duration(local)),
        }
    }
}

impl Setting for TenantRetentions {
    const FORM: &'static str = "a list of texts";

    fn read(raw: &RawValue) -> Result<Self, String> {
        let mut tenants = BTreeMap::new();
        for item in Vec::<String>::read(raw)? {
            let wrong = |reason: &str| {
                format!(
                    "{item:?}: {reason}: write \"tenant=30d\", \"tenant=2y/60d\" for total and local, \"tenant=/7d\" for local alone, or \"tenant=forever\""
                )
            };
            let (tenant, kept) = item.split_once('=').ok_or_else(|| wrong("it has no ="))?;
            let tenant = TenantId::new(tenant.trim()).map_err(|error| wrong(&error.to_string()))?;
            let kept = TenantRetention::read(kept).map_err(|reason| wrong(&reason))?;
            if tenants.insert(tenant, kept).is_some() {
                return Err(wrong("the tenant is named twice"));
            }
        }
        Ok(Self(tenants))
    }

    fn show(&self) -> String {
        let tenants = self.0.iter();
        let texts = tenants.map(|(tenant, kept)| format!("{tenant}={}", kept.show()));
        texts.collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TenantRetentions, String> {
        TenantRetentions::read(&RawValue::Text(text.to_owned()))
    }

    #[test]
    fn what_is_written_is_read_and_shown() {
        let text = "team-a=30d,team-b=2y/60d,team-c=/7d,team-d=forever/1w";
        let read_back = read(text).unwrap();
        assert_eq!(read_back.0.len(), 4);
        assert_eq!(read(&read_back.show()), Ok(read_back));
        let list = ["x=1d", "y=2d"].map(|item| RawValue::Text(item.to_owned()));
        let list = TenantRetentions::read(&RawValue::List(list.to_vec())).unwrap();
        assert_eq!(list.0.len(), 2);
        assert!(read("").unwrap().is_empty());
        for (text, reason) in [
            ("team-a", "no ="),
            ("team-a=", "says nothing"),
            ("team-a=/", "tenant=30d"),
            ("team-a=0s", "keeps nothing"),
            ("a=1d,a=2d", "named twice"),
            ("=1d", "tenant=30d"),
            ("a=soon", "tenant=30d"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
