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
mod task;
mod trainer;
mod trajectory;
mod wdm_factory;

pub use d2nn::D2nn;
pub use dat::{DualAdaptive, DualAdaptiveSettings, MiniUNet};
pub use deviation::{Climb, DeviationAscent, DeviationAscentSettings, Form, Slope, Turn};
pub use error::{Error, Result};
pub use freespace_mlp::FreeSpaceMlp;
pub use lenet::{FcActivation, LayerFactory, LeNet5};
pub use mrr_factory::MrrFactory;
pub use mzi_lenet::MziLeNet5;
pub use observer::{EpochRecord, JsonLines, Observer, StepEvent};
pub use recipe::{
    Pixels, RawRecipe, Recipe, RuleRecipe, SharpnessRecipe, StrategyRecipe, Trained,
    TrajectoryRecipe, twins,
};
pub use resnet::ResNet18;
pub use strategy::{
    Backprop, CROSS_ENTROPY, NoiseAware, PhysicsAware, Pruning, StepContext, StepReport, Strategy,
};
pub use task::{Batch, Loss, Penalty, SoftTargets, Task};
pub use trainer::{CheckpointConfig, TrainConfig, Trainer, Validate};
pub use trajectory::{Mesa, MesaSettings, Saf, SafSettings};
pub use wdm_factory::RingChip;
