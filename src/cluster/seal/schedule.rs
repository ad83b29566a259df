//! When what is sealed: a pure decision from what the head holds, the catalog and the time.
//!
//! * A window that has never been sealed is due a grace after its end, plus a delay that differs
//!   from arc to arc and spreads the seals evenly over the two hours until the next window ends,
//!   so that disk and processor see no two-hourly spike.
//! * What comes later is due when it is an hour old or larger than a mebibyte.
//! * What is older than a day goes into one block per UTC day, whatever windows it lies in: a
//!   year of backfill is 365 blocks of an arc, not 4,380.
//! * When the head is over its share of memory, what is closed is due at once, largest first, and
//!   open windows after it.
//! * What has expired is dropped.

use std::collections::BTreeMap;

use crate::cluster::control::{ControlState, DAY_MS, utc_day};
use crate::cluster::first_seal::first_seal_at;
use crate::cluster::settings::SealSettings;
use crate::cluster::turns::place;
use crate::model::{Incarnation, RingArc, TimeRange, TimestampMs, Window};

/// Late content is sealed at this age at the latest.
const LATE_AGE_MS: i64 = 60 * 60 * 1000;
/// Late content is sealed at this size, however young: about what makes a block of its own
/// worth its catalog entry.
const LATE_BYTES: u64 = 1 << 20;

/// What the head holds of one (arc, window).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) arc: RingArc,
    pub(super) window: Window,
    pub(super) bytes: u64,
    /// When the oldest of it was appended, by this node's clock.
    pub(super) since: TimestampMs,
}

/// Why something is due; in the order in which it is done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Why {
    /// Nobody may have it any more.
    Expired,
    /// Memory is short.
    Memory,
    /// Its window has ended.
    Closed,
    /// It came after its window was sealed, or long after its time.
    Late,
}

/// One piece of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Due {
    pub(super) why: Why,
    pub(super) arc: RingArc,
    pub(super) range: TimeRange,
    /// Bytes of it in the head.
    pub(super) bytes: u64,
    /// When the oldest of it was appended here.
    pub(super) since: TimestampMs,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// What is due by time and size.
    Usual,
    /// Besides that, closed and then open windows until so many bytes are free.
    Relieve(u64),
    /// All that there is (shutdown tools, tests).
    Everything,
}

/// All that is due, in the order in which it should be done.
pub(super) fn due(
    held: &[Held],
    state: &ControlState,
    settings: &SealSettings,
    now: TimestampMs,
    mode: Mode,
) -> Vec<Due> {
    let mut work: Vec<(Due, bool)> = gather(held, state, now)
        .into_iter()
        .map(|(key, group)| classify(key, &group, state, settings, now))
        .collect();
    if mode == Mode::Everything {
        work.iter_mut().for_each(|(_, due)| *due = true);
    }
    if let Mode::Relieve(wanted) = mode {
        relieve(&mut work, wanted, now);
    }
    let mut due: Vec<Due> = work.into_iter().filter(|w| w.1).map(|w| w.0).collect();
    due.sort_by_key(|due| {
        let largest_first = match due.why {
            Why::Memory => u64::MAX - due.bytes,
            Why::Expired | Why::Closed | Why::Late => 0,
        };
        let open = due.range.end >= now;
        (due.why, open, largest_first, due.range.end, due.arc)
    });
    due
}

/// A member that is not the first to seal a partition waits so long for each one before it.
const TURN_MS: i64 = 5 * 60 * 1000;

/// Whether a member is to seal something now: the first live one of the partition's members when
/// it is due, and each further one a while later, in case those before it do not. What frees
/// memory or has expired is everybody's own.
pub(super) fn is_my_turn(
    due: &Due,
    state: &ControlState,
    me: Incarnation,
    now: TimestampMs,
    settings: &SealSettings,
) -> bool {
    if matches!(due.why, Why::Expired | Why::Memory) {
        return true;
    }
    let Some(partition) = state.partition(due.arc) else {
        return false;
    };
    let Some(before) = place(state, (due.arc, partition), me) else {
        return false;
    };
    let since = match due.why {
        Why::Late => due.since.plus_ms(LATE_AGE_MS),
        _ => first_seal_at(due.arc, due.range.end, settings.grace),
    };
    before == 0 || now >= since.plus_ms(i64::from(before).saturating_mul(TURN_MS))
}

#[derive(Clone, Copy)]
struct Group {
    bytes: u64,
    since: TimestampMs,
}

