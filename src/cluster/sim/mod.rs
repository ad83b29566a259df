//! The whole cluster in one process under a seed (the replication protocol's section 12).
//!
//! Every node is what `cairn serve` opens below HTTP: [`LocalMember`](super::LocalMember) with its
//! control group, its duties, its services. Simulated are the edges alone: the network
//! (`peer/memory` with `peer/weather.rs`), the engine's and the log's disk (`MemoryEngine`,
//! `FaultyDisk`), the clock, the dice, and who runs when (`runtime/turns.rs`): one thread at a time,
//! on a clock that stands while anybody has something to do. So a seed repeats a run to the letter,
//! in a process of its own (Tokio counts the runtimes of a process into its dice).
//!
//! * `board.rs`: a node with its disks, started, killed, wiped;
//! * `world.rs`: several of them and the network; `workload.rs`: what senders and readers do, and
//!   what they may expect; `check.rs`: the invariants; `chaos.rs`: what a seed makes of all that;
//!   `scenarios.rs`, `disks.rs` and `aging.rs`: what somebody thought of; `without/`: that it notices each
//!   missing rule.
//!
//! * `deletes.rs`: what is deleted stays so, and nothing else goes.
//!
//! * `messages.rs`: how much nodes say to each other, by the size of the cluster; `bucket.rs`: what they ask of
//!   their bucket, which is in memory, on clocks that go faster than the runtime's. All others have none.
//!
//! Not simulated: RocksDB, gRPC, Consul, HTTP, the file system under block files (a crash keeps
//! what was written there): real processes meet those in `tests/e2e`.

mod aging;
mod apart;
mod board;
mod bucket;
mod chaos;
mod check;
mod clock;
mod deletes;
mod disks;
mod history;
mod image;
mod messages;
mod scenarios;
mod script;
mod seeds;
mod splitting;
mod without;
mod workload;
mod world;
