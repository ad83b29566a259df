//! Opening the log: which segments there are, what they hold, and where writing goes on.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::commit::file_name;
use super::disk::{LogDisk, LogFile};
use super::mark::Marks;
use super::record::{
    NoSegment, RECORDS_AT, RecordHeader, RecordKind, SEGMENT_HEADER_LEN, SegmentHeader, jump_of,
};
use super::replay::{Next, SegmentReader, read_front, scan_behind};
use super::segment::{Segment, Segments};
use crate::model::{RingArc, Window};
use crate::store::error::Error;

/// Takes what the log holds, at open.
pub(crate) trait Replayed {
    /// Takes the record that stands at `offset` of its segment. It need not be read yet when this
    /// returns; `false`: there is no use in going on, and `finish` says why.
    fn record(&mut self, header: &RecordHeader, offset: u64, payload: &[u8]) -> bool;

    /// Has read all records, and says what keeps segments: the arcs that records are about, each
    /// with the last such position of a segment at least, and the arcs that a definition is needed
    /// for, with the position of the definition.
    ///
    /// # Errors
    /// When one of the records cannot be read.
    fn finish(&mut self) -> Result<Vec<Pin>, Misread>;
}

/// A position that is needed until an arc and window are marked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pin {
    /// The window.
    pub window: Window,
    /// The arc.
    pub arc: RingArc,
    /// The record's position.
    pub position: u64,
}

impl From<(Window, RingArc, u64)> for Pin {
    fn from((window, arc, position): (Window, RingArc, u64)) -> Self {
        Self {
            window,
            arc,
            position,
        }
    }
}

/// A record that could not be read.
#[derive(Debug)]
pub(crate) struct Misread {
    /// Its segment's.
    pub generation: u32,
    /// Where it stands there.
    pub offset: u64,
    /// What is wrong.
    pub error: Error,
}

/// A segment found on the disk.
struct Found {
    name: String,
    header: SegmentHeader,
    file: Box<dyn LogFile>,
}

/// What opening found out.
pub(super) struct Opened {
    pub segments: Segments,
    /// The segment to go on with, and where; none in an empty directory.
    pub last: Option<(Box<dyn LogFile>, u32, u64)>,
    pub next_position: u64,
    pub file_number: u64,
    pub torn_records: u64,
    pub replayed_records: u64,
    /// Files of generations that are not needed any more.
    unneeded: Vec<String>,
}

struct Opening<'a> {
    disk: &'a dyn LogDisk,
    replayed: &'a mut dyn Replayed,
    opened: Opened,
}

/// Reads everything in `disk`.
pub(super) fn open(
    disk: &dyn LogDisk,
    marks: Marks,
    segment_size: u64,
    replayed: &mut dyn Replayed,
) -> Result<Opened, Error> {
    let mut opening = Opening {
        disk,
        replayed,
        opened: Opened {
            segments: Segments {
                marks,
                ..Segments::default()
            },
            last: None,
            next_position: 1,
            file_number: 0,
            torn_records: 0,
            replayed_records: 0,
            unneeded: Vec::new(),
        },
    };
    let (live, headless) = opening.find()?;
    let newest = live.last().map_or(0, |found| found.header.generation);
    if let Some(first) = live.first() {
        opening.opened.next_position = first.header.first_position;
    }
    let mut rest = live.into_iter().peekable();
    while let Some(found) = rest.next() {
        let follows = rest.peek().map(|next| next.header.first_position);
        opening.segment(found, follows)?;
    }
    for (name, file) in headless {
        opening.headless(&name, &*file, newest + 1)?;
    }
    opening.free_files(segment_size)?;
    Ok(opening.opened)
}

type Headless = Vec<(String, Box<dyn LogFile>)>;

