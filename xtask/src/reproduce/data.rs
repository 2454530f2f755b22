//! The data of a profile.

use std::path::PathBuf;

use pnn_core::Seed;
use pnn_data::{Dataset, HeldOut, Mnist, mnist, stratified_split};

use super::config::DataChoice;
use crate::data::folder;
use crate::error::{Error, Result};

/// Images to train on and images to test on.
pub(crate) struct Data {
    /// Identifies the images in fingerprints and reports.
    pub(crate) name: String,
    /// Whether these are the full MNIST images.
    pub(crate) is_mnist: bool,
    pub(crate) train: Dataset,
    pub(crate) test: Dataset,
}

/// Training images held back for tuning.
const TUNING_IMAGES: usize = 5_000;

impl Data {
    /// Full MNIST if the profile or the user asks for it and it is there, else the embedded digits;
    /// the second value is a line for the user if that is not what the profile asks for.
    pub(crate) fn load(
        choice: DataChoice,
        flag: Option<&PathBuf>,
    ) -> Result<(Self, Option<String>)> {
        if choice == DataChoice::Digits && flag.is_none() {
            return Ok((Self::digits()?, None));
        }
        let folder = folder(flag);
        match mnist::locate(&folder) {
            Err(pnn_data::Error::Missing { .. }) if flag.is_none() => {
                let line = format!(
                    "no MNIST in {} (cargo xtask data fetch mnist gets it, --data DIR names another \
                     folder): using the embedded 5,000 digits instead",
                    folder.display()
                );
                Ok((Self::digits()?, Some(line)))
            }
            Err(error) => Err(error.into()),
            Ok(_) => {
                mnist::verify(&folder)?;
                let Mnist { train, test } = Mnist::load(&folder)?;
                Ok((
                    Self {
                        name: "MNIST, 60,000 training and 10,000 test images".into(),
                        is_mnist: true,
                        train,
                        test,
                    },
                    None,
                ))
            }
        }
    }

    fn digits() -> Result<Self> {
        // The split is a part of the data, not of a run: all seeds share it.
        let split = Seed::new(0).child("digits split");
        let (train, test) = stratified_split(&pnn_data::digits(), HeldOut::PerClass(100), &split)?;
        let name = "embedded digits, 4,000 to train and 1,000 held out".into();
        Ok(Self { name, is_mnist: false, train, test })
    }

    /// The first of the training or test images, as many as `--images` says, of which at least so many are needed.
    pub(crate) fn first(&self, of: &Dataset, count: usize, least: usize) -> Result<Dataset> {
        let there = of.len();
        if !(least..=there).contains(&count) {
            let line =
                format!("--images is {count}, allowed is [{least}, {there}] of {}", self.name);
            return Err(Error::Usage(line));
        }
        Ok(of.range(0, count)?)
    }

    /// The training images alone, the last of them for tuning.
    pub(crate) fn for_tuning(&self) -> Result<Self> {
        let held = TUNING_IMAGES.min(self.train.len() / 5);
        let kept = self.train.len() - held;
        Ok(Self {
            name: format!("{}, last {held} training images for tuning", self.name),
            is_mnist: self.is_mnist,
            train: self.train.range(0, kept)?,
            test: self.train.range(kept, held)?,
        })
    }
}
