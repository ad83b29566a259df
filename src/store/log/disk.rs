//! The files of the log, behind two small traits so that tests can tear and fail every write.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A directory of segment files.
pub trait LogDisk: Send + Sync + 'static {
    /// The names of all segment files, in no particular order.
    ///
    /// # Errors
    /// As the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// As the system says.
    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>>;

    /// Makes a file of `len` zeros that is durable, its name included.
    ///
    /// # Errors
    /// As the system says.
    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn LogFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// One segment file.
pub trait LogFile: Send + 'static {
    /// Its length in bytes.
    ///
    /// # Errors
    /// As the system says.
    fn size(&self) -> io::Result<u64>;

    /// Fills `bytes` from `offset` on; fewer only at the end of the file.
    ///
    /// # Errors
    /// As the system says.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// As the system says.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all writes durable (`fdatasync`).
    ///
    /// # Errors
    /// As the system says.
    fn sync(&mut self) -> io::Result<()>;
}

/// The end of a segment file's name.
const SUFFIX: &str = ".log";

/// Bytes zeroed at a time: a page. Larger writes make larger pieces in the system's cache, and
/// Linux counts a whole piece as written whenever one byte of it is: `cairn_device_written` then
/// says ten times what the disk gets.
const ZEROS: usize = 4 << 10;

/// A real directory.
#[derive(Debug)]
pub struct DirDisk {
    path: PathBuf,
}

impl DirDisk {
    /// The directory; it is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        std::fs::create_dir_all(&path)?;
        Ok(Self { path })
    }
}

impl LogDisk for DirDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string()
                && name.ends_with(SUFFIX)
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path.join(name))?;
        Ok(Box::new(file))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn LogFile>> {
        let path = self.path.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        let zeros = vec![0; ZEROS];
        let mut at = 0;
        while at < len {
            let step = usize::try_from(len - at).map_or(ZEROS, |left| left.min(ZEROS));
            file.write_all_at(zeros.get(..step).unwrap_or_default(), at)?;
            at += step as u64;
        }
        file.sync_all()?;
        File::open(&self.path)?.sync_all()?;
        Ok(Box::new(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }
}

impl LogFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match FileExt::read_at(self, rest, offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
