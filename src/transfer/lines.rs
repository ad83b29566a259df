//! Lines of a text of any length: from a file, where one can go on, or from standard input.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::Error;

/// The longest line. VictoriaMetrics writes a series into one line unless it is told
/// `max_rows_per_line`; this holds ten million samples.
const LINE_BYTES_MAX: u64 = 256 << 20;
const BUFFER_BYTES: usize = 1 << 20;

/// Reads lines and knows where it is.
pub(super) struct Lines {
    name: PathBuf,
    input: Box<dyn BufRead>,
    /// Bytes before the next line.
    at: u64,
    number: u64,
    total: Option<u64>,
}

impl Lines {
    /// Opens a file (`-`: standard input) at a byte.
    pub(super) fn open(path: &Path, from: u64) -> Result<Self, Error> {
        let reading = || Error::reading(path);
        if path == Path::new("-") {
            let mut input: Box<dyn BufRead> =
                Box::new(BufReader::with_capacity(BUFFER_BYTES, std::io::stdin()));
            let skipped = std::io::copy(&mut input.by_ref().take(from), &mut std::io::sink());
            skipped.map_err(reading())?;
            return Ok(Self::new(path, input, from, None));
        }
        let mut file = File::open(path).map_err(reading())?;
        let size = file.metadata().map_err(reading())?.len();
        if from > size {
            let problem = format!(
                "has {size} bytes, but {from} were read before: it is another file, give another --position"
            );
            return Err(Error::malformed(path.display().to_string(), problem));
        }
        file.seek(SeekFrom::Start(from)).map_err(reading())?;
        let input = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(Self::new(path, Box::new(input), from, Some(size)))
    }

    fn new(path: &Path, input: Box<dyn BufRead>, at: u64, total: Option<u64>) -> Self {
        Self {
            name: path.to_owned(),
            input,
            at,
            number: 0,
            total,
        }
    }

    /// The lines of a text in memory.
    pub(super) fn of(text: Vec<u8>) -> Self {
        let total = Some(text.len() as u64);
        let input = Box::new(std::io::Cursor::new(text));
        Self::new(Path::new("text"), input, 0, total)
    }

    /// Reads the next line into `line`, without its end; false at the end of the text.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, Error> {
        line.clear();
        let mut bounded = self.input.by_ref().take(LINE_BYTES_MAX);
        let read = bounded
            .read_until(b'\n', line)
            .map_err(Error::reading(&self.name))? as u64;
        self.number += 1;
        self.at += read;
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        } else if read == LINE_BYTES_MAX {
            return Err(self.wrong(&format!(
                "is longer than {LINE_BYTES_MAX} bytes: export it with max_rows_per_line=100000"
            )));
        }
        Ok(read > 0)
    }

    /// An error in the line that was read last.
    pub(super) fn wrong(&self, problem: &str) -> Error {
        let place = format!(
            "{}, line {} (up to byte {})",
            self.name.display(),
            self.number,
            self.at
        );
        Error::malformed(place, problem)
    }

    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    pub(super) const fn total(&self) -> Option<u64> {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_they_like_and_one_can_go_on_at_each() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "one\r\n\ntwo\nlast").unwrap();
        let mut all = Vec::new();
        let mut line = Vec::new();
        let mut lines = Lines::open(&path, 0).unwrap();
        while lines.next(&mut line).unwrap() {
            all.push((String::from_utf8(line.clone()).unwrap(), lines.at()));
        }
        let want = [("one", 5), ("", 6), ("two", 10), ("last", 14)];
        assert_eq!(all, want.map(|(text, at)| (text.to_owned(), at)));
        let mut lines = Lines::open(&path, 6).unwrap();
        assert!(lines.next(&mut line).unwrap());
        assert_eq!(line, b"two");
        assert!(Lines::open(&path, 15).is_err());
    }
}
