//! What the numbers were measured on.

use serde_json::{Map, Value, json};

/// Extensions that kernels choose by.
const EXTENSIONS: [&str; 6] = ["sse4_2", "avx", "avx2", "fma", "asimd", "sve"];
const FAMILIES: [&str; 2] = ["avx512", "amx"];

/// Processor, cores, vector extensions, system, load, and the commit of the code.
pub(super) fn describe() -> Map<String, Value> {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let kernel = first_line("/proc/sys/kernel/osrelease");
    let load = first_line("/proc/loadavg").and_then(|l| l.split(' ').next().map(str::to_owned));
    let entries = [
        ("cpu", json!(field(&info, "model name").unwrap_or(arch))),
        ("cores", json!(cores)),
        ("simd", json!(extensions(&info))),
        ("os", json!(kernel.map_or_else(|| os.to_owned(), |kernel| format!("{os} {kernel}")))),
        ("load_before", json!(load.and_then(|load| load.parse::<f64>().ok()))),
        ("commit", json!(crate::reproduce::provenance::commit())),
    ];
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn first_line(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.lines().next()?.to_owned())
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let line = info.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn extensions(info: &str) -> Vec<&str> {
    let flags = field(info, "flags").or_else(|| field(info, "Features")).unwrap_or_default();
    let known = |flag: &&str| {
        EXTENSIONS.contains(flag) || FAMILIES.iter().any(|family| flag.starts_with(family))
    };
    flags.split_whitespace().filter(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_extensions_are_picked_out() {
        let info = "model name\t: A CPU\nflags\t\t: fpu sse4_2 avx2 avx512f avx512_vnni rdseed\n";
        assert_eq!(field(info, "model name"), Some("A CPU"));
        assert_eq!(extensions(info), ["sse4_2", "avx2", "avx512f", "avx512_vnni"]);
        assert!(extensions("").is_empty());
    }
}
