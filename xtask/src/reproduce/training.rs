//! Trainings: each method and seed is trained once, whatever number of figures look at it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pnn_core::model::{Model, model_state};
use pnn_core::{Chip, DType, Seed, store};
use pnn_data::Normalisation;
use pnn_eval::{BatchNormMode, Evaluator};
use pnn_train::{
    CheckpointConfig, EpochRecord, FcActivation, JsonLines, Observer, StepEvent, StrategyRecipe,
    Trainer,
};
use sha2::{Digest, Sha256};

use super::config::Method;
use super::data::Data;
use super::front::Deployed;
use super::kept::Kept;
use super::provenance::commit;
use super::record::Record;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Steps between checkpoints within an epoch.
const CHECKPOINT_STEPS: usize = 200;

/// One training to do.
#[derive(Clone)]
pub(crate) struct Job {
    /// The method's key, and the setting that differs from the profile's, if one does.
    pub(crate) key: String,
    pub(crate) method: Method,
    pub(crate) seed: u64,
}

/// A trained network.
pub(crate) struct Trained {
    pub(crate) model: Box<dyn Model>,
    /// How it wants its pixels.
    pub(crate) normalisation: Normalisation,
    /// What follows its hidden layers, if it is of rings.
    pub(crate) fc_activation: FcActivation,
    pub(crate) history: Vec<EpochRecord>,
    /// The chip that the network is deployed on: the one in the loop of its training, else the
    /// ideal one.
    pub(crate) chip: Chip,
    /// The commits that trained it, in order.
    pub(crate) commits: Vec<String>,
}

/// How a training ended.
pub(crate) enum Training {
    /// With a network.
    Done(Box<Trained>),
    /// Loss or gradients stopped being numbers: a finding about the method.
    Diverged(String),
    /// For a reason that says nothing about the method (a full disk, a damaged file).
    Failed(String),
}

/// All trainings of a run by job key and seed.
pub(crate) type Trainings = BTreeMap<(String, u64), Training>;

impl Job {
    /// Work of the training, in passes of an image forward and backward.
    pub(crate) fn cost(&self, data: &Data) -> u64 {
        let recipe = &self.method.recipe;
        let images = recipe.images.map_or(data.train.len(), |images| images.min(data.train.len()));
        let steps = images.div_ceil(recipe.batch_size) * recipe.epochs;
        steps as u64 * self.step_cost()
    }

    /// Work of a step; an error network costs about as much as an evaluation of gradients.
    fn step_cost(&self) -> u64 {
        let recipe = &self.method.recipe;
        let networks = match &recipe.strategy {
            StrategyRecipe::Dat { settings, .. } => settings.networks as u64,
            StrategyRecipe::DeviationAscent(settings) => settings.extra_passes() as u64,
            _ => 0,
        };
        let gradients = recipe.sharpness.map_or(1.0, |method| method.gradients_per_step());
        (gradients.ceil() as u64 + networks) * recipe.batch_size as u64
    }

    /// Identifies everything that the result depends on.
    fn fingerprint(&self, data: &Data) -> Result<String> {
        let recipe =
            serde_json::to_string(&self.method.recipe).map_err(|e| Error::Usage(e.to_string()))?;
        let chip = self.method.chip_name();
        Ok(fingerprint(&format!("{recipe}\n{}\n{}{chip}", data.name, self.seed)))
    }

    /// The folder of the job in the output.
    pub(crate) fn folder(&self, out: &Path, data: &Data) -> Result<PathBuf> {
        let name = format!("{}-seed{}-{}", self.key, self.seed, self.fingerprint(data)?);
        Ok(out.join("runs").join(name))
    }

