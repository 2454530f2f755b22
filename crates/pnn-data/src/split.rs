//! Splitting a data set in two parts with the same mix of classes.

use pnn_core::Seed;

use crate::shuffle::shuffle;
use crate::{Dataset, Error, Result};

/// How much of every class is held out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HeldOut {
    /// This many images of every class.
    PerClass(usize),
    /// This fraction of every class, in `(0, 1)`, rounded to the nearest image.
    Fraction(f64),
}

/// Splits into `(train, held_out)` so that every class present is in both parts, in
/// proportion. Both parts come in an order drawn from the seed, so that the first images of
/// either are a fair sample even where the source is sorted by class.
///
/// ```
/// use pnn_core::Seed;
/// use pnn_data::{HeldOut, digits, stratified_split};
///
/// let (train, test) = stratified_split(&digits(), HeldOut::PerClass(100), &Seed::new(1))?;
/// assert_eq!((train.len(), test.len()), (4000, 1000));
/// assert_eq!(test.class_counts(), [100; 10]);
/// # Ok::<(), pnn_data::Error>(())
/// ```
///
/// # Errors
/// If the fraction is not in `(0, 1)`, or a class that has images would be missing from one
/// of the parts.
pub fn stratified_split(
    data: &Dataset,
    held_out: HeldOut,
    seed: &Seed,
) -> Result<(Dataset, Dataset)> {
    let (train, held_out) = stratified_indices(data, held_out, seed)?;
    Ok((data.subset(&train)?, data.subset(&held_out)?))
}

/// The indices `(train, held_out)` that [`stratified_split`] takes.
///
/// # Errors
/// As [`stratified_split`].
pub fn stratified_indices(
    data: &Dataset,
    held_out: HeldOut,
    seed: &Seed,
) -> Result<(Vec<usize>, Vec<usize>)> {
    if let HeldOut::Fraction(fraction) = held_out
        && !(fraction > 0.0 && fraction < 1.0)
    {
        return Err(Error::Range {
            what: "the fraction held out".to_owned(),
            value: fraction,
            allowed: "(0, 1)",
        });
    }
    let mut of_class = vec![Vec::new(); data.classes()];
    for (i, &label) in data.labels().iter().enumerate() {
        of_class[usize::from(label)].push(i);
    }
    let (mut train, mut held) = (Vec::new(), Vec::new());
    for (class, mut indices) in of_class.into_iter().enumerate() {
        let available = indices.len();
        if available == 0 {
            continue;
        }
        let count = match held_out {
            HeldOut::PerClass(count) => count,
            HeldOut::Fraction(fraction) => (fraction * available as f64).round() as usize,
        };
        if !(1..available).contains(&count) {
            return Err(Error::Split { class, available, held_out: count });
        }
        shuffle(&mut indices, &mut seed.child("split").index(class as u64).rng());
        held.extend_from_slice(&indices[..count]);
        train.extend_from_slice(&indices[count..]);
    }
    shuffle(&mut train, &mut seed.child("split-train-order").rng());
    shuffle(&mut held, &mut seed.child("split-held-out-order").rng());
    Ok((train, held))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageShape;
    use proptest::prelude::*;

    /// Classes 0 to 2 with the given counts, class 3 empty; pixel = index.
    fn sorted(counts: [usize; 3]) -> Dataset {
        let labels: Vec<u8> =
            (0..3).flat_map(|class| vec![class; counts[usize::from(class)]]).collect();
        let shape = ImageShape { channels: 1, rows: 1, columns: 1 };
        let pixels = (0..labels.len()).map(|i| i as u8).collect();
        Dataset::new("sorted", "made up", shape, 4, pixels, labels).unwrap()
    }

    /// Value stability: a change of these indices changes every published number.
    #[test]
    fn the_split_is_pinned() {
        let seed = Seed::new(0);
        let (train, held) =
            stratified_indices(&sorted([4, 4, 4]), HeldOut::PerClass(1), &seed).unwrap();
        assert_eq!(held, [11, 1, 4]);
        assert_eq!(train, [7, 8, 2, 5, 9, 10, 0, 6, 3]);
    }

    #[test]
    fn both_parts_are_mixed() {
        let (train, held) =
            stratified_split(&sorted([50, 50, 50]), HeldOut::Fraction(0.4), &Seed::new(1)).unwrap();
        assert_eq!(held.class_counts(), [20, 20, 20, 0]);
        assert_eq!(train.class_counts(), [30, 30, 30, 0]);
        assert!(!train.labels().is_sorted() && !held.labels().is_sorted());
    }

    #[test]
    fn impossible_splits_are_errors() {
        let data = sorted([4, 2, 4]);
        let split = |held| stratified_split(&data, held, &Seed::new(0)).unwrap_err().to_string();
        for fraction in [0.0, 1.0, -0.1, 1.5, f64::NAN] {
            assert!(split(HeldOut::Fraction(fraction)).contains("allowed is (0, 1)"));
        }
        assert!(split(HeldOut::PerClass(0)).contains("class 0 has 4 images"));
        assert!(split(HeldOut::PerClass(2)).contains("class 1 has 2 images: holding out 2"));
        assert!(split(HeldOut::Fraction(0.1)).contains("holding out 0"));
    }

    proptest! {
        #[test]
        fn a_split_is_a_proportional_partition(
            counts in prop::array::uniform3(2_usize..60),
            fraction in 0.26_f64..0.74,
            root: u64,
        ) {
            let data = sorted(counts);
            let seed = Seed::new(root);
            let (train, held) = stratified_indices(&data, HeldOut::Fraction(fraction), &seed)?;
            let mut all = [train.clone(), held.clone()].concat();
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(0..data.len()));
            let held_counts = data.subset(&held)?.class_counts();
            for (class, &count) in counts.iter().enumerate() {
                let ideal = fraction * count as f64;
                prop_assert!((held_counts[class] as f64 - ideal).abs() <= 0.5);
            }
            let again = stratified_indices(&data, HeldOut::Fraction(fraction), &seed)?;
            prop_assert_eq!(again, (train, held));
        }
    }
}
