//! Downloads from a small HTTP server on the loopback that can be as bad as real ones.
#![cfg(feature = "download")]
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use pnn_data::download::{Fetched, Options, fetch};
use pnn_data::{Error, FilePin, MirrorFailure, idx};

/// What a server does with the request for byte `from` on (`None`: no range was asked for).
type Behaviour = fn(file: &[u8], from: Option<usize>, request: usize) -> Reply;

struct Reply {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
    /// Keep the connection open this long after the body.
    linger: Duration,
}

fn reply(status: &'static str, headers: String, body: &[u8]) -> Reply {
    Reply { status, headers, body: body.to_vec(), linger: Duration::ZERO }
}

fn ok(body: &[u8]) -> Reply {
    reply("200 OK", format!("Content-Length: {}\r\n", body.len()), body)
}

fn rest(file: &[u8], from: usize) -> Reply {
    let total = file.len();
    if from >= total {
        return reply("416 Range Not Satisfiable", "Content-Length: 0\r\n".to_owned(), b"");
    }
    let headers = format!(
        "Content-Length: {}\r\nContent-Range: bytes {from}-{}/{total}\r\n",
        total - from,
        total - 1
    );
    reply("206 Partial Content", headers, &file[from..])
}

fn good(file: &[u8], from: Option<usize>, _: usize) -> Reply {
    from.map_or_else(|| ok(file), |from| rest(file, from))
}

/// Every connection dies after a third of the file; ranges are honoured.
fn breaks_off(file: &[u8], from: Option<usize>, request: usize) -> Reply {
    let mut reply = good(file, from, request);
    reply.body.truncate(file.len() / 3 + 1);
    reply
}

/// The first connection dies, and what follows is always the whole file.
fn ignores_ranges(file: &[u8], _: Option<usize>, request: usize) -> Reply {
    let mut reply = ok(file);
    if request == 0 {
        reply.body.truncate(file.len() / 3);
    }
    reply
}

fn wrong_bytes(file: &[u8], from: Option<usize>, request: usize) -> Reply {
    let mut file = file.to_vec();
    let middle = file.len() / 2;
    file[middle] ^= 0xff;
    good(&file, from, request)
}

/// A well-made gzip file with other content of the same length.
fn another_file(_: &[u8], from: Option<usize>, request: usize) -> Reply {
    let mut content = content();
    content[20] ^= 1;
    good(&gzip(&content), from, request)
}

fn not_found(_: &[u8], _: Option<usize>, _: usize) -> Reply {
    reply("404 Not Found", "Content-Length: 4\r\n".to_owned(), b"gone")
}

fn web_page(_: &[u8], _: Option<usize>, _: usize) -> Reply {
    ok(b"<!DOCTYPE html><title>Please log in</title>")
}

fn falls_silent(file: &[u8], from: Option<usize>, request: usize) -> Reply {
    let mut reply = good(file, from, request);
    reply.body.truncate(10);
    reply.linger = Duration::from_secs(3);
    reply
}

fn never_ends(file: &[u8], _: Option<usize>, _: usize) -> Reply {
    reply("200 OK", String::new(), &[file, &vec![0; 100_000]].concat())
}

fn lies_about_the_range(file: &[u8], from: Option<usize>, request: usize) -> Reply {
    good(file, from.map(|from| from / 2), request)
}

struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    /// The `from` of every request so far.
    requests: Arc<Mutex<Vec<Option<usize>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (stopped, log) = (stop.clone(), requests.clone());
        let thread = std::thread::spawn(move || {
            let file = gzip(&content());
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                serve(stream.unwrap(), &file, behaviour, &log);
            }
        });
        Self { address, stop, requests, thread: Some(thread) }
    }

    fn mirror(&self) -> String {
        format!("http://{}/some/folder/", self.address)
    }

    /// From here on nobody listens at the address.
    fn shut(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stop.store(true, Ordering::SeqCst);
            let _ = TcpStream::connect(self.address);
            let _ = thread.join();
        }
    }

    fn requests(&self) -> Vec<Option<usize>> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shut();
    }
}

fn serve(
    mut stream: TcpStream,
    file: &[u8],
    behaviour: Behaviour,
    log: &Mutex<Vec<Option<usize>>>,
) {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut from = None;
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for (i, line) in lines.map_while(Result::ok).enumerate() {
        if i == 0 {
            assert_eq!(line, "GET /some/folder/small-images-idx3-ubyte.gz HTTP/1.1");
        }
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            from = Some(range.trim_end_matches('-').parse().unwrap());
        }
        if line.is_empty() {
            break;
        }
    }
    let request = {
        let mut log = log.lock().unwrap();
        log.push(from);
        log.len() - 1
    };
    let Reply { status, headers, body, linger } = behaviour(file, from, request);
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    std::thread::sleep(linger);
}

