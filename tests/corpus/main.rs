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

use std::path::{Path, PathBuf};

use cairn::runtime::{Chance, SeededChance};

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

/// Mutations of each saved input, of several bytes at once. `CAIRN_MUTATIONS` may say more.
const MUTATIONS: u64 = 60;

/// What a fuzzer does first, without its coverage: a few bytes are changed, taken out, put in,
/// doubled or joined with another input. The same ones in every run; a failure says which.
#[test]
fn inputs_changed_at_several_places_do_no_harm() {
    let asked = std::env::var("CAIRN_MUTATIONS").ok();
    let count = asked.map_or(MUTATIONS, |count| count.parse().expect("a number"));
    let only = std::env::var("CAIRN_TARGET").ok();
    for (name, run) in targets::ALL {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let folder = fuzz_folder().join("corpus").join(name);
        let mut saved: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        saved.sort();
        let inputs: Vec<Vec<u8>> = saved
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        for (path, input) in saved.iter().zip(&inputs) {
            for seed in 0..count {
                let chance = SeededChance::new(seed);
                let other = &inputs[below(&chance, inputs.len())];
                let input = mutated(input, other, &chance);
                let _told = Told(path, seed, &input);
                run(&input);
            }
        }
    }
}

/// Says what was being run, should it fail.
struct Told<'a>(&'a Path, u64, &'a [u8]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(path, seed, input) = self;
            println!("{} with the mutation {seed}: {input:?}", path.display());
        }
    }
}

fn below(chance: &SeededChance, bound: usize) -> usize {
    usize::try_from(chance.next_u64() % (bound.max(1) as u64)).unwrap()
}

fn mutated(input: &[u8], other: &[u8], chance: &SeededChance) -> Vec<u8> {
    const ODD: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 0x22, 0x28, 0x20];
    let mut bytes = input.to_vec();
    for _ in 0..=below(chance, 5) {
        let at = below(chance, bytes.len());
        let to = (at + 1 + below(chance, 8)).min(bytes.len());
        match below(chance, 6) {
            _ if bytes.is_empty() => bytes.push(ODD[below(chance, ODD.len())]),
            0 => bytes[at] = ODD[below(chance, ODD.len())],
            1 => bytes[at] ^= 1 << below(chance, 8),
            2 => bytes.insert(at, ODD[below(chance, ODD.len())]),
            3 => drop(bytes.drain(at..to)),
            4 => {
                let part = bytes[at..to].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let from = below(chance, other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
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