    /// Trains, or continues, or loads what was trained before (the last two only if `resume`).
    pub(crate) fn run(
        &self,
        data: &Data,
        out: &Path,
        resume: bool,
        kept: &Kept,
        progress: &mut Progress,
        done: u64,
    ) -> Result<Trained> {
        if let Some(trained) = self.kept(kept, data)? {
            return Ok(trained);
        }
        let folder = self.folder(out, data)?;
        let checkpoint = folder.join("checkpoint.safetensors");
        if checkpoint.exists() && !resume {
            let shown = folder.display();
            progress.say(&format!("starting afresh; --resume would have continued {shown}"));
        }
        if !resume {
            // Nothing of an earlier run may pass for a part of this one if it is cut off.
            remove(&folder)?;
        }
        let continues = resume && checkpoint.exists();
        let mut record =
            if continues { Record::continued(&folder)? } else { Record::fresh(&folder) };
        let model = self.method.recipe.model(&Seed::new(self.seed).child("model"), DType::F32)?;
        let seed = Seed::new(self.seed).child("training");
        let recipe = &self.method.recipe;
        let mut optimizer = recipe.optimizer()?;
        let (mut strategy, mut lab) =
            recipe.strategy(model.as_ref(), &self.method.fixed.chip, &seed)?;
        let chip = recipe.chip_in_loop(model.as_ref(), &self.method.fixed.chip, &seed)?;
        let config = recipe.config(
            seed,
            Some(CheckpointConfig {
                path: checkpoint,
                every: CHECKPOINT_STEPS,
                resume,
                fingerprint: self.fingerprint(data)?,
            }),
        );
        let mut trainer = Trainer {
            model: model.as_ref(),
            strategy: strategy.as_mut(),
            optimizer: optimizer.as_mut(),
            lab: &mut lab,
            loss: recipe.loss(),
        };
        let mut validate = |model: &dyn Model| self.validate(model, &chip, data);
        let weight = self.step_cost();
        let label = format!("{} seed {}", self.method.label, self.seed);
        let bar = Bar { progress, label, done, weight, record: &mut record, recorded: false };
        let mut observer = (bar, JsonLines::new(folder.join("metrics.jsonl")));
        let train = recipe.part(&data.train)?;
        let history = trainer.train(&train, &config, &mut validate, &mut observer)?;
        let weights = folder.join("weights.safetensors");
        store::save(
            &weights,
            &model_state(model.as_ref()),
            &self.metadata(data, &record.commits)?,
        )?;
        let normalisation = recipe.normalisation();
        let fc_activation = recipe.fc_activation;
        let commits = record.commits;
        Ok(Trained { model, normalisation, fc_activation, history, chip, commits })
    }

    /// The network that was kept, if it was.
    fn kept(&self, kept: &Kept, data: &Data) -> Result<Option<Trained>> {
        let recipe = &self.method.recipe;
        let model = recipe.model(&Seed::new(self.seed).child("model"), DType::F32)?;
        let Some(by) = kept.load(&self.key, &self.method, self.seed, data, model.as_ref())? else {
            return Ok(None);
        };
        let seed = Seed::new(self.seed).child("training");
        let chip = recipe.chip_in_loop(model.as_ref(), &self.method.fixed.chip, &seed)?;
        let (normalisation, fc_activation) = (recipe.normalisation(), recipe.fc_activation);
        let (history, commits) = (Vec::new(), vec![by]);
        Ok(Some(Trained { model, normalisation, fc_activation, history, chip, commits }))
    }

    /// Accuracy in percent without drift on the chip that the network is meant for; and of meshes,
    /// on the fixed chip and on the ideal one.
    fn validate(
        &self,
        model: &dyn Model,
        chip: &Chip,
        data: &Data,
    ) -> pnn_train::Result<BTreeMap<String, f64>> {
        let normalisation = self.method.recipe.normalisation();
        let mut metrics = BTreeMap::new();
        let modes = [
            ("running", BatchNormMode::Running),
            ("batch", BatchNormMode::Batch(test_batch(&self.method, data))),
        ];
        // Without batch-norm there is only one.
        let modes = if model.buffers().is_empty() { &modes[..1] } else { &modes };
        for &(mode, batch_norm) in modes {
            let evaluator = Evaluator { batch_norm, normalisation, calibration: None };
            let failed = |e: Error| pnn_train::Error::Observer(e.to_string());
            let deployed =
                Deployed::new(model, self.method.recipe.fc_activation, evaluator, &data.test)
                    .map_err(failed)?;
            let mut add = |name: &str, chip: &Chip| -> pnn_train::Result<()> {
                metrics.insert(format!("{name}_{mode}"), deployed.percent(chip).map_err(failed)?);
                Ok(())
            };
            add("accuracy", chip)?;
            if self.method.recipe.train == pnn_train::Trained::Phases {
                add("fixed_chip", &self.method.fixed.chip)?;
                add("ideal", &Chip::ideal())?;
            }
        }
        Ok(metrics)
    }

