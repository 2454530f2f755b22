//! Download over HTTPS: verified, resumable, atomic.
//!
//! A file is written to `NAME.gz.part`, checked against its pin, synced and only then
//! renamed to `NAME.gz`; so a file under its final name is whole and right. A broken
//! connection leaves the partial file, and the next attempt (at the same mirror, at the next
//! one, or tomorrow) asks for the rest with an HTTP range. Wrong bytes are deleted.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{Response, header};
use ureq::{Agent, Body, Proxy};

use crate::error::MirrorFailure;
use crate::{Error, FilePin, Result, mnist};

/// Public mirrors of MNIST, in the order in which they are asked.
pub const MNIST_MIRRORS: [&str; 2] = [
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
];

/// How to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Longest wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Longest silence of the server at any time. The whole transfer has no time limit.
    pub read_timeout: Duration,
    /// How often one mirror's broken connection is resumed, as long as every attempt brings
    /// new bytes.
    pub resumes_per_mirror: usize,
    /// The address of a proxy, as in `http://localhost:8080`. The environment is not read.
    pub proxy: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(30),
            resumes_per_mirror: 5,
            proxy: None,
        }
    }
}

/// How far one file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The file's name, as on the mirror.
    pub file: &'a str,
    /// Bytes on the disk, those of earlier attempts included.
    pub bytes_done: u64,
    /// Bytes of the whole file, if the server says so.
    pub bytes_total: Option<u64>,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// It was there, with the published content.
    AlreadyThere(PathBuf),
    /// It was downloaded and has the published content.
    Downloaded(PathBuf),
}

impl Fetched {
    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::AlreadyThere(path) | Self::Downloaded(path) => path,
        }
    }
}

/// Fetches MNIST's four files into `dir` (created if absent).
///
/// ```no_run
/// use pnn_data::download::{MNIST_MIRRORS, Options, fetch_mnist};
///
/// fetch_mnist("data/mnist", &MNIST_MIRRORS, &Options::default(), &mut |progress| {
///     println!("{}: {} bytes", progress.file, progress.bytes_done);
/// })?;
/// let mnist = pnn_data::Mnist::load("data")?;
/// # Ok::<(), pnn_data::Error>(())
/// ```
///
/// # Errors
/// As [`fetch`].
pub fn fetch_mnist(
    dir: impl AsRef<Path>,
    mirrors: &[&str],
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<Fetched>> {
    let dir = dir.as_ref();
    mnist::FILES.iter().map(|pin| fetch(pin, dir, mirrors, options, progress)).collect()
}

/// Fetches `MIRROR/NAME.gz` into `dir` (created if absent) from the first mirror that
/// delivers what `pin` says, unless `dir` has it already, as `NAME.gz` or `NAME`.
/// `progress` is called at the start and after every block.
///
/// # Errors
/// [`Error::Download`] with every mirror's reason if none delivered; [`Error::Io`] at once if
/// the disk is full or `dir` cannot be written; [`Error::Busy`] if another process is at it;
/// [`Error::Proxy`] if the proxy's address is malformed.
pub fn fetch(
    pin: &FilePin,
    dir: impl AsRef<Path>,
    mirrors: &[&str],
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Fetched> {
    let dir = dir.as_ref();
    if let Some(path) = mnist::in_folder(&pin.name, dir)
        && pin.verify(&path).is_ok()
    {
        return Ok(Fetched::AlreadyThere(path));
    }
    std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
    let agent = agent(options)?;
    let file = format!("{}.gz", pin.name);
    let path = dir.join(&file);
    let mut part = Part::open(dir.join(format!("{file}.part")))?;
    let mut failures = Vec::new();
    for mirror in mirrors {
        let url = format!("{}/{file}", mirror.trim_end_matches('/'));
        let mut transfer = Transfer { agent: &agent, url: &url, file: &file, pin, progress };
        match transfer.run(&mut part, options.resumes_per_mirror)? {
            Ok(()) => {
                part.publish(&path)?;
                return Ok(Fetched::Downloaded(path));
            }
            Err(reason) => failures.push(MirrorFailure { url, reason }),
        }
    }
    part.remove_if_empty()?;
    Err(Error::Download { file, failures })
}

fn agent(options: &Options) -> Result<Agent> {
    let proxy = match &options.proxy {
        None => None,
        Some(address) => Some(
            Proxy::new(address)
                .map_err(|e| Error::Proxy { address: address.clone(), reason: e.to_string() })?,
        ),
    };
    let config = Agent::config_builder()
        .proxy(proxy)
        .http_status_as_error(false)
        .user_agent(concat!("pnn-data/", env!("CARGO_PKG_VERSION")))
        // The file is compressed itself, and ranges must count its own bytes.
        .accept_encoding("identity")
        .timeout_connect(Some(options.connect_timeout))
        .timeout_recv_response(Some(options.read_timeout))
        .timeout_per_read(Some(options.read_timeout));
    Ok(config.build().new_agent())
}

/// A mirror's failure in words; the outer `Result` is for what no other mirror can mend.
type Attempt<T> = std::result::Result<T, String>;

/// One file from one mirror.
struct Transfer<'a> {
    agent: &'a Agent,
    url: &'a str,
    file: &'a str,
    pin: &'a FilePin,
    progress: &'a mut dyn FnMut(Progress<'_>),
}

