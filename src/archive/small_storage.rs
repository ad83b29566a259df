//! An S3 storage for tests that answers every request with one status, and counts.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::{ArchiveKind, ArchiveMetrics, ArchiveSettings, Bucket};
use crate::model::TimestampMs;
use crate::runtime::{Clock, ManualClock};

/// The storage, which ends with the test's process.
pub(super) struct SmallStorage {
    address: String,
    counts: Arc<Counts>,
}

struct Counts {
    status: Mutex<&'static str>,
    accepted: AtomicUsize,
    asked: AtomicUsize,
}

impl SmallStorage {
    #[allow(
        clippy::disallowed_methods,
        reason = "they end with the test's process"
    )]
    pub(super) fn answering(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let counts = Arc::new(Counts {
            status: Mutex::new(status),
            accepted: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        });
        let noted = Arc::clone(&counts);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                noted.accepted.fetch_add(1, Ordering::SeqCst);
                let (stream, noted) = (stream.unwrap(), Arc::clone(&noted));
                std::thread::spawn(move || noted.answer_all(stream));
            }
        });
        Self { address, counts }
    }

    /// From now on it answers otherwise.
    pub(super) fn answer(&self, status: &'static str) {
        *self.counts.status.lock() = status;
    }

    /// Connections that it has accepted.
    pub(super) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Requests that it has answered.
    pub(super) fn asked(&self) -> usize {
        self.counts.asked.load(Ordering::SeqCst)
    }

    /// A bucket of it.
    pub(super) fn bucket(&self) -> Bucket {
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "secret").unwrap();
        let mut settings = ArchiveSettings::default();
        settings.main.kind = ArchiveKind::S3;
        settings.s3.endpoint = Some(self.address.clone());
        settings.s3.bucket = "blocks".to_owned();
        settings.s3.access_key_file = Some(secret.path().to_owned());
        settings.s3.secret_key_file = Some(secret.path().to_owned());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(TimestampMs(0)));
        let bucket = Bucket::open(&settings, &clock, ArchiveMetrics::default());
        bucket.unwrap().unwrap()
    }
}

impl Counts {
    /// Answers every request without a body on a connection, which stays open.
    fn answer_all(&self, mut stream: TcpStream) {
        let (mut request, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(len @ 1..) = stream.read(&mut piece) {
            request.extend_from_slice(&piece[..len]);
            if request.ends_with(b"\r\n\r\n") {
                request.clear();
                self.asked.fetch_add(1, Ordering::SeqCst);
                let status = *self.status.lock();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        }
    }
}
