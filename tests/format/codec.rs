//! Columns and pages: what version 1 wrote decodes to the same values for ever, and what is
//! damaged gives the same error.
//!
//! `golden/codec.txt` has a case a line group: `case` (decoder and name), `bytes`, and `want` or
//! `error`. Lines are only ever added: `CAIRN_GOLDEN=add cargo test --test format codec` appends
//! the cases of [`known`] that are not there yet; the difference is then read and committed.

use std::fmt::Write as _;
use std::sync::Arc;

use cairn::codec::{histograms, page, timestamps, varint};
use cairn::model::{Buckets, Histogram, ResetHint, SCHEMA_CUSTOM, Samples, Span, Value, stale_nan};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/format/golden/codec.txt");

struct Case {
    name: String,
    bytes: Vec<u8>,
    answer: String,
}

/// What a decoder says of bytes: the values, or the error.
fn answer(name: &str, bytes: &[u8], rows: &[usize]) -> String {
    let decoder = name.split(' ').next().unwrap();
    let result = match decoder {
        "varint" => varint::take_u64(&mut &*bytes).map(|number| number.to_string()),
        "timestamps" => timestamps::decode(bytes).map(|column| shown(&column)),
        "histogram" => histograms::decode_one(&mut &*bytes).map(|one| canonical(&one)),
        "page" => page(bytes, rows),
        other => panic!("{other} is no decoder"),
    };
    match result {
        Ok(values) => format!("want {values}"),
        Err(error) => format!("error {error}"),
    }
}

fn page(bytes: &[u8], rows: &[usize]) -> Result<String, cairn::codec::Error> {
    let page = page::Reader::open(bytes)?;
    let (mut out, mut samples) = (String::new(), Samples::default());
    for (place, rows) in rows.iter().enumerate() {
        page.read(place, *rows, &mut samples)?;
        let bits: Vec<String> = samples
            .values
            .iter()
            .map(|value| format!("{:x}", value.to_bits()))
            .collect();
        write!(out, "rows {rows} values {}", shown(&bits)).unwrap();
        if !samples.starts.is_empty() {
            write!(out, " starts {}", shown(&samples.starts)).unwrap();
        }
        for (at, histogram) in &samples.histograms {
            write!(out, " histogram {at} {}", canonical(histogram)).unwrap();
        }
        out.push_str("; ");
    }
    Ok(out)
}

/// A list with repeated values as `value*times`.
fn shown<T: PartialEq + std::fmt::Display>(list: &[T]) -> String {
    let mut out = Vec::new();
    for run in list.chunk_by(|a, b| a == b) {
        match run.len() {
            1 => out.push(run[0].to_string()),
            times => out.push(format!("{}*{times}", run[0])),
        }
    }
    out.join(",")
}

