//! A real Garage: one node with its bucket and key, on free ports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::others::built;
use super::{Server, free_port, get};

/// The bucket that it starts with.
const BUCKET: &str = "blocks";
const ACCESS_KEY: &str = "GK000000000000000000000001";

/// A running Garage; it can be killed and started again on the same directory and ports.
pub struct Garage {
    server: Server,
    folder: PathBuf,
    port: u16,
    admin: u16,
}

impl Garage {
    /// Starts one with an empty directory below `folder`, or says why it cannot.
    pub fn start(folder: &Path) -> Result<Self, &'static str> {
        built("garage").ok_or("Garage is not built (scripts/servers.sh)")?;
        let (port, admin, rpc) = (free_port(), free_port(), free_port());
        let below = folder.join("garage");
        fs::create_dir_all(&below).unwrap();
        let shown = below.display();
        let config = format!(
            "metadata_dir = \"{shown}/meta\"\ndata_dir = \"{shown}/data\"\ndb_engine = \"sqlite\"\n\
             replication_factor = 1\nmetadata_fsync = false\ndata_fsync = false\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
             rpc_secret = \"{}\"\n\
             [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"0.0.0.0:{port}\"\n\
             [admin]\napi_bind_addr = \"127.0.0.1:{admin}\"\nadmin_token = \"adm\"\n",
            "01".repeat(32)
        );
        fs::write(below.join("garage.toml"), config).unwrap();
        fs::write(below.join("access_key"), ACCESS_KEY).unwrap();
        fs::write(below.join("secret_key"), secret_key() + "\n").unwrap();
        let server = Self::run(&below, admin);
        Ok(Self {
            server,
            folder: below,
            port,
            admin,
        })
    }

    fn run(folder: &Path, admin: u16) -> Server {
        let mut command = Command::new(built("garage").unwrap());
        command
            .arg("-c")
            .arg(folder.join("garage.toml"))
            .args(["server", "--single-node", "--default-bucket"])
            .env("GARAGE_DEFAULT_ACCESS_KEY", ACCESS_KEY)
            .env("GARAGE_DEFAULT_SECRET_KEY", secret_key())
            .env("GARAGE_DEFAULT_BUCKET", BUCKET);
        let mut server = Server::start("garage", command, folder);
        let health = format!("http://127.0.0.1:{admin}/health");
        server.wait_until(Duration::from_secs(60), || {
            get(&health).is_ok_and(|answer| answer.status == 200)
        });
        server
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// The same again on the same directory.
    pub fn restart(&mut self) {
        self.server = Self::run(&self.folder, self.admin);
    }

    /// The settings of a node that keeps its blocks here, where Garage is reached at `host`.
    pub fn settings(&self, host: &str) -> Vec<String> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        vec![
            "archive.kind=s3".to_owned(),
            format!("archive.s3.endpoint=http://{host}:{}", self.port),
            format!("archive.s3.bucket={BUCKET}"),
            format!("archive.s3.access_key_file={}", file("access_key")),
            format!("archive.s3.secret_key_file={}", file("secret_key")),
        ]
    }
}

fn secret_key() -> String {
    "5a".repeat(32)
}
