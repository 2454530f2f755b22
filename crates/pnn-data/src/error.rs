//! The errors of this crate.

use std::fmt;
use std::path::{Path, PathBuf};

/// What can go wrong in pnn-data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system could not read or write a file (absent, not permitted, disk full).
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },

    /// A file was read but its content is not what it should be.
    #[error("{path}: {at}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Where the fault is.
        at: Offset,
        /// What is wrong there.
        reason: String,
    },

    /// An images file and a labels file do not belong together.
    #[error("{images_path} has {images} images but {labels_path} has {labels} labels")]
    CountMismatch {
        /// The images file.
        images_path: PathBuf,
        /// How many images it has.
        images: usize,
        /// The labels file.
        labels_path: PathBuf,
        /// How many labels it has.
        labels: usize,
    },

    /// A file is not where it is looked for.
    #[error("{file}[.gz] is missing: neither {dir} nor {dir}/mnist holds all files of the set")]
    Missing {
        /// The file's name, uncompressed.
        file: String,
        /// The folder that was asked for.
        dir: PathBuf,
    },

    /// A file's uncompressed content is not the published one.
    #[error("{path}: the SHA-256 of the uncompressed content is {actual}, published is {expected}")]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The published checksum, hexadecimal.
        expected: String,
        /// The checksum found, hexadecimal.
        actual: String,
    },

    /// A count or an index is above its limit.
    #[error("{what} is {value}, the limit is {limit}")]
    Limit {
        /// The name of the count or index.
        what: String,
        /// Its value.
        value: usize,
        /// The largest value allowed.
        limit: usize,
    },

    /// A parameter lies outside its allowed range.
    #[error("{what} is {value}, allowed is {allowed}")]
    Range {
        /// The name of the parameter.
        what: String,
        /// Its value.
        value: f64,
        /// The allowed range in interval notation.
        allowed: &'static str,
    },

    /// An array does not have the length that its shape asks for.
    #[error("{what} has {got} bytes, but {want} are needed")]
    Length {
        /// The name of the array.
        what: String,
        /// Its length in bytes.
        got: usize,
        /// The length in bytes that is needed.
        want: usize,
    },

    /// A class is too small to be split.
    #[error(
        "class {class} has {available} images: holding out {held_out} would leave one part without the class"
    )]
    Split {
        /// The class.
        class: usize,
        /// How many images it has.
        available: usize,
        /// How many were to be held out.
        held_out: usize,
    },

    /// A tensor could not be built.
    #[error(transparent)]
    Core(pnn_core::Error),

    /// Another process is downloading the same file.
    #[cfg(feature = "download")]
    #[error("{path} is locked: another download is writing it")]
    Busy {
        /// The partial file.
        path: PathBuf,
    },

    /// The address of a proxy is malformed.
    #[cfg(feature = "download")]
    #[error("the proxy address {address:?}: {reason}")]
    Proxy {
        /// The address.
        address: String,
        /// What is wrong with it.
        reason: String,
    },

    /// No mirror delivered a file. Each line of the message is one mirror's reason.
    #[cfg(feature = "download")]
    #[error("no mirror delivered {file}{}", list(.failures))]
    Download {
        /// The file's name.
        file: String,
        /// What happened at each mirror, in the order in which they were asked.
        failures: Vec<MirrorFailure>,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn content(path: &Path, at: Offset, reason: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), at, reason: reason.into() }
    }
}

/// A place in a file, counted in bytes from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    /// In the file as it lies on the disk.
    File(u64),
    /// In what a gzip file holds.
    Uncompressed(u64),
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(offset) => write!(f, "byte {offset}"),
            Self::Uncompressed(offset) => write!(f, "byte {offset} of the uncompressed data"),
        }
    }
}

/// Why one mirror did not deliver.
#[cfg(feature = "download")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorFailure {
    /// The address that was asked.
    pub url: String,
    /// What went wrong.
    pub reason: String,
}

#[cfg(feature = "download")]
fn list(failures: &[MirrorFailure]) -> String {
    if failures.is_empty() {
        return ": there are no mirrors to ask".to_owned();
    }
    let lines = failures.iter().map(|f| format!("\n  {}: {}", f.url, f.reason));
    lines.collect()
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<pnn_core::Error> for Error {
    fn from(error: pnn_core::Error) -> Self {
        match error {
            pnn_core::Error::Io { path, source } => Self::Io { path, source },
            other => Self::Core(other),
        }
    }
}
