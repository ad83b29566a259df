//! How many replicas of the ring each node should hold: proportional to its capacity, within what
//! one node and one zone can hold at all.
//!
//! A node holds an arc at most once, so nobody holds more than one replica of each; a zone holds
//! of every arc the same number as all others, or one more, as far as it has nodes. Within these
//! bounds every share is the same multiple of the node's weight. All of it is integer arithmetic
//! in units of 2^-32 of a replica: shares add up exactly, so a placement in which every node holds
//! its share rounded down or up always exists (`placement.rs` says why).
//!
//! Weights are rounded, by less than 2^-48 of the largest: a share that is nearly whole is meant
//! to be whole.

/// Bits of a share after its point.
const POINT: u32 = 32;

/// As near to a whole number the rounding of weights can leave a share that is one.
const NEARLY: u128 = 1 << 12;

/// The greatest weight: that of the largest node.
pub(super) const WEIGHT_MAX: u64 = 1 << 48;

/// No multiple of weights needs to be tried beyond this: even a weight of 1 then reaches 2^17
/// replicas, one in each of more arcs than a ring has.
const LEVEL_MAX: u128 = 1 << 97;

/// One node, as far as shares are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weighted {
    /// Which zone, counted from 0.
    pub(super) zone: usize,
    /// Its capacity beside that of the largest node, 1 to [`WEIGHT_MAX`].
    pub(super) weight: u64,
    /// Replicas that it can hold.
    pub(super) most: u32,
}

/// A node's share in whole replicas: the two numbers around it, equal when it is whole itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Share {
    /// Its share rounded down.
    pub floor: u32,
    /// Its share rounded up.
    pub ceil: u32,
}

impl Share {
    fn around(fixed: u128) -> Self {
        let whole = |fixed: u128| u32::try_from(fixed >> POINT).unwrap_or(u32::MAX);
        Self {
            floor: whole(fixed + NEARLY),
            ceil: whole((fixed + (1 << POINT) - 1).saturating_sub(NEARLY)),
        }
    }
}

/// The shares of all nodes of a ring of so many arcs with so many replicas each.
pub(super) fn fair(nodes: &[Weighted], arcs: u32, replicas: usize) -> Vec<Share> {
    let fixed = |whole: u128| whole << POINT;
    let zones = zones(nodes, arcs, replicas);
    let total = fixed(u128::from(arcs) * replicas as u128);
    let sizes = level(total, |level| {
        let size = |zone: &Zone| zone.sum(level).clamp(zone.least, zone.most);
        zones.iter().map(size).collect()
    });
    let mut shares = vec![Share::default(); nodes.len()];
    for (zone, size) in zones.iter().zip(sizes) {
        let inside = level(size, |level| {
            let nodes = zone.nodes.iter();
            nodes.map(|(_, node)| holds(node, level)).collect()
        });
        for ((index, _), fixed) in zone.nodes.iter().zip(inside) {
            if let Some(share) = shares.get_mut(*index) {
                *share = Share::around(fixed);
            }
        }
    }
    shares
}

/// What a node holds at a level, in units: the level times its weight, up to what it can hold.
fn holds(node: &Weighted, level: u128) -> u128 {
    // Where the product is too large, it is far more than anybody can hold.
    let product = level.saturating_mul(u128::from(node.weight));
    let wanted = product >> WEIGHT_MAX.trailing_zeros();
    wanted.min(u128::from(node.most) << POINT)
}

/// The nodes that fail together, and what they hold together at least and at most.
struct Zone {
    nodes: Vec<(usize, Weighted)>,
    least: u128,
    most: u128,
}

impl Zone {
    fn sum(&self, level: u128) -> u128 {
        let held = self.nodes.iter().map(|(_, node)| holds(node, level));
        held.sum()
    }
}

