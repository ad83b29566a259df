//! HTTP: the API as Prometheus' and Grafana's users know it, and errors turned into status codes.
//!
//! [`Server`] accepts connections, [`router`] has every path on one page, `api` has an endpoint
//! per function. Knows nothing of blocks, logs or rings: it is handed a [`State`], and what only
//! the node can tell comes through [`StatusProvider`].

mod answer;
mod api;
mod durations;
mod encoding;
mod error;
mod front;
mod health;
mod json;
mod metrics;
mod params;
mod read_only;
mod reply;
mod routes;
mod server;
mod settings;
mod state;
mod tenant;
mod ui;

pub use api::remote_read::{ReadQuery, ReadRequest};
pub use durations::Durations;
pub use error::Error;
pub use front::Front;
pub use metrics::HttpMetrics;
pub use read_only::read_only_router;
pub use routes::{ListedRoute, listed_routes, router};
pub use server::{Server, check_listen};
pub use settings::HttpSettings;
pub use state::{HeadStatus, ReplayStatus, RuntimeStatus, State, StatusProvider, TargetStatus};

#[cfg(test)]
mod tests;
