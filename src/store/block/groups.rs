//! Writes one tenant's samples: groups of value pages with the timestamp columns they share.
//!
//! Series come in page order: by scrape target, then name, then labels. A page takes neighbours
//! until it is full; where the target changes, it ends early if it is not tiny. A group is a run of
//! pages whose timestamp columns are numbered together: usually one target, which has one column.
//!
//! Memory: one page in the making, and the encoded pages and raw columns of one group.

use super::layout::{PageRows, Rows, TenantKeys, unencodable};
use crate::codec::page::Density;
use crate::codec::series_entry::Place;
use crate::codec::{page, timestamps};
use crate::model::Samples;
use crate::store::engine::TableSink;
use crate::store::error::Error;

/// Where the target changes, a page with this many series ends (CODEC.md, table 3: pages of 16
/// series are 1 to 2 % larger than those of 64).
const PAGE_SERIES_MIN: usize = 16;

/// Where the target changes, a group with this many series ends.
const GROUP_SERIES_MIN: usize = 64;

/// A group ends at this many series, so that its pages and columns can be numbered in 16 bits.
const GROUP_SERIES_MAX: usize = 1024;

/// A group ends when it holds this many bytes of encoded pages and raw columns.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// How many of the latest columns are compared with a new series' timestamps: a target has one or
/// a few, and where every series has its own nothing is found however long one looks.
const COLUMNS_COMPARED: usize = 8;

/// Takes series in page order and writes their groups.
pub(super) struct GroupWriter {
    keys: TenantKeys,
    group: u32,
    columns: Vec<Vec<i64>>,
    pages: Vec<Vec<u8>>,
    series: usize,
    bytes: usize,
    open: page::Builder,
    open_rows: PageRows,
    /// By ordinal.
    places: Vec<Option<Place>>,
}

impl GroupWriter {
    pub(super) fn new(keys: TenantKeys, series: usize, pages: Density) -> Self {
        Self {
            keys,
            group: 0,
            columns: Vec::new(),
            pages: Vec::new(),
            series: 0,
            bytes: 0,
            open: page::Builder::new(pages),
            open_rows: PageRows::default(),
            places: vec![None; series],
        }
    }

    /// Adds the next series in page order; it has samples.
    pub(super) fn push(
        &mut self,
        ordinal: usize,
        samples: &Samples,
        sink: &mut dyn TableSink,
    ) -> Result<(), Error> {
        if self.open.is_full() {
            self.end_page();
            if self.series >= GROUP_SERIES_MAX || self.bytes >= GROUP_BYTES_MAX {
                self.end_group(sink)?;
            }
        }
        let too_many = |_| Error::Bug("a group has too many pages or columns".to_owned());
        let (column, first_row) = self.column_of(&samples.timestamps);
        let rows = Rows {
            column: u16::try_from(column).map_err(too_many)?,
            first: first_row,
            count: samples.len(),
        };
        let slot = self
            .open
            .push(page::Columns::from(samples))
            .map_err(unencodable)?;
        self.open_rows.push(rows);
        self.series += 1;
        if let Some(place) = self.places.get_mut(ordinal) {
            *place = Some(Place {
                group: self.group,
                page: u16::try_from(self.pages.len()).map_err(too_many)?,
                slot: u16::try_from(slot).map_err(too_many)?,
            });
        }
        Ok(())
    }

    /// The next series is of another target.
    pub(super) fn target_ends(&mut self, sink: &mut dyn TableSink) -> Result<(), Error> {
        if self.open.len() >= PAGE_SERIES_MIN {
            self.end_page();
            if self.series >= GROUP_SERIES_MIN {
                self.end_group(sink)?;
            }
        }
        Ok(())
    }

    /// Writes what is left; returns where each ordinal's samples lie.
    pub(super) fn finish(mut self, sink: &mut dyn TableSink) -> Result<Vec<Option<Place>>, Error> {
        self.end_page();
        self.end_group(sink)?;
        Ok(self.places)
    }

    fn end_page(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let mut out = Vec::new();
        std::mem::take(&mut self.open_rows).encode(&mut out);
        self.open.finish(&mut out);
        self.bytes += out.len();
        self.pages.push(out);
    }

    /// The column that has these timestamps as a run, and the row at which they begin.
    fn column_of(&mut self, wanted: &[i64]) -> (usize, usize) {
        let latest = self.columns.iter().enumerate().rev();
        for (number, column) in latest.take(COLUMNS_COMPARED) {
            let row = column.partition_point(|at| Some(at) < wanted.first());
            let run = column.get(row..).and_then(|rest| rest.get(..wanted.len()));
            if run == Some(wanted) {
                return (number, row);
            }
        }
        self.bytes += size_of_val(wanted);
        self.columns.push(wanted.to_vec());
        (self.columns.len() - 1, 0)
    }

    fn end_group(&mut self, sink: &mut dyn TableSink) -> Result<(), Error> {
        if self.pages.is_empty() {
            return Ok(());
        }
        let mut out = Vec::new();
        for (number, column) in (0u16..).zip(&self.columns) {
            out.clear();
            timestamps::encode(column, &mut out).map_err(unencodable)?;
            sink.put(&self.keys.column(self.group, number), &out)?;
        }
        for (number, page) in (0u16..).zip(&self.pages) {
            sink.put(&self.keys.page(self.group, number), page)?;
        }
        self.columns.clear();
        self.pages.clear();
        self.series = 0;
        self.bytes = 0;
        self.group = self
            .group
            .checked_add(1)
            .ok_or_else(|| Error::Bug("a tenant has too many groups in a block".to_owned()))?;
        Ok(())
    }
}
