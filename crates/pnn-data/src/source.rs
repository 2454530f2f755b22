//! Bytes from a file that is plain or gzip, told apart by the first two bytes, with errors
//! that say at which byte the trouble is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::{Error, Offset, Result};

/// A stream of uncompressed bytes that knows its name and where it is.
pub(crate) struct Source<R> {
    path: PathBuf,
    offset: u64,
    inner: Inner<R>,
}

enum Inner<R> {
    Plain(R),
    Gzip(MultiGzDecoder<Counted<R>>),
}

impl Source<BufReader<File>> {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        Self::new(BufReader::with_capacity(1 << 16, file), path)
    }
}

impl<R: BufRead> Source<R> {
    pub(crate) fn new(mut reader: R, path: &Path) -> Result<Self> {
        let start = reader.fill_buf().map_err(|e| Error::io(path, e))?;
        let inner = if start.starts_with(&[0x1f, 0x8b]) {
            Inner::Gzip(MultiGzDecoder::new(Counted { reader, count: 0 }))
        } else {
            Inner::Plain(reader)
        };
        Ok(Self { path: path.to_owned(), offset: 0, inner })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Fills `buffer` as far as the data go and returns how far. Only at the end of the data
    /// is that less than all of it, and then gzip's own checksum has been checked.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            let read = match &mut self.inner {
                Inner::Plain(reader) => reader.read(rest),
                Inner::Gzip(reader) => reader.read(rest),
            };
            match read {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    self.offset += count as u64;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.explain(e)),
            }
        }
        Ok(filled)
    }

    /// The next `length` bytes, or fewer where the data end before. Memory grows with what
    /// is really there, never with what a header promises.
    pub(crate) fn up_to(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let start = bytes.len();
            let step = (length - start).min(start.max(1 << 16));
            bytes.resize(start + step, 0);
            let filled = self.fill(&mut bytes[start..])?;
            bytes.truncate(start + filled);
            if filled < step {
                break;
            }
        }
        Ok(bytes)
    }

    /// Whether nothing follows; reads gzip's checksum.
    pub(crate) fn at_end(&mut self) -> Result<bool> {
        Ok(self.fill(&mut [0])? == 0)
    }

    /// An error about the uncompressed byte at `offset`.
    pub(crate) fn fault(&self, offset: u64, reason: impl Into<String>) -> Error {
        let at = match self.inner {
            Inner::Plain(_) => Offset::File(offset),
            Inner::Gzip(_) => Offset::Uncompressed(offset),
        };
        Error::content(&self.path, at, reason)
    }

    fn explain(&self, error: io::Error) -> Error {
        let Inner::Gzip(decoder) = &self.inner else {
            return Error::io(&self.path, error);
        };
        let reason = match error.kind() {
            ErrorKind::UnexpectedEof => "the gzip data are truncated".to_owned(),
            ErrorKind::InvalidData | ErrorKind::InvalidInput => {
                format!("the gzip data are corrupt, or something follows them ({error})")
            }
            _ => return Error::io(&self.path, error),
        };
        Error::content(&self.path, Offset::File(decoder.get_ref().count), reason)
    }
}

/// Counts the bytes that were taken.
struct Counted<R> {
    reader: R,
    count: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.count += amount as u64;
        self.reader.consume(amount);
    }
}
