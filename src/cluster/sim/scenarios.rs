//! Courses of events that somebody thought of (the replication protocol's section 12), on the same
//! world. Each runs in a process of its own under a seed, so that it repeats to the letter.

use std::collections::BTreeSet;
use std::time::Duration;

use super::apart::{run_apart, seed_of_this_process};
use super::board::Crash;
use super::script::{HOUR, MINUTE, deaf, hold};
use super::workload::arc_of;
use super::world::World;
use crate::cluster::control::Command;
use crate::cluster::peer::{Hold, Method};
use crate::model::RingArc;
use crate::runtime::simulate;

/// Runs a scenario here, if this process is one for it, or else in such a process.
pub(super) fn play<F: Future<Output = ()>>(
    name: &str,
    scenario: impl FnOnce(u64) -> F + Send + 'static,
) {
    if let Some(seed) = seed_of_this_process() {
        simulate(seed, move || scenario(seed));
        return;
    }
    if let Err(reason) = run_apart(&format!("cluster::sim::{name}"), 1, None) {
        panic!("again: CAIRN_SIM_LOUD=1 CAIRN_SEED=1 cargo test --lib {name}\n{reason}");
    }
}

/// A sample that comes while its window's block is on its way stays where it is.
#[test]
fn a_write_between_cut_and_commit() {
    play(
        "scenarios::a_write_between_cut_and_commit",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            // All of it belongs to the window that begins now.
            let early = world.samples(0..24, Duration::ZERO);
            world.write_until_taken(0, &early).await;
            world
                .weather
                .hold(vec![hold(Method::Stage, None, Some(5 * MINUTE / 60))]);
            world.pass(250);
            for number in 0..12u32 {
                let late =
                    world.samples(2 * number..2 * number + 8, 249 * MINUTE - number * MINUTE);
                world.write_until_taken(1, &late).await;
                world.run(Duration::from_secs(1)).await;
                world.check();
            }
            world
                .until("blocks", 10 * MINUTE, |world| world.blocks() > 3)
                .await;
            world.finish().await;
        },
    );
}

/// The first sealer sleeps after it has staged its block, and another seals the same window.
#[test]
fn two_sealers_of_whom_one_sleeps() {
    play(
        "scenarios::two_sealers_of_whom_one_sleeps",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            let early = world.samples(0..12, Duration::ZERO);
            world.write_until_taken(0, &early).await;
            let sleeper = world.incarnation(0);
            let half = Duration::from_secs(30);
            let late = hold(Method::Stage, Some(sleeper), Some(half));
            world.weather.hold(vec![late]);
            world.pass(250);
            world.run(Duration::from_secs(10)).await;
            let late = world.samples(0..12, 249 * MINUTE);
            world.write_until_taken(1, &late).await;
            world.pass(15);
            world.run(MINUTE).await;
            world.check();
            world.finish().await;
        },
    );
}

/// Partitions move while they are sealed, and one node hears nothing of it: it goes on to write and
/// to read as if nothing had happened.
#[test]
fn a_move_while_sealing_with_a_stale_coordinator_and_reader() {
    play(
        "scenarios::a_move_while_sealing_with_a_stale_coordinator_and_reader",
        |seed| async move {
            let mut world = World::founded(seed, 4).await;
            let early = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &early).await;
            let stale = world.incarnation(1);
            let mut holds = deaf(stale);
            holds.push(hold(Method::Stage, None, Some(Duration::from_secs(3))));
            world.weather.hold(holds);
            world.drain(3, true).await;
            world.pass(250);
            for number in 0..40u32 {
                let some = world.samples(number % 20..number % 20 + 4, number * MINUTE);
                world.write(1, &some).await;
                world
                    .read(if number.is_multiple_of(2) { 1 } else { 0 })
                    .await;
                world.check();
                world.run(Duration::from_millis(700)).await;
            }
            world.finish().await;
        },
    );
}

/// A newcomer falls silent in the middle of its moves and comes back.
#[test]
fn moves_that_are_aborted_and_begun_again() {
    play(
        "scenarios::moves_that_are_aborted_and_begun_again",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &some).await;
            world.crash(2, Crash::PowerCut);
            // Until it is known to be down its successor would be one node more.
            world.run(Duration::from_secs(15)).await;
            world.boards[2].wipe();
            world.weather.hold(vec![hold(Method::Cut, None, None)]);
            world.start(2);
            world
                .until("moves begin", 5 * MINUTE, |world| world.moves() > 0)
                .await;
            world.isolate(2, true);
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &some).await;
            world
                .until("moves are aborted", 10 * MINUTE, |world| world.moves() == 0)
                .await;
            world.check();
            world.weather.hold(Vec::new());
            world.isolate(2, false);
            let some = world.samples(0..24, 2 * MINUTE);
            world.write_until_taken(1, &some).await;
            world.finish().await;
        },
    );
}

