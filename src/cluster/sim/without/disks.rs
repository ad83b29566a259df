//! Who a node is: its data directory, in its latest session, with all that it has acknowledged.

use super::{LOST, is_noticed};
use crate::runtime::Rule;

#[test]
fn sessions_are_the_latest() {
    is_noticed(
        "disks::two_copies_of_one_image",
        1,
        Rule::SessionsAreTheLatest,
        LOST,
    );
}

#[test]
fn old_images_are_set_aside() {
    is_noticed(
        "disks::an_old_image_that_was_started_alone",
        1,
        Rule::OldImagesAreSetAside,
        LOST,
    );
}

#[test]
fn lost_memory_is_another_life() {
    is_noticed(
        "disks::a_power_cut_before_the_disk_was_asked",
        1,
        Rule::LostMemoryIsAnotherLife,
        LOST,
    );
}

#[test]
fn logs_are_not_set_back() {
    is_noticed(
        "disks::a_log_that_was_set_back",
        1,
        Rule::LogsAreNotSetBack,
        LOST,
    );
}
