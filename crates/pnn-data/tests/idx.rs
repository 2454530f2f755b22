//! IDX files, right and wrong in every way we could think of.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use pnn_data::{Error, Mnist, Offset, idx, mnist};
use proptest::prelude::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Two images of 1 x 3.
fn images_file() -> Vec<u8> {
    idx::encode_images(1, 3, &[1, 2, 3, 4, 5, 6]).unwrap()
}

fn image_fault(bytes: &[u8]) -> (Offset, String) {
    match idx::parse_images(bytes, "f").unwrap_err() {
        Error::Content { path, at, reason } => {
            assert_eq!(path, Path::new("f"));
            (at, reason)
        }
        other => panic!("{other}"),
    }
}

fn with(at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = images_file();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

#[test]
fn the_layout_is_the_published_one() {
    let file = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6];
    assert_eq!(images_file(), file);
    assert_eq!(idx::encode_labels(&[9]).unwrap(), [0, 0, 8, 1, 0, 0, 0, 1, 9]);
    let images = idx::parse_images(&gzip(&file), "f").unwrap();
    assert_eq!((images.count(), images.rows, images.columns), (2, 1, 3));
    assert_eq!(images.pixels, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn faults_are_named_with_their_byte() {
    let check = |bytes: &[u8], at: u64, words: &str| {
        for (bytes, at) in
            [(bytes.to_vec(), Offset::File(at)), (gzip(bytes), Offset::Uncompressed(at))]
        {
            let (found, reason) = image_fault(&bytes);
            assert_eq!(found, at, "{reason}");
            assert!(reason.contains(words), "{reason}");
        }
    };
    let good = images_file();
    check(b"", 0, "the header alone has 16 bytes");
    check(&good[..2], 2, "the header alone has 16 bytes");
    check(&good[..15], 15, "the header alone has 16 bytes");
    check(&good[..21], 21, "2 images of 1 x 3 need 22 bytes");
    check(&[&good[..], &[0]].concat(), 22, "more data follow");
    check(b"<!DOCTYPE html>", 0, "no IDX file");
    check(&with(2, &[0x0d]), 2, "element type is 0x0d");
    check(&with(3, &[4]), 3, "4 dimensions where images have 3");
    check(&with(4, &[0, 0, 0, 0]), 4, "the number of images is 0");
    check(&with(8, &[0, 0, 0, 0]), 8, "rows of the images is 0");
    check(&with(12, &[0, 0, 0, 0]), 12, "columns of the images is 0");
    check(&with(4, &[0xff; 12]), 4, "the limit is 4294967296");
    // Announces 4 GiB and has 6 bytes: an error at once, and no such allocation.
    check(&with(4, &[0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0, 1, 0]), 22, "the data end here");
}

#[test]
fn swapped_files_are_recognised() {
    let labels = idx::encode_labels(&[1; 30]).unwrap();
    let (at, reason) = image_fault(&labels);
    assert_eq!(at, Offset::File(3));
    assert!(reason.contains("a labels file where images are wanted: are they swapped?"));
    let error = idx::parse_labels(&images_file(), "f", 10).unwrap_err().to_string();
    assert_eq!(error, "f: byte 3: an images file where labels are wanted: are they swapped?");
}

#[test]
fn labels_are_below_the_number_of_classes() {
    let file = idx::encode_labels(&[0, 9, 10]).unwrap();
    assert_eq!(idx::parse_labels(&file, "f", 11).unwrap(), [0, 9, 10]);
    let error = idx::parse_labels(&file, "f", 10).unwrap_err().to_string();
    assert_eq!(error, "f: byte 10: label 2 is 10, the limit is 9");
    let error = idx::parse_labels(&gzip(&file), "f", 10).unwrap_err().to_string();
    assert_eq!(error, "f: byte 10 of the uncompressed data: label 2 is 10, the limit is 9");
    assert!(idx::parse_labels(&file, "f", 0).is_err());
    assert!(idx::parse_labels(&file, "f", 257).is_err());
}

#[test]
fn broken_gzip_is_an_error_wherever_it_breaks() {
    let good = gzip(&images_file());
    for length in 2..good.len() {
        let (at, reason) = image_fault(&good[..length]);
        assert!(reason.contains("truncated"), "{length}: {reason}");
        assert!(matches!(at, Offset::File(at) if at <= length as u64));
    }
    // Deflate data and gzip's own checksum and length (the last 8 bytes).
    for i in 10..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 0x55;
        idx::parse_images(&bad, "f").unwrap_err();
    }
    let mut bad = good.clone();
    bad[good.len() - 8] ^= 1;
    assert!(image_fault(&bad).1.contains("corrupt"));
    let (at, reason) = image_fault(&[&good[..], b"rubbish after the end"].concat());
    assert!(reason.contains("or something follows"), "{reason}");
    assert!(matches!(at, Offset::File(at) if at >= good.len() as u64));
    // A second gzip member is part of the data, as it is for gunzip.
    let file = images_file();
    let members = [gzip(&file[..18]), gzip(&file[18..])].concat();
    assert!(idx::parse_images(&members, "f").is_ok());
}

#[test]
fn what_the_format_cannot_hold_is_not_written() {
    assert!(idx::encode_images(2, 2, &[]).is_err());
    assert!(idx::encode_images(2, 2, &[0; 5]).is_err());
    assert!(idx::encode_images(0, 2, &[0; 4]).is_err());
    assert!(idx::encode_images(usize::MAX, 2, &[0; 4]).is_err());
    assert!(idx::encode_labels(&[]).is_err());
}

/// A small set under MNIST's names; odd files gzip, one of them under a plain name.
fn small_mnist(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let path = |name: &str| folder.join(name);
    idx::write_images(path("train-images-idx3-ubyte"), 1, 2, &[7; 6]).unwrap();
    idx::write_labels(path("train-labels-idx1-ubyte.gz"), &[3, 4, 5]).unwrap();
    idx::write_images(path("t10k-images-idx3-ubyte.gz"), 1, 2, &[8; 2]).unwrap();
    let labels = gzip(&idx::encode_labels(&[9]).unwrap());
    std::fs::write(path("t10k-labels-idx1-ubyte"), labels).unwrap();
}

#[test]
fn mnist_is_found_in_the_folder_or_below() {
    let folder = tempfile::tempdir().unwrap();
    small_mnist(&folder.path().join("mnist"));
    for dir in [folder.path().to_owned(), folder.path().join("mnist")] {
        let mnist = Mnist::load(&dir).unwrap();
        assert_eq!(mnist.train.labels(), [3, 4, 5]);
        assert_eq!(mnist.test.image(0), [8, 8]);
        assert!(mnist.train.provenance().contains("train-images"));
    }
    // These are not the published files, and verify says which one it was.
    let error = mnist::verify(folder.path()).unwrap_err().to_string();
    assert!(error.contains("train-images-idx3-ubyte has 47040016 bytes"), "{error}");
    // Gzip comes first where both are there.
    let gz = folder.path().join("mnist/train-labels-idx1-ubyte");
    idx::write_labels(gz, &[0, 0, 0]).unwrap();
    assert_eq!(Mnist::load(folder.path()).unwrap().train.labels(), [3, 4, 5]);
}

#[test]
fn incomplete_and_mismatched_sets_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let error = Mnist::load(folder.path()).unwrap_err();
    assert!(matches!(&error, Error::Missing { file, .. } if file == "train-images-idx3-ubyte"));
    small_mnist(folder.path());
    let labels = folder.path().join("t10k-labels-idx1-ubyte");
    idx::write_labels(&labels, &[9, 9]).unwrap();
    let error = Mnist::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("has 1 images but") && error.contains("has 2 labels"), "{error}");
    std::fs::remove_file(&labels).unwrap();
    let error = Mnist::load(folder.path()).unwrap_err();
    assert!(matches!(&error, Error::Missing { file, .. } if file == "t10k-labels-idx1-ubyte"));
}