/// A cluster grows from one node to three and gives one back.
#[test]
fn one_node_two_three_and_two_again() {
    play(
        "scenarios::one_node_two_three_and_two_again",
        |seed| async move {
            let mut world = World::founded(seed, 1).await;
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &some).await;
            world.pass(200);
            for boards in 2..=3 {
                let at = world.add_board();
                world.start(at);
                for round in 0..10u32 {
                    let some = world.samples(0..24, round * MINUTE);
                    world.write_until_taken(0, &some).await;
                    world.check();
                    world.run(Duration::from_secs(1)).await;
                }
                world
                    .until("it has its share", 10 * MINUTE, World::is_settled)
                    .await;
                world.say(&format!("{boards} nodes"));
                world.pass(100);
            }
            world.drain(2, true).await;
            world
                .until("moves begin", 5 * MINUTE, |world| world.moves() > 0)
                .await;
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(2, &some).await;
            world.finish().await;
        },
    );
}

/// A late sample is in two heads while the third member knows only the block: whoever asks that
/// one and one of the two finds it.
#[test]
fn a_late_sample_at_two_of_three_heads() {
    play(
        "scenarios::a_late_sample_at_two_of_three_heads",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            let early = world.samples(0..12, MINUTE);
            world.write_until_taken(0, &early).await;
            world.pass(260);
            world
                .until("blocks", 10 * MINUTE, |world| world.blocks() > 3)
                .await;
            world
                .until("empty heads", 10 * MINUTE, World::heads_are_empty)
                .await;
            world.isolate(2, true);
            let late = world.samples(0..12, 4 * HOUR);
            world.write_until_taken(0, &late).await;
            world.isolate(0, true);
            world.isolate(2, false);
            world.cut(0, 2, true);
            world.cut(2, 0, true);
            let mut whole = 0;
            for _ in 0..20 {
                whole += usize::from(world.read(2).await) + usize::from(world.read(1).await);
                world.run(Duration::from_secs(1)).await;
            }
            assert!(whole > 10, "{whole} of 40 reads were answered");
            world.heal();
            world.finish().await;
        },
    );
}

/// Who was away gets hints of a window that is sealed meanwhile: no further block comes of it.
#[test]
fn hints_of_a_whole_sealed_window_make_no_block() {
    play(
        "scenarios::hints_of_a_whole_sealed_window_make_no_block",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            world.isolate(2, true);
            for round in 0..5u32 {
                let some = world.samples(0..12, round * MINUTE);
                world.write_until_taken(0, &some).await;
            }
            world.pass(260);
            world
                .until("blocks", 10 * MINUTE, |world| world.blocks() > 3)
                .await;
            world
                .until("the others are done", 10 * MINUTE, |world| {
                    let here = world.up(0).member.store().held().is_empty();
                    here && world.up(1).member.store().held().is_empty()
                })
                .await;
            let before = world.blocks();
            world.isolate(2, false);
            world.run(MINUTE).await;
            world.finish().await;
            assert!(world.blocks() <= before, "{} blocks", world.blocks());
        },
    );
}

/// Readers read all the time while blocks are committed, which some members hear late.
#[test]
fn readers_whose_quorum_spans_a_commit() {
    play(
        "scenarios::readers_whose_quorum_spans_a_commit",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &some).await;
            let far = world.incarnation(2);
            let late = Duration::from_secs(2);
            world.weather.hold(vec![
                Hold {
                    to: Some(far),
                    ..hold(Method::Stage, None, Some(late))
                },
                hold(Method::FetchBlock, Some(far), Some(late)),
            ]);
            world.pass(260);
            for round in 0..60u32 {
                world.read(usize::try_from(round % 3).unwrap()).await;
                world.run(Duration::from_millis(300)).await;
                world.check();
            }
            assert!(world.blocks() > 3);
            world.finish().await;
        },
    );
}

/// Who was away for ten seals and longer than the control log is kept gets the state as a whole.
#[test]
fn a_snapshot_is_installed_across_ten_seals() {
    play(
        "scenarios::a_snapshot_is_installed_across_ten_seals",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &some).await;
            world.crash(2, Crash::PowerCut);
            let away = world.incarnation(2);
            for round in 0..700u32 {
                let drain = crate::cluster::control::Drain {
                    incarnation: away,
                    drain: false,
                };
                world.propose(0, Command::Drain(drain)).await;
                if round.is_multiple_of(200) {
                    let some = world.samples(0..24, MINUTE);
                    world.write_until_taken(1, &some).await;
                    world.pass(130);
                }
            }
            world
                .until("ten blocks", 10 * MINUTE, |world| world.blocks() >= 10)
                .await;
            world.start(2);
            world.finish().await;
        },
    );
}

