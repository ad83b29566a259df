//! Bad bytes for the decoder `manifest`; what is done with them is in tests/corpus/targets.rs.
#![no_main]

#[path = "../../tests/corpus/targets.rs"]
#[allow(dead_code)]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::manifest(bytes));
