//! IDX, the file format of MNIST and its relatives, plain or gzip.
//!
//! ```text
//! images  00 00 08 03 | count | rows | columns | count * rows * columns pixels
//! labels  00 00 08 01 | count | count labels
//! ```
//! The integers are big-endian `u32`; 08 is the element type `u8`, 03 and 01 the number of
//! dimensions. Gzip is recognised by its first two bytes, whatever the file is called.
//! A file is read whole or refused with the file, the byte and the reason.

use std::io::{BufRead, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::dataset::check_classes;
use crate::source::Source;
use crate::{Dataset, Error, ImageShape, Result};

/// More pixels than this in one file are refused: the data set is held in memory.
pub const MAX_PIXELS: u64 = 1 << 32;

/// The content of an IDX images file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Height in pixels.
    pub rows: usize,
    /// Width in pixels.
    pub columns: usize,
    /// `(count, rows, columns)` in row-major order.
    pub pixels: Vec<u8>,
}

impl Images {
    /// The number of images.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pixels.len().checked_div(self.rows * self.columns).unwrap_or(0)
    }
}

/// Reads an images file.
///
/// # Errors
/// If the file cannot be read, is no IDX images file (a labels file is named as such), has a
/// dimension of 0, more than [`MAX_PIXELS`] or another length than its header says, or its
/// gzip data are truncated or corrupt.
pub fn read_images(path: impl AsRef<Path>) -> Result<Images> {
    images(Source::open(path.as_ref())?)
}

/// Reads images from bytes (plain or gzip); `name` stands for the file in errors.
///
/// ```
/// use pnn_data::idx;
///
/// let file = idx::encode_images(1, 2, &[0, 255, 7, 7])?;
/// let images = idx::parse_images(&file, "made up")?;
/// assert_eq!((images.count(), images.rows, images.columns), (2, 1, 2));
///
/// let error = idx::parse_images(&file[..19], "made up").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "made up: byte 19: the data end here, but 2 images of 1 x 2 need 20 bytes",
/// );
/// # Ok::<(), pnn_data::Error>(())
/// ```
///
/// # Errors
/// As [`read_images`].
pub fn parse_images(bytes: &[u8], name: &str) -> Result<Images> {
    images(Source::new(bytes, Path::new(name))?)
}

/// Reads a labels file; every label must be below `classes`.
///
/// # Errors
/// If the file cannot be read, is no IDX labels file (an images file is named as such), has
/// no label, a label out of range or another length than its header says, or its gzip data
/// are truncated or corrupt; if `classes` is not in `[1, 256]`.
pub fn read_labels(path: impl AsRef<Path>, classes: usize) -> Result<Vec<u8>> {
    labels(Source::open(path.as_ref())?, classes)
}

/// Reads labels from bytes (plain or gzip); `name` stands for the file in errors.
///
/// # Errors
/// As [`read_labels`].
pub fn parse_labels(bytes: &[u8], name: &str, classes: usize) -> Result<Vec<u8>> {
    labels(Source::new(bytes, Path::new(name))?, classes)
}

/// Reads an images file and the labels file that belongs to it.
///
/// # Errors
/// As [`read_images`] and [`read_labels`], and if the counts differ.
pub fn read_dataset(
    name: impl Into<String>,
    provenance: impl Into<String>,
    images_path: impl AsRef<Path>,
    labels_path: impl AsRef<Path>,
    classes: usize,
) -> Result<Dataset> {
    let (images_path, labels_path) = (images_path.as_ref(), labels_path.as_ref());
    let images = read_images(images_path)?;
    let labels = read_labels(labels_path, classes)?;
    if images.count() != labels.len() {
        return Err(Error::CountMismatch {
            images_path: images_path.to_owned(),
            images: images.count(),
            labels_path: labels_path.to_owned(),
            labels: labels.len(),
        });
    }
    let shape = ImageShape { channels: 1, rows: images.rows, columns: images.columns };
    Dataset::new(name, provenance, shape, classes, images.pixels, labels)
}

/// The bytes of a plain images file; `pixels` is `(count, rows, columns)`.
///
/// # Errors
/// If there are no pixels, they are no whole number of images, or a dimension is too large
/// for the format.
pub fn encode_images(rows: usize, columns: usize, pixels: &[u8]) -> Result<Vec<u8>> {
    let size = rows.saturating_mul(columns);
    let count = pixels.len().checked_div(size).unwrap_or(0);
    if count == 0 || count * size != pixels.len() {
        return Err(Error::Length {
            what: format!("a pixel array of {rows} x {columns} images"),
            got: pixels.len(),
            want: count.max(1).saturating_mul(size),
        });
    }
    encode(IMAGES, &[("images", count), ("rows", rows), ("columns", columns)], pixels)
}

/// The bytes of a plain labels file.
///
/// # Errors
/// If there are no labels, or too many for the format.
pub fn encode_labels(labels: &[u8]) -> Result<Vec<u8>> {
    if labels.is_empty() {
        return Err(Error::Length { what: "a label array".to_owned(), got: 0, want: 1 });
    }
    encode(LABELS, &[("labels", labels.len())], labels)
}

/// Writes an images file that [`read_images`] reads, whole or not at all; gzip if the name
/// ends in `.gz`.
///
/// # Errors
/// As [`encode_images`], and if the file cannot be written.
pub fn write_images(
    path: impl AsRef<Path>,
    rows: usize,
    columns: usize,
    pixels: &[u8],
) -> Result<()> {
    write(path.as_ref(), encode_images(rows, columns, pixels)?)
}

