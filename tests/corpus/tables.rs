//! Files of blocks: tables, and the blocks in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn::codec::varint;
use cairn::model::{BlockId, MatchOp, Matcher, Samples, TimeRange};
use cairn::store::{
    BlockReader, Error, Ordinal, Pairs, SstTable, Table, block_key, block_prefix, for_each,
};

/// A table file as it is, whole and by ranges; and one with right checksums and footer around a data block (as long as
/// the first two bytes say) and an index block (the rest).
pub(crate) fn sst(bytes: &[u8]) {
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
pub(crate) fn block(bytes: &[u8]) {
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