impl Opening<'_> {
    /// All segments that are still needed, by generation; and files without a readable header.
    fn find(&mut self) -> Result<(Vec<Found>, Headless), Error> {
        let (mut live, mut headless) = (Vec::new(), Vec::new());
        let names = self
            .disk
            .list()
            .map_err(Error::io("list", Path::new("the log's directory")))?;
        for name in names {
            let number = name.split('.').next().and_then(|n| n.parse().ok());
            self.opened.file_number = self.opened.file_number.max(number.unwrap_or(0));
            let file = self
                .disk
                .open(&name)
                .map_err(Error::io("open", Path::new(&name)))?;
            let front = read_front(&*file).map_err(Error::io("read", Path::new(&name)))?;
            let front = front.unwrap_or([0; SEGMENT_HEADER_LEN]);
            match SegmentHeader::read(&front) {
                Ok(header) => live.push(Found { name, header, file }),
                Err(NoSegment::Version(found)) => {
                    return Err(Error::Version {
                        what: format!("the log file {name}"),
                        found: u64::from(found),
                        newest: u64::from(super::record::FORMAT_VERSION),
                    });
                }
                Err(NoSegment::Invalid) => headless.push((name, file)),
            }
        }
        live.sort_by_key(|found| found.header.generation);
        let oldest = live.last().map_or(0, |found| found.header.oldest);
        let (freed, live): (Vec<_>, Vec<_>) = live
            .into_iter()
            .partition(|found| found.header.generation < oldest);
        self.opened.unneeded = freed.into_iter().map(|found| found.name).collect();
        for (expected, found) in (oldest..).zip(&live) {
            if found.header.generation != expected {
                return Err(Error::corrupt(
                    format!("the log before its file {}", found.name),
                    format!("the segment of generation {expected} is missing"),
                ));
            }
        }
        Ok((live, headless))
    }

    /// Replays one segment; `follows` is the first position of the next one.
    fn segment(&mut self, found: Found, follows: Option<u64>) -> Result<(), Error> {
        let Found { name, header, file } = found;
        if header.first_position != self.opened.next_position {
            return Err(Error::corrupt(
                format!("the log file {name}"),
                format!(
                    "it begins at position {}, {} should follow",
                    header.first_position, self.opened.next_position
                ),
            ));
        }
        self.opened.segments.live.push_back(Segment {
            name: name.clone(),
            generation: header.generation,
            first_position: header.first_position,
            contents: std::collections::BTreeMap::new(),
        });
        let unproven = self.records(&name, &*file, header.generation)?;
        let offset = unproven.end;
        match follows {
            Some(next) if next == self.opened.next_position => Ok(()),
            Some(next) => Err(Error::corrupt(
                format!("the log file {name} at byte {offset}"),
                format!(
                    "the record of position {} cannot be read, and later ones up to {next} exist",
                    self.opened.next_position
                ),
            )),
            None => {
                // Before anything is changed on the disk.
                self.finish()?;
                let file = self.tail(&name, file, header.generation, unproven)?;
                self.opened.last = Some((file, header.generation, offset));
                Ok(())
            }
        }
    }

    /// Gives all records of a segment to the replay; returns where they end, and from where on no
    /// later write says that they were durable.
    fn records(
        &mut self,
        name: &str,
        file: &dyn LogFile,
        generation: u32,
    ) -> Result<Range<u64>, Error> {
        let mut reader = SegmentReader::new(file, generation);
        // Where writes begin that no later one has called durable, and their first positions.
        let mut unproven: VecDeque<(u64, u64)> = VecDeque::new();
        let ended = |unproven: &VecDeque<(u64, u64)>, offset| {
            unproven.front().map_or(offset, |(from, _)| *from)..offset
        };
        loop {
            let offset = reader.offset();
            let next = reader.next().map_err(Error::io("read", Path::new(name)))?;
            let (header, payload) = match next {
                Next::Record(header, payload) => (header, payload),
                Next::End => return Ok(ended(&unproven, offset)),
                Next::Unknown(kind) => {
                    return Err(Error::Version {
                        what: format!("a record of the log file {name} at byte {offset}"),
                        found: u64::from(kind),
                        newest: u64::from(RecordKind::NEWEST.number()),
                    });
                }
            };
            if header.position != self.opened.next_position {
                return Ok(ended(&unproven, offset));
            }
            if header.kind == RecordKind::Write {
                unproven.push_back((offset, header.position));
                let durable = payload
                    .first_chunk()
                    .map_or(0, |at| u64::from_le_bytes(*at));
                while unproven
                    .get(1)
                    .is_some_and(|(_, next)| *next <= durable + 1)
                {
                    unproven.pop_front();
                }
                continue;
            }
            if header.kind == RecordKind::Jump {
                let to = jump_of(payload, header.position);
                self.opened.next_position = to.ok_or_else(|| {
                    Error::corrupt(
                        format!("the log file {name} at byte {offset}"),
                        format!("it jumps back from position {}", header.position),
                    )
                })?;
                continue;
            }
            if !self.replayed.record(&header, offset, payload) {
                self.finish()?;
                return Err(Error::Bug("the replay stopped without a reason".to_owned()));
            }
            let opened = &mut self.opened;
            opened.next_position += 1;
            opened.replayed_records += 1;
        }
    }

    /// Waits until all records are read, and notes what they need.
    fn finish(&mut self) -> Result<(), Error> {
        let segments = &mut self.opened.segments;
        let pins = self.replayed.finish().map_err(|misread| {
            let of = |segment: &&Segment| segment.generation == misread.generation;
            let name = segments.live.iter().find(of).map(|found| &*found.name);
            match misread.error {
                Error::Corrupt { what, problem } => Error::Corrupt {
                    what: format!(
                        "the log file {} at byte {} ({what})",
                        name.unwrap_or_default(),
                        misread.offset
                    ),
                    problem,
                },
                other => other,
            }
        })?;
        for pin in pins {
            segments.note(pin.window, pin.arc, pin.position);
        }
        Ok(())
    }

    /// Tells a torn tail from damage, and removes the tail.
    fn tail(
        &mut self,
        name: &str,
        mut file: Box<dyn LogFile>,
        generation: u32,
        unproven: Range<u64>,
    ) -> Result<Box<dyn LogFile>, Error> {
        let offset = unproven.end;
        let path = Path::new(name);
        let behind = scan_behind(&*file, generation, offset).map_err(Error::io("read", path))?;
        let position = self.opened.next_position;
        if behind.durable >= position {
            return Err(Error::corrupt(
                format!("the log file {name} at byte {offset}"),
                format!(
                    "the record of position {position} cannot be read, and a later write says that everything up to {} was acknowledged",
                    behind.durable
                ),
            ));
        }
        if behind.records > 0 {
            tracing::warn!(
                file = name,
                offset,
                records = behind.records,
                "cut off a write that had not finished"
            );
            self.opened.torn_records += behind.records;
            zero_from(&mut *file, offset).map_err(Error::io("write", path))?;
        }
        // What was read may stand in the system's cache only; and after a sync that failed, the
        // cache may take it for written: a sync alone would do nothing.
        for part in [0..SEGMENT_HEADER_LEN as u64, unproven] {
            write_again(&mut *file, part).map_err(Error::io("write", path))?;
        }
        file.sync().map_err(Error::io("sync", path))?;
        Ok(file)
    }

    /// A file whose header cannot be read: the next segment, whose first write was torn, or one
    /// that was being made; unless it holds what a later write calls durable.
    fn headless(&mut self, name: &str, file: &dyn LogFile, next: u32) -> Result<(), Error> {
        let behind =
            scan_behind(file, next, RECORDS_AT).map_err(Error::io("read", Path::new(name)))?;
        if behind.durable >= self.opened.next_position {
            return Err(Error::corrupt(
                format!("the header of the log file {name}"),
                format!("it held acknowledged records up to {}", behind.durable),
            ));
        }
        if behind.records > 0 {
            // Its records carry the generation that comes next: they must never be read again.
            self.opened.torn_records += behind.records;
            return self
                .disk
                .remove(name)
                .map_err(Error::io("remove", Path::new(name)));
        }
        self.opened.segments.free.push(name.to_owned());
        Ok(())
    }

    /// Removes free files of another size, and those that were used before: one of them may hold
    /// records of a write that was torn while it was begun again, under the generation that comes
    /// next, and those must never be read.
    fn free_files(&mut self, segment_size: u64) -> Result<(), Error> {
        let opened = &mut self.opened;
        let mut removed = std::mem::take(&mut opened.unneeded);
        let segments = &mut opened.segments;
        segments.release();
        let mut kept = Vec::new();
        for name in std::mem::take(&mut segments.free) {
            let file = self.disk.open(&name);
            let len = file.and_then(|file| file.size());
            if len.map_err(Error::io("open", Path::new(&name)))? == segment_size {
                kept.push(name);
            } else {
                removed.push(name);
            }
        }
        segments.free = kept;
        for name in removed {
            self.disk
                .remove(&name)
                .map_err(Error::io("remove", Path::new(&name)))?;
        }
        Ok(())
    }
}

