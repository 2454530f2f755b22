//! The command line of the workspace.

mod bench;
mod chips;
mod ci;
mod data;
mod deploy;
mod error;
mod heaters;
mod networks;
mod progress;
mod replay;
mod reproduce;
mod rings;
mod sharpness;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Physical neural networks: redo the experiments, replay published weights, fetch data.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Redoes the paper's experiments and writes a report; without flags in minutes on embedded digits
    Reproduce(reproduce::Args),
    /// Fits tuning curves of measured rings: what they are, and how chips of them spread
    Rings(rings::Args),
    /// Brings a trained network of heated rings to a chip: settings for the lab, and what to expect of them
    Deploy(deploy::Args),
    /// Measures how sharp the minima of trained networks are, and draws the loss around them
    Sharpness(sharpness::Args),
    /// Evaluates published weights case by case against what they must give
    Replay(replay::Args),
    /// Times training and evaluation side by side with PyTorch
    Bench(bench::Args),
    /// Fetches, verifies and lists data sets
    #[command(subcommand)]
    Data(data::Command),
    /// What CI runs: formatting, lints, docs, features, packages, tests, replay
    Ci(ci::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let threads = match &cli.command {
        Command::Bench(args) => args.threads(),
        _ => 0,
    };
    if let Err(error) = pnn_core::use_threads(threads) {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    let result = match cli.command {
        Command::Reproduce(args) => reproduce::run(&args),
        Command::Rings(args) => rings::run(&args),
        Command::Deploy(args) => deploy::run(&args),
        Command::Sharpness(args) => sharpness::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Data(command) => data::run(&command),
        Command::Ci(args) => ci::run(&args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
