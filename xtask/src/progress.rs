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
    /// What was done before the start, which says nothing of the time that the rest takes.
    skipped: u64,
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
        Self { bar, label, total: total.max(1), done: 0, skipped: 0, started: now, last_line: now }
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
            let left = match self.left(self.started.elapsed()) {
                Some(left) => format!("about {} left", HumanDuration(left)),
                None => "time left unknown".to_owned(),
            };
            eprintln!("{}: {:.0} %, {left} ({detail})", self.label, 100.0 * share);
        }
    }

    /// Goes to `done` units without any work: they are from an earlier run.
    pub(crate) fn skip_to(&mut self, done: u64) {
        let done = done.min(self.total);
        self.skipped += done.saturating_sub(self.done);
        self.done = done;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.reset_eta();
        }
    }

    /// How long the rest takes, if it goes on as it did for so long.
    fn left(&self, elapsed: Duration) -> Option<Duration> {
        let worked = self.done.saturating_sub(self.skipped);
        (worked > 0).then(|| elapsed.mul_f64((self.total - self.done) as f64 / worked as f64))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_an_earlier_run_does_not_make_the_rest_look_fast() {
        let mut progress = Progress::new("training", 100);
        let minutes = |n: u64| Duration::from_secs(60 * n);
        progress.skip_to(50);
        assert_eq!(progress.left(minutes(1)), None);
        progress.at(60, "");
        assert_eq!(progress.left(minutes(1)), Some(minutes(4)));
        progress.skip_to(90);
        assert_eq!(progress.left(minutes(1)), Some(minutes(1)));
    }
}
