//! What lies in a bucket: would catch a change of a name or a byte, after which a bucket that was
//! filled by one version could not be restored by the next.
//!
//! `golden/bucket.txt` has one line per case: its name and its bytes in hex. A line is never
//! changed; a new case is added with the line that the failing test prints.

use cairn::archive::{
    CatalogCopy, ClusterRecord, PackDirectory, Passed, block_name, catalog_name, deletes_name,
    pack_name, parse_name,
};
use cairn::cluster::{DeletesCopy, Ended, Standing, Tombstone, TombstoneId};
use cairn::model::{
    BlockEntry, BlockId, Deletion, Digest, Level, MatchOp, Matcher, RingArc, TenantId, TimeRange,
    TimestampMs, Uploaded, Window,
};

const GOLDEN: &str = include_str!("golden/bucket.txt");

fn entry(id: u8, range: TimeRange, uploaded: Uploaded) -> BlockEntry {
    BlockEntry {
        id: BlockId(u128::from(id) << 100),
        range,
        level: Level(id),
        round: 3,
        size: 1_234_567,
        samples: 987_654,
        content_sum: 0xfedc_ba98_7654_3210_0123_4567_89ab_cdef,
        digest: Digest([id; 32]),
        uploaded,
    }
}

fn deletes(cluster: u128, arc: RingArc) -> DeletesCopy {
    let tombstone = |id: u128| Tombstone {
        id: TombstoneId(id << 64),
        deletion: Deletion {
            tenant: TenantId::new("team-a").unwrap(),
            matchers: vec![Matcher::new("job", MatchOp::NotRegex, "a.*").unwrap()],
            range: TimeRange::new(TimestampMs::MIN, TimestampMs(2_000)),
        },
        at: TimestampMs(3_000),
    };
    let standing = |id, begun| (TombstoneId(id << 64), Standing::new(tombstone(id), begun));
    let ended = Ended {
        tombstone: tombstone(3),
        at: TimestampMs(4_000),
        versions: [(arc, 12)].into(),
    };
    DeletesCopy {
        cluster,
        position: (1, 77),
        open: [standing(1, false), standing(2, true)].into(),
        ended: [(ended.tombstone.id, ended)].into(),
    }
}

fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let arc = RingArc::new(0x3000_0000, 4).unwrap();
    let cluster = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
    let pack = Uploaded::Pack {
        pack: Digest([0xcd; 32]),
        offset: 77,
    };
    let block = entry(1, Window(-3).range(), Uploaded::Object);
    let mut copy = CatalogCopy {
        cluster,
        arc,
        version: 12,
        expired_before: TimestampMs::MIN,
        history: None,
        entries: vec![block.clone(), entry(2, TimeRange::ALL, pack)],
        passed: None,
    };
    let plain = copy.encode();
    copy.history = Some(Digest([0xee; 32]));
    copy.expired_before = TimestampMs(1_700_000_000_000);
    let with_history = copy.encode();
    let rounds = [(-4, 1), (-3, 1), (9, 3)];
    let rounds = rounds.map(|(window, round)| (Window(window).range(), round));
    let waiting = [Digest([0xaa; 32]), Digest([0xbb; 32])].into();
    let floor = (TimestampMs(-99_000_000), 7);
    let passed = Passed::new((cluster, arc), rounds.into_iter(), floor, waiting);
    copy.passed = Some(passed);
    let record = ClusterRecord {
        cluster,
        ancestors: vec![0xc0, u128::MAX],
    };
    let second = (
        RingArc::new(0xc000_0000, 2).unwrap(),
        entry(2, block.range, pack),
    );
    let packed = PackDirectory::of(cluster, block.range, &[(arc, block.clone()), second]);
    let deletes = deletes(cluster, arc);
    vec![
        ("deletes", deletes.encode()),
        (
            "deletes_name",
            deletes_name(cluster, deletes.position, Digest([5; 32])).into_bytes(),
        ),
        ("pack", packed.encode()),
        (
            "pack_name",
            pack_name(cluster, packed.range, packed.digest()).into_bytes(),
        ),
        ("catalog", plain),
        ("catalog_history", with_history),
        ("catalog_passed", copy.encode()),
        ("record", record.encode()),
        ("block_name", block_name(cluster, arc, &block).into_bytes()),
        (
            "catalog_name",
            catalog_name(cluster, arc, 12, Digest([5; 32])).into_bytes(),
        ),
    ]
}

#[test]
fn what_was_put_into_a_bucket_is_read_for_ever() {
    let mut missing = Vec::new();
    for (name, bytes) in cases() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("{name} {hex}");
        if !GOLDEN.lines().any(|known| known == line) {
            missing.push(line);
        }
        match name.split('_').collect::<Vec<_>>().as_slice() {
            ["catalog"] | ["catalog", "history" | "passed"] => {
                assert_eq!(CatalogCopy::decode(&bytes).unwrap().encode(), bytes);
            }
            ["pack"] => {
                let read = PackDirectory::decode(&bytes, 2 * 1_234_567).unwrap();
                assert_eq!(read.encode(), bytes);
            }
            ["deletes"] => {
                assert_eq!(DeletesCopy::decode(&bytes).unwrap().encode(), bytes);
            }
            ["record"] => {
                assert_eq!(ClusterRecord::decode(&bytes).unwrap().encode(), bytes);
            }
            _ => assert!(parse_name(std::str::from_utf8(&bytes).unwrap()).is_some()),
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert_eq!(GOLDEN.lines().count(), cases().len());
}
