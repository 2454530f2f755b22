//! Instruments behind processes: one that works is the device itself; what others do wrong is said, and made up for where it can be.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use pnn_core::device::Hardware;
use pnn_core::ops::ConvGeometry;
use pnn_core::{Controls, DType, Deviations, PhysicalLayer, Seed, Tensor};
use pnn_devices::mrr::{MrrBank, MrrConv2d, MrrLinear};
use pnn_devices::process::{ProcessConfig, ProcessHardware};
use rand_distr::{StandardUniform, Uniform};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether there is Python with `NumPy`. Where tests must not be left out (`CI` is set) there has to be.
fn python() -> bool {
    let found = Command::new("python3").args(["-c", "import numpy"]).output();
    let found = found.is_ok_and(|output| output.status.success());
    assert!(
        found || std::env::var_os("CI").is_none(),
        "python3 with numpy is needed: pip install numpy"
    );
    if !found {
        eprintln!("left out: python3 with numpy is needed (pip install numpy)");
    }
    found
}

fn config(script: PathBuf, arguments: &[&str]) -> ProcessConfig {
    let script = script.to_string_lossy().into_owned();
    let more = arguments.iter().map(|argument| (*argument).to_owned());
    ProcessConfig {
        arguments: std::iter::once(script).chain(more).collect(),
        handshake_timeout_s: 20.0,
        measure_timeout_s: 20.0,
        shutdown_timeout_s: 1.0,
        retries: 0,
        ..ProcessConfig::default()
    }
}

fn bad(mode: &str) -> ProcessConfig {
    config(root().join("crates/pnn-devices/tests/instruments/misbehaving.py"), &[mode])
}

/// With a file as second argument.
fn bad_with(mode: &str, file: &Path) -> ProcessConfig {
    let mut config = bad(mode);
    config.arguments.push(file.to_string_lossy().into_owned());
    config
}

fn simulated(arguments: &[&str]) -> ProcessConfig {
    config(root().join("python/pnn_instrument/simulated_ring_bank.py"), arguments)
}

fn bank() -> MrrBank {
    MrrLinear::new(3, 2)
}

fn light() -> Tensor {
    Seed::new(1).tensor(StandardUniform, &[4, 3], DType::F64).unwrap()
}

fn detunings(low: f64, high: f64) -> Controls {
    let range = Uniform::new(low, high).unwrap();
    Controls::one("detuning", Seed::new(2).tensor(range, &[2, 3], DType::F64).unwrap())
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap()
}

#[test]
fn a_simulated_bank_is_the_device() {
    if !python() {
        return;
    }
    let sizes = ["--inputs", "3", "--outputs", "2"];
    let mut lab = ProcessHardware::new("fc", &bank(), simulated(&sizes)).unwrap();
    assert_eq!(lab.instrument(), "simulated ring bank");
    let controls = detunings(0.05, 0.6);
    let want = bank().forward(&light(), &controls, &Deviations::none()).unwrap();
    for (got, want) in values(&lab.measure(&light(), &controls).unwrap()).iter().zip(values(&want))
    {
        assert!((got - want).abs() < 1e-12);
    }
    // In the type of the network.
    let single =
        controls.iter().map(|(name, value)| (name.to_owned(), value.to_dtype(DType::F32).unwrap()));
    let y = lab.measure(&light().to_dtype(DType::F32).unwrap(), &single.collect()).unwrap();
    assert_eq!((y.dtype(), y.dims()), (DType::F32, &[4, 2][..]));

    let noisy =
        [&sizes[..], &["--noise", "0.1", "--shift-nm", "0.05", "--drift-nm", "0.01"]].concat();
    let mut lab = ProcessHardware::new("fc", &bank(), simulated(&noisy)).unwrap();
    let first = values(&lab.measure(&light(), &controls).unwrap());
    assert!(first.iter().zip(values(&want)).all(|(a, b)| (a - b).abs() > 1e-6));
    // The same question has the same answer, of another process too.
    assert_eq!(values(&lab.measure(&light(), &controls).unwrap()), first);
    let mut again = ProcessHardware::new("fc", &bank(), simulated(&noisy)).unwrap();
    assert_eq!(values(&again.measure(&light(), &controls).unwrap()), first);
    assert_ne!(values(&lab.measure(&light(), &detunings(0.05, 0.5)).unwrap()), first);
}

