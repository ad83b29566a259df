//! Each test is a line of the protocols' checklists; messages are encoded by prost.

pub(in crate::ingest) mod test_messages;
mod test_rig;

mod test_both;
mod test_hostile;
mod test_self_scrape;
mod test_v1;
mod test_v2;
mod test_v2_neighbours;
