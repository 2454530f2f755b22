//! The order of one epoch, cut into batches.

use pnn_core::Seed;

use crate::shuffle::shuffle;
use crate::{Error, Result};

/// The image indices of one epoch in batches. Any batch can be asked for at any time, so a
/// resumed run starts in mid-epoch without replaying anything.
///
/// ```
/// use pnn_core::Seed;
/// use pnn_data::Batches;
///
/// let in_file_order = Batches::new(5, 2, None)?;
/// let batches: Vec<&[usize]> = in_file_order.iter().collect();
/// assert_eq!(batches, [&[0, 1][..], &[2, 3], &[4]]);
///
/// let order = Seed::new(1).child("order");
/// let epoch_3 = Batches::new(60_000, 64, Some(&order.index(3)))?;
/// assert_eq!((epoch_3.len(), epoch_3.get(937).len()), (938, 32));
/// # Ok::<(), pnn_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batches {
    order: Vec<usize>,
    batch_size: usize,
}

impl Batches {
    /// Batches over the indices `0..images`: in an order drawn from `seed` (one seed an
    /// epoch), or in file order without one. The last batch is short if `batch_size` does
    /// not divide `images`.
    ///
    /// # Errors
    /// If `batch_size` is 0.
    pub fn new(images: usize, batch_size: usize, seed: Option<&Seed>) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::Range {
                what: "the batch size".to_owned(),
                value: 0.0,
                allowed: "[1, inf)",
            });
        }
        let mut order: Vec<usize> = (0..images).collect();
        if let Some(seed) = seed {
            shuffle(&mut order, &mut seed.rng());
        }
        Ok(Self { order, batch_size })
    }

    /// The number of batches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len().div_ceil(self.batch_size)
    }

    /// Whether there is no batch, because there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The image indices of batch `k`.
    ///
    /// # Panics
    /// If `k >= len()`, as indexing does.
    #[must_use]
    pub fn get(&self, k: usize) -> &[usize] {
        let len = self.len();
        assert!(k < len, "batch {k} of {len}");
        let start = k * self.batch_size;
        let end = start.saturating_add(self.batch_size).min(self.order.len());
        &self.order[start..end]
    }

    /// All batches in order.
    pub fn iter(&self) -> std::slice::Chunks<'_, usize> {
        self.order.chunks(self.batch_size)
    }
}

impl<'a> IntoIterator for &'a Batches {
    type Item = &'a [usize];
    type IntoIter = std::slice::Chunks<'a, usize>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Value stability: a change of this order changes every published number.
    #[test]
    fn the_order_is_pinned() {
        let seed = Seed::new(0).child("order").index(0);
        let batches = Batches::new(10, 4, Some(&seed)).unwrap();
        assert_eq!(batches.order, [4, 2, 3, 1, 6, 9, 0, 7, 8, 5]);
        assert_eq!(batches.get(2), &batches.order[8..]);
    }

    #[test]
    fn a_batch_size_of_zero_is_an_error() {
        assert!(Batches::new(10, 0, None).is_err());
        assert_eq!(Batches::new(0, 4, None).unwrap().len(), 0);
        assert_eq!(Batches::new(3, usize::MAX, None).unwrap().get(0), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn an_epoch_is_a_permutation(images in 0_usize..300, size in 1_usize..50, root: u64) {
            let seed = Seed::new(root);
            let batches = Batches::new(images, size, Some(&seed)).unwrap();
            let mut seen: Vec<usize> = batches.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..images));
            prop_assert_eq!(&batches, &Batches::new(images, size, Some(&seed)).unwrap());
            prop_assert_eq!(batches.iter().len(), batches.len());
            for (k, batch) in batches.iter().enumerate() {
                prop_assert_eq!(batches.get(k), batch);
                prop_assert!(batch.len() == size || k + 1 == batches.len());
            }
        }
    }
}
