//! Whose series a request is about.

use axum::http::HeaderMap;

use crate::model::TenantId;

use super::reply::{ApiError, Kind};

/// The header that Mimir and Cortex established.
const TENANT_HEADER: &str = "x-scope-orgid";

/// The tenant of a request: `anonymous` while tenancy is off, whatever the header says.
pub(super) fn tenant_of(headers: &HeaderMap, tenancy: bool) -> Result<TenantId, ApiError> {
    if !tenancy {
        return Ok(TenantId::anonymous());
    }
    let Some(value) = headers.get(TENANT_HEADER) else {
        return Err(ApiError::new(
            Kind::Unauthorized,
            "no org id: tenancy is on, so the header X-Scope-OrgID must name a tenant",
        ));
    };
    let name = String::from_utf8_lossy(value.as_bytes());
    TenantId::new(&name).map_err(|error| {
        let kind = match error {
            crate::model::TenantError::Empty => Kind::Unauthorized,
            _ => Kind::BadData,
        };
        ApiError::new(kind, error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_counts_only_with_tenancy() {
        let mut headers = HeaderMap::new();
        headers.insert(TENANT_HEADER, "team-a".parse().unwrap());
        assert_eq!(tenant_of(&headers, false).unwrap(), TenantId::anonymous());
        assert_eq!(tenant_of(&headers, true).unwrap().as_str(), "team-a");
        for (value, kind) in [
            (None, Kind::Unauthorized),
            (Some(""), Kind::Unauthorized),
            (Some(".."), Kind::BadData),
            (Some("a|b"), Kind::BadData),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(TENANT_HEADER, value.parse().unwrap());
            }
            assert_eq!(tenant_of(&headers, true).unwrap_err().kind, kind);
        }
    }
}