#[test]
fn settings_stay_within_the_bounds_of_both() {
    if !python() {
        return;
    }
    // The instrument takes -1 to 1 nm, the device -4 to 4; it answers with the settings.
    let mut lab = ProcessHardware::new("fc", &bank(), bad("echo")).unwrap();
    let bounds = lab.bounds("detuning").unwrap();
    assert_eq!((bounds.low, bounds.high), (-1.0, 1.0));
    let controls = Tensor::new([[-7.0, -1.5, -0.5], [0.5, 1.5, 7.0]]).unwrap();
    let y = lab.measure(&light(), &Controls::one("detuning", controls)).unwrap();
    assert_eq!(values(&y)[..6], [-1.0, -1.0, -0.5, 0.5, 1.0, 1.0]);
    assert_eq!(y.dims(), [4, 2]);
    let broken = Controls::one("detuning", Tensor::full(f64::NAN, [2, 3]).unwrap());
    let error = lab.measure(&light(), &broken).unwrap_err().to_string();
    assert!(error.contains("a setting of control detuning is NaN"), "{error}");
    let small = Controls::one("detuning", Tensor::zeros([3, 2], DType::F64).unwrap());
    assert!(
        lab.measure(&light(), &small)
            .unwrap_err()
            .to_string()
            .contains("detuning has shape [3, 2]")
    );
    let none = lab.measure(&light(), &Controls::default()).unwrap_err().to_string();
    assert!(none.contains("no control named \"detuning\""), "{none}");
}

#[test]
fn who_is_not_what_the_device_is_does_not_start() {
    if !python() {
        return;
    }
    let refused = |mode: &str, says: &str| {
        let quick = ProcessConfig {
            handshake_timeout_s: if mode == "silent" { 0.5 } else { 20.0 },
            ..bad(mode)
        };
        let error = ProcessHardware::new("fc", &bank(), quick).err().unwrap().to_string();
        assert!(
            error.starts_with("the instrument of layer fc ") && error.contains(says),
            "{mode}: {error}"
        );
    };
    refused("dies", "ended (exit status: 3); it said:\nno such laser");
    refused("silent", "did not answer within 0.5 s");
    refused("prints", "wrote \"Hello, lab!     \" to its standard output, which is no frame");
    refused("version", "speaks version 2 of the protocol, needed is 1");
    refused("huge", "announced a message of 1152921504606846976 bytes, allowed are 1073741824");
    refused("truncated", "ended after 5 of 100 bytes of a message");
    refused("garbage", "sent a payload that cannot be read");
    refused("unit", "has control \"detuning\" in pm, but the device has it in nm");
    refused("shape", "has [3, 2] values of control \"detuning\", but the device has [2, 3]");
    refused("name", "has a control \"voltage\", but the device has detuning");
    refused("more", "has a control \"laser\"");
    refused("bounds", "there is nothing that both take");
    let absent = ProcessConfig { command: "no-such-program".into(), ..ProcessConfig::default() };
    let error = ProcessHardware::new("fc", &bank(), absent).err().unwrap().to_string();
    assert!(error.contains("could not be started (no-such-program)"), "{error}");
}

#[test]
fn readings_that_cannot_be_are_errors() {
    if !python() {
        return;
    }
    let fails = |mode: &str, says: &str| {
        let quick = ProcessConfig {
            measure_timeout_s: if mode == "hangs" { 0.5 } else { 20.0 },
            ..bad(mode)
        };
        let mut lab = ProcessHardware::new("fc", &bank(), quick).unwrap();
        let error = lab.measure(&light(), &detunings(0.0, 0.5)).unwrap_err().to_string();
        assert!(error.contains(says), "{mode}: {error}");
        // It is not left running.
        assert!(lab.process_id().is_none());
    };
    fails("hangs", "did not answer within 0.5 s");
    fails("exits", "ended (exit status: 7); it said:\nthe heater burnt through");
    fails("raises", "says: ValueError: laser 3 is off");
    fails("nan", "sent readings that are not finite");
    let expected = "expected is [4, 2]: the batch, then the outputs of the device";
    for (mode, shape) in [("batch", "[5, 2]"), ("outputs", "[4, 6]"), ("rank", "[4, 2, 1]")] {
        fails(
            mode,
            &format!("fc (\"a bad instrument\") sent readings of shape {shape}, {expected}"),
        );
    }
}