/// What is held, by the range that it would be sealed as.
fn gather(
    held: &[Held],
    state: &ControlState,
    now: TimestampMs,
) -> BTreeMap<(RingArc, TimestampMs, TimestampMs), Group> {
    let mut groups: BTreeMap<_, Group> = BTreeMap::new();
    for held in held {
        if state.partition(held.arc).is_none() {
            continue;
        }
        let old = held.window.end() < now.plus_ms(-DAY_MS);
        let range = if old {
            utc_day(held.window.start())
        } else {
            held.window.range()
        };
        let group = groups
            .entry((held.arc, range.start, range.end))
            .or_insert(Group {
                bytes: 0,
                since: TimestampMs::MAX,
            });
        group.bytes = group.bytes.saturating_add(held.bytes);
        group.since = group.since.min(held.since);
    }
    groups
}

fn classify(
    (arc, start, end): (RingArc, TimestampMs, TimestampMs),
    group: &Group,
    state: &ControlState,
    settings: &SealSettings,
    now: TimestampMs,
) -> (Due, bool) {
    let range = TimeRange::new(start, end);
    let partition = state.partition(arc);
    let expired = partition.is_some_and(|p| end < p.expired_before);
    let first = partition.is_none_or(|p| p.next_round(range) == 1);
    let make = |why| Due {
        why,
        arc,
        range,
        bytes: group.bytes,
        since: group.since,
    };
    if expired {
        return (make(Why::Expired), true);
    }
    if first && Window::is(range) {
        return (
            make(Why::Closed),
            now > first_seal_at(arc, end, settings.grace),
        );
    }
    let old = group.since.plus_ms(LATE_AGE_MS) <= now || group.since > now;
    let closed = now > end;
    (make(Why::Late), closed && (old || group.bytes > LATE_BYTES))
}

