//! One seed, the same bits: on one thread or two, and over a kill -9 with resume.

use crate::common;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{IN_SITU_SAT, digits, recipe, train};
use pnn_train::{Observer, Result, StepEvent};

const IMAGES: usize = 640;

#[test]
fn one_thread_and_two_give_the_same_bits() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train(&recipe(IN_SITU_SAT), &digits(IMAGES), None, &mut ()).unwrap())
    };
    let (one, two) = (run(1), run(2));
    assert_eq!(one.bits, two.bits);
    assert_eq!(
        one.history.iter().map(|r| r.train_loss.to_bits()).collect::<Vec<_>>(),
        two.history.iter().map(|r| r.train_loss.to_bits()).collect::<Vec<_>>(),
    );
}

/// Set in the child process that is to be killed.
const CHILD: &str = "PNN_TEST_CHECKPOINT";

/// Writes each step into a file that the parent watches, and is slow enough to be caught.
struct Tell(PathBuf);

impl Observer for Tell {
    fn on_step(&mut self, event: &StepEvent) -> Result<()> {
        let done = event.epoch * event.steps + event.step;
        std::fs::write(&self.0, done.to_string()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    }
}

#[test]
fn a_killed_training_resumes_to_the_same_bits() {
    if let Some(checkpoint) = std::env::var_os(CHILD).map(PathBuf::from) {
        let steps = checkpoint.with_extension("steps");
        train(&recipe(IN_SITU_SAT), &digits(IMAGES), Some(checkpoint), &mut Tell(steps)).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint.safetensors");
    let steps = checkpoint.with_extension("steps");
    // Killed in the middle of the first epoch (10 steps), resumed, killed in the second, resumed.
    for (kills, until) in [3usize, 14].into_iter().enumerate() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "determinism::a_killed_training_resumes_to_the_same_bits",
                "--nocapture",
            ])
            .env(CHILD, &checkpoint)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        loop {
            let done = std::fs::read_to_string(&steps).ok().and_then(|s| s.parse::<usize>().ok());
            if done.is_some_and(|done| done >= until) {
                break;
            }
            assert!(child.try_wait().unwrap().is_none(), "the child ended before kill {kills}");
            assert!(started.elapsed() < Duration::from_secs(120), "the child does not get on");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        assert!(checkpoint.exists());
    }
    let resumed = train(&recipe(IN_SITU_SAT), &digits(IMAGES), Some(checkpoint), &mut ()).unwrap();
    let whole = train(&recipe(IN_SITU_SAT), &digits(IMAGES), None, &mut ()).unwrap();
    assert_eq!(resumed.bits, whole.bits);
    assert_eq!(resumed.history.len(), 2);
    for (resumed, whole) in resumed.history.iter().zip(&whole.history) {
        assert_eq!(resumed.train_loss.to_bits(), whole.train_loss.to_bits());
        assert_eq!(resumed.counts, whole.counts);
        assert_eq!(resumed.learning_rate, whole.learning_rate);
    }
}
