//! The process, and the threads that write to it and read from it.

use std::collections::VecDeque;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::config::ProcessConfig;
use super::frame::{self, Kind, Received};
use super::group;

/// How much of what a process says on standard error is kept, in bytes.
const SAID: usize = 4096;
/// How often it is looked whether a process has ended.
const POLL: Duration = Duration::from_millis(2);
/// How long is waited for the end of a process that was killed.
const KILLED: Duration = Duration::from_secs(1);

/// A running process. When this is dropped it is asked to end, and then killed with all that it has started.
pub(super) struct Process {
    child: Child,
    /// None once it is to end.
    requests: Option<Sender<(Kind, Vec<u8>)>>,
    answers: Receiver<Received>,
    said: Arc<Mutex<VecDeque<u8>>>,
    /// Those that write, read and listen. They may be blocked for as long as anybody holds the pipes, so none is waited for without
    /// a limit.
    threads: Vec<JoinHandle<()>>,
    shutdown_timeout: Duration,
}

impl Process {
    /// Starts the program, or says why not.
    pub(super) fn start(config: &ProcessConfig) -> Result<Self, String> {
        let mut command = Command::new(&config.command);
        command.args(&config.arguments);
        if let Some(folder) = &config.folder {
            command.current_dir(folder);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        group::of_its_own(&mut command);
        let program = config.command.display();
        let mut child =
            command.spawn().map_err(|e| format!("could not be started ({program}): {e}"))?;
        let (input, output, error) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut input), Some(mut output), Some(mut error)) = (input, output, error) else {
            // They were asked for above.
            return Err("has no standard input and output".into());
        };
        let (requests, to_write) = channel::<(Kind, Vec<u8>)>();
        let (to_answer, answers) = channel();
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let (kept, limit) = (Arc::clone(&said), config.largest_message_mib << 20);
        // Writing may block as long as the process does not read, so it has a thread too.
        let writer = std::thread::spawn(move || {
            while let Ok((kind, payload)) = to_write.recv() {
                if frame::write(&mut input, kind, &payload).is_err() {
                    break;
                }
            }
        });
        let reader = std::thread::spawn(move || {
            while let Some(received) = frame::read(&mut output, limit) {
                let last = received.is_err();
                if to_answer.send(received).is_err() || last {
                    break;
                }
            }
        });
        let listener = std::thread::spawn(move || {
            let mut part = [0; 512];
            while let Ok(count @ 1..) = error.read(&mut part) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&part[..count]);
                let beyond = kept.len().saturating_sub(SAID);
                kept.drain(..beyond);
            }
        });
        let threads = vec![writer, reader, listener];
        let shutdown_timeout = Duration::from_secs_f64(config.shutdown_timeout_s);
        Ok(Self { child, requests: Some(requests), answers, said, threads, shutdown_timeout })
    }

    /// Sends a frame and waits for the next that comes; or says why none did.
    pub(super) fn ask(
        &mut self,
        kind: Kind,
        payload: Vec<u8>,
        timeout_s: f64,
    ) -> Result<(Kind, Vec<u8>), String> {
        let sent = self.requests.as_ref().is_some_and(|to| to.send((kind, payload)).is_ok());
        if !sent {
            return Err(self.ending());
        }
        match self.answers.recv_timeout(Duration::from_secs_f64(timeout_s)) {
            Ok(received) => received,
            Err(RecvTimeoutError::Timeout) => Err(format!("did not answer within {timeout_s} s")),
            Err(RecvTimeoutError::Disconnected) => Err(self.ending()),
        }
    }

    /// How it ended, having closed its output.
    fn ending(&mut self) -> String {
        // It may take a moment from the end of its output to its own.
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            let over = Instant::now() >= until;
            match group::ended(&mut self.child) {
                // What it said last may still be on its way.
                Some(how) if over || self.has_said_all() => return format!("ended ({how})"),
                None if over => return "closed its standard output".into(),
                _ => std::thread::sleep(POLL),
            }
        }
    }

    /// Whether its standard error has ended too.
    fn has_said_all(&self) -> bool {
        self.threads.last().is_none_or(JoinHandle::is_finished)
    }

    /// The end of what it said on standard error.
    pub(super) fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&said.iter().copied().collect::<Vec<u8>>()).trim().to_owned()
    }

    /// The number that the system knows it by.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it and all that hold its pipes end before `until`.
    fn ends_before(&mut self, until: Instant) -> bool {
        loop {
            let closed = self.threads.iter().all(JoinHandle::is_finished);
            if closed && group::ended(&mut self.child).is_some() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let now = Instant::now();
        if let Some(requests) = self.requests.take() {
            // Who reads it may put things in order; the end of the input follows.
            let _ = requests.send((Kind::Shutdown, Vec::new()));
        }
        if !self.ends_before(now + self.shutdown_timeout / 2) {
            group::terminate(&mut self.child);
            self.ends_before(now + self.shutdown_timeout);
        }
        // Helpers whose pipes lead elsewhere are still there; the process is not reaped yet, so the number is that of its group.
        group::kill(&mut self.child);
        let until = Instant::now() + KILLED;
        self.ends_before(until);
        // Reaps it. Who hangs in the system itself cannot be; and threads end once the last holder of a pipe does, if it left the group.
        let _ = self.child.try_wait();
    }
}