#[test]
fn unreadable_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way of a folder").unwrap();
    for result in [
        idx::read_images(&absent).map(|_| ()),
        idx::read_labels(folder.path(), 10).map(|_| ()),
        idx::write_labels(file.join("below"), &[1]),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if path.starts_with(folder.path())));
        assert!(error.to_string().starts_with(&folder.path().display().to_string()));
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        (count, rows, columns) in (1_usize..6, 1_usize..6, 1_usize..6),
        pixels in prop::collection::vec(any::<u8>(), 125),
        compress: bool,
    ) {
        let pixels = &pixels[..count * rows * columns];
        let folder = tempfile::tempdir().unwrap();
        let suffix = if compress { ".gz" } else { "" };
        let path = |name: &str| folder.path().join(format!("{name}{suffix}"));
        idx::write_images(path("i"), rows, columns, pixels).unwrap();
        idx::write_labels(path("l"), &pixels[..count]).unwrap();
        let start = std::fs::read(path("i")).unwrap()[0];
        prop_assert_eq!(start, if compress { 0x1f } else { 0 });
        let data = idx::read_dataset("n", "p", path("i"), path("l"), 256).unwrap();
        prop_assert_eq!((data.len(), data.labels()), (count, &pixels[..count]));
        prop_assert_eq!((data.shape().rows, data.shape().columns), (rows, columns));
        prop_assert_eq!(pixels.chunks(rows * columns).nth(count - 1).unwrap(), data.image(count - 1));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        start in prop::sample::select(vec![
            vec![], vec![0, 0, 8, 3], vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0], vec![0, 0, 8, 1],
            vec![0, 0, 8, 1, 0, 0, 0], vec![0x1f, 0x8b], vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3],
        ]),
        compress: bool,
    ) {
        bytes.splice(0..0, start);
        if compress {
            bytes = gzip(&bytes);
        }
        let _ = idx::parse_images(&bytes, "f");
        let _ = idx::parse_labels(&bytes, "f", 10);
    }

    #[test]
    fn a_damaged_byte_never_panics(at in 0_usize..40, new: u8, compress: bool) {
        let mut bytes = if compress { gzip(&images_file()) } else { images_file() };
        let length = bytes.len();
        bytes[at % length] = new;
        let _ = idx::parse_images(&bytes, "f");
    }
}
