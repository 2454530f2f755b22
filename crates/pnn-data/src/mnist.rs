//! MNIST: 60,000 training and 10,000 test digits of 28 x 28, from files on the disk.

use std::path::{Path, PathBuf};

use crate::{Dataset, Error, FilePin, Result, idx};

/// The four published files.
pub const FILES: [FilePin; 4] = [
    FilePin::published(
        TRAIN_IMAGES,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        16 + 60_000 * 784,
    ),
    FilePin::published(
        TRAIN_LABELS,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        8 + 60_000,
    ),
    FilePin::published(
        TEST_IMAGES,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        16 + 10_000 * 784,
    ),
    FilePin::published(
        TEST_LABELS,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        8 + 10_000,
    ),
];

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

/// MNIST in its two published parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mnist {
    /// 60,000 images.
    pub train: Dataset,
    /// 10,000 images.
    pub test: Dataset,
}

impl Mnist {
    /// Reads the four files from `dir` or `dir/mnist`, gzip (`.gz`) or plain. Structure,
    /// counts and labels are checked; [`verify`] also checks that it is the published MNIST
    /// and not another set in files of the same names.
    ///
    /// ```no_run
    /// let mnist = pnn_data::Mnist::load("data")?;
    /// assert_eq!(mnist.train.len(), 60_000);
    /// # Ok::<(), pnn_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a file is missing, or as [`idx::read_dataset`].
    pub fn load(dir: impl AsRef<Path>) -> Result<Self> {
        let [train_images, train_labels, test_images, test_labels] = locate(dir.as_ref())?;
        let read = |name, images: &Path, labels: &Path| {
            let provenance = format!("MNIST (LeCun, Cortes, Burges), {}", images.display());
            idx::read_dataset(name, provenance, images, labels, 10)
        };
        Ok(Self {
            train: read("mnist-train", &train_images, &train_labels)?,
            test: read("mnist-test", &test_images, &test_labels)?,
        })
    }
}

/// Checks the four files in `dir` or `dir/mnist` against [`FILES`] and returns their paths.
///
/// # Errors
/// If a file is missing, or as [`FilePin::verify`].
pub fn verify(dir: impl AsRef<Path>) -> Result<[PathBuf; 4]> {
    let paths = locate(dir.as_ref())?;
    for (pin, path) in FILES.iter().zip(&paths) {
        pin.verify(path)?;
    }
    Ok(paths)
}

/// Where the four files are, in the order of [`FILES`]; nothing is read. An absent file tells
/// "there is no MNIST here" from "there is one and it is broken".
///
/// # Errors
/// If neither `dir` nor `dir/mnist` has all four.
pub fn locate(dir: impl AsRef<Path>) -> Result<[PathBuf; 4]> {
    let dir = dir.as_ref();
    let mut missing = "";
    for folder in [dir.to_owned(), dir.join("mnist")] {
        match FILES.each_ref().map(|file| in_folder(&file.name, &folder)) {
            [Some(a), Some(b), Some(c), Some(d)] => return Ok([a, b, c, d]),
            found => {
                let absent = found.iter().position(Option::is_none).unwrap_or(0);
                // Of the two folders, complain about the one that has some of the files.
                if missing.is_empty() || found.iter().any(Option::is_some) {
                    missing = [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS][absent];
                }
            }
        }
    }
    Err(Error::Missing { file: missing.to_owned(), dir: dir.to_owned() })
}

/// The file called `name` in `folder`: gzip first, because that is what a download writes.
pub(crate) fn in_folder(name: &str, folder: &Path) -> Option<PathBuf> {
    let candidates = [folder.join(format!("{name}.gz")), folder.join(name)];
    candidates.into_iter().find(|path| path.is_file())
}
