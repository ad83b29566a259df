//! What each fuzz target does with bytes. The fuzzer and the replay on the stable compiler share
//! this file, so a saved input means the same in both.
//!
//! A decoder must not panic, hang or allocate without bound; and what it accepts must be what its
//! encoder writes: encoded and decoded again it is the same.

#[path = "appends.rs"]
pub(crate) mod appends;
#[path = "logs.rs"]
pub(crate) mod logs;
#[path = "messages.rs"]
mod messages;
#[path = "tables.rs"]
mod tables;
#[path = "writes.rs"]
mod writes;

use cairn::archive::{CatalogCopy, ClusterRecord, PackDirectory, parse_name};
use cairn::cluster::DeletesCopy;
use cairn::codec::crc32c;
use cairn::codec::prometheus::read_chunk;
use cairn::codec::{bits, histograms, page, postings, series_entry, symbols, timestamps, varint};
use cairn::http::ReadRequest;
use cairn::model::{Samples, Value};
use cairn::query::syntax::{self, ParseOptions};
use cairn::transfer::{
    Item, Left, OpenMetricsSink, Piece, Sink, VictoriaSink, parse_frame, parse_index, parse_line,
    parse_openmetrics, parse_tombstones,
};
pub(super) use messages::{command, data, manifest, peer};
pub(super) use tables::{block, sst};

/// What is done with the bytes.
type Target = fn(&[u8]);

/// All of them, by name.
pub(super) const ALL: &[(&str, Target)] = &[
    ("varint", varint),
    ("timestamps", timestamps),
    ("page", page),
    ("histogram", histogram),
    ("symbols", symbols),
    ("postings", postings),
    ("series_entry", series_entry),
    ("sst", sst),
    ("block", block),
    ("write_v1", write_v1),
    ("write_v2", write_v2),
    ("decompress", decompress),
    ("log", log),
    ("append", append),
    ("command", command),
    ("manifest", manifest),
    ("peer", peer),
    ("data", data),
    ("promql", promql),
    ("read", read),
    ("remote_read", remote_read),
    ("bucket", bucket),
    ("import", import),
];

/// The bytes after the kind are what an import reads: a chunk, tombstones, a line, a text.
pub(super) fn import(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else {
        return;
    };
    match kind {
        1..=3 => {
            let mut samples = Samples::default();
            if read_chunk(*kind, body, &mut samples).is_ok() {
                let rising = samples.timestamps.is_sorted_by(|one, two| one < two);
                assert!(rising, "samples come in the order of time");
            }
        }
        4 => {
            let sum = crc32c(0, body).to_be_bytes();
            parse_tombstones(&[&[0x01, 0x30, 0xBA, 0x30, 1], body, &sum].concat());
            parse_tombstones(body);
        }
        5 => {
            // What was read is written and read again.
            if let Ok(piece) = parse_line(body) {
                let mut out = Vec::new();
                let mut sink = VictoriaSink::new(&mut out);
                sink.put(&piece).expect("memory takes everything");
                let left = sink.finish().expect("memory takes everything");
                if left == Left::default() && !piece.samples.is_empty() {
                    assert_eq!(parse_line(&out).as_ref(), Ok(&piece));
                }
            }
        }
        6 => {
            let (symbols, entry) = body.split_at(body.len() / 2);
            parse_index(symbols, entry);
            parse_frame(body).ok();
        }
        _ => {
            if let Ok(items) = parse_openmetrics(body) {
                let mut out = Vec::new();
                let mut sink = OpenMetricsSink::new(&mut out);
                let pieces = |items: Vec<Item>| -> Vec<Piece> {
                    let pieces = items.into_iter().filter_map(|item| match item {
                        Item::Piece(piece) => Some(piece),
                        Item::Family(..) => None,
                    });
                    pieces.collect()
                };
                let read = pieces(items);
                for piece in &read {
                    sink.put(piece).expect("memory takes everything");
                }
                sink.finish().expect("memory takes everything");
                parse_openmetrics(&out).expect("what was written can be read");
            }
        }
    }
}

/// The bytes after the kind are an object of the bucket, or its name.
pub(super) fn bucket(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else {
        return;
    };
    match kind {
        0 => {
            // A catalog ends in a digest, which no fuzzer guesses.
            let digest = blake3::hash(body);
            let whole = [body, digest.as_bytes()].concat();
            for bytes in [body, &whole] {
                if let Ok(copy) = CatalogCopy::decode(bytes) {
                    assert_eq!(copy.encode(), bytes);
                }
            }
        }
        1 => {
            if let Ok(record) = ClusterRecord::decode(body) {
                assert_eq!(ClusterRecord::decode(&record.encode()), Ok(record));
            }
        }
        3 => {
            // A directory ends in a digest and its length.
            let digest = blake3::hash(body);
            let len = u32::try_from(body.len() + 32).unwrap_or(u32::MAX);
            let whole = [body, digest.as_bytes(), &len.to_be_bytes()].concat();
            for bytes in [body, &whole] {
                if let Ok(directory) = PackDirectory::decode(bytes, 1 << 40) {
                    assert_eq!(directory.encode(), bytes);
                    assert!(directory.end_of_blocks() <= 1 << 40);
                }
            }
        }
        4 => {
            let whole = [b"CAIRNDEL\x01".as_slice(), body].concat();
            for bytes in [body, &whole] {
                if let Ok(copy) = DeletesCopy::decode(bytes) {
                    assert_eq!(copy.encode(), bytes);
                }
            }
        }
        _ => {
            let name = String::from_utf8_lossy(body);
            if let Some(named) = parse_name(&name) {
                assert_eq!(parse_name(&name), Some(named));
                assert!(name.is_ascii());
            }
        }
    }
}

