//! What each fuzz target does with bytes. The fuzzer and the replay on the stable compiler share
//! this file, so a saved input means the same in both.
//!
//! A decoder must not panic, hang or allocate without bound; and what it accepts must be what its
//! encoder writes: encoded and decoded again it is the same.

#[path = "appends.rs"]
pub(crate) mod appends;
#[path = "logs.rs"]
pub(crate) mod logs;
#[path = "writes.rs"]
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn::archive::{CatalogCopy, ClusterRecord, PackDirectory, parse_name};
use cairn::cluster::{
    Command, ContentWriter, ControlState, Credentials, CutAnswer, CutRequest, Manifest,
    ManifestAnswer, ManifestRequest, PROTOCOL, PullRequest, StageRequest, decode_content,
    decode_envelope, encode_envelope,
};
use cairn::codec::crc32c;
use cairn::codec::prometheus::read_chunk;
use cairn::codec::{bits, histograms, page, postings, series_entry, symbols, timestamps, varint};
use cairn::http::ReadRequest;
use cairn::model::{BlockId, Epoch, MatchOp, Matcher, RingArc, Samples, TimeRange, Value, Window};
use cairn::query::syntax::{self, ParseOptions};
use cairn::store::{
    BlockReader, Error, Ordinal, Pairs, Pulled, SstTable, Table, block_key, block_prefix, for_each,
};
use cairn::transfer::{
    Item, Left, OpenMetricsSink, Piece, Sink, VictoriaSink, parse_frame, parse_index, parse_line,
    parse_openmetrics, parse_tombstones,
};

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

/// A table file as it is, whole and by ranges; and one with right checksums and footer around a data block (as long as
/// the first two bytes say) and an index block (the rest).
pub(super) fn sst(bytes: &[u8]) {
    read_table(bytes.to_vec());
    let [low, high, rest @ ..] = bytes else {
        return;
    };
    let data = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (data, index) = rest.split_at(data);
    let mut file = Vec::new();
    for block in [data, index] {
        file.extend_from_slice(block);
        file.push(0);
        file.extend_from_slice(&xxhash_rust::xxh3::xxh3_64(block).to_le_bytes()[..4]);
    }
    let mut footer = vec![4];
    for number in [0, data.len(), data.len() + 5, index.len()] {
        varint::put_len(&mut footer, number);
    }
    footer.resize(41, 0);
    footer.extend_from_slice(&5u32.to_le_bytes());
    footer.extend_from_slice(&0x88e2_41b7_85f4_cff7u64.to_le_bytes());
    file.extend_from_slice(&footer);
    read_table(file);
}

/// Keys that come out of a scan rise, and can be got.
fn read_table(file: Vec<u8>) {
    // By ranges, as from a bucket: the same, or an error.
    assert!(cairn::store::reread_object(&file));
    let Ok(table) = SstTable::open(Box::new(file)) else {
        return;
    };
    let (pairs, faults) = table.check(3);
    let mut last: Option<Vec<u8>> = None;
    let (mut found, mut rises) = (0, true);
    let scanned = for_each(
        |after| table.scan(&[], after),
        |key, value| {
            found += 1;
            rises &= last.as_deref().is_none_or(|last| last < key);
            last = Some(key.to_vec());
            if faults.is_empty() {
                assert_eq!(table.get(key)?.as_deref(), Some(value));
            }
            Ok(())
        },
    );
    if faults.is_empty() {
        scanned.expect("a sound table can be scanned");
        assert!(rises && found == pairs, "{found} {pairs}");
    }
}

/// A block whose table holds what the bytes say: keys (without the id) and values, each with its
/// length before it. So damage reaches what is behind the table's checksums.
pub(super) fn block(bytes: &[u8]) {
    let id = BlockId(1);
    let mut table = BTreeMap::new();
    let input = &mut &*bytes;
    while let (Ok(key), Ok(value)) = (
        varint::take_bytes(input, "a key"),
        varint::take_bytes(input, "a value"),
    ) {
        table.insert(block_key(id, key), value.to_vec());
    }
    read_block(Arc::new(Map(table)), id).ok();
}

struct Map(BTreeMap<Vec<u8>, Vec<u8>>);

impl Table for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Pairs, Error> {
        let pairs = self.0.iter().filter(|(key, _)| {
            key.starts_with(prefix) && after.is_none_or(|after| key.as_slice() > after)
        });
        let pairs = pairs.map(|(key, value)| (key.clone(), value.clone()));
        Ok(pairs.take(64).collect())
    }
}

/// Series that are read of a block: a damaged number of them must not make a run slow.
const SERIES_MAX: u32 = 300;