/// A disk that is put back from an old image is refused, and the rest goes on.
#[test]
fn an_old_disk_image_is_refused() {
    play(
        "scenarios::an_old_disk_image_is_refused",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &some).await;
            world.crash(2, Crash::Kill);
            let image = world.boards[2].image();
            world.start(2);
            world.until("it is back", MINUTE, World::all_are_up).await;
            let some = world.samples(0..24, 2 * MINUTE);
            world.write_until_taken(2, &some).await;
            world.pass(260);
            world.run(MINUTE).await;
            world.crash(2, Crash::Kill);
            world.boards[2].restore(&image);
            world.start(2);
            world
                .until("it is refused", 2 * MINUTE, |world| {
                    !world.refusals.is_empty()
                })
                .await;
            world.check();
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &some).await;
            // As `docs/operate.md` says: an empty directory.
            world.boards[2].wipe();
            world.start(2);
            world.finish().await;
        },
    );
}

/// One clock shows 1970, then a year from now: that node takes no writes, nothing is lost, and
/// nothing else minds.
#[test]
fn a_clock_at_1970_and_a_year_ahead() {
    play(
        "scenarios::a_clock_at_1970_and_a_year_ahead",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &some).await;
            for wrong in [-world.day_ms(), 365 * 86_400_000] {
                let clock = &world.boards[1].day.wrong_ms;
                clock.store(wrong, std::sync::atomic::Ordering::SeqCst);
                world.run(Duration::from_secs(20)).await;
                let some = world.samples(0..24, MINUTE);
                assert!(
                    !world.write(1, &some).await,
                    "its clock is {wrong} ms wrong"
                );
                for _ in 0..10 {
                    let some = world.samples(0..24, MINUTE);
                    world.write_until_taken(0, &some).await;
                    assert!(world.read(1).await && world.read(2).await);
                    world.pass(30);
                    world.run(Duration::from_secs(10)).await;
                    world.check();
                }
            }
            world.finish().await;
        },
    );
}

/// Without a control majority for a quarter of a day writes and reads go on, and nothing is sealed.
#[test]
fn the_control_majority_is_away_for_long() {
    play(
        "scenarios::the_control_majority_is_away_for_long",
        |seed| async move {
            let mut world = World::founded(seed, 3).await;
            let lost = [Method::Raft, Method::Propose].map(|method| hold(method, None, None));
            world.weather.hold(lost.to_vec());
            world.run(Duration::from_secs(20)).await;
            for round in 0..36usize {
                let some = world.samples(0..24, MINUTE);
                world.write_until_taken(round % 3, &some).await;
                assert!(world.read((round + 1) % 3).await);
                world.pass(10);
                world.run(Duration::from_secs(3)).await;
                world.check();
            }
            assert_eq!(world.blocks(), 0);
            world.finish().await;
        },
    );
}

/// A member that has given its head to a newcomer loses its power and comes back with the control
/// state from before; the one that was moved away has not heard of it either. Together they would
/// be a majority of a set that is over.
#[test]
fn a_member_that_forgot_an_epoch_takes_no_writes_under_it() {
    play(
        "scenarios::a_member_that_forgot_an_epoch_takes_no_writes_under_it",
        |seed| async move {
            let mut world = World::founded(seed, 4).await;
            let some = world.samples(0..24, MINUTE);
            world.write_until_taken(0, &some).await;
            let stale = world.incarnation(3);
            let before = world.newest_state().unwrap();
            let of_stale: BTreeSet<RingArc> = before
                .partitions
                .iter()
                .filter(|(_, p)| p.members.iter().any(|m| m.incarnation == stale))
                .map(|(arc, _)| *arc)
                .collect();
            world.weather.hold(deaf(stale));
            world.drain(3, true).await;
            let is_gone = |world: &World| {
                let state = world.newest_state().unwrap();
                state.partitions.values().all(|p| {
                    let mut members = p.members.iter();
                    p.moving.is_none() && !members.any(|m| m.incarnation == stale)
                })
            };
            world.until("it is moved away", 20 * MINUTE, is_gone).await;
            for forgetful in 0..3 {
                let who = world.incarnation(forgetful);
                world.crash(forgetful, Crash::PowerCut);
                let mut holds = deaf(stale);
                holds.extend(deaf(who));
                world.weather.hold(holds);
                world.start(forgetful);
                world.run(Duration::from_secs(5)).await;
                for series in 0..24u32 {
                    if of_stale.contains(&arc_of(series)) {
                        let one = world.samples(series..series + 1, MINUTE);
                        world.write(3, &one).await;
                    }
                }
                world.check();
                for reader in (0..3).filter(|reader| *reader != forgetful) {
                    world.read(reader).await;
                }
                world.weather.hold(deaf(stale));
                world.until("it is up", 5 * MINUTE, World::all_are_up).await;
                world.run(Duration::from_secs(20)).await;
            }
            world.finish().await;
        },
    );
}