#[test]
fn who_fails_is_started_again_and_asked_the_same() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let starts = folder.path().join("starts");
    let recovers = bad_with("recovers", &starts);
    let two = ProcessConfig { retries: 2, ..recovers.clone() };
    // Two processes burn through, the third reads.
    let mut lab = ProcessHardware::new("fc", &bank(), two).unwrap();
    let y = lab.measure(&light(), &detunings(0.0, 0.5)).unwrap();
    assert_eq!(y.dims(), [4, 2]);
    assert_eq!(std::fs::read_to_string(&starts).unwrap(), "3");
    std::fs::remove_file(&starts).unwrap();
    let one = ProcessConfig { retries: 1, ..recovers };
    let mut lab = ProcessHardware::new("fc", &bank(), one).unwrap();
    let error = lab.measure(&light(), &detunings(0.0, 0.5)).unwrap_err().to_string();
    assert!(error.contains("burnt through (tried 2 times)"), "{error}");
    // A number for each question, the same for the same one.
    let mut lab = ProcessHardware::new("fc", &bank(), bad("shots")).unwrap();
    let mut shot = |controls: &Controls| values(&lab.measure(&light(), controls).unwrap())[0];
    let (a, b) = (detunings(0.0, 0.5), detunings(0.0, 0.6));
    assert_eq!(shot(&a), shot(&a));
    assert_ne!(shot(&a), shot(&b));
}

#[test]
fn a_process_ends_with_its_hardware() {
    if !python() {
        return;
    }
    let lab = ProcessHardware::new("fc", &bank(), simulated(&["--inputs", "3", "--outputs", "2"]))
        .unwrap();
    let process = PathBuf::from(format!("/proc/{}", lab.process_id().unwrap()));
    let there = process.exists();
    let started = Instant::now();
    drop(lab);
    assert!(started.elapsed().as_secs_f64() < 5.0);
    // Where the system shows processes, it was there and is gone.
    assert!(!process.exists() && (there || !cfg!(target_os = "linux")));
}

/// Those of the processes in a file that run.
#[cfg(unix)]
fn running(file: &Path) -> Vec<String> {
    let numbers = std::fs::read_to_string(file).unwrap();
    let mut numbers: Vec<String> = numbers.split_whitespace().map(str::to_owned).collect();
    assert!(!numbers.is_empty());
    // Who has ended and is not reaped has no command line.
    numbers.retain(|number| {
        std::fs::read(format!("/proc/{number}/cmdline")).is_ok_and(|line| !line.is_empty())
    });
    numbers
}

/// Helpers that a program has started have its pipes too, ignore SIGTERM and sleep for half a minute.
#[cfg(unix)]
#[test]
fn nobody_waits_for_who_else_has_the_pipes() {
    if !python() {
        return;
    }
    // In the group of the program, and in a group of their own.
    for mode in ["helper", "escapes"] {
        let folder = tempfile::tempdir().unwrap();
        let helpers = folder.path().join("helpers");
        let config = ProcessConfig {
            measure_timeout_s: 0.3,
            shutdown_timeout_s: 0.4,
            retries: 1,
            ..bad_with(mode, &helpers)
        };
        let mut lab = ProcessHardware::new("fc", &bank(), config.clone()).unwrap();
        let started = Instant::now();
        let error = lab.measure(&light(), &detunings(0.0, 0.5)).unwrap_err().to_string();
        assert!(error.contains("did not answer within 0.3 s (tried 2 times)"), "{mode}: {error}");
        drop(ProcessHardware::new("fc", &bank(), config).unwrap());
        let took = started.elapsed().as_secs_f64();
        assert!(took < 20.0, "{mode}: {took} s");
        let left = running(&helpers);
        if mode == "helper" {
            assert!(left.is_empty(), "{left:?}");
        }
        for number in left {
            Command::new("kill").args(["-9", &number]).status().unwrap();
        }
    }
}

#[cfg(unix)]
#[test]
fn who_is_to_end_may_cool_down_first() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heaters");
    let heaters = || std::fs::read_to_string(&file).unwrap_or_default();
    let start = |mode: &str, shutdown_timeout_s: f64| {
        let _ = std::fs::remove_file(&file);
        let times = ProcessConfig { shutdown_timeout_s, ..bad_with(mode, &file) };
        ProcessHardware::new("fc", &bank(), times).unwrap()
    };
    // Told by a frame; it takes 0.4 s.
    drop(start("heated", 10.0));
    assert_eq!(heaters(), "cooling cold ");
    drop(start("heated", 0.2));
    assert!(!heaters().contains("cold"), "{}", heaters());
    // It reads no frame, as it hangs in a measurement: SIGTERM, directly and behind a shell.
    let direct = ProcessConfig {
        measure_timeout_s: 0.2,
        shutdown_timeout_s: 6.0,
        ..bad_with("heated, hangs", &file)
    };
    let quoted = direct.arguments.iter().map(|argument| format!("'{argument}'"));
    let line = format!("python3 {}; true", quoted.collect::<Vec<_>>().join(" "));
    let arguments = vec!["-c".to_owned(), line];
    let shell = ProcessConfig { command: "sh".into(), arguments, ..direct.clone() };
    for config in [direct, shell] {
        let _ = std::fs::remove_file(&file);
        let mut lab = ProcessHardware::new("fc", &bank(), config).unwrap();
        let started = Instant::now();
        assert!(lab.measure(&light(), &detunings(0.0, 0.5)).is_err());
        assert_eq!(heaters(), "cooling cold ");
        // It hangs for a minute.
        assert!(started.elapsed().as_secs_f64() < 20.0);
    }
}

