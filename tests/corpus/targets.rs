//! What each fuzz target does with bytes. The fuzzer and the replay on the stable compiler share
//! this file, so a saved input means the same in both.
//!
//! A decoder must not panic, hang or allocate without bound; and what it accepts must be what its
//! encoder writes: encoded and decoded again it is the same.

use cairn::codec::{bits, histograms, page, postings, series_entry, symbols, timestamps, varint};
use cairn::model::{Samples, Value};

/// All of them, by name.
pub(super) const ALL: &[(&str, fn(&[u8]))] = &[
    ("varint", varint),
    ("timestamps", timestamps),
    ("page", page),
    ("histogram", histogram),
    ("symbols", symbols),
    ("postings", postings),
    ("series_entry", series_entry),
];

/// Rows for which pages are read: enough for every branch, too few to make a run slow.
const ROWS_MAX: usize = 2000;

/// Sections carry a checksum, which no fuzzer guesses.
fn sealed(body: &[u8]) -> Vec<u8> {
    let sum = xxhash_rust::xxh3::xxh3_64(body).to_le_bytes();
    [body, &sum[..4]].concat()
}

/// Primitives: numbers one after the other, then the same bytes as bits.
pub(super) fn varint(bytes: &[u8]) {
    let mut input = bytes;
    let mut again = Vec::new();
    while let Ok(number) = varint::take_u64(&mut input) {
        varint::put_u64(&mut again, number);
    }
    assert!(bytes.starts_with(&again), "a number has one encoding");
    let mut reader = bits::BitReader::new(bytes);
    for len in (0..=64).cycle() {
        if reader.read(len).is_err() || reader.left_bits() == 0 {
            break;
        }
    }
}

/// A timestamp column, with and without a checksum of its own.
pub(super) fn timestamps(bytes: &[u8]) {
    timestamps::decode(bytes).ok();
    if let Ok(column) = timestamps::decode(&sealed(bytes)) {
        let mut again = Vec::new();
        timestamps::encode(&column, &mut again).expect("what was read can be written");
        assert_eq!(timestamps::decode(&again).as_ref(), Ok(&column));
    }
}

/// One histogram.
pub(super) fn histogram(bytes: &[u8]) {
    let mut input = bytes;
    if let Ok(one) = histograms::decode_one(&mut input) {
        let mut again = Vec::new();
        histograms::encode_one(&one, &mut again);
        let back = histograms::decode_one(&mut &again[..]).expect("what was written can be read");
        assert_eq!(canonical(one), canonical(back));
    }
}

fn canonical(histogram: cairn::model::Histogram) -> Vec<u8> {
    let mut out = Vec::new();
    Value::Histogram(std::sync::Arc::new(histogram)).canonical(&mut out);
    out
}

/// A page as it is, and a page whose outside is right: the first two bytes are its rows, the third
/// its series, the rest what is behind the compression.
pub(super) fn page(bytes: &[u8]) {
    if let Ok(page) = page::Reader::open(bytes) {
        read_page(&page, 480);
    }
    let [low, high, series, raw @ ..] = bytes else {
        return;
    };
    let rows = usize::from(u16::from_le_bytes([*low, *high])).min(ROWS_MAX);
    let mut body = vec![1, *series & 63, 0];
    varint::put_u64(&mut body, raw.len() as u64);
    body.extend_from_slice(raw);
    if let Ok(page) = page::Reader::open(&sealed(&body)) {
        read_page(&page, rows);
    }
}

/// What can be read can be written and read again.
fn read_page(page: &page::Reader, rows: usize) {
    let mut samples = Samples::default();
    for place in 0..page.len() {
        if page.read(place, rows, &mut samples).is_err() {
            continue;
        }
        assert_eq!(samples.values.len(), rows);
        samples.timestamps = (0..).take(rows).collect();
        let mut builder = page::Builder::new();
        if builder.push((&samples).into()).is_err() {
            continue;
        }
        let mut again = Vec::new();
        builder.finish(&mut again);
        let again = page::Reader::open(&again).expect("what was written can be opened");
        let mut back = Samples {
            timestamps: samples.timestamps.clone(),
            ..Samples::default()
        };
        again
            .read(0, rows, &mut back)
            .expect("what was written can be read");
        assert!(samples == back, "{samples:?} {back:?}");
    }
}

/// A run of symbols.
pub(super) fn symbols(bytes: &[u8]) {
    if let Ok(run) = symbols::decode(bytes) {
        let texts: Vec<&str> = run.iter().collect();
        let mut again = Vec::new();
        symbols::encode(&texts, &mut again).expect("what was read can be written");
        assert_eq!(symbols::decode(&again).as_ref(), Ok(&run));
    }
}

/// Lists of postings, with ordinals below the usual size of a block.
pub(super) fn postings(bytes: &[u8]) {
    if let Ok(lists) = postings::Lists::open(bytes) {
        for at in 0..lists.len().min(64) {
            if let Ok(set) = lists.get(at, 1 << 20) {
                assert!(set.max().is_none_or(|max| max < 1 << 20));
            }
        }
    }
}

/// A run of series entries.
pub(super) fn series_entry(bytes: &[u8]) {
    if let Ok(run) = series_entry::SeriesEntries::decode(bytes) {
        let mut again = Vec::new();
        run.encode(&mut again)
            .expect("what was read can be written");
        assert_eq!(
            series_entry::SeriesEntries::decode(&again).as_ref(),
            Ok(&run)
        );
    }
}
