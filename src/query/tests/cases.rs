//! Prometheus' published cases.