/// Writes what a file holds there.
fn write_again(file: &mut dyn LogFile, part: Range<u64>) -> std::io::Result<()> {
    let mut bytes = vec![0; 1 << 20];
    let mut at = part.start;
    while at < part.end {
        let left = usize::try_from(part.end - at).unwrap_or(usize::MAX);
        let len = left.min(bytes.len());
        let piece = bytes.get_mut(..len).unwrap_or_default();
        let read = file.read_at(at, piece)?;
        file.write_at(at, piece.get(..read).unwrap_or_default())?;
        at += len as u64;
    }
    Ok(())
}

fn zero_from(file: &mut dyn LogFile, offset: u64) -> std::io::Result<()> {
    let (len, zeros) = (file.size()?, vec![0; 1 << 20]);
    let mut at = offset;
    while at < len {
        let step = usize::try_from(len - at).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_at(at, zeros.get(..step).unwrap_or_default())?;
        at += step as u64;
    }
    Ok(())
}

/// A file for the first segment of all, or one to go on with.
pub(super) fn first_file(
    disk: &Arc<dyn LogDisk>,
    opened: &mut Opened,
    segment_size: u64,
) -> Result<(Box<dyn LogFile>, String), Error> {
    if let Some(name) = opened.segments.free.pop() {
        let file = disk
            .open(&name)
            .map_err(Error::io("open", Path::new(&name)))?;
        return Ok((file, name));
    }
    opened.file_number += 1;
    let name = file_name(opened.file_number);
    let file = disk
        .create(&name, segment_size)
        .map_err(Error::io("create", Path::new(&name)))?;
    Ok((file, name))
}
