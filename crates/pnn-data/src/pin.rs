//! Published files, pinned by the checksum of what they hold.

use std::borrow::Cow;
use std::io::BufRead;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::source::Source;
use crate::{Error, Result};

/// A published file: its name, and what its uncompressed content must be. How it is
/// compressed does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePin {
    /// The file's name, without `.gz`.
    pub name: Cow<'static, str>,
    /// SHA-256 of the uncompressed content, 64 lower-case hexadecimal digits.
    pub sha256: Cow<'static, str>,
    /// Length of the uncompressed content in bytes.
    pub bytes: u64,
}

impl FilePin {
    /// The pin of a file with this uncompressed content.
    ///
    /// ```
    /// let pin = pnn_data::FilePin::of("a.txt", b"abc");
    /// assert!(pin.sha256.starts_with("ba7816bf"));
    /// ```
    #[must_use]
    pub fn of(name: impl Into<Cow<'static, str>>, content: &[u8]) -> Self {
        Self {
            name: name.into(),
            sha256: hexadecimal(&Sha256::digest(content)).into(),
            bytes: content.len() as u64,
        }
    }

    pub(crate) const fn published(name: &'static str, sha256: &'static str, bytes: u64) -> Self {
        Self { name: Cow::Borrowed(name), sha256: Cow::Borrowed(sha256), bytes }
    }

    /// Checks that `path`, plain or gzip, holds the published content.
    ///
    /// # Errors
    /// If it cannot be read, is truncated or corrupt gzip, has another length, or its
    /// checksum differs.
    pub fn verify(&self, path: impl AsRef<Path>) -> Result<()> {
        self.check(Source::open(path.as_ref())?)
    }

    #[cfg(feature = "download")]
    pub(crate) fn verify_reader(&self, reader: impl BufRead, path: &Path) -> Result<()> {
        self.check(Source::new(reader, path)?)
    }

    fn check<R: BufRead>(&self, mut source: Source<R>) -> Result<()> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        let mut length = 0;
        loop {
            let filled = source.fill(&mut buffer)?;
            length += filled as u64;
            // Stopping here keeps a small file that unpacks to terabytes harmless.
            if length > self.bytes {
                let reason = format!("more data follow, but {} ends here", self.name);
                return Err(source.fault(self.bytes, reason));
            }
            hash.update(&buffer[..filled]);
            if filled < buffer.len() {
                break;
            }
        }
        if length < self.bytes {
            let reason = format!("the data end here, but {} has {} bytes", self.name, self.bytes);
            return Err(source.fault(length, reason));
        }
        let actual = hexadecimal(&hash.finalize());
        if actual == self.sha256 {
            return Ok(());
        }
        let path = source.path().to_owned();
        Err(Error::Checksum { path, expected: self.sha256.clone().into_owned(), actual })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