/// A made-up images file that does not compress away: 200 images of 2 x 5.
fn content() -> Vec<u8> {
    let pixels: Vec<u8> =
        (0..2000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    idx::encode_images(2, 5, &pixels).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const NAME: &str = "small-images-idx3-ubyte";

fn get(servers: &[&Server], dir: &Path) -> Result<Fetched, Error> {
    get_with(servers, dir, &Options::default())
}

fn get_with(servers: &[&Server], dir: &Path, options: &Options) -> Result<Fetched, Error> {
    let mirrors: Vec<String> = servers.iter().map(|server| server.mirror()).collect();
    let mirrors: Vec<&str> = mirrors.iter().map(String::as_str).collect();
    fetch(&FilePin::of(NAME, &content()), dir, &mirrors, options, &mut |_| {})
}

/// The file is there, right, and alone.
fn assert_fetched(result: Result<Fetched, Error>, dir: &Path) {
    let path = dir.join(format!("{NAME}.gz"));
    assert_eq!(result.unwrap(), Fetched::Downloaded(path.clone()));
    assert_eq!(idx::read_images(&path).unwrap().count(), 200);
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 1);
}

fn failures(result: Result<Fetched, Error>) -> Vec<MirrorFailure> {
    match result.unwrap_err() {
        Error::Download { failures, .. } => failures,
        other => panic!("{other}"),
    }
}

fn part_length(dir: &Path) -> Option<u64> {
    std::fs::metadata(dir.join(format!("{NAME}.gz.part"))).ok().map(|data| data.len())
}

#[test]
fn a_good_mirror_is_asked_once_and_never_again() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("made/on/the/way");
    let server = Server::start(good);
    let mut seen = Vec::new();
    let pin = FilePin::of(NAME, &content());
    let mirror = server.mirror();
    let mut fetch = || {
        fetch(&pin, &dir, &[&mirror], &Options::default(), &mut |progress| {
            assert_eq!(progress.file, "small-images-idx3-ubyte.gz");
            seen.push((progress.bytes_done, progress.bytes_total));
        })
    };
    assert_fetched(fetch(), &dir);
    let there = fetch().unwrap();
    assert_eq!(there, Fetched::AlreadyThere(dir.join(format!("{NAME}.gz"))));
    let total = gzip(&content()).len() as u64;
    assert_eq!(seen.first(), Some(&(0, Some(total))));
    assert_eq!(seen.last(), Some(&(total, Some(total))));
    assert!(seen.is_sorted());
    assert_eq!(server.requests(), [None]);
}

#[test]
fn a_plain_file_counts_and_a_wrong_one_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(good);
    std::fs::write(folder.path().join(NAME), content()).unwrap();
    assert!(matches!(get(&[&server], folder.path()), Ok(Fetched::AlreadyThere(_))));
    std::fs::remove_file(folder.path().join(NAME)).unwrap();
    std::fs::write(folder.path().join(format!("{NAME}.gz")), b"rubbish").unwrap();
    assert_fetched(get(&[&server], folder.path()), folder.path());
}

#[test]
fn a_broken_connection_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(breaks_off);
    assert_fetched(get(&[&server], folder.path()), folder.path());
    let third = gzip(&content()).len() / 3 + 1;
    assert_eq!(server.requests(), [None, Some(third), Some(2 * third)]);
}

#[test]
fn another_day_and_another_mirror_go_on_where_it_broke() {
    let folder = tempfile::tempdir().unwrap();
    let bad = Server::start(breaks_off);
    let options = Options { resumes_per_mirror: 0, ..Options::default() };
    let reasons = failures(get_with(&[&bad], folder.path(), &options));
    assert!(reasons[0].reason.contains("broke off after"), "{reasons:?}");
    let third = gzip(&content()).len() / 3 + 1;
    assert_eq!(part_length(folder.path()), Some(third as u64));
    assert!(!folder.path().join(format!("{NAME}.gz")).exists());

    let server = Server::start(good);
    assert_fetched(get(&[&server], folder.path()), folder.path());
    assert_eq!(server.requests(), [Some(third)]);
}

