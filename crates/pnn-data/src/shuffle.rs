//! Fisher-Yates, written out here because published results depend on its bits: rand's own
//! shuffle may change its stream between versions.

use rand::Rng;

/// Shuffles in place; every permutation is equally likely.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        let picked = below(last as u64 + 1, rng) as usize;
        items.swap(last, picked);
    }
}

/// A uniform integer in `0..limit` without bias (Lemire 2019, algorithm 5).
fn below(limit: u64, rng: &mut impl Rng) -> u64 {
    let threshold = limit.wrapping_neg() % limit;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(limit);
        if product as u64 >= threshold {
            return (product >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 6000 shuffles of 3 items: each of the 6 orders is binomial with mean 1000 and
    /// standard deviation sqrt(6000 * 1/6 * 5/6) = 28.9; five of those is 144.
    #[test]
    fn every_order_is_equally_likely() {
        let mut rng = pnn_core::Seed::new(5).rng();
        let mut counts = std::collections::HashMap::new();
        for _ in 0..6000 {
            let mut items = [0, 1, 2];
            shuffle(&mut items, &mut rng);
            *counts.entry(items).or_insert(0_i32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (count - 1000).abs() < 144), "{counts:?}");
    }
}