fn canonical(histogram: &Histogram) -> String {
    let mut out = Vec::new();
    Value::Histogram(Arc::new(histogram.clone())).canonical(&mut out);
    hex(&out)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The rows that an answer names, so that the page can be read again.
fn rows_of(answer: &str) -> Vec<usize> {
    answer
        .split("rows ")
        .skip(1)
        .map(|rest| rest.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

fn golden() -> Vec<Case> {
    let text = std::fs::read_to_string(FILE).unwrap_or_default();
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "case" => cases.push(Case {
                name: rest.to_owned(),
                bytes: Vec::new(),
                answer: String::new(),
            }),
            "bytes" => cases.last_mut().unwrap().bytes = unhex(rest),
            "want" | "error" => cases.last_mut().unwrap().answer = line.to_owned(),
            "" | "#" => {}
            other => panic!("a line of {FILE} begins with {other}"),
        }
    }
    cases
}

#[test]
fn everything_ever_written_decodes_to_the_same_values() {
    if std::env::var("CAIRN_GOLDEN").is_ok_and(|value| value == "add") {
        add();
    }
    let cases = golden();
    assert!(cases.len() > 30, "the golden file is gone");
    for case in cases {
        let now = answer(&case.name, &case.bytes, &rows_of(&case.answer));
        assert_eq!(now, case.answer, "{}", case.name);
        if case.name.starts_with("varint") || case.name.starts_with("histogram") {
            continue;
        }
        // Sections carry a checksum: whatever bit changes, it is an error.
        for at in 0..case.bytes.len() {
            let mut damaged = case.bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let now = answer(&case.name, &damaged, &[]);
            assert!(now.starts_with("error"), "{} byte {at}: {now}", case.name);
        }
    }
}

/// What today's encoders write must be in the golden file by kind, so that a new encoding cannot
/// be forgotten there.
#[test]
fn what_is_written_today_is_in_the_golden_file() {
    let cases = golden();
    for (name, _, _) in known() {
        assert!(
            cases.iter().any(|case| case.name == name),
            "{name} is missing: CAIRN_GOLDEN=add"
        );
    }
}

fn add() {
    let there = golden();
    let mut text = std::fs::read_to_string(FILE).unwrap_or_default();
    for (name, bytes, rows) in known() {
        if there.iter().any(|case| case.name == name) {
            continue;
        }
        let answer = answer(&name, &bytes, &rows);
        writeln!(text, "case {name}\nbytes {}\n{answer}\n", hex(&bytes)).unwrap();
    }
    std::fs::write(FILE, text).unwrap();
}

/// Inputs of every encoding, and damaged ones.
fn known() -> Vec<(String, Vec<u8>, Vec<usize>)> {
    let mut all = Vec::new();
    for number in [0, 127, 128, 1 << 35, u64::MAX] {
        let mut out = Vec::new();
        varint::put_u64(&mut out, number);
        all.push((format!("varint {number}"), out, vec![]));
    }
    for damaged in [
        "",
        "80",
        "8000",
        "ffffffffffffffffffff01",
        "ffffffffffffffffff02",
    ] {
        all.push((format!("varint damaged {damaged}"), unhex(damaged), vec![]));
    }
    for (name, column) in timestamp_columns() {
        let mut out = Vec::new();
        timestamps::encode(&column, &mut out).unwrap();
        all.push((format!("timestamps {name}"), out, vec![]));
    }
    for (name, histogram) in some_histograms() {
        let mut out = Vec::new();
        histograms::encode_one(&histogram, &mut out);
        all.push((format!("histogram {name}"), out.clone(), vec![]));
        out.pop();
        all.push((format!("histogram {name}, cut short"), out, vec![]));
    }
    all.push(("histogram with unknown flags".into(), unhex("80"), vec![]));
    all.push((
        "histogram that claims 2^40 buckets".into(),
        unhex("080000000000000000000000008080808080200000"),
        vec![],
    ));
    for (name, series) in pages() {
        let mut builder = page::Builder::new(page::Density::Quick);
        for samples in &series {
            builder.push(samples.into()).unwrap();
        }
        let mut out = Vec::new();
        builder.finish(&mut out);
        let rows = series.iter().map(|samples| samples.values.len()).collect();
        all.push((format!("page {name}"), out, rows));
    }
    let series = dense();
    let mut builder = page::Builder::new(page::Density::Dense);
    for samples in &series {
        builder.push(samples.into()).unwrap();
    }
    let mut out = Vec::new();
    builder.finish(&mut out);
    assert_eq!(out[0], 2, "it is coded");
    let rows = series.iter().map(|samples| samples.values.len()).collect();
    all.push(("page coded".to_owned(), out, rows));
    all.extend(damaged_sections());
    all
}

/// Sections whose checksum is right and whose content is not.
fn damaged_sections() -> Vec<(String, Vec<u8>, Vec<usize>)> {
    let sealed = |name: &str, body: &str| {
        let mut bytes = unhex(body);
        let sum = xxhash_rust::xxh3::xxh3_64(&bytes).to_le_bytes();
        bytes.extend_from_slice(&sum[..4]);
        (name.to_owned(), bytes, vec![1])
    };
    vec![
        sealed("timestamps of nothing", ""),
        sealed("timestamps of a later version", "0900"),
        sealed("timestamps without their first", "0101"),
        sealed("timestamps beyond all bounds", "01ffffffff0f00"),
        sealed("timestamps with an exception past the end", "010200020a02"),
        sealed("timestamps with too few steps", "030300000100"),
        sealed("timestamps with false zstd", "03030001020000"),
        sealed("page of nothing", ""),
        sealed("page of a later version", "7f0000"),
        sealed("page of too many series", "01410000"),
        sealed("page without its series", "01010000"),
        sealed("page with unknown flags", "01010003800000"),
        sealed("page that refers to itself", "010100050900020200"),
        sealed("page with a power of ten that is none", "01010003000d00"),
        sealed("page with parts past its end", "01010006010002020009"),
        sealed("page coded without what is compressed", "020105"),
        sealed("page coded without its stream", "0201080006010002020108"),
        sealed(
            "page coded with a stream too many",
            "02010500030000020100000000",
        ),
    ]
}

fn timestamp_columns() -> Vec<(&'static str, Vec<i64>)> {
    let now = 1_760_000_000_000;
    let grid: Vec<i64> = (0..480).map(|i| now + 15_000 * i).collect();
    let mut late = grid.clone();
    late[17] += 3;
    late[200] -= 20;
    late.drain(300..310);
    let mut at = now;
    let jitter: Vec<i64> = (0..40)
        .map(|i| {
            at += 5000 + i * i * 7919 % 13;
            at
        })
        .collect();
    let falling: Vec<i64> = (0..40).map(|i| now + 1000 * i * i).collect();
    vec![
        ("empty", vec![]),
        ("single", vec![now]),
        ("grid", grid),
        ("grid with exceptions", late),
        ("steps", jitter),
        ("steps of steps", falling),
        ("extremes", vec![i64::MIN, i64::MAX, 0, -1, i64::MIN]),
    ]
}

fn some_histograms() -> Vec<(&'static str, Histogram)> {
    let integer = Histogram {
        schema: 3,
        zero_threshold: 2.938_735_877_055_719e-39,
        sum: 18.4,
        buckets: Buckets::Integer {
            count: 12,
            zero_count: 2,
            positive: vec![1, 1, -1, 0],
            negative: vec![1, 3],
        },
        positive_spans: vec![
            Span {
                offset: -2,
                length: 2,
            },
            Span {
                offset: 1,
                length: 2,
            },
        ],
        negative_spans: vec![Span {
            offset: 0,
            length: 2,
        }],
        custom_values: vec![],
        reset_hint: ResetHint::No,
    };
    let custom = Histogram {
        schema: SCHEMA_CUSTOM,
        zero_threshold: 0.0,
        sum: -0.0,
        buckets: Buckets::Float {
            count: 3.5,
            zero_count: 0.0,
            positive: vec![1.0, 2.5],
            negative: vec![],
        },
        positive_spans: vec![Span {
            offset: 0,
            length: 2,
        }],
        negative_spans: vec![],
        custom_values: vec![0.1, 1.0],
        reset_hint: ResetHint::Gauge,
    };
    let stale = Histogram {
        sum: stale_nan(),
        buckets: Buckets::Integer {
            count: 0,
            zero_count: 0,
            positive: vec![],
            negative: vec![],
        },
        positive_spans: vec![],
        negative_spans: vec![],
        reset_hint: ResetHint::Unknown,
        ..integer.clone()
    };
    vec![
        ("integer", integer),
        ("float with custom bounds", custom),
        ("stale", stale),
    ]
}

/// Noise, which is shorter coded; what has its path; sums with errors; histograms and markers; and
/// more rows than a segment has.
fn dense() -> Vec<Samples> {
    let of = |values: Vec<f64>| Samples {
        values,
        ..Samples::default()
    };
    let mut state = 9u64;
    let mut step = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        f64::from(u32::try_from(state >> 53).unwrap())
    };
    let noise: Vec<f64> = (0..600).map(|_| step()).collect();
    let moved = noise.iter().map(|value| 5.0 - value / 10.0).collect();
    let wide = noise.iter().take(40).map(|v| v * v * v * 1e9).collect();
    let mut sum = 0.0;
    let sums = noise.iter().take(50).map(|value| {
        sum += value / 7e8;
        sum
    });
    let sums = sums.collect();
    let slow = (0..4200u32).map(|row| f64::from(row / 500)).collect();
    let mut marked = of(noise.iter().take(30).copied().collect());
    marked.values[7] = stale_nan();
    marked.starts = vec![77; 30];
    marked.histograms = vec![(3, Arc::new(some_histograms()[0].1.clone()))];
    marked.values[3] = 0.0;
    vec![of(noise), of(moved), of(wide), of(sums), of(slow), marked]
}