/// Every zone holds of an arc as many replicas as the others, or one more, as far as it has nodes.
fn zones(nodes: &[Weighted], arcs: u32, replicas: usize) -> Vec<Zone> {
    let count = nodes.iter().map(|node| node.zone + 1).max().unwrap_or(0);
    let mut inside: Vec<Vec<(usize, Weighted)>> = vec![Vec::new(); count];
    for (index, node) in nodes.iter().enumerate() {
        if let Some(zone) = inside.get_mut(node.zone) {
            zone.push((index, *node));
        }
    }
    let sizes: Vec<usize> = inside.iter().map(Vec::len).collect();
    let spread = even(&sizes, replicas);
    let units = |per_arc: usize| (u128::from(arcs) * per_arc as u128) << POINT;
    inside
        .into_iter()
        .map(|nodes| {
            let can = nodes.iter().map(|(_, node)| u128::from(node.most) << POINT);
            let can: u128 = can.sum();
            Zone {
                least: units(nodes.len().min(spread.saturating_sub(1))).min(can),
                most: units(nodes.len().min(spread)).min(can),
                nodes,
            }
        })
        .collect()
}

/// The least number per zone with which zones of these sizes hold so many replicas.
fn even(sizes: &[usize], replicas: usize) -> usize {
    let held = |spread: usize| sizes.iter().map(|size| *size.min(&spread)).sum::<usize>();
    let mut spread = 0;
    while spread < replicas && held(spread) < replicas {
        spread += 1;
    }
    spread
}

/// The values at the highest level at which they do not exceed a total, and then, one after the
/// other, up to one level more until they reach it. The values must rise with the level; what they
/// never reach is left out.
fn level(total: u128, values: impl Fn(u128) -> Vec<u128>) -> Vec<u128> {
    let (mut below, mut above) = (0, LEVEL_MAX);
    while above - below > 1 {
        let middle = u128::midpoint(below, above);
        if values(middle).iter().sum::<u128>() <= total {
            below = middle;
        } else {
            above = middle;
        }
    }
    let mut at = values(below);
    let mut rest = total.saturating_sub(at.iter().sum());
    for (value, next) in at.iter_mut().zip(values(above)) {
        let more = next.saturating_sub(*value).min(rest);
        *value += more;
        rest -= more;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nodes: &[(usize, u64)], arcs: u32, replicas: usize, expected: &[(u32, u32)]) {
        let largest = nodes.iter().map(|(_, capacity)| *capacity).max().unwrap();
        let nodes: Vec<Weighted> = nodes
            .iter()
            .map(|(zone, capacity)| Weighted {
                zone: *zone,
                weight: capacity * WEIGHT_MAX / largest,
                most: arcs,
            })
            .collect();
        let shares = fair(&nodes, arcs, replicas);
        let shares: Vec<_> = shares.iter().map(|s| (s.floor, s.ceil)).collect();
        assert_eq!(shares, expected);
    }

    #[test]
    fn shares_follow_capacity_within_what_nodes_and_zones_can_hold() {
        // Each its own zone.
        check(&[(0, 1)], 16, 1, &[(16, 16)]);
        check(&[(0, 1), (1, 1), (2, 1)], 16, 3, &[(16, 16); 3]);
        check(&[(0, 1), (1, 1), (2, 1), (3, 1)], 16, 3, &[(12, 12); 4]);
        check(&[(0, 2), (1, 1), (2, 1)], 16, 1, &[(8, 8), (4, 4), (4, 4)]);
        let fifths: Vec<_> = (0..5).map(|zone| (zone, 1)).collect();
        check(&fifths, 16, 3, &[(9, 10); 5]);
        // Nobody holds an arc twice, however large it is.
        let one_large = [(0, 100), (1, 1), (2, 1), (3, 1)];
        check(&one_large, 16, 2, &[(16, 16), (5, 6), (5, 6), (5, 6)]);
        // Three zones and three replicas: each zone holds everything once.
        let uneven = [(0, 1), (1, 1), (1, 1), (2, 3), (2, 1)];
        check(
            &uneven,
            16,
            3,
            &[(16, 16), (8, 8), (8, 8), (12, 12), (4, 4)],
        );
        // Two zones: one holds one or two of each.
        check(
            &[(0, 1), (1, 1), (1, 1), (1, 1)],
            16,
            3,
            &[(16, 16), (10, 11), (10, 11), (10, 11)],
        );
        // A zone that is short of nodes holds what it can, the others the rest.
        check(
            &[(0, 1), (1, 1), (1, 1), (1, 1), (1, 1)],
            16,
            4,
            &[(16, 16), (12, 12), (12, 12), (12, 12), (12, 12)],
        );
    }
}
