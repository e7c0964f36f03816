//! The policies: which of several origins that could take a stream does. Pure functions of what is given.

use super::hash::hash;
use std::collections::HashMap;

/// An origin that could take the stream, and what it carries.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    pub index: u16,
    pub id: &'a str,
    pub weight: u32,
    /// Its weight as it counts now, times 100: that of a newcomer grows. Rendezvous hashing takes the whole one, for it
    /// has to come to the same everywhere and at any time.
    pub share: u32,
    /// What it carries, in bits per second; see [`super::Load::cost`].
    pub cost: u64,
}

/// Scores this close are a tie: measured rates are never equal, and without ties every balancer and every second would
/// choose differently for no gain.
const TIE_PERCENT: u128 = 5;

/// The least loaded for its weight, as if the stream were on it already. Among those as good as the best, `waiting`
/// (where viewers of the stream are) or else rendezvous hashing decides.
pub(super) fn least_load(
    key: &str,
    candidates: &[Candidate<'_>],
    stream_cost: u64,
    waiting: Option<u16>,
) -> Option<u16> {
    let score =
        |c: &Candidate<'_>| (u128::from(c.cost) + u128::from(stream_cost)) * 100_000_000 / u128::from(c.share.max(1));
    let best = candidates.iter().map(score).min()?;
    let tied = |c: &&Candidate<'_>| score(c) * 100 <= best * (100 + TIE_PERCENT);
    if let Some(c) = candidates.iter().filter(tied).find(|c| Some(c.index) == waiting) {
        return Some(c.index);
    }
    highest(key, candidates.iter().filter(tied))
}

/// Weighted rendezvous hashing: a stream moves only when its own origin leaves, or to one that joins.
pub(super) fn rendezvous(key: &str, candidates: &[Candidate<'_>]) -> Option<u16> {
    highest(key, candidates.iter())
}

fn highest<'a>(key: &str, candidates: impl Iterator<Item = &'a Candidate<'a>>) -> Option<u16> {
    let draw = |c: &Candidate<'_>| {
        // Uniform in (0, 1): the highest of weight / -ln(u) falls to each origin in proportion to its weight.
        let u = ((hash(&[key.as_bytes(), c.id.as_bytes()]) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        f64::from(c.weight.max(1)) / -u.ln()
    };
    candidates.max_by(|a, b| draw(a).total_cmp(&draw(b)).then_with(|| b.id.cmp(a.id))).map(|c| c.index)
}

/// Smooth weighted round robin: each origin earns its weight in every round, the richest pays the round's total.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    credit: HashMap<u16, i64>,
}

impl RoundRobin {
    pub fn next(&mut self, candidates: &[Candidate<'_>]) -> Option<u16> {
        let total: i64 = candidates.iter().map(|c| i64::from(c.share)).sum();
        for c in candidates {
            *self.credit.entry(c.index).or_default() += i64::from(c.share);
        }
        let credit = |c: &Candidate<'_>| self.credit.get(&c.index).copied().unwrap_or(0);
        let index = candidates.iter().max_by_key(|c| (credit(c), std::cmp::Reverse(c.index)))?.index;
        *self.credit.entry(index).or_default() -= total;
        // Credit of an origin that is away must not pile up or starve it when it is back.
        self.credit.retain(|index, _| candidates.iter().any(|c| c.index == *index));
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidates(weights: &[u32]) -> Vec<(String, u32)> {
        weights.iter().enumerate().map(|(i, w)| (format!("origin{i}"), *w)).collect()
    }

    fn view(origins: &[(String, u32)], cost: u64) -> Vec<Candidate<'_>> {
        let each = origins.iter().enumerate();
        each.map(|(i, (id, weight))| Candidate { index: i as u16 + 1, id, weight: *weight, share: weight * 100, cost })
            .collect()
    }

    fn keys(n: usize) -> impl Iterator<Item = String> {
        (0..n).map(|i| format!("__defaultVhost__/live/stream{i}"))
    }

    #[test]
    fn rendezvous_shares_by_weight() {
        let origins = candidates(&[100, 100, 200]);
        let all = view(&origins, 0);
        let mut counts = [0i32; 4];
        for key in keys(20_000) {
            counts[usize::from(rendezvous(&key, &all).unwrap())] += 1;
        }
        for (index, expected) in [(1, 5_000), (2, 5_000), (3, 10_000)] {
            assert!((counts[index] - expected).abs() < 400, "{counts:?}");
        }
    }

    #[test]
    fn rendezvous_moves_only_what_a_change_concerns() {
        let origins = candidates(&[100; 10]);
        let all = view(&origins, 0);
        let mut moved = 0;
        for key in keys(10_000) {
            let (before, after) = (rendezvous(&key, &all[..9]).unwrap(), rendezvous(&key, &all).unwrap());
            if before != after {
                assert_eq!(after, 10, "a stream moves to the new origin or not at all");
                moved += 1;
            }
        }
        assert!((900..1100).contains(&moved), "a tenth moves: {moved}");
    }

    #[test]
    fn rendezvous_is_the_same_on_every_machine_and_in_every_version() {
        let origins = candidates(&[100, 100, 100]);
        let chosen: Vec<u16> = keys(8).map(|k| rendezvous(&k, &view(&origins, 0)).unwrap()).collect();
        assert_eq!(chosen, [3, 1, 2, 3, 2, 1, 2, 3]);
    }

    #[test]
    fn round_robin_gives_everybody_a_turn_by_weight() {
        let origins = candidates(&[1, 2, 3]);
        let all = view(&origins, 0);
        let mut turns = RoundRobin::default();
        let order: Vec<u16> = (0..6).map(|_| turns.next(&all).unwrap()).collect();
        assert_eq!(order, [3, 2, 1, 3, 2, 3]);
        assert_eq!(turns.next(&all[..1]), Some(1));
        assert_eq!(turns.next(&[]), None);
    }

    proptest! {
        #[test]
        fn least_load_takes_none_that_is_clearly_worse(
            loads in proptest::collection::vec((0u64..10_000_000_000, 1u32..1000), 1..20),
            stream in 0u64..100_000_000,
            key in "[a-z]{1,8}",
        ) {
            let ids: Vec<String> = (0..loads.len()).map(|i| format!("o{i}")).collect();
            let all: Vec<Candidate<'_>> = loads.iter().enumerate().map(|(i, (cost, weight))| {
                Candidate { index: i as u16 + 1, id: &ids[i], weight: *weight, share: weight * 100, cost: *cost }
            }).collect();
            let chosen = least_load(&key, &all, stream, None).unwrap();
            prop_assert_eq!(least_load(&key, &all, stream, None), Some(chosen), "same inputs, same choice");
            let score = |c: &Candidate<'_>| (c.cost + stream) as f64 / f64::from(c.weight);
            let best = all.iter().map(score).fold(f64::INFINITY, f64::min);
            prop_assert!(score(&all[usize::from(chosen) - 1]) <= best * 1.051 + 1.0);
        }

        #[test]
        fn order_of_the_candidates_never_matters(
            weights in proptest::collection::vec(1u32..1000, 1..12),
            key in "[a-z]{1,8}",
        ) {
            let origins = candidates(&weights);
            let all = view(&origins, 1000);
            let mut reversed = all.clone();
            reversed.reverse();
            prop_assert_eq!(rendezvous(&key, &all), rendezvous(&key, &reversed));
            prop_assert_eq!(least_load(&key, &all, 5, None), least_load(&key, &reversed, 5, None));
            prop_assert_eq!(RoundRobin::default().next(&all), RoundRobin::default().next(&reversed));
        }
    }
}
