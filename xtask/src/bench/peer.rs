//! The peer: a child process that does the same work, spoken to in lines of JSON.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use pnn_core::store;
use serde_json::{Value, json};

use super::agree::Numbers;
use super::workload::{MeshPeer, Network, Task, Workload};
use crate::error::{Error, Result};

/// How the peer can run a workload; the fastest counts, and the first is the judge of the others.
pub(super) fn variants(workload: &Workload) -> &'static [&'static str] {
    match workload.network {
        // What differentiates twice cannot be compiled.
        _ if matches!(workload.task, Task::LambdaMax { .. }) => {
            &["pyhessian", "pyhessian_channels_last"]
        }
        Network::Lenet5 | Network::Resnet18 { .. } => {
            &["eager", "channels_last", "compile", "compile_channels_last"]
        }
        // Their tensors have no channels.
        Network::FreeSpace | Network::D2nn => &["eager", "compile"],
        Network::Mesh { peer: MeshPeer::Neurophox, .. } => &["neurophox"],
        Network::Mesh { peer: MeshPeer::Columns, .. } => &["eager", "compile"],
        Network::Mesh { peer: MeshPeer::Materialised, .. } => {
            &["eager", "compile", "real_product", "compile_real_product"]
        }
    }
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/peer/pytorch_peer.py");

/// A running peer; it ends when this is dropped.
pub(super) struct Peer {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    description: Value,
}

impl Peer {
    /// Starts PyTorch with a number of threads.
    pub(super) fn start(python: &Path, threads: usize) -> Result<Self> {
        let cannot = |reason: String| {
            let python = python.display();
            Error::Usage(format!(
                "the peer cannot start with {python}: {reason} (it needs Python with torch and \
                 numpy: pip install torch numpy; --python PATH names another Python)"
            ))
        };
        let mut child = Command::new(python)
            .arg(SCRIPT)
            .env("OMP_NUM_THREADS", threads.to_string())
            .env("MKL_NUM_THREADS", threads.to_string())
            .env("TORCHINDUCTOR_COMPILE_THREADS", threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| cannot(e.to_string()))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(cannot("it has no stdin or stdout".into()));
        };
        let answers = BufReader::new(answers);
        let mut peer = Self { child, requests: Some(requests), answers, description: Value::Null };
        peer.description = peer
            .ask(json!({ "command": "describe", "threads": threads }))
            .map_err(|e| cannot(e.to_string()))?;
        Ok(peer)
    }

    /// Versions and threads, as the peer says them.
    pub(super) fn description(&self) -> &Value {
        &self.description
    }

    /// Makes a variant ready, compilation included.
    pub(super) fn prepare(
        &mut self,
        workload: &Workload,
        inputs: &Path,
        variant: &str,
    ) -> Result<()> {
        let request = json!({
            "command": "prepare", "workload": workload, "inputs": inputs, "variant": variant,
        });
        self.ask(request).map(drop)
    }

    /// The numbers of a variant that must agree with ours.
    pub(super) fn check(&mut self, variant: &str, gradients: &Path) -> Result<Numbers> {
        let request = json!({ "command": "check", "variant": variant, "gradients": gradients });
        let answer = self.ask(request)?;
        let numbers = |key: &str| -> Option<Vec<f64>> {
            answer[key].as_array()?.iter().map(Value::as_f64).collect()
        };
        if let Some(correct) = numbers("correct") {
            return Ok(Numbers::Correct(correct));
        }
        if let Some(timed) = answer["lambda_max"].as_f64() {
            return Ok(Numbers::LambdaMax { exact: f64::NAN, timed });
        }
        let losses = numbers("losses")
            .ok_or_else(|| Error::Usage(format!("the peer answered {answer}, not losses")))?;
        let (gradients, _) = store::load(gradients)?;
        Numbers::steps(losses, gradients)
    }

    /// Seconds that `n` iterations of a variant took.
    pub(super) fn round(&mut self, variant: &str, n: usize) -> Result<f64> {
        let answer = self.ask(json!({ "command": "round", "variant": variant, "n": n }))?;
        answer["seconds"]
            .as_f64()
            .ok_or_else(|| Error::Usage(format!("the peer answered {answer}, not seconds")))
    }

    /// Lets the peer forget all variants.
    pub(super) fn release(&mut self) -> Result<()> {
        self.ask(json!({ "command": "release" })).map(drop)
    }

    fn ask(&mut self, request: Value) -> Result<Value> {
        let ended = |e: std::io::Error| Error::Usage(format!("the peer has ended: {e}"));
        // A peer that cannot start says why and ends, so an unwritable request is no error yet.
        let written = match &mut self.requests {
            Some(requests) => writeln!(requests, "{request}"),
            None => Ok(()),
        };
        let mut line = String::new();
        let length = self.answers.read_line(&mut line).map_err(ended)?;
        if length == 0 {
            written.map_err(ended)?;
            return Err(Error::Usage("the peer has ended without an answer".into()));
        }
        let answer: Value = serde_json::from_str(&line)
            .map_err(|e| Error::Usage(format!("the peer answered {line:?}: {e}")))?;
        match answer["error"].as_str() {
            Some(error) => Err(Error::Usage(error.to_owned())),
            None => Ok(answer),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Without requests to come the peer ends by itself.
        self.requests = None;
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_that_is_not_there_is_an_error_that_says_what_to_install() {
        let error = Peer::start(Path::new("no-such-python"), 1).err().unwrap().to_string();
        assert!(error.contains("no-such-python") && error.contains("pip install torch numpy"));
    }
}
