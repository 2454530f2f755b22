#![doc = include_str!("../README.md")]

mod checkpoint;
mod d2nn;
pub mod dat;
mod deviation;
mod error;
mod freespace_mlp;
mod lenet;
mod mrr_factory;
mod mzi_lenet;
mod observer;
mod recipe;
mod resnet;
mod strategy;
mod trainer;

pub use d2nn::D2nn;
pub use dat::{DualAdaptive, DualAdaptiveSettings, MiniUNet};
pub use deviation::{Climb, DeviationAscent, DeviationAscentSettings, Form, Slope, Turn};
pub use error::{Error, Result};
pub use freespace_mlp::FreeSpaceMlp;
pub use lenet::{FcActivation, LayerFactory, LeNet5};
pub use mrr_factory::MrrFactory;
pub use mzi_lenet::MziLeNet5;
pub use observer::{EpochRecord, JsonLines, Observer, StepEvent};
pub use recipe::{RawRecipe, Recipe, RuleRecipe, SharpnessRecipe, StrategyRecipe, Trained, twins};
pub use resnet::ResNet18;
pub use strategy::{
    Backprop, Batch, CROSS_ENTROPY, Loss, NoiseAware, Penalty, PhysicsAware, Pruning, StepContext,
    StepReport, Strategy, Task,
};
pub use trainer::{CheckpointConfig, TrainConfig, Trainer, Validate};
