//! What a ring must look like, computed the slow and obvious way.

use std::collections::{BTreeMap, BTreeSet};

use super::rig::World;
use crate::cluster::ring::Plan;
use crate::model::Incarnation;

impl World {
    /// Sets full and distinct, zones spread as well as can be, everybody within one of fair share.
    pub(super) fn check(&self) {
        let plan = self.plan();
        assert_eq!((plan.moves.len(), plan.copies), (0, 0));
        for holding in plan.holdings.values() {
            assert_eq!(holding.holds, holding.will_hold);
            assert!((holding.share.floor..=holding.share.ceil).contains(&holding.holds));
        }
        self.check_ring();
    }

    pub(super) fn check_ring(&self) {
        let nodes = self.nodes();
        let replicas = self.replicas();
        let mut held: BTreeMap<Incarnation, u32> = nodes.iter().map(|who| (*who, 0)).collect();
        let best = self.best_spread(replicas);
        for (arc, partition) in &self.state.partitions {
            let members: BTreeSet<Incarnation> =
                partition.members.iter().map(|m| m.incarnation).collect();
            assert_eq!(
                (members.len(), partition.members.len()),
                (replicas, replicas),
                "{arc}"
            );
            let zones = self.count_zones(members.iter());
            assert_eq!(squares(&zones), best, "{arc}: {zones:?}");
            for member in members {
                *held.get_mut(&member).expect("only who takes part") += 1;
            }
        }
        let ideal = self.ideal();
        for (who, held) in held {
            let ideal = ideal[&who];
            assert!(
                (f64::from(held) - ideal).abs() < 1.001,
                "{held} instead of {ideal}"
            );
        }
    }

    pub(super) fn zone(&self, node: Incarnation) -> String {
        let member = &self.state.members[&node];
        if member.zone.is_empty() {
            return member.name.clone();
        }
        member.zone.clone()
    }

    pub(super) fn count_zones<'a>(
        &self,
        nodes: impl Iterator<Item = &'a Incarnation>,
    ) -> Vec<usize> {
        let mut zones: BTreeMap<String, usize> = BTreeMap::new();
        for node in nodes {
            *zones.entry(self.zone(*node)).or_default() += 1;
        }
        zones.into_values().collect()
    }

    /// One replica after the other into the emptiest zone that has a node left.
    pub(super) fn best_spread(&self, replicas: usize) -> usize {
        let nodes = self.nodes();
        let sizes = self.count_zones(nodes.iter());
        let mut held = vec![0; sizes.len()];
        for _ in 0..replicas {
            let open = (0..sizes.len()).filter(|zone| held[*zone] < sizes[*zone]);
            let emptiest = open.min_by_key(|zone| held[*zone]).unwrap();
            held[emptiest] += 1;
        }
        squares(&held)
    }

    /// Replicas of an arc that a zone holds at most, as few as that can be.
    pub(super) fn spread(&self) -> usize {
        let sizes = self.count_zones(self.nodes().iter());
        let held = |spread: usize| sizes.iter().map(|size| *size.min(&spread)).sum::<usize>();
        (1..)
            .find(|spread| held(*spread) >= self.replicas())
            .unwrap()
    }

    /// Fair shares by floating point: the level at which the ring is full, in zones and over all.
    pub(super) fn ideal(&self) -> BTreeMap<Incarnation, f64> {
        let nodes = self.nodes();
        let arcs = self.state.partitions.len() as f64;
        let replicas = self.replicas();
        let said: Vec<f64> = nodes
            .iter()
            .map(|who| self.state.members[who].capacity_bytes as f64)
            .filter(|bytes| *bytes > 0.0)
            .collect();
        let mean = if said.is_empty() {
            1.0
        } else {
            said.iter().sum::<f64>() / said.len() as f64
        };
        let mut zones: BTreeMap<String, Vec<(Incarnation, f64)>> = BTreeMap::new();
        for who in nodes {
            let bytes = self.state.members[&who].capacity_bytes as f64;
            let weight = if bytes > 0.0 { bytes } else { mean };
            zones.entry(self.zone(who)).or_default().push((who, weight));
        }
        let spread = self.spread();
        let fill = |zone: &[(Incarnation, f64)], level: f64| -> f64 {
            zone.iter()
                .map(|(_, weight)| (weight * level).min(arcs))
                .sum()
        };
        let bounded = |zone: &[(Incarnation, f64)], level: f64| {
            let bound = |spread: usize| arcs * zone.len().min(spread) as f64;
            fill(zone, level).clamp(bound(spread - 1), bound(spread))
        };
        let total = arcs * replicas as f64;
        let level = rise_to(total, |level| {
            zones.values().map(|zone| bounded(zone, level)).sum()
        });
        let mut ideal = BTreeMap::new();
        for zone in zones.values() {
            let level = rise_to(bounded(zone, level), |level| fill(zone, level));
            ideal.extend(
                zone.iter()
                    .map(|(who, weight)| (*who, (weight * level).min(arcs))),
            );
        }
        ideal
    }

    /// Copies that no placement with full sets and fair shares can do without.
    pub(super) fn copies_at_least(&self, plan: &Plan) -> usize {
        let holdings = plan.holdings.values();
        let lacking = holdings.map(|holding| holding.share.floor.saturating_sub(holding.holds));
        let spread = self.spread();
        let short = self.state.partitions.values().map(|partition| {
            let there = partition.members.iter();
            let there = there.filter(|member| plan.holdings.contains_key(member));
            let zones = self.count_zones(there.map(|member| &member.incarnation));
            let can_stay: usize = zones.iter().map(|count| *count.min(&spread)).sum();
            self.replicas().saturating_sub(can_stay)
        });
        (lacking.sum::<u32>() as usize).max(short.sum())
    }
}

pub(super) fn squares(counts: &[usize]) -> usize {
    counts.iter().map(|count| count * count).sum()
}

pub(super) fn rise_to(total: f64, value: impl Fn(f64) -> f64) -> f64 {
    let (mut below, mut above) = (0.0, 1e9);
    for _ in 0..200 {
        let middle = (below + above) / 2.0;
        if value(middle) <= total * (1.0 + 1e-12) {
            below = middle;
        } else {
            above = middle;
        }
    }
    below
}