impl Transfer<'_> {
    /// Downloads what is missing in `part` and verifies it.
    fn run(&mut self, part: &mut Part, resumes: usize) -> Result<Attempt<()>> {
        let mut resumes_left = resumes;
        part.inherited = part.length > 0;
        loop {
            let before = part.length;
            if let Err(reason) = self.receive(part)? {
                if part.length > before && resumes_left > 0 {
                    resumes_left -= 1;
                    continue;
                }
                return Ok(Err(reason));
            }
            let Err(error) = part.verify(self.pin) else {
                return Ok(Ok(()));
            };
            // Bytes from before this mirror may be the wrong ones: then once more from 0.
            let again = part.inherited;
            let reason = part.describe_wrong_bytes(&error);
            part.clear()?;
            if !again {
                return Ok(Err(reason));
            }
        }
    }

    /// One request, for all that `part` lacks.
    fn receive(&mut self, part: &mut Part) -> Result<Attempt<()>> {
        let mut request = self.agent.get(self.url);
        if part.length > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", part.length));
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(error) => return Ok(Err(error.to_string())),
        };
        match response.status().as_u16() {
            200 => part.clear()?, // All of it, whether a range was asked for or not.
            206 if part.length > 0 && range_start(&response) == Some(part.length) => {}
            206 => {
                part.clear()?;
                return Ok(Err("the server sent another range than was asked for".to_owned()));
            }
            // Nothing is missing, or the partial file is not this one: verification tells.
            416 if part.length > 0 => return Ok(Ok(())),
            _ => return Ok(Err(format!("HTTP status {}", response.status()))),
        }
        self.append(response.into_body(), part)
    }

    fn append(&mut self, body: Body, part: &mut Part) -> Result<Attempt<()>> {
        let total = body.content_length().map(|rest| part.length.saturating_add(rest));
        let limit = compressed_limit(self.pin.bytes);
        let mut reader = body.into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let bytes_done = part.length;
            (self.progress)(Progress { file: self.file, bytes_done, bytes_total: total });
            if bytes_done > limit {
                part.clear()?;
                return Ok(Err(format!("more than the {limit} bytes this file can have")));
            }
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => part.append(&buffer[..count])?,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Ok(Err(format!("broke off after {bytes_done} bytes: {e}"))),
            }
        }
        match total {
            Some(total) if part.length < total => {
                Ok(Err(format!("broke off after {} of {total} bytes", part.length)))
            }
            _ => Ok(Ok(())),
        }
    }
}

/// The first byte of a partial response, from `Content-Range: bytes 5-9/10`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// No gzip file of `bytes` bytes is longer: deflate stores what it cannot compress in blocks
/// with 5 bytes of overhead, and the header is short.
fn compressed_limit(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 100).saturating_add(4096)
}

/// The partial file, locked as long as it is open.
struct Part {
    path: PathBuf,
    file: File,
    length: u64,
    /// Whether it starts with bytes that are not from the mirror being asked.
    inherited: bool,
}

impl Part {
    fn open(path: PathBuf) -> Result<Self> {
        let io = |e| Error::io(&path, e);
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { path }),
            // Some network file systems have no locks; verification still guards the result.
            Err(TryLockError::Error(_)) => {}
        }
        let length = file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok(Self { path, file, length, inherited: length > 0 })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io(&self.path, e))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn clear(&mut self) -> Result<()> {
        let io = |e| Error::io(&self.path, e);
        self.file.set_len(0).map_err(io)?;
        self.file.seek(SeekFrom::Start(0)).map_err(io)?;
        self.length = 0;
        self.inherited = false;
        Ok(())
    }

    /// Reads through its own handle: where locks are mandatory, no other can.
    fn verify(&mut self, pin: &FilePin) -> Result<()> {
        self.file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(&self.path, e))?;
        let verified = pin.verify_reader(BufReader::new(&self.file), &self.path);
        self.file.seek(SeekFrom::End(0)).map_err(|e| Error::io(&self.path, e))?;
        verified
    }

    fn publish(self, path: &Path) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(&self.path, e))?;
        drop(self.file);
        std::fs::rename(&self.path, path).map_err(|e| Error::io(path, e))?;
        if let Some(folder) = path.parent() {
            pnn_core::store::sync_folder(folder);
        }
        Ok(())
    }

    fn remove_if_empty(self) -> Result<()> {
        if self.length > 0 {
            return Ok(());
        }
        drop(self.file);
        std::fs::remove_file(&self.path).map_err(|e| Error::io(&self.path, e))
    }

    /// A web page where a file should be is the usual way a mirror or a hotel network fails.
    fn describe_wrong_bytes(&mut self, error: &Error) -> String {
        let mut start = [0; 1];
        let read = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.read(&mut start));
        if matches!(read, Ok(1)) && start == *b"<" {
            return "wrong bytes: it looks like a web page".to_owned();
        }
        format!("wrong bytes: {error}")
    }
}