/// Writes a labels file that [`read_labels`] reads, whole or not at all; gzip if the name
/// ends in `.gz`.
///
/// # Errors
/// As [`encode_labels`], and if the file cannot be written.
pub fn write_labels(path: impl AsRef<Path>, labels: &[u8]) -> Result<()> {
    write(path.as_ref(), encode_labels(labels)?)
}

/// What a file may hold, by its number of dimensions.
struct Kind {
    dimensions: u8,
    name: &'static str,
}

const IMAGES: Kind = Kind { dimensions: 3, name: "images" };
const LABELS: Kind = Kind { dimensions: 1, name: "labels" };
const UNSIGNED_BYTE: u8 = 0x08;

fn images<R: BufRead>(mut source: Source<R>) -> Result<Images> {
    let [count, rows, columns] = header(&mut source, &IMAGES)?;
    let shape = format!("{count} images of {rows} x {columns}");
    // Three factors below 2^32 stay below 2^96.
    let product: u128 = [count, rows, columns].iter().map(|&d| u128::from(d)).product();
    let limit = u128::from(MAX_PIXELS).min(usize::MAX as u128);
    if product > limit {
        let reason = format!("the header announces {shape}: {product} bytes, the limit is {limit}");
        return Err(source.fault(4, reason));
    }
    let pixels = body(&mut source, 16, product as usize, &shape)?;
    Ok(Images { rows: rows as usize, columns: columns as usize, pixels })
}

fn labels<R: BufRead>(mut source: Source<R>, classes: usize) -> Result<Vec<u8>> {
    check_classes(classes)?;
    let [count] = header(&mut source, &LABELS)?;
    let labels = body(&mut source, 8, count as usize, &format!("{count} labels"))?;
    match labels.iter().position(|&label| usize::from(label) >= classes) {
        None => Ok(labels),
        Some(i) => {
            let reason = format!("label {i} is {}, the limit is {}", labels[i], classes - 1);
            Err(source.fault(8 + i as u64, reason))
        }
    }
}

/// Reads the magic number and the `N` dimensions.
fn header<R: BufRead, const N: usize>(source: &mut Source<R>, kind: &Kind) -> Result<[u32; N]> {
    let length = 4 + 4 * N;
    let bytes = source.up_to(length)?;
    let start = &bytes[..bytes.len().min(4)];
    for (i, (&byte, want)) in start.iter().zip([0, 0, UNSIGNED_BYTE, kind.dimensions]).enumerate() {
        if byte != want {
            return Err(source.fault(i as u64, magic_reason(start, i, kind)));
        }
    }
    if bytes.len() < length {
        let reason = format!("the data end here, but the header alone has {length} bytes");
        return Err(source.fault(bytes.len() as u64, reason));
    }
    let mut dimensions = [0; N];
    for (i, dimension) in dimensions.iter_mut().enumerate() {
        let at = 4 + 4 * i;
        *dimension = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if *dimension == 0 {
            let name = ["the number of ", "rows of the ", "columns of the "][i.min(2)];
            return Err(source.fault(at as u64, format!("{name}{} is 0", kind.name)));
        }
    }
    Ok(dimensions)
}

/// What is wrong with the magic number, whose byte `i` is the first wrong one.
fn magic_reason(start: &[u8], i: usize, kind: &Kind) -> String {
    match (i, start[i]) {
        (2, byte) => format!("the element type is {byte:#04x}, only 0x08 (u8) is read"),
        (3, 1) => format!("a labels file where {} are wanted: are they swapped?", kind.name),
        (3, 3) => format!("an images file where {} are wanted: are they swapped?", kind.name),
        (3, byte) => {
            format!("{byte} dimensions where {} have {}", kind.name, kind.dimensions)
        }
        _ => format!("no IDX file: it starts with {start:02x?}"),
    }
}

/// Reads exactly `length` bytes after a header of `header` bytes.
fn body<R: BufRead>(
    source: &mut Source<R>,
    header: u64,
    length: usize,
    content: &str,
) -> Result<Vec<u8>> {
    let bytes = source.up_to(length)?;
    let (end, want) = (header + bytes.len() as u64, header + length as u64);
    if bytes.len() < length {
        let reason = format!("the data end here, but {content} need {want} bytes");
        return Err(source.fault(end, reason));
    }
    if !source.at_end()? {
        let reason = format!("more data follow, but {content} end here");
        return Err(source.fault(end, reason));
    }
    Ok(bytes)
}

fn encode(kind: Kind, dimensions: &[(&str, usize)], body: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = vec![0, 0, UNSIGNED_BYTE, kind.dimensions];
    for &(what, value) in dimensions {
        let dimension = u32::try_from(value).map_err(|_| Error::Limit {
            what: format!("the number of {what} in an IDX file"),
            value,
            limit: u32::MAX as usize,
        })?;
        bytes.extend(dimension.to_be_bytes());
    }
    bytes.extend_from_slice(body);
    Ok(bytes)
}

fn write(path: &Path, bytes: Vec<u8>) -> Result<()> {
    if path.extension().is_none_or(|extension| extension != "gz") {
        return Ok(pnn_core::store::write_atomic(path, &bytes)?);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let packed = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    Ok(pnn_core::store::write_atomic(path, &packed.map_err(|e| Error::io(path, e))?)?)
}
