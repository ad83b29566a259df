//! Commands, and what peers say to each other.

use super::Seed;
use super::columns::pages;
use cairn::cluster::encode_envelope;
use cairn::cluster::{
    ContentWriter, CutAnswer, CutHeld, CutRequest, PullOf, PullRequest, Purpose, StageRequest,
};
use cairn::codec::varint;
use cairn::model::{
    BlockEntry, BlockId, Digest, Epoch, LabelSet, Level, Metadata, RingArc, TenantId, Uploaded,
    Window,
};
use cairn::store::{DigestTree, Leaves, Pulled, PulledSeries};

/// The golden commands, all in one input, and the golden state.
pub(super) fn commands() -> Vec<Seed> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/format/golden/control.txt"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let mut all = Vec::new();
    let mut commands = Vec::new();
    for (name, hex) in text.lines().filter_map(|line| line.split_once(' ')) {
        let digits = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        let Ok(bytes) = digits
            .map(|pair| u8::from_str_radix(pair, 16))
            .collect::<Result<Vec<u8>, _>>()
        else {
            continue;
        };
        if name == "manifest" {
            all.push(("manifest", name.to_owned(), bytes));
        } else if name == "state" {
            all.push(("command", name.to_owned(), bytes));
        } else {
            varint::put_bytes(&mut commands, &bytes);
        }
    }
    all.push(("command", "commands".to_owned(), commands));
    all
}

/// What seals and moves exchange, one message of each kind.
pub(super) fn exchanges() -> Vec<Seed> {
    let (arc, epoch) = (RingArc::new(0x3000_0000, 4).unwrap(), Epoch(7));
    let mut tree = DigestTree::default();
    tree.add(3, 5, 1 << 77);
    tree.add_metadata(9);
    let cut = CutRequest {
        arc,
        epoch,
        range: Some(Window(-1).range()),
        round: 2,
        remains: false,
    };
    let held = |held| CutAnswer::Held {
        epoch,
        version: 4,
        held,
    };
    let one = held(CutHeld::Cut {
        token: 11,
        tree: tree.clone(),
    });
    let windows = held(CutHeld::Windows(vec![(Window(-3), tree)]));
    let pull = PullRequest {
        arc,
        epoch,
        purpose: Purpose::Seal,
        of: PullOf::Cut(11),
        leaves: Leaves::new([1; 12], true),
    };
    let stage = StageRequest {
        arc,
        epoch,
        entry: BlockEntry {
            id: BlockId(5),
            range: Window(-1).range(),
            level: Level(0),
            round: 2,
            size: 1000,
            samples: 20,
            content_sum: 77,
            digest: Digest([4; 32]),
            uploaded: Uploaded::None,
        },
        release: vec![11],
    };
    [
        (0, "cut", cut.encode()),
        (1, "held", one.encode()),
        (2, "windows", windows.encode()),
        (3, "pull", pull.encode()),
        (4, "stage", stage.encode()),
        (5, "content", content()),
    ]
    .into_iter()
    .map(|(kind, name, body)| ("data", name.to_owned(), [&[kind], &body[..]].concat()))
    .collect()
}

/// A message of series and metadata.
pub(super) fn content() -> bytes::Bytes {
    let mut writer = ContentWriter::default();
    let mut send = |_| Ok::<_, ()>(());
    for (at, series) in pages()
        .into_iter()
        .flat_map(|(_, series)| series)
        .take(6)
        .enumerate()
    {
        let labels = [("__name__", "up"), ("number", ["a", "b", "c"][at % 3])];
        let item = Pulled::Series(PulledSeries {
            tenant: TenantId::anonymous(),
            labels: LabelSet::from_pairs(&labels).unwrap(),
            samples: series,
        });
        writer.add(&item, &mut send).unwrap();
    }
    let metadata = Metadata {
        help: "Whether it is up.".to_owned(),
        ..Metadata::default()
    };
    let family = Pulled::Metadata(TenantId::anonymous(), "up".to_owned(), vec![metadata]);
    writer.add(&family, &mut send).unwrap();
    writer.finish()
}

/// Credentials of a member and of a stranger, and envelopes.
pub(super) fn peers() -> Vec<Seed> {
    let member = "1.0 0123456789abcdef0123456789abcdef 7 fedcba9876543210fedcba9876543210 3 00000000000000000000000000000001";
    let stranger =
        "1.1 - 0 fedcba9876543210fedcba9876543210 1 00000000000000000000000000000002 later";
    let named = |name: &str, bytes: &[u8]| ("peer", name.to_owned(), bytes.to_vec());
    vec![
        named("member", member.as_bytes()),
        named("stranger", stranger.as_bytes()),
        named("another-version", b"2.0 ?"),
        named("question", &encode_envelope(6, b"the body".to_vec().into())),
        named("answer", &encode_envelope(0, b"more".to_vec().into())),
        named(
            "unknown-method",
            &encode_envelope(u32::MAX, Vec::new().into()),
        ),
    ]
}
