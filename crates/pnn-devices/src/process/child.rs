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

/// How much of what a process says on standard error is kept, in bytes.
const SAID: usize = 4096;

/// A running process. It is killed when this is dropped; its threads then end.
pub(super) struct Process {
    child: Child,
    /// None once it is to end.
    requests: Option<Sender<(Kind, Vec<u8>)>>,
    answers: Receiver<Received>,
    said: Arc<Mutex<VecDeque<u8>>>,
    threads: Vec<JoinHandle<()>>,
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
        Ok(Self { child, requests: Some(requests), answers, said, threads })
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
            match self.child.try_wait() {
                // What it said last may still be on its way.
                Ok(Some(_)) if Instant::now() < until && !self.has_said_all() => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(Some(status)) => return format!("ended ({status})"),
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                _ => return "closed its standard output".into(),
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
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(requests) = self.requests.take() {
            // Who reads it may put things in order; who does not is killed below.
            let _ = requests.send((Kind::Shutdown, Vec::new()));
        }
        let until = Instant::now() + Duration::from_millis(200);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
