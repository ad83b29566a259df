//! Can bad bytes hurt us? Replays every saved fuzz input on the stable compiler, as it is, cut
//! short at every byte and with every byte changed once: a crash that was found stays found.
//!
//! `fuzz/corpus/NAME` has the inputs of target NAME. `CAIRN_CORPUS=seed` writes the seeds again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test program"
)]

mod seeds;
mod targets;

use std::path::PathBuf;

fn fuzz_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// An input longer than this is replayed as it is only: a run stays within seconds.
const MUTATED_LEN_MAX: usize = 512;

#[test]
fn saved_inputs_do_no_harm() {
    if std::env::var("CAIRN_CORPUS").is_ok_and(|value| value == "seed") {
        seeds::write(&fuzz_folder().join("corpus"));
    }
    for (name, run) in targets::ALL {
        let folder = fuzz_folder().join("corpus").join(name);
        let mut inputs = 0;
        for entry in std::fs::read_dir(&folder).expect("every target has a corpus") {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            println!("{}", path.display());
            inputs += 1;
            run(&bytes);
            if bytes.len() > MUTATED_LEN_MAX {
                continue;
            }
            for at in 0..bytes.len() {
                run(&bytes[..at]);
                let mut changed = bytes.clone();
                for value in [
                    0,
                    1,
                    0x7f,
                    0x80,
                    0xff,
                    bytes[at] ^ 1,
                    bytes[at].wrapping_add(1),
                ] {
                    changed[at] = value;
                    run(&changed);
                }
            }
        }
        assert!(inputs > 0, "{} is empty", folder.display());
    }
}

#[test]
fn every_fuzz_target_is_replayed() {
    let mut there: Vec<String> = std::fs::read_dir(fuzz_folder().join("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| own(name))
        .collect();
    there.sort_unstable();
    let mut here: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
    here.sort_unstable();
    assert_eq!(there, here);
}

/// Whether a target is written with `targets.rs`; other folders bring their own way of replaying.
fn own(name: &str) -> bool {
    let file = fuzz_folder()
        .join("fuzz_targets")
        .join(format!("{name}.rs"));
    std::fs::read_to_string(file).is_ok_and(|text| text.contains("corpus/targets.rs"))
}