#[test]
fn a_server_that_ignores_ranges_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(ignores_ranges);
    assert_fetched(get(&[&server], folder.path()), folder.path());
    let third = gzip(&content()).len() / 3;
    assert_eq!(server.requests(), [None, Some(third)]);
}

#[test]
fn a_stale_partial_file_costs_one_more_request() {
    let server = Server::start(good);
    let whole = gzip(&content());
    for stale in [vec![7; 100], vec![7; whole.len()], vec![7; whole.len() + 5]] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(format!("{NAME}.gz.part")), &stale).unwrap();
        assert_fetched(get(&[&server], folder.path()), folder.path());
        let requests = server.requests();
        assert_eq!(requests[requests.len() - 2..], [Some(stale.len()), None]);
    }
    // Killed between the last byte and the rename: 416, and the bytes are right.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(format!("{NAME}.gz.part")), &whole).unwrap();
    assert_fetched(get(&[&server], folder.path()), folder.path());
    assert_eq!(server.requests().last(), Some(&Some(whole.len())));
}

#[test]
fn a_lie_about_the_range_does_not_mix_bytes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(format!("{NAME}.gz.part")), [7; 100]).unwrap();
    let (liar, server) = (Server::start(lies_about_the_range), Server::start(good));
    assert_fetched(get(&[&liar, &server], folder.path()), folder.path());
    assert_eq!(server.requests(), [None]);
}

#[test]
fn every_bad_mirror_has_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let behaviours: [Behaviour; 5] = [wrong_bytes, another_file, not_found, web_page, never_ends];
    let servers = behaviours.map(Server::start);
    let mut gone = Server::start(good);
    gone.shut();
    let all: Vec<&Server> = servers.iter().chain([&gone]).collect();
    let error = get(&all, folder.path()).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("no mirror delivered small-images-idx3-ubyte.gz\n  http://127."));
    let reasons = failures(Err(error));
    let words = [
        "wrong bytes: ",
        "SHA-256 of the uncompressed content is",
        "HTTP status 404",
        "web page",
        "bytes this file can have",
        "refused",
    ];
    assert_eq!(reasons.len(), words.len());
    for (failure, words) in reasons.iter().zip(words) {
        assert!(failure.reason.contains(words), "{failure:?}");
        assert!(text.contains(&failure.url));
    }
    // Nothing wrong stays.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_fetched(
        get(&[all.as_slice(), &[&Server::start(good)]].concat(), folder.path()),
        folder.path(),
    );
}

#[test]
fn silence_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (silent, server) = (Server::start(falls_silent), Server::start(good));
    let options = Options {
        read_timeout: Duration::from_millis(200),
        resumes_per_mirror: 0,
        ..Options::default()
    };
    let start = Instant::now();
    assert_fetched(get_with(&[&silent, &server], folder.path(), &options), folder.path());
    assert!(start.elapsed() < Duration::from_millis(2500));
    assert_eq!(server.requests(), [Some(10)]);
}

#[test]
fn local_trouble_stops_at_once_and_names_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(good);
    let blocked = folder.path().join("a-file");
    std::fs::write(&blocked, b"").unwrap();
    let error = get(&[&server], &blocked.join("below")).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.starts_with(&blocked)), "{error}");

    let held = std::fs::File::create(folder.path().join(format!("{NAME}.gz.part"))).unwrap();
    held.lock().unwrap();
    let error = get(&[&server], folder.path()).unwrap_err();
    assert!(matches!(&error, Error::Busy { path } if path.ends_with(format!("{NAME}.gz.part"))));
    drop(held);

    let options = Options { proxy: Some("not a proxy".to_owned()), ..Options::default() };
    let error = get_with(&[&server], folder.path(), &options).unwrap_err();
    assert!(matches!(&error, Error::Proxy { .. }), "{error}");
    assert_eq!(server.requests(), []);
}

#[test]
fn no_mirrors_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = get(&[], folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("there are no mirrors to ask"), "{error}");
}

/// No certificate for a loopback test, but TLS is built in and speaks first.
#[test]
fn https_is_spoken() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("https://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut start = [0; 3];
        stream.read_exact(&mut start).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        start
    });
    let pin = FilePin::of(NAME, &content());
    let result = fetch(&pin, folder.path(), &[&mirror], &Options::default(), &mut |_| {});
    assert_eq!(failures(result).len(), 1);
    // A TLS record of type 22 (handshake), protocol version 3.x (RFC 8446, section 5.1).
    assert_eq!(server.join().unwrap()[..2], [22, 3]);
}
