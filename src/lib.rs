//! Cairn: a distributed, clustered, Prometheus-compatible metrics store.
//!
//! The system on one page. A folder is a layer; a layer uses only those above it in this list:
//!
//! * [`model`]: the words of the design as types: label sets, samples, histograms, arcs, windows.
//! * [`runtime`]: the outside world, handed in: clock, chance, threads, cancellation, budgets.
//! * [`codec`]: bytes to values and back. No I/O; every length is checked before it is believed.
//! * [`source`]: the one trait through which a query sees samples.
//! * [`store`]: one node's data: log, head, sealed blocks, and views of them together.
//! * [`archive`]: the bucket: blocks and the catalog's copy in S3-compatible storage or a directory.
//! * [`cluster`]: what many nodes agree on: control commands, seals, writes. Today one node is all.
//! * [`ingest`]: samples arrive: remote-write decoding, validation, partial writes, self-scrape.
//! * [`query`]: PromQL: syntax, plan, operators, functions. Sees data only through [`source`].
//! * [`transfer`]: history in foreign formats, read and written by the commands import and export.
//! * [`http`]: the API, the page, errors turned into status codes.
//! * [`config`]: file, environment and flags become the layers' settings.
//! * [`node`]: builds the layers, hands lower ones to higher ones, starts and stops them in order.
//! * [`cli`]: one file per command of the program.
//!
//! `docs/architecture.md` has the picture and what each part does not know; `docs/format.md` has
//! every byte on disk. `tests/tidy` holds the directions of the list above.

pub mod archive;
pub mod cli;
pub mod cluster;
pub mod codec;
pub mod config;
pub mod http;
pub mod ingest;
pub mod model;
pub mod node;
pub mod query;
pub mod runtime;
pub mod source;
pub mod store;
pub mod transfer;
