//! A real Garage: one node with its bucket and key, or three that keep three copies, on free ports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::others::built;
use super::{Server, free_port, get};

/// The bucket that it starts with.
const BUCKET: &str = "blocks";
const ACCESS_KEY: &str = "GK000000000000000000000001";
const READER_KEY: &str = "GK000000000000000000000002";

/// A running Garage; it can be killed and started again on the same directory and ports.
pub struct Garage {
    server: Server,
    folder: PathBuf,
    port: u16,
    admin: u16,
    alone: bool,
}

impl Garage {
    /// Starts one with an empty directory below `folder`, or says why it cannot.
    pub fn start(folder: &Path) -> Result<Self, &'static str> {
        Self::one(folder, "garage", 1)
    }

    /// Starts three that keep three copies of everything; each can be asked for all of it.
    pub fn three(folder: &Path) -> Result<[Self; 3], &'static str> {
        let garages = [
            Self::one(folder, "garage-0", 3)?,
            Self::one(folder, "garage-1", 3)?,
            Self::one(folder, "garage-2", 3)?,
        ];
        let ids = garages.each_ref().map(|garage| {
            let id = garage.command(&["node", "id", "-q"]);
            id.trim().to_owned()
        });
        let first = &garages[0];
        for id in &ids[1..] {
            first.command(&["node", "connect", id]);
        }
        for (number, id) in ids.iter().enumerate() {
            let (id, _) = id.split_once('@').unwrap();
            let zone = format!("z{number}");
            first.command(&["layout", "assign", "-z", &zone, "-c", "1G", id]);
        }
        first.command(&["layout", "apply", "--version", "1"]);
        let secret = secret_key();
        first.command(&["key", "import", "--yes", "-n", "test", ACCESS_KEY, &secret]);
        first.command(&["bucket", "create", BUCKET]);
        let allow = ["bucket", "allow", "--read", "--write", "--owner", BUCKET];
        first.command(&[&allow[..], &["--key", ACCESS_KEY]].concat());
        Ok(garages)
    }

    fn one(folder: &Path, name: &str, copies: u32) -> Result<Self, &'static str> {
        built("garage").ok_or("Garage is not built (scripts/servers.sh)")?;
        let (port, admin, rpc) = (free_port(), free_port(), free_port());
        let below = folder.join(name);
        fs::create_dir_all(&below).unwrap();
        let shown = below.display();
        let config = format!(
            "metadata_dir = \"{shown}/meta\"\ndata_dir = \"{shown}/data\"\ndb_engine = \"sqlite\"\n\
             replication_factor = {copies}\nmetadata_fsync = false\ndata_fsync = false\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
             rpc_secret = \"{}\"\n\
             [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"0.0.0.0:{port}\"\n\
             [admin]\napi_bind_addr = \"127.0.0.1:{admin}\"\nadmin_token = \"adm\"\n",
            "01".repeat(32)
        );
        fs::write(below.join("garage.toml"), config).unwrap();
        fs::write(below.join("access_key"), ACCESS_KEY).unwrap();
        fs::write(below.join("secret_key"), secret_key() + "\n").unwrap();
        let alone = copies == 1;
        let server = Self::run(&below, admin, alone);
        Ok(Self {
            server,
            folder: below,
            port,
            admin,
            alone,
        })
    }

    fn run(folder: &Path, admin: u16, alone: bool) -> Server {
        let mut command = Command::new(built("garage").unwrap());
        command
            .arg("-c")
            .arg(folder.join("garage.toml"))
            .arg("server");
        if alone {
            command
                .args(["--single-node", "--default-bucket"])
                .env("GARAGE_DEFAULT_ACCESS_KEY", ACCESS_KEY)
                .env("GARAGE_DEFAULT_SECRET_KEY", secret_key())
                .env("GARAGE_DEFAULT_BUCKET", BUCKET);
        }
        let mut server = Server::start("garage", command, folder);
        let health = format!("http://127.0.0.1:{admin}/health");
        server.wait_until(Duration::from_secs(60), || {
            // One of several is not healthy before it knows the others.
            get(&health).is_ok_and(|answer| answer.status == 200 || !alone)
        });
        server
    }

    /// `garage ARGUMENTS` on this node, which must work.
    fn command(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(built("garage").unwrap());
        command.arg("-c").arg(self.folder.join("garage.toml"));
        let output = command.args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "garage {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// The same again on the same directory.
    pub fn restart(&mut self) {
        self.server = Self::run(&self.folder, self.admin, self.alone);
    }

    /// The settings of a node that may only read what is here.
    pub fn settings_to_read(&self, host: &str) -> Vec<String> {
        let secret = "6b".repeat(32);
        self.command(&[
            "key", "import", "--yes", "-n", "reader", READER_KEY, &secret,
        ]);
        self.command(&["bucket", "allow", "--read", BUCKET, "--key", READER_KEY]);
        let file = |name: &str| self.folder.join(name);
        fs::write(file("reader_access_key"), READER_KEY).unwrap();
        fs::write(file("reader_secret_key"), secret).unwrap();
        let mut settings = self.settings(host);
        for key in ["access_key", "secret_key"] {
            let path = file(&format!("reader_{key}"));
            settings.push(format!("archive.s3.{key}_file={}", path.display()));
        }
        settings
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