fn read_block(table: Arc<dyn Table>, id: BlockId) -> Result<(), Error> {
    assert!(table.scan(&block_prefix(id), None)?.len() <= 64);
    let block = BlockReader::open(table, id)?;
    let matchers = [
        Matcher::new("__name__", MatchOp::Regex, "m.*").expect("it is right"),
        Matcher::new("job", MatchOp::NotEqual, "x").expect("it is right"),
    ];
    for tenant in block.tenants()? {
        let Some(mut reader) = block.tenant(&tenant)? else {
            continue;
        };
        for name in reader.label_names(&[])? {
            reader.label_values(&name, &[]).ok();
            reader.label_values(&name, &matchers).ok();
        }
        reader.label_names(&matchers).ok();
        reader.metadata(None).ok();
        let mut found = reader.select(&matchers)?;
        found.truncate(SERIES_MAX as usize);
        reader.sort_by_place(&mut found).ok();
        for ordinal in 0..reader.series_len().min(SERIES_MAX) {
            let mut samples = Samples::default();
            let ordinal = Ordinal(ordinal);
            if reader.read(ordinal, TimeRange::ALL, &mut samples).is_ok() {
                assert!(samples.timestamps.is_sorted_by(|a, b| a < b));
                assert_eq!(samples.values.len(), samples.len());
            }
            if let Ok(labels) = reader.labels(ordinal) {
                reader.find(&labels).ok();
            }
        }
    }
    Ok(())
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

/// Commands of one input: a run stays within milliseconds.
const COMMANDS_MAX: usize = 64;

/// A manifest is only what its writer makes of it; and what members ask each other about one.
pub(super) fn manifest(bytes: &[u8]) {
    let whole = [b"CAIRNMAN\x01".as_slice(), bytes].concat();
    for bytes in [bytes, &whole] {
        if let Ok(manifest) = Manifest::decode(bytes) {
            assert_eq!(manifest.encode(), bytes);
        }
    }
    let body = bytes::Bytes::copy_from_slice(bytes);
    if let Ok(request) = ManifestRequest::decode(body.clone()) {
        assert_eq!(ManifestRequest::decode(request.encode()), Ok(request));
    }
    if let Ok(answer) = ManifestAnswer::decode(body) {
        assert_eq!(ManifestAnswer::decode(answer.encode()), Ok(answer));
    }
}

/// A control state; and commands, each with its length before it, applied to an empty one. What
/// can be read is written and read again alike, and so is every state on the way.
pub(super) fn command(bytes: &[u8]) {
    if let Ok(state) = ControlState::decode(bytes) {
        assert_eq!(ControlState::decode(&state.encode()).as_ref(), Ok(&state));
    }
    let mut state = ControlState::default();
    let input = &mut &*bytes;
    for _ in 0..COMMANDS_MAX {
        let Ok(bytes) = varint::take_bytes(input, "a command") else {
            break;
        };
        let Ok(command) = Command::decode(bytes) else {
            continue;
        };
        assert_eq!(Command::decode(&command.encode()).as_ref(), Ok(&command));
        state.apply(&command).into_result().ok();
        assert_eq!(ControlState::decode(&state.encode()).as_ref(), Ok(&state));
    }
}

/// What stands before every message of a peer: its credentials, and the envelope.
pub(super) fn peer(bytes: &[u8]) {
    if let Ok(credentials) = Credentials::decode(bytes, PROTOCOL) {
        let text = credentials.encode();
        let back = Credentials::decode(text.as_bytes(), PROTOCOL);
        assert_eq!(back.as_ref(), Ok(&credentials));
        assert!(text.is_ascii() && text.len() < 256, "{text}");
    }
    if let Ok((method, body)) = decode_envelope(bytes.to_vec().into()) {
        let again = encode_envelope(method, body.clone());
        assert_eq!(decode_envelope(again.into()), Ok((method, body)));
    }
}

/// What seals and moves exchange: one of the messages, by its first byte.
pub(super) fn data(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else {
        return;
    };
    let body = body.to_vec();
    let range = Some(Window(0).range());
    let asked = CutRequest {
        arc: RingArc::all(0).next().unwrap(),
        epoch: Epoch(7),
        range: range.filter(|_| *kind == 1),
        round: 0,
        remains: false,
    };
    match kind {
        0 => {
            if let Ok(one) = CutRequest::decode(body.into()) {
                assert_eq!(CutRequest::decode(one.encode()), Ok(one));
            }
        }
        1 | 2 => {
            if let Ok(one) = CutAnswer::decode(body.into(), &asked) {
                assert_eq!(CutAnswer::decode(one.encode(), &asked), Ok(one));
            }
        }
        3 => {
            if let Ok(one) = PullRequest::decode(body.into()) {
                assert_eq!(PullRequest::decode(one.encode()), Ok(one));
            }
        }
        4 => {
            if let Ok(one) = StageRequest::decode(body.into()) {
                assert_eq!(StageRequest::decode(one.encode()).as_ref(), Ok(&one));
            }
        }
        _ => content(body),
    }
}

/// Series in it are as a writer would have them.
fn content(body: Vec<u8>) {
    let Ok(content) = decode_content(body.into()) else {
        return;
    };
    for item in &content.items {
        let Pulled::Series(one) = item else {
            continue;
        };
        assert!(one.samples.timestamps.is_sorted_by(|a, b| a < b));
        assert_eq!(one.samples.values.len(), one.samples.len());
        let mut messages = Vec::new();
        let mut writer = ContentWriter::default();
        let mut keep = |message| {
            messages.push(message);
            Ok::<_, ()>(())
        };
        writer.add(item, &mut keep).unwrap();
        messages.push(writer.finish());
        let mut again = Samples::default();
        for message in messages {
            for back in decode_content(message).unwrap().items {
                let Pulled::Series(back) = back else {
                    panic!("a series became metadata");
                };
                assert_eq!((&back.tenant, &back.labels), (&one.tenant, &one.labels));
                again.merge(&back.samples);
            }
        }
        assert_eq!(again, one.samples);
    }
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