#[test]
fn a_process_that_is_started_again_gets_what_lies_within_its_own_bounds() {
    if !python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let limits = bad_with("limits", &folder.path().join("starts"));
    let config = ProcessConfig { retries: 1, ..limits };
    let mut lab = ProcessHardware::new("fc", &bank(), config).unwrap();
    let high = |lab: &ProcessHardware| lab.bounds("detuning").unwrap().high;
    assert_eq!(high(&lab), 1.0);
    let controls = Controls::one("detuning", Tensor::full(3.0, [2, 3]).unwrap());
    // The first takes 1 nm and dies, the second takes 0.2 nm, the third 2 nm.
    for limit in [0.2, 2.0] {
        assert_eq!(values(&lab.measure(&light(), &controls).unwrap()), [limit; 8]);
        assert_eq!(high(&lab), limit);
    }
}

#[test]
fn settings_in_single_precision_stay_within_limits_that_it_lacks() {
    if !python() {
        return;
    }
    // The nearest numbers of single precision are 3.52608323 (below 3.5260833019274203) and 3.90000010.
    let mut lab = ProcessHardware::new("fc", &bank(), bad("strict")).unwrap();
    let light = light().to_dtype(DType::F32).unwrap();
    for setting in [-5.0, 5.0] {
        let setting = Tensor::full(setting, [2, 3]).unwrap().to_dtype(DType::F32).unwrap();
        let y = lab.measure(&light, &Controls::one("detuning", setting)).unwrap();
        assert_eq!(y.dims(), [4, 2]);
    }
}

#[test]
fn one_script_serves_several_layers() {
    if !python() {
        return;
    }
    for layer in ["fc", "fc3"] {
        let mut lab = ProcessHardware::new(layer, &bank(), bad("layers")).unwrap();
        let y = lab.measure(&light(), &detunings(0.0, 0.5)).unwrap();
        assert_eq!(values(&y), [layer.len() as f64; 8]);
    }
    let error = ProcessHardware::new("fc9", &bank(), bad("layers")).err().unwrap().to_string();
    assert!(error.contains("the instrument of layer fc9 says: KeyError: 'fc9'"), "{error}");
}

#[test]
fn what_is_printed_while_it_serves_is_for_people() {
    if !python() {
        return;
    }
    let mut lab = ProcessHardware::new("fc", &bank(), bad("chatty")).unwrap();
    for _ in 0..2 {
        assert_eq!(lab.measure(&light(), &detunings(0.0, 0.5)).unwrap().dims(), [4, 2]);
    }
}

#[test]
fn a_convolution_reads_pictures() {
    if !python() {
        return;
    }
    let bank = MrrConv2d::new(1, 2, 2, ConvGeometry::default());
    let pictures = Tensor::zeros([4, 1, 6, 5], DType::F64).unwrap();
    let controls = Controls::one("detuning", Tensor::zeros([2, 1, 2, 2], DType::F64).unwrap());
    let mut lab = ProcessHardware::new("conv", &bank, bad("pictures")).unwrap();
    assert_eq!(lab.measure(&pictures, &controls).unwrap().dims(), [4, 2, 5, 4]);
    let mut lab = ProcessHardware::new("conv", &bank, bad("pictures of 3")).unwrap();
    let error = lab.measure(&pictures, &controls).unwrap_err().to_string();
    let expected = "sent readings of shape [4, 3, 5, 4], expected is [4, 2, any, any]";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn impossible_limits_are_named() {
    let error = |config: ProcessConfig| {
        ProcessHardware::new("fc", &bank(), config).err().unwrap().to_string()
    };
    let config = ProcessConfig::default;
    let at_once = ProcessConfig { shutdown_timeout_s: 0.0, ..config() };
    assert!(error(at_once).contains("shutdown_timeout_s of an instrument is 0, allowed is (0, 8"));
    let never = ProcessConfig { measure_timeout_s: f64::NAN, ..config() };
    assert!(
        error(never).contains("measure_timeout_s of an instrument is NaN, allowed is (0, 86400]")
    );
    let none = ProcessConfig { largest_message_mib: 0, ..config() };
    assert!(error(none).contains("largest_message_mib of an instrument is 0"));
    let unknown: Result<ProcessConfig, _> = serde_json::from_str(r#"{"comand": "x"}"#);
    assert!(unknown.unwrap_err().to_string().contains("unknown field `comand`"));
}
