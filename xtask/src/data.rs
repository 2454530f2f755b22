//! Fetches, verifies and lists data sets.

use std::path::PathBuf;

use pnn_data::download::{self, Fetched, MNIST_MIRRORS, Options};
use pnn_data::mnist;

use crate::error::{Error, Result};
use crate::progress::Progress;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Downloads a data set from public mirrors; continues a download that was cut off
    Fetch(Args),
    /// Checks the files of a data set against their pinned SHA-256
    Verify(Args),
    /// Lists the data sets
    List,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The data set (`mnist`)
    name: String,
    /// Folder for data sets, `DIR/mnist/...` [default: `PNN_DATA`, else data]
    #[arg(long)]
    data: Option<PathBuf>,
}

/// The folder of data sets: the flag, else `PNN_DATA`, else `data`.
pub(crate) fn folder(flag: Option<&PathBuf>) -> PathBuf {
    let environment = || std::env::var_os("PNN_DATA").filter(|v| !v.is_empty()).map(PathBuf::from);
    flag.cloned().or_else(environment).unwrap_or_else(|| PathBuf::from("data"))
}

pub(crate) fn run(command: &Command) -> Result<bool> {
    match command {
        Command::List => {
            println!("digits-5k  5,000 handwritten digits, 28x28, compiled in (no file needed)");
            println!("mnist      70,000 handwritten digits, 28x28; cargo xtask data fetch mnist");
            Ok(true)
        }
        Command::Fetch(args) => {
            only_mnist(&args.name)?;
            let folder = folder(args.data.as_ref()).join("mnist");
            let proxy = ["HTTPS_PROXY", "https_proxy"].iter().find_map(|n| std::env::var(n).ok());
            let options = Options { proxy, ..Options::default() };
            let total = mnist::FILES.len() as u64;
            let mut progress = Progress::new("fetching mnist", 100 * total);
            let mut files: Vec<String> = Vec::new();
            let fetched = download::fetch_mnist(&folder, &MNIST_MIRRORS, &options, &mut |p| {
                if files.last().is_none_or(|file| file != p.file) {
                    files.push(p.file.to_owned());
                }
                let share = p.bytes_total.map_or(0, |t| 100 * p.bytes_done / t.max(1));
                progress.at(100 * (files.len() as u64 - 1) + share, p.file);
            })?;
            progress.finish("done");
            for file in fetched {
                match file {
                    Fetched::AlreadyThere(path) => println!("already there: {}", path.display()),
                    Fetched::Downloaded(path) => println!("downloaded:    {}", path.display()),
                }
            }
            Ok(true)
        }
        Command::Verify(args) => {
            only_mnist(&args.name)?;
            for path in mnist::verify(folder(args.data.as_ref()))? {
                println!("verified: {}", path.display());
            }
            Ok(true)
        }
    }
}

fn only_mnist(name: &str) -> Result<()> {
    if name == "mnist" {
        return Ok(());
    }
    Err(Error::Usage(format!("no data set named {name:?} to fetch or verify; there is mnist")))
}
