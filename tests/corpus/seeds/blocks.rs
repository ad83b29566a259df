//! Blocks: a golden one and a tiny one, taken apart.

use super::Seed;
use cairn::codec::page::Density;
use cairn::codec::varint;
use cairn::model::{
    BlockId, LabelSet, Level, Metadata, RingArc, Samples, TenantId, TimeRange, TimestampMs, Value,
    fingerprint,
};
use cairn::runtime::CancelToken;
use cairn::source::FamilyMetadata;
use cairn::store::{
    BlockContent, BlockProperties, ContentSeries, Error, SstTable, Table, build_block, for_each,
};

/// A table small enough for the replay to change each of its bytes: two series and metadata.
pub(super) fn tiny_block() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny");
    let properties = BlockProperties {
        id: BlockId(1),
        cluster_id: 2,
        arc: RingArc::new(0, 0).unwrap(),
        range: TimeRange::ALL,
        level: Level(0),
        round: 1,
        pages: Density::Quick,
    };
    build_block(&path, &properties, &mut Tiny, &CancelToken::new()).unwrap();
    std::fs::read(path).unwrap()
}

struct Tiny;

impl BlockContent for Tiny {
    fn series_len(&self) -> usize {
        2
    }

    fn series(&self, index: usize) -> Result<ContentSeries, Error> {
        let tenant = TenantId::anonymous();
        let pairs = [("__name__", "m"), ("job", ["j", "k"][index])];
        let labels = LabelSet::from_pairs(&pairs).unwrap();
        Ok(ContentSeries {
            fingerprint: fingerprint(&tenant, &labels),
            tenant,
            labels,
        })
    }

    fn read(&mut self, index: usize, samples: &mut Samples) -> Result<(), Error> {
        samples.clear();
        for row in 0..5 - i64::try_from(index).unwrap() {
            let value = Value::Float(row as f64 * 1.5);
            samples.push(TimestampMs(row * 1000), value, TimestampMs(0));
        }
        Ok(())
    }

    fn metadata(&self) -> Result<Vec<(TenantId, FamilyMetadata)>, Error> {
        let about = ("m".to_owned(), vec![Metadata::default()]);
        Ok(vec![(TenantId::anonymous(), about)])
    }
}

/// A block: as a file, as its first data block and index, as keys and values.
pub(super) fn of_block(name: &str, file: Vec<u8>) -> Vec<Seed> {
    let mut handles = &file[file.len() - 52..];
    let numbers: Vec<usize> = (0..4)
        .map(|_| varint::take_len(&mut handles, "seed", file.len()).unwrap())
        .collect();
    let index = &file[numbers[2]..numbers[2] + numbers[3]];
    // The first entry of the index: nothing shared, a key, then the first block's handle.
    let mut entry = &index[1..];
    varint::take_bytes(&mut entry, "seed").unwrap();
    assert_eq!(varint::take_len(&mut entry, "seed", 0).unwrap(), 0);
    let len = varint::take_len(&mut entry, "seed", file.len()).unwrap();
    let inner = [
        &u16::try_from(len).unwrap().to_le_bytes()[..],
        &file[..len],
        index,
    ];
    let table = SstTable::open(Box::new(file.clone())).unwrap();
    let mut pairs = Vec::new();
    for_each(
        |after| table.scan(&[], after),
        |key, value| {
            varint::put_bytes(&mut pairs, &key[16..]);
            varint::put_bytes(&mut pairs, value);
            Ok(())
        },
    )
    .unwrap();
    vec![
        ("sst", format!("{name}-inner"), inner.concat()),
        ("sst", format!("{name}-file"), file),
        ("block", name.to_owned(), pairs),
    ]
}
