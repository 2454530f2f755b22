//! Labelled images in memory, and their way into tensors.

use pnn_core::tensor::{Buffer, Element};
use pnn_core::{DType, Tensor};

use crate::{Error, Normalisation, Result};

/// The shape of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageShape {
    /// Colour planes: 1 is grey.
    pub channels: usize,
    /// Height in pixels.
    pub rows: usize,
    /// Width in pixels.
    pub columns: usize,
}

impl ImageShape {
    /// Values in one image, `channels * rows * columns`; saturates instead of overflowing.
    #[must_use]
    pub fn values(&self) -> usize {
        self.channels.saturating_mul(self.rows).saturating_mul(self.columns)
    }
}

/// Labelled images of one shape: `u8` pixels in the order `(image, channel, row, column)`,
/// one `u8` label an image.
///
/// ```
/// use pnn_core::DType;
/// use pnn_data::{Dataset, ImageShape, Normalisation};
///
/// let shape = ImageShape { channels: 1, rows: 1, columns: 2 };
/// let data = Dataset::new("two pixels", "made up", shape, 2, vec![0, 255, 51, 0], vec![0, 1])?;
/// let x = data.images_tensor(&[1], &Normalisation::UNIT, DType::F64)?;
/// assert_eq!(x.dims(), &[1, 1, 1, 2]);
/// assert_eq!(x.flatten_all()?.to_vec1::<f64>()?, [0.2, 0.0]);
/// assert_eq!(data.labels_tensor(&[1])?.to_vec1::<u32>()?, [1]);
/// # Ok::<(), pnn_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    name: String,
    provenance: String,
    shape: ImageShape,
    classes: usize,
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl Dataset {
    /// A data set from its parts. `provenance` says in a sentence where the images are from.
    ///
    /// # Errors
    /// If a dimension is 0, `classes` is not in `[1, 256]`, the lengths of `pixels` and
    /// `labels` do not agree with the shape, or a label is not below `classes`.
    pub fn new(
        name: impl Into<String>,
        provenance: impl Into<String>,
        shape: ImageShape,
        classes: usize,
        pixels: Vec<u8>,
        labels: Vec<u8>,
    ) -> Result<Self> {
        check_classes(classes)?;
        if shape.values() == 0 {
            return Err(Error::Range {
                what: format!("the number of values in an image of {shape:?}"),
                value: 0.0,
                allowed: "[1, inf)",
            });
        }
        let want = labels.len().saturating_mul(shape.values());
        if pixels.len() != want {
            return Err(Error::Length {
                what: format!("the pixel array of {} images", labels.len()),
                got: pixels.len(),
                want,
            });
        }
        if let Some(i) = labels.iter().position(|&label| usize::from(label) >= classes) {
            return Err(Error::Limit {
                what: format!("the label of image {i}"),
                value: usize::from(labels[i]),
                limit: classes - 1,
            });
        }
        Ok(Self {
            name: name.into(),
            provenance: provenance.into(),
            shape,
            classes,
            pixels,
            labels,
        })
    }

    /// A short name for tables and plots.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the images are from.
    #[must_use]
    pub fn provenance(&self) -> &str {
        &self.provenance
    }

    /// The shape of one image.
    #[must_use]
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The number of classes; every label is below it.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of one image in the order `(channel, row, column)`.
    ///
    /// # Panics
    /// If `i >= len()`, as indexing does.
    #[must_use]
    pub fn image(&self, i: usize) -> &[u8] {
        let size = self.shape.values();
        &self.pixels[i * size..][..size]
    }

    /// The label of one image.
    ///
    /// # Panics
    /// If `i >= len()`, as indexing does.
    #[must_use]
    pub fn label(&self, i: usize) -> u8 {
        self.labels[i]
    }

    /// All labels, in order.
    #[must_use]
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// How many images each class has; as long as there are classes.
    #[must_use]
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        for &label in &self.labels {
            counts[usize::from(label)] += 1;
        }
        counts
    }

    /// The images at `indices`, in that order; repetition is allowed.
    ///
    /// # Errors
    /// If an index is not below `len()`.
    pub fn subset(&self, indices: &[usize]) -> Result<Self> {
        self.check(indices)?;
        let mut pixels = Vec::with_capacity(indices.len() * self.shape.values());
        for &i in indices {
            pixels.extend_from_slice(self.image(i));
        }
        Ok(Self {
            name: self.name.clone(),
            provenance: self.provenance.clone(),
            shape: self.shape,
            classes: self.classes,
            pixels,
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
        })
    }

    /// The `count` images from `start` on.
    ///
    /// # Errors
    /// If they are not all there.
    pub fn range(&self, start: usize, count: usize) -> Result<Self> {
        let limit = |what: String, value, limit| Err(Error::Limit { what, value, limit });
        if start > self.len() {
            return limit("the first image of the range".to_owned(), start, self.len());
        }
        if count > self.len() - start {
            let what = format!("the number of images from image {start} on");
            return limit(what, count, self.len() - start);
        }
        let indices: Vec<usize> = (start..start + count).collect();
        self.subset(&indices)
    }

    /// The images at `indices` as a tensor `(indices, channels, rows, columns)` on the CPU,
    /// normalised. Values are computed in f64 and rounded once to `dtype`.
    ///
    /// # Errors
    /// If an index is not below `len()`, or `dtype` is not a floating-point type.
    pub fn images_tensor(
        &self,
        indices: &[usize],
        normalisation: &Normalisation,
        dtype: DType,
    ) -> Result<Tensor> {
        self.check(indices)?;
        if dtype == DType::U32 {
            let (device, capability) = ("a batch of images".into(), format!("{dtype:?}"));
            return Err(pnn_core::Error::Unsupported { device, capability }.into());
        }
        let ImageShape { channels, rows, columns } = self.shape;
        let shape = (indices.len(), channels, rows, columns);
        let table: [f64; 256] = std::array::from_fn(|pixel| normalisation.apply(pixel as u8));
        if dtype == DType::F32 {
            let values = self.gather(indices, &table.map(|value| value as f32));
            Ok(Tensor::from_buffer(values, shape)?)
        } else {
            let values = self.gather(indices, &table);
            Ok(Tensor::from_buffer(values, shape)?.to_dtype(dtype)?)
        }
    }

    /// The labels at `indices` as a `u32` tensor `(indices)` on the CPU.
    ///
    /// # Errors
    /// If an index is not below `len()`.
    pub fn labels_tensor(&self, indices: &[usize]) -> Result<Tensor> {
        self.check(indices)?;
        let labels: Vec<u32> = indices.iter().map(|&i| u32::from(self.labels[i])).collect();
        Ok(Tensor::from_vec(labels, indices.len())?)
    }

    fn gather<T: Element>(&self, indices: &[usize], table: &[T; 256]) -> Buffer<T> {
        let size = self.shape.values();
        let mut values = Buffer::scratch(indices.len() * size);
        for (values, &i) in values.chunks_exact_mut(size).zip(indices) {
            for (value, &pixel) in values.iter_mut().zip(self.image(i)) {
                *value = table[usize::from(pixel)];
            }
        }
        values
    }

    fn check(&self, indices: &[usize]) -> Result<()> {
        match indices.iter().find(|&&i| i >= self.len()) {
            None => Ok(()),
            Some(&i) if self.is_empty() => Err(Error::Limit {
                what: format!("the index {i} in an empty data set: the number of indices"),
                value: indices.len(),
                limit: 0,
            }),
            Some(&i) => Err(Error::Limit {
                what: "an image index".to_owned(),
                value: i,
                limit: self.len() - 1,
            }),
        }
    }
}

