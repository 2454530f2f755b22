//! Progress: a bar with the time left on a terminal, plain lines otherwise.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Time between plain lines.
const QUIET: Duration = Duration::from_secs(15);

/// Shows how far a piece of work is.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    label: String,
    total: u64,
    done: u64,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    /// Starts a piece of work of `total` units.
    pub(crate) fn new(label: impl Into<String>, total: u64) -> Self {
        let label = label.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template(
                "{wide_msg} {bar:24} {percent:>3}% elapsed {elapsed} left {eta}",
            ) {
                bar.set_style(style);
            }
            bar.set_message(label.clone());
            bar
        });
        if bar.is_none() {
            eprintln!("{label}: started");
        }
        let now = Instant::now();
        Self { bar, label, total: total.max(1), done: 0, started: now, last_line: now }
    }

    /// Moves to `done` units, with a word on what is under way.
    pub(crate) fn at(&mut self, done: u64, detail: &str) {
        self.done = done.min(self.total);
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            bar.set_message(format!("{}: {detail}", self.label));
        } else if self.last_line.elapsed() >= QUIET {
            self.last_line = Instant::now();
            let share = self.done as f64 / self.total as f64;
            let left = if share > 0.0 {
                let seconds = self.started.elapsed().as_secs_f64() * (1.0 - share) / share;
                format!("about {} left", HumanDuration(Duration::from_secs_f64(seconds)))
            } else {
                "time left unknown".to_owned()
            };
            eprintln!("{}: {:.0} %, {left} ({detail})", self.label, 100.0 * share);
        }
    }

    /// Says something above the bar.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    /// Ends the bar with a last word.
    pub(crate) fn finish(self, line: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{}: {line} ({})", self.label, HumanDuration(self.started.elapsed()));
    }
}