fn pages() -> Vec<(&'static str, Vec<Samples>)> {
    let of = |values: Vec<f64>| Samples {
        values,
        ..Samples::default()
    };
    let rows = 0..24i32;
    let walk: Vec<f64> = rows
        .clone()
        .map(|i| f64::from(i * i * 7919 % 97 + 3 * i))
        .collect();
    let shifted = walk.iter().map(|v| (250.0 - v) / 1000.0).collect();
    let mut sum = 0.0;
    let sums = rows
        .clone()
        .map(|i| {
            sum += f64::from(i) * 0.000_001_237;
            sum
        })
        .collect();
    let thirds = rows.clone().map(|i| 1.0 / f64::from(i + 1)).collect();
    let noisy = rows.clone().map(|i| f64::from(i * i * 31 % 7)).collect();
    let rising = rows.clone().map(|i| f64::from(40 * i * i)).collect();
    let mut marked = walk.clone();
    marked[0] = f64::NAN;
    marked[5] = f64::INFINITY;
    marked[6] = f64::NEG_INFINITY;
    marked[7] = -0.0;
    marked[8] = f64::from_bits(0x7ff8_dead_beef_0000);
    marked[9] = f64::from_bits(0x7ff8_0000_0000_0001);
    marked[22] = stale_nan();
    marked[23] = stale_nan();
    let mut with_histograms = of(vec![0.0; 12]);
    let kinds = some_histograms();
    for at in 0..11u32 {
        let histogram = &kinds[usize::from(at > 4) + usize::from(at > 8)].1;
        let mut histogram = histogram.clone();
        if let Buckets::Integer {
            count, positive, ..
        } = &mut histogram.buckets
            && at < 5
        {
            *count += u64::from(at);
            positive[0] += i64::from(at);
        }
        with_histograms.histograms.push((at, Arc::new(histogram)));
    }
    with_histograms.values[11] = stale_nan();
    let starts = |starts: Vec<i64>| Samples {
        starts,
        ..of(walk.clone())
    };
    let now = 1_760_000_000_000;
    vec![
        ("empty", vec![]),
        (
            "constants",
            vec![
                of(vec![1.0; 480]),
                of(vec![0.25; 480]),
                of(vec![f64::NAN; 480]),
                of(vec![1e300; 3]),
                of(vec![]),
            ],
        ),
        (
            "decimals and a reference",
            vec![of(walk.clone()), of(shifted), of(noisy), of(rising)],
        ),
        (
            "rounding errors and ordered bits",
            vec![
                of(sums),
                of(thirds),
                of(vec![f64::MIN, f64::MAX, f64::MIN_POSITIVE, 0.0]),
            ],
        ),
        ("exceptions", vec![of(marked)]),
        ("histograms", vec![with_histograms]),
        ("one start", vec![starts(vec![now; 24])]),
        (
            "two starts",
            vec![starts([vec![0; 10], vec![now; 14]].concat())],
        ),
        (
            "following starts",
            vec![starts((0..24).map(|i| now + 15_000 * i).collect())],
        ),
    ]
}