/// A `u8` label can tell 256 classes apart.
pub(crate) fn check_classes(classes: usize) -> Result<()> {
    if (1..=256).contains(&classes) {
        return Ok(());
    }
    Err(Error::Range {
        what: "the number of classes".to_owned(),
        value: classes as f64,
        allowed: "[1, 256]",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 2, rows: 1, columns: 2 };

    fn three() -> Dataset {
        Dataset::new("three", "made up", SHAPE, 3, (0..12).collect(), vec![2, 0, 2]).unwrap()
    }

    #[test]
    fn subsets_keep_images_with_their_labels() {
        let data = three();
        assert_eq!(data.class_counts(), [1, 0, 2]);
        let picked = data.subset(&[2, 0, 2]).unwrap();
        assert_eq!((picked.len(), picked.labels()), (3, [2, 2, 2].as_slice()));
        assert_eq!(picked.image(0), [8, 9, 10, 11]);
        assert_eq!(data.range(1, 2).unwrap(), data.subset(&[1, 2]).unwrap());
        assert!(data.range(3, 0).unwrap().is_empty());
    }

    #[test]
    fn errors_name_the_value_and_the_limit() {
        let data = three();
        let text = |result: Result<Dataset>| result.unwrap_err().to_string();
        let wanted = "the number of images from image 1 on is 3, the limit is 2";
        assert_eq!(text(data.range(1, 3)), wanted);
        assert!(text(data.range(4, 0)).ends_with("is 4, the limit is 3"));
        assert!(text(data.range(1, usize::MAX)).ends_with("the limit is 2"));
        assert_eq!(text(data.subset(&[0, 3])), "an image index is 3, the limit is 2");
        let empty = data.subset(&[]).unwrap();
        assert!(text(empty.subset(&[0])).contains("empty data set"));
        let build = |classes, pixels: usize, labels: &[u8]| {
            Dataset::new("", "", SHAPE, classes, vec![0; pixels], labels.to_vec())
        };
        assert_eq!(text(build(2, 8, &[1, 2])), "the label of image 1 is 2, the limit is 1");
        assert!(text(build(2, 7, &[1, 1])).contains("has 7 bytes, but 8 are needed"));
        assert!(text(build(0, 0, &[])).contains("[1, 256]"));
        assert!(text(build(257, 0, &[])).contains("[1, 256]"));
        let flat = ImageShape { rows: 0, ..SHAPE };
        assert!(Dataset::new("", "", flat, 2, vec![], vec![0]).is_err());
    }

    #[test]
    fn tensors_are_normalised_and_shaped() {
        let data = three();
        let normalisation = Normalisation::new(0.5, 0.25).unwrap();
        let x = data.images_tensor(&[1, 0], &normalisation, DType::F32).unwrap();
        assert_eq!(x.dims(), &[2, 2, 1, 2]);
        let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values[0], ((4.0 / 255.0 - 0.5) / 0.25) as f32);
        assert_eq!(values[4], -2.0);
        let double = data.images_tensor(&[0], &normalisation, DType::F64).unwrap();
        assert_eq!(double.dtype(), DType::F64);
        assert!(data.images_tensor(&[0], &normalisation, DType::U32).is_err());
        assert!(data.images_tensor(&[3], &normalisation, DType::F32).is_err());
        let y = data.labels_tensor(&[1, 0]).unwrap();
        assert_eq!(y.to_vec1::<u32>().unwrap(), [0, 2]);
        assert_eq!(data.images_tensor(&[], &normalisation, DType::F32).unwrap().dims()[0], 0);
    }
}
