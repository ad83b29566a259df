//! The client of S3-compatible storage: who it says it is, whom it believes, how long it waits.

use std::fmt;
use std::fs;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::client::{Certificate, ClientOptions};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use tokio_rustls::rustls::crypto::ring;

use super::error::Error;
use super::judged::Judges;
use super::settings::S3Settings;

/// A request is repeated so often, with pauses from a tenth of a second to five seconds, as long as
/// the budget lasts.
const RETRIES_MAX: usize = 4;
/// And no longer than this.
const RETRY_TIME_MAX: Duration = Duration::from_secs(30);
/// A part of 10 MiB over a line of 1 Mbit/s.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(120);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Nothing comes for so long: nothing will.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Connections that are kept for the next request, without TLS: none. Garage leaves Nagle's algorithm on for those
/// that it accepts, so on one that is some requests old every small answer waits for an acknowledgement, which our
/// kernel delays by 40 ms; a new one is acknowledged at once, and costs a round trip.
const IDLE_PLAIN: usize = 0;

/// The storage in words.
pub(super) fn show_s3(settings: &S3Settings) -> String {
    let at = settings.endpoint.as_deref().unwrap_or("Amazon S3");
    let below = if settings.prefix.is_empty() {
        String::new()
    } else {
        format!(" below {}", settings.prefix)
    };
    format!("the bucket {} at {at}{below}", settings.bucket)
}

/// The storage that settings name.
pub(super) fn s3(settings: &S3Settings, judges: Judges) -> Result<Arc<dyn ObjectStore>, Error> {
    // Both this and peers' TLS need one; whoever comes second finds it there.
    let _ = ring::default_provider().install_default();
    if settings.bucket.is_empty() {
        return Err(Error::Setting(
            "archive.s3.bucket is not set: name the bucket".to_owned(),
        ));
    }
    let builder = match (&settings.access_key_file, &settings.secret_key_file) {
        (Some(access), Some(secret)) => AmazonS3Builder::new()
            .with_access_key_id(secret_of("archive.s3.access_key_file", access)?)
            .with_secret_access_key(secret_of("archive.s3.secret_key_file", secret)?),
        (None, None) => AmazonS3Builder::from_env(),
        _ => {
            return Err(Error::Setting(
                "archive.s3.access_key_file and archive.s3.secret_key_file belong together: set both or neither".to_owned(),
            ));
        }
    };
    let mut options = ClientOptions::new()
        .with_allow_http(true)
        .with_connect_timeout(CONNECT_TIME_MAX)
        .with_read_timeout(SILENCE_MAX)
        .with_timeout(REQUEST_TIME_MAX);
    if let Some(file) = &settings.ca_cert {
        for certificate in authorities(file)? {
            options = options.with_root_certificate(certificate);
        }
    }
    let endpoint = settings.endpoint.as_deref().unwrap_or_default();
    if endpoint.starts_with("http://") {
        options = options.with_pool_max_idle_per_host(IDLE_PLAIN);
    }
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_TIME_MAX,
    };
    let mut builder = builder
        .with_bucket_name(&settings.bucket)
        .with_region(&settings.region)
        .with_virtual_hosted_style_request(!settings.path_style)
        .with_conditional_put(S3ConditionalPut::Disabled)
        .with_allow_http(true)
        .with_client_options(options)
        .with_http_connector(judges)
        .with_retry(retry);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let store = builder
        .build()
        .map_err(|error| Error::Setting(format!("archive.s3 cannot be used: {error}")))?;
    let prefix = Path::parse(settings.prefix.trim_matches('/'));
    let prefix = prefix.map_err(|error| {
        let prefix = &settings.prefix;
        Error::Setting(format!(
            "archive.s3.prefix {prefix:?} cannot be used: {error}"
        ))
    })?;
    Ok(Arc::new(PrefixStore::new(store, prefix)))
}

fn secret_of(key: &str, file: &FilePath) -> Result<String, Error> {
    let text = fs::read_to_string(file).map_err(|error| unreadable(key, file, &error))?;
    let text = text.trim();
    if text.is_empty() {
        let shown = file.display();
        return Err(Error::Setting(format!("{key}: {shown} is empty")));
    }
    Ok(text.to_owned())
}

fn unreadable(key: &str, file: &FilePath, error: &dyn fmt::Display) -> Error {
    Error::Setting(format!(
        "{key}: {} cannot be read: {error}: give this user leave to read it",
        file.display()
    ))
}

fn authorities(file: &FilePath) -> Result<Vec<Certificate>, Error> {
    const KEY: &str = "archive.s3.ca_cert";
    let pem = fs::read(file).map_err(|error| unreadable(KEY, file, &error))?;
    Certificate::from_pem_bundle(&pem).map_err(|error| unreadable(KEY, file, &error))
}

#[cfg(test)]
mod tests {
    use crate::archive::small_storage::SmallStorage;

    /// Would catch small answers of Garage that come 40 ms late, all but the first few.
    #[tokio::test]
    async fn without_tls_each_request_has_a_connection_of_its_own() {
        let storage = SmallStorage::answering("404 Not Found");
        let bucket = storage.bucket();
        for asked in 1..5 {
            assert_eq!(bucket.size("object").await.unwrap(), None);
            assert_eq!((storage.accepted(), storage.asked()), (asked, asked));
        }
    }
}
