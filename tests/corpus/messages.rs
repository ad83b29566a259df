//! Manifests, commands, and what peers say to each other.

use cairn::cluster::{
    Command, ContentWriter, ControlState, Credentials, CutAnswer, CutRequest, Manifest,
    ManifestAnswer, ManifestRequest, PROTOCOL, PullRequest, StageRequest, decode_content,
    decode_envelope, encode_envelope,
};
use cairn::codec::varint;
use cairn::model::{Epoch, RingArc, Samples, Window};
use cairn::store::Pulled;

/// Commands of one input: a run stays within milliseconds.
const COMMANDS_MAX: usize = 64;

/// A manifest is only what its writer makes of it; and what members ask each other about one.
pub(crate) fn manifest(bytes: &[u8]) {
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
pub(crate) fn command(bytes: &[u8]) {
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
pub(crate) fn peer(bytes: &[u8]) {
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
pub(crate) fn data(bytes: &[u8]) {
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