/// Makes due what frees memory fastest: closed ranges, largest first, then open ones.
fn relieve(work: &mut [(Due, bool)], wanted: u64, now: TimestampMs) {
    let planned: u64 = work.iter().filter(|w| w.1).map(|w| w.0.bytes).sum();
    let mut missing = wanted.saturating_sub(planned);
    let mut rest: Vec<&mut (Due, bool)> = work.iter_mut().filter(|w| !w.1).collect();
    rest.sort_by_key(|(due, _)| {
        (
            due.range.end >= now,
            u64::MAX - due.bytes,
            due.range.end,
            due.arc,
        )
    });
    for (due, is_due) in rest {
        if missing == 0 {
            return;
        }
        missing = missing.saturating_sub(due.bytes);
        due.why = Why::Memory;
        *is_due = true;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::control::{Liveness, MemberId, Partition, RangeKey};
    use crate::model::{Epoch, FOUNDING_DEPTH};

    const HOUR: i64 = 60 * 60 * 1000;

    fn arc(number: usize) -> RingArc {
        RingArc::all(FOUNDING_DEPTH).nth(number).unwrap()
    }

    /// Windows 0 to 9 of arc 0 have been sealed once.
    fn state() -> ControlState {
        let mut state = ControlState::default();
        for arc in RingArc::all(FOUNDING_DEPTH) {
            let mut partition = Partition::new(Epoch(1), Vec::new());
            if arc.prefix() == 0 {
                partition.rounds = (0..10)
                    .map(|window| (RangeKey::from(Window(window).range()), 1))
                    .collect();
            }
            state.partitions.insert(arc, Arc::new(partition));
        }
        state
    }

    fn held(number: usize, window: i64, bytes: u64, since: i64) -> Held {
        Held {
            arc: arc(number),
            window: Window(window),
            bytes,
            since: TimestampMs(since),
        }
    }

    fn check(held: &[Held], now: i64, mode: Mode, want: &[(Why, usize, i64)]) {
        let settings = SealSettings::default();
        let due = due(held, &state(), &settings, TimestampMs(now), mode);
        let got: Vec<_> = due
            .iter()
            .map(|due| (due.why, due.arc, due.range.start))
            .collect();
        let want: Vec<_> = want
            .iter()
            .map(|(why, number, start)| (*why, arc(*number), TimestampMs(*start)))
            .collect();
        assert_eq!(got, want);
    }

    #[test]
    fn a_window_is_sealed_after_its_end_and_every_arc_at_its_own_time() {
        let grace = i64::try_from(SealSettings::default().grace.as_millis()).unwrap();
        let end = Window(10).end().0;
        let all: Vec<Held> = (0..16).map(|n| held(n, 10, 1, end)).collect();
        check(&all, end + grace, Mode::Usual, &[]);
        let first = [(Why::Closed, 0, Window(10).start().0)];
        check(&all, end + grace + 1, Mode::Usual, &first);
        // One more arc every seven and a half minutes, the last before the next window ends.
        for minutes in [15, 60, 119] {
            let now = end + grace + 1 + minutes * 60_000;
            let due = due(
                &all,
                &state(),
                &SealSettings::default(),
                TimestampMs(now),
                Mode::Usual,
            );
            let want = usize::try_from(minutes * 60 / 450).unwrap() + 1;
            assert_eq!(due.len(), want, "after {minutes} minutes");
        }
    }

    #[test]
    fn the_first_live_member_seals_and_others_wait_their_turn() {
        let mut state = state();
        let member = |number| MemberId {
            incarnation: Incarnation(number),
            life: 0,
        };
        let partition = Arc::make_mut(state.partitions.get_mut(&arc(1)).unwrap());
        partition.members = vec![member(1), member(2), member(3)];
        let settings = SealSettings::default();
        let due_at = first_seal_at(arc(1), Window(10).end(), settings.grace);
        let all = [held(1, 10, 1, 0)];
        let turns = |state: &ControlState, minutes: i64| {
            let now = due_at.plus_ms(minutes * 60_000 + 1);
            let due = due(&all, state, &settings, now, Mode::Usual);
            [1, 2, 3, 4].map(|me| is_my_turn(&due[0], state, Incarnation(me), now, &settings))
        };
        assert_eq!(turns(&state, 0), [true, false, false, false]);
        assert_eq!(turns(&state, 5), [true, true, false, false]);
        assert_eq!(turns(&state, 10), [true, true, true, false]);
        state
            .members
            .insert(Incarnation(1), a_member(Liveness::Down));
        // Who is asked is there, whatever the others believe.
        assert_eq!(turns(&state, 0), [true, true, false, false]);
    }

    fn a_member(liveness: Liveness) -> crate::cluster::control::Member {
        crate::cluster::control::Member {
            name: String::new(),
            life: 0,
            session: crate::cluster::control::Session {
                starts: 1,
                nonce: 1,
            },
            addresses: Vec::new(),
            zone: String::new(),
            capacity_bytes: 0,
            version: String::new(),
            feature_level_max: 1,
            liveness,
            draining: false,
        }
    }

    #[test]
    fn late_content_waits_an_hour_or_a_mebibyte() {
        let now = Window(10).end().0;
        let window = Window(8);
        let want = [(Why::Late, 0, window.start().0)];
        check(&[held(0, 8, 9, now - HOUR + 1)], now, Mode::Usual, &[]);
        check(&[held(0, 8, 9, now - HOUR)], now, Mode::Usual, &want);
        check(&[held(0, 8, LATE_BYTES + 1, now)], now, Mode::Usual, &want);
        // An append time in the future: the clock was wrong, and nothing is gained by waiting.
        check(&[held(0, 8, 9, now + 1)], now, Mode::Usual, &want);
    }

    #[test]
    fn what_is_older_than_a_day_goes_by_day() {
        let now = 40 * DAY_MS + HOUR;
        let day = |n: i64| n * DAY_MS;
        let backfill: Vec<Held> = (0..24)
            .map(|window| held(3, window, 1, now - HOUR))
            .collect();
        let want = [(Why::Late, 3, day(0)), (Why::Late, 3, day(1))];
        check(&backfill, now, Mode::Usual, &want);
        let young: Vec<Held> = (0..24).map(|window| held(3, window, 1, now)).collect();
        check(&young, now, Mode::Usual, &[]);
    }

    #[test]
    fn memory_is_relieved_by_the_largest_closed_ranges_first() {
        let now = Window(10).start().0 + 1;
        let all = [
            held(1, 10, 1000, now),
            held(2, 9, 100, now),
            held(3, 9, 200, now),
            held(4, 9, 50, now),
        ];
        let (closed, open) = (Window(9).start().0, Window(10).start().0);
        check(&all, now, Mode::Usual, &[]);
        let want = [(Why::Memory, 3, closed), (Why::Memory, 2, closed)];
        check(&all, now, Mode::Relieve(250), &want);
        let want = [
            (Why::Memory, 3, closed),
            (Why::Memory, 2, closed),
            (Why::Memory, 4, closed),
            (Why::Memory, 1, open),
        ];
        check(&all, now, Mode::Relieve(360), &want);
    }

    #[test]
    fn what_has_expired_is_dropped_first_and_everything_is_everything() {
        let mut state = state();
        let partition = Arc::make_mut(state.partitions.get_mut(&arc(5)).unwrap());
        partition.expired_before = Window(5).start();
        let now = Window(7).start();
        let all = [
            held(5, 6, 1, now.0),
            held(5, 4, 1, now.0),
            held(5, 7, 1, now.0),
        ];
        let settings = SealSettings::default();
        let due = due(&all, &state, &settings, now, Mode::Everything);
        let got: Vec<_> = due.iter().map(|due| (due.why, due.range)).collect();
        let want = [
            (Why::Expired, Window(4).range()),
            (Why::Closed, Window(6).range()),
            (Why::Closed, Window(7).range()),
        ];
        assert_eq!(got, want);
    }
}
