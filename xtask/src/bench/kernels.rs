//! What criterion measured of single kernels, held against what the processor can do at best.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};

/// One bench as criterion left it.
struct Bench {
    group: String,
    id: String,
    /// Median seconds of a call.
    seconds: f64,
    /// Elements: floating-point operations in groups of products.
    elements: f64,
    bytes: f64,
}

/// Groups whose elements are floating-point operations.
const PRODUCTS: [&str; 2] = ["conv2d", "linear"];

/// The table of all kernels under a folder of criterion's, in Markdown.
pub(super) fn table(folder: &Path) -> Result<String> {
    let mut benches = Vec::new();
    collect(folder, &mut benches)?;
    let roof = |id: &str| {
        benches.iter().find(|b| b.group == "roof" && b.id == id).ok_or_else(|| {
            Error::Usage(format!(
                "no bench roof/{id} under {}; run `cargo bench --package pnn-benches`",
                folder.display()
            ))
        })
    };
    let (peak, read) = (roof("multiply-add")?, roof("read")?);
    let (flops, bandwidth) = (peak.elements / peak.seconds, read.bytes / read.seconds);
    let mut text = format!(
        "Roofs, one thread: {:.0} GFLOP/s (multiply-adds in registers), {:.1} GB/s (reading memory).\n\n\
         | kernel | time, us | GFLOP/s | GB/s | bound by | at best, us | share of the roof |\n\
         |---|---:|---:|---:|---|---:|---:|\n",
        flops / 1e9,
        bandwidth / 1e9
    );
    for bench in benches.iter().filter(|b| b.group != "roof") {
        let product = PRODUCTS.contains(&bench.group.as_str());
        let work = if product { bench.elements / flops } else { 0.0 };
        let memory = bench.bytes / bandwidth;
        let best = work.max(memory);
        let rate = if product {
            format!("{:.1}", bench.elements / bench.seconds / 1e9)
        } else {
            "-".to_owned()
        };
        // Above the roof of memory is what fits into a cache (and above that of arithmetic what needs
        // fewer operations than it is charged for).
        let share = match 100.0 * best / bench.seconds {
            share if share > 100.0 && memory >= work => "cached".to_owned(),
            share => format!("{share:.0} %"),
        };
        text.push_str(&format!(
            "| {}/{} | {:.1} | {rate} | {:.1} | {} | {:.1} | {share} |\n",
            bench.group,
            bench.id,
            1e6 * bench.seconds,
            bench.bytes / bench.seconds / 1e9,
            if work > memory { "arithmetic" } else { "memory" },
            1e6 * best,
        ));
    }
    Ok(text)
}

/// Finds the newest measurement of every bench under a folder, sorted by name.
fn collect(folder: &Path, benches: &mut Vec<Bench>) -> Result<()> {
    if !folder.is_dir() {
        let path = folder.to_owned();
        let reason = "no such folder; run `cargo bench --package pnn-benches`".into();
        return Err(Error::File { path, reason });
    }
    let io = |source| Error::Io { path: folder.to_owned(), source };
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(io)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<std::io::Result<_>>()
        .map_err(io)?;
    entries.sort();
    for path in entries.into_iter().filter(|path| path.is_dir()) {
        if path.file_name().is_some_and(|name| name == "new") {
            benches.push(read(&path)?);
        } else {
            collect(&path, benches)?;
        }
    }
    Ok(())
}

fn read(folder: &Path) -> Result<Bench> {
    let json = |name: &str| -> Result<Value> {
        let path = folder.join(name);
        let bytes = std::fs::read(&path).map_err(|source| Error::Io { path, source })?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Error::Usage(format!("{}: {e}", folder.join(name).display())))
    };
    let (benchmark, estimates) = (json("benchmark.json")?, json("estimates.json")?);
    let missing = |what: &str| {
        let path = folder.join("benchmark.json");
        Error::File { path, reason: format!("no {what}; run the benches again") }
    };
    let text = |key: &str| benchmark[key].as_str().map(str::to_owned).ok_or_else(|| missing(key));
    let throughput = &benchmark["throughput"];
    let both = &throughput["ElementsAndBytes"];
    let number = |value: &Value| value.as_f64();
    let nanoseconds = number(&estimates["median"]["point_estimate"]);
    let (elements, bytes) = (
        number(&both["elements"]).or(number(&throughput["Elements"])),
        number(&both["bytes"]).or(number(&throughput["Bytes"])),
    );
    if elements.is_none() && bytes.is_none() {
        return Err(missing("throughput"));
    }
    Ok(Bench {
        group: text("group_id")?,
        id: text("function_id")?,
        seconds: 1e-9 * nanoseconds.ok_or_else(|| missing("median"))?,
        // The roofs have one of the two.
        elements: elements.unwrap_or(0.0),
        bytes: bytes.unwrap_or(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, group: &str, id: &str, throughput: &str, nanoseconds: f64) {
        let folder = folder.join(group).join(id.replace('/', "_")).join("new");
        std::fs::create_dir_all(&folder).unwrap();
        let benchmark = format!(
            "{{\"group_id\":\"{group}\",\"function_id\":\"{id}\",\"throughput\":{throughput}}}"
        );
        std::fs::write(folder.join("benchmark.json"), benchmark).unwrap();
        let estimates = format!("{{\"median\":{{\"point_estimate\":{nanoseconds}}}}}");
        std::fs::write(folder.join("estimates.json"), estimates).unwrap();
    }

    #[test]
    fn a_kernel_is_held_against_the_lower_roof() {
        let folder = tempfile::tempdir().unwrap();
        // 100 GFLOP/s and 10 GB/s.
        write(folder.path(), "roof", "multiply-add", "{\"Elements\":100}", 1.0);
        write(folder.path(), "roof", "read", "{\"Bytes\":10}", 1.0);
        let work = "{\"ElementsAndBytes\":{\"elements\":2000,\"bytes\":100}}";
        write(folder.path(), "conv2d", "a/forward", work, 40.0);
        write(folder.path(), "relu", "b/forward", work, 40.0);
        let table = table(folder.path()).unwrap();
        // 20 ns of arithmetic against 10 of memory; elements are no operations for relu.
        assert!(
            table.contains("| conv2d/a/forward | 0.0 | 50.0 | 2.5 | arithmetic | 0.0 | 50 % |"),
            "{table}"
        );
        assert!(
            table.contains("| relu/b/forward | 0.0 | - | 2.5 | memory | 0.0 | 25 % |"),
            "{table}"
        );
    }

    #[test]
    fn without_roofs_the_command_to_run_is_named() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "relu", "b/forward", "null", 40.0);
        assert!(table(folder.path()).unwrap_err().to_string().contains("no throughput"));
        let folder = tempfile::tempdir().unwrap();
        let error = table(folder.path()).unwrap_err().to_string();
        let nowhere = table(&folder.path().join("a")).unwrap_err().to_string();
        assert!(nowhere.contains("cargo bench --package pnn-benches"), "{nowhere}");
        assert!(error.contains("cargo bench --package pnn-benches"), "{error}");
    }
}
