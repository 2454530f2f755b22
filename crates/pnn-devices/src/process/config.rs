//! How a child process is started and how long it may take.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The command of an instrument, and its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessConfig {
    /// The program.
    pub command: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The folder that it runs in; this process' own if absent.
    pub folder: Option<PathBuf>,
    /// Seconds until it must have said what it is.
    pub handshake_timeout_s: f64,
    /// Seconds until a measurement must be back.
    pub measure_timeout_s: f64,
    /// Seconds that a process has to put its instrument in order when it is to end. It is told by a frame and by the end of its
    /// input; after half of the time it and all that it has started get SIGTERM, after the whole SIGKILL.
    pub shutdown_timeout_s: f64,
    /// How often a measurement that failed is tried again, with a new process.
    pub retries: u32,
    /// The largest message that is taken, in MiB.
    pub largest_message_mib: u64,
}

impl Default for ProcessConfig {
    /// `python3` without arguments, 30 s to start, 60 s a measurement, 5 s to end, 2 retries, messages of up to 1 GiB.
    fn default() -> Self {
        Self {
            command: "python3".into(),
            arguments: Vec::new(),
            folder: None,
            handshake_timeout_s: 30.0,
            measure_timeout_s: 60.0,
            shutdown_timeout_s: 5.0,
            retries: 2,
            largest_message_mib: 1024,
        }
    }
}

impl ProcessConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// If a timeout is not positive or above a day, or the largest message not between 1 MiB and 1 TiB.
    pub fn check(&self) -> Result<()> {
        for (what, value) in [
            ("handshake_timeout_s of an instrument", self.handshake_timeout_s),
            ("measure_timeout_s of an instrument", self.measure_timeout_s),
            ("shutdown_timeout_s of an instrument", self.shutdown_timeout_s),
        ] {
            if !(value > 0.0 && value <= 86_400.0) {
                return Err(Error::Range { what, value, allowed: "(0, 86400]" });
            }
        }
        if !(1..=1 << 20).contains(&self.largest_message_mib) {
            let (what, value) =
                ("largest_message_mib of an instrument", self.largest_message_mib as f64);
            return Err(Error::Range { what, value, allowed: "[1, 1048576]" });
        }
        Ok(())
    }
}
