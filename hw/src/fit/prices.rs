//! One way for each stage within all limits at once: by prices of what is short.
//!
//! Every kind of part has a price, each stage takes the way that costs least, and what is used too much becomes dearer
//! (multiplicative weights: Arora, Hazan and Kale, "The multiplicative weights update method", 2012). The best that is
//! met is then improved stage by stage.

/// Kinds of what is limited.
pub const KINDS: usize = 6;

/// What a way takes: shares of the limits.
pub type Shares = [f64; KINDS];

/// Updates of prices.
const ROUNDS: u32 = 300;

/// How much a price changes at first for each limit's worth that is used too much.
const PACE: f64 = 0.6;

/// The number of a way for each stage, such that together with what all take they stay within the limits, as far as such
/// are found. `spared` is the kind of which as little as possible is taken.
pub fn within(stages: &[Vec<Shares>], all: Shares, spared: usize) -> Option<Vec<usize>> {
    let sum = |taken: &[usize]| {
        let mut sum = all;
        for (ways, &way) in stages.iter().zip(taken) {
            sum.iter_mut().zip(ways[way]).for_each(|(sum, share)| *sum += share);
        }
        sum
    };
    let mut prices = [1.0; KINDS];
    let mut best: Option<(f64, Vec<usize>)> = None;
    for round in 0..ROUNDS {
        let cost = |shares: &Shares| -> f64 { shares.iter().zip(prices).map(|(share, price)| share * price).sum() };
        let cheapest = |ways: &Vec<Shares>| {
            let costs = ways.iter().map(cost).enumerate();
            costs.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(way, _)| way)
        };
        let taken: Vec<usize> = stages.iter().map(cheapest).collect();
        let used = sum(&taken);
        let excess = excess(&used);
        if best.as_ref().is_none_or(|(least, _)| excess < *least) {
            best = Some((excess, taken));
        }
        if excess == 0.0 {
            break;
        }
        let pace = PACE / (1.0 + f64::from(round) / 30.0);
        for (price, used) in prices.iter_mut().zip(used) {
            *price *= (1.0 + pace * (used - 1.0)).clamp(0.5, 2.0);
        }
        let total: f64 = prices.iter().sum();
        prices.iter_mut().for_each(|price| *price /= total);
    }
    let (_, taken) = best?;
    let mut state = State { stages, used: sum(&taken), taken, spared };
    state.improve_one_by_one();
    if excess(&state.used) > 0.0 && excess(&state.used) < NEAR {
        state.improve_in_pairs();
        state.improve_one_by_one();
    }
    (excess(&state.used) == 0.0).then_some(state.taken)
}

/// Excess below which stages are changed in pairs.
const NEAR: f64 = 0.1;

/// Smallest gain for which stages change their ways while limits are exceeded.
const LEAST: f64 = 1e-9;

/// Ways that are taken, and what they take.
struct State<'a> {
    stages: &'a [Vec<Shares>],
    taken: Vec<usize>,
    used: Shares,
    spared: usize,
}

impl State<'_> {
    /// What is used if a stage takes another way.
    fn with(&self, used: &Shares, stage: usize, way: usize) -> Shares {
        let (shares, now) = (self.stages[stage][way], self.stages[stage][self.taken[stage]]);
        std::array::from_fn(|kind| used[kind] + shares[kind] - now[kind])
    }

    /// Whether this is better: what is too much counts first, then what is to be spared.
    fn is_better(&self, other: &Shares) -> bool {
        let (before, after) = (excess(&self.used), excess(other));
        before - after > LEAST || (after == 0.0 && before == 0.0 && other[self.spared] < self.used[self.spared] - LEAST)
    }

    fn improve_one_by_one(&mut self) {
        let mut improves = true;
        while improves {
            improves = false;
            for stage in 0..self.stages.len() {
                for way in 0..self.stages[stage].len() {
                    let used = self.with(&self.used, stage, way);
                    if self.is_better(&used) {
                        (self.used, self.taken[stage], improves) = (used, way, true);
                    }
                }
            }
        }
    }

    fn improve_in_pairs(&mut self) {
        for first in 0..self.stages.len() {
            for way in 0..self.stages[first].len() {
                let one = self.with(&self.used, first, way);
                let better = (first + 1..self.stages.len())
                    .flat_map(|second| (0..self.stages[second].len()).map(move |other| (second, other)))
                    .find(|&(second, other)| self.is_better(&self.with(&one, second, other)));
                if let Some((second, other)) = better {
                    self.used = self.with(&one, second, other);
                    (self.taken[first], self.taken[second]) = (way, other);
                }
            }
        }
    }
}

/// By how much limits are exceeded.
fn excess(used: &Shares) -> f64 {
    used.iter().map(|share| (share - 1.0).max(0.0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten equal stages: dear in the first kind, or in the second, or in the third.
    fn stages() -> Vec<Vec<Shares>> {
        let way = |kind: usize, share: f64| {
            let mut shares = [0.0; KINDS];
            shares[kind] = share;
            shares
        };
        vec![vec![way(0, 0.2), way(1, 0.3), way(5, 0.34)]; 10]
    }

    #[test]
    fn limits_are_shared() {
        let taken = within(&stages(), [0.0; KINDS], 5).expect("5 + 3 + 2 stages fit");
        let count = |way: usize| taken.iter().filter(|&&taken| taken == way).count();
        assert_eq!([count(0), count(1), count(2)], [5, 3, 2]);
    }

    #[test]
    fn what_does_not_fit_is_not_found() {
        let mut all = [0.0; KINDS];
        all[0] = 0.5;
        assert_eq!(within(&stages(), all, 5), None);
    }

    #[test]
    fn one_kind_is_spared() {
        let taken = within(&stages()[..6], [0.0; KINDS], 5).expect("they fit");
        assert!(taken.iter().all(|&way| way < 2), "{taken:?}");
    }
}