/// Rows for which pages are read: enough for every branch, too few to make a run slow.
const ROWS_MAX: usize = 9000;

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
/// its series and, in bit 6, whether it is coded; the rest what is behind the compression, of which a
/// coded one says in a byte more how long it is before the streams.
pub(super) fn page(bytes: &[u8]) {
    if let Ok(page) = page::Reader::open(bytes) {
        read_page(&page, 480);
    }
    let [low, high, series, raw @ ..] = bytes else {
        return;
    };
    let rows = usize::from(u16::from_le_bytes([*low, *high])).min(ROWS_MAX);
    let mut body = vec![1, *series & 63];
    let mut streams = &[][..];
    let mut raw = raw;
    if let (true, [len, rest @ ..]) = (*series & 64 != 0, raw) {
        body[0] = 2;
        (raw, streams) = rest.split_at(rest.len().min(usize::from(*len)));
        let head = if raw.len() < 128 { 2 } else { 3 };
        varint::put_u64(&mut body, raw.len() as u64 + head);
    }
    body.push(0);
    varint::put_u64(&mut body, raw.len() as u64);
    body.extend_from_slice(raw);
    body.extend_from_slice(streams);
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
        for density in [page::Density::Quick, page::Density::Dense] {
            write_page(&samples, density);
        }
    }
}

fn write_page(samples: &Samples, density: page::Density) {
    let mut builder = page::Builder::new(density);
    if builder.push(samples.into()).is_err() {
        return;
    }
    let mut again = Vec::new();
    builder.finish(&mut again);
    let again = page::Reader::open(&again).expect("what was written can be opened");
    let mut back = Samples {
        timestamps: samples.timestamps.clone(),
        ..Samples::default()
    };
    again
        .read(0, samples.len(), &mut back)
        .expect("what was written can be read");
    assert!(*samples == back, "{samples:?} {back:?}");
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

/// A message of remote-write 1.0.
pub(super) fn write_v1(bytes: &[u8]) {
    writes::write("application/x-protobuf", bytes);
}

/// A message of remote-write 2.0.
pub(super) fn write_v2(bytes: &[u8]) {
    let content_type = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    writes::write(content_type, bytes);
}

/// The body of a write, compressed.
pub(super) fn decompress(bytes: &[u8]) {
    writes::body(bytes);
}

/// An append stream, onto a replica.
pub(super) fn append(bytes: &[u8]) {
    appends::append(bytes);
}

/// The log, replayed.
pub(super) fn log(bytes: &[u8]) {
    logs::log(bytes);
}

/// A query. What is understood is written down, and understood alike again.
pub(super) fn promql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Err(error) = syntax::parse_selector(text) {
        assert!(!error.to_string().is_empty());
    }
    let options = ParseOptions::ALL;
    let parsed = match syntax::parse(text, &options) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let again = parsed.to_string();
    let back = syntax::parse(&again, &options)
        .unwrap_or_else(|error| panic!("{text:?} is written as {again:?}: {error}"));
    assert_eq!(back.to_string(), again, "{text:?}");
    let pretty = syntax::prettify(&parsed);
    let back = syntax::parse(&pretty, &options)
        .unwrap_or_else(|error| panic!("{text:?} is prettified as {pretty:?}: {error}"));
    assert_eq!(back.to_string(), again, "{text:?}");
    // Selectors may have another order of matchers in it; it can be made of both.
    for expr in [&parsed, &back] {
        assert!(syntax::tree(expr).is_object(), "{text:?}");
    }
}

/// Messages of reads across peers; the first byte says which.
pub(super) fn read(bytes: &[u8]) {
    assert!(
        cairn::cluster::reread_message(bytes),
        "what was read is the same again"
    );
}

/// What a remote reader asks, compressed and not; it is held in memory, so it is bounded.
pub(super) fn remote_read(bytes: &[u8]) {
    let packed = snap::raw::Encoder::new()
        .compress_vec(bytes)
        .expect("a short input can be compressed");
    for body in [bytes, &packed] {
        if let Ok(asked) = ReadRequest::decode(body, 1 << 20) {
            assert!(asked.queries.len() <= 64);
            let matchers = asked.queries.iter().map(|query| query.matchers.len());
            assert!(matchers.max().unwrap_or(0) <= 256);
        }
    }
}