    fn metadata(&self, data: &Data, commits: &[String]) -> Result<BTreeMap<String, String>> {
        let recipe =
            serde_json::to_string(&self.method.recipe).map_err(|e| Error::Usage(e.to_string()))?;
        let entries = [
            ("method", self.method.label.clone()),
            ("seed", self.seed.to_string()),
            ("data", data.name.clone()),
            ("recipe", recipe),
            ("chip", self.method.chip_name().to_owned()),
            ("trained by", commits.join(", then ")),
            ("version", format!("pnn {}", env!("CARGO_PKG_VERSION"))),
        ];
        Ok(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }
}

/// Removes a file or folder, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed =
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Test images whose statistics batch-norm takes together where it takes the test's: 100, or for
/// meshes 6,000, as the paper's notebooks do, or all if there are fewer.
pub(crate) fn test_batch(method: &Method, data: &Data) -> usize {
    match method.recipe.train {
        pnn_train::Trained::Phases => 6_000.min(data.test.len()),
        _ => 100,
    }
}

/// Identifies what a result depends on: a hash of it and of the version.
pub(crate) fn fingerprint(text: &str) -> String {
    let hash = Sha256::digest(format!("{}\n{text}", env!("CARGO_PKG_VERSION")).as_bytes());
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Shows a training in the bar of the whole run.
struct Bar<'a> {
    progress: &'a mut Progress,
    label: String,
    done: u64,
    weight: u64,
    /// Told of the first step: a finished run that is taken over makes none.
    record: &'a mut Record,
    recorded: bool,
}

impl Observer for Bar<'_> {
    fn on_step(&mut self, event: &StepEvent) -> pnn_train::Result<()> {
        let steps = (event.epoch * event.steps + event.step) as u64;
        if !self.recorded {
            let failed = |e: Error| pnn_train::Error::Observer(e.to_string());
            self.record.trains(&commit()).map_err(failed)?;
            self.recorded = true;
            self.progress.skip_to(self.done + steps * self.weight);
        }
        let detail = format!(
            "{}, epoch {}/{}, loss {:.4}",
            self.label,
            event.epoch + 1,
            event.epochs,
            event.loss
        );
        self.progress.at(self.done + steps * self.weight, &detail);
        Ok(())
    }

    fn on_epoch(&mut self, history: &[EpochRecord]) -> pnn_train::Result<()> {
        if let Some(last) = history.last() {
            let accuracy = last.metrics.get("accuracy_running").copied().unwrap_or(f64::NAN);
            self.progress.say(&format!(
                "{}: epoch {} loss {:.4} accuracy {accuracy:.2} % (running statistics) in {:.1} s",
                self.label,
                last.epoch + 1,
                last.train_loss,
                last.seconds
            ));
        }
        Ok(())
    }
}

/// Runs all jobs, one after the other (each uses all cores).
pub(crate) fn run_all(
    jobs: &[Job],
    data: &Data,
    out: &Path,
    resume: bool,
    kept: &Kept,
    name: &str,
) -> Trainings {
    let total: u64 = jobs.iter().map(|job| job.cost(data)).sum();
    let mut progress = Progress::new(name, total);
    let mut done = 0;
    let mut trainings = Trainings::new();
    for job in jobs {
        let result = job.run(data, out, resume, kept, &mut progress, done);
        let training = match result {
            Ok(trained) => Training::Done(Box::new(trained)),
            Err(error) => {
                progress.say(&format!("{} seed {}: {error}", job.key, job.seed));
                match error {
                    Error::Train(pnn_train::Error::NotFinite { .. }) => {
                        Training::Diverged(error.to_string())
                    }
                    other => Training::Failed(other.to_string()),
                }
            }
        };
        done += job.cost(data);
        trainings.insert((job.key.clone(), job.seed), training);
    }
    let finished = trainings.values().filter(|t| matches!(t, Training::Done(_))).count();
    progress.finish(&format!("{finished} of {} trainings finished", jobs.len()));
    trainings
}
