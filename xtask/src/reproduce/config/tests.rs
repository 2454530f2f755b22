//! The experiments of the workspace are valid, and wrong ones are refused with file, line and range.

use std::collections::BTreeSet;
use std::path::Path;

use pnn_train::{StrategyRecipe, Trained};

use super::schema::{Method, TunedOn};
use super::{Catalogue, Experiment, Profile, default_folder, parse};

fn profile_text() -> String {
    std::fs::read_to_string(default_folder().join("profiles/paper.toml")).unwrap()
}

fn refused(text: &str) -> String {
    parse::<Profile>(Path::new("profiles/paper.toml"), text).unwrap_err().to_string()
}

/// The line of a text in which a part occurs first, from 1.
fn line_of(text: &str, part: &str) -> usize {
    1 + text.lines().position(|line| line.contains(part)).unwrap()
}

#[test]
fn every_profile_and_experiment_of_the_workspace_is_valid() {
    let catalogue = Catalogue::load(&default_folder()).unwrap();
    let profiles: Vec<_> = catalogue.profiles.keys().map(String::as_str).collect();
    assert_eq!(profiles, ["controlled", "paper", "quick"]);
    for id in ["fig2e", "fig2f", "fig2h", "fig2j", "figS-rho", "fig4c", "fig4d"] {
        let experiment = &catalogue.experiments[id];
        for profile in &profiles {
            assert!(experiment.profiles.contains_key(*profile), "{id} lacks {profile}");
        }
    }
    for (id, profiles) in [("knowledge", ["quick", "controlled"]), ("gap", ["quick", "paper"])] {
        for profile in profiles {
            let experiment = &catalogue.experiments[id];
            assert!(experiment.profiles.contains_key(profile), "{id} lacks {profile}");
        }
    }
}

#[test]
fn the_controlled_profile_is_level() {
    let catalogue = Catalogue::load(&default_folder()).unwrap();
    let methods = &catalogue.profiles["controlled"].methods;
    for key in ["bp", "nat", "pruning", "sam", "sat"] {
        assert!(methods.contains_key(key), "no {key}");
    }
    let bp = &methods["bp"];
    let rates = |method: &Method| {
        let rates = method.tune.iter().map(|s| s["optimizer.adam.rate"].to_bits());
        rates.collect::<BTreeSet<_>>()
    };
    let common: BTreeSet<_> = [0.001, 0.003, 0.01].map(f64::to_bits).into();
    let rings = methods.iter().filter(|(_, m)| m.recipe.train.is_rings());
    for (key, method) in rings {
        assert_eq!(method.recipe.train, bp.recipe.train);
        assert_eq!(method.recipe.optimizer, bp.recipe.optimizer);
        assert_eq!(method.recipe.epochs, bp.recipe.epochs);
        assert_eq!(method.recipe.batch_size, bp.recipe.batch_size);
        assert_eq!(method.tune.len(), 6);
        // The rates are a part of every tuning. Those without a strength have more of them, but none
        // that is smaller or larger.
        if matches!(key.as_str(), "bp" | "bp-blind") {
            assert!(rates(method).is_superset(&common));
            let ends = |rates: &BTreeSet<u64>| [rates.first().copied(), rates.last().copied()];
            assert_eq!(ends(&rates(method)), ends(&common));
        } else {
            assert_eq!(rates(method), common, "{key}");
        }
        // What knows nothing about the chip is tuned so.
        let clean = matches!(method.tuned_on, TunedOn::Clean);
        assert_eq!(clean, key.ends_with("-blind"), "{key}");
    }
    let bp = &methods["mzi-bp"];
    let common: BTreeSet<_> = [0.01, 0.03, 0.1].map(f64::to_bits).into();
    for (key, method) in methods.iter().filter(|(_, m)| m.recipe.train == Trained::Phases) {
        assert_eq!(method.recipe.optimizer, bp.recipe.optimizer);
        assert_eq!(method.recipe.weight_limit, bp.recipe.weight_limit);
        assert_eq!(method.recipe.epochs, bp.recipe.epochs);
        assert_eq!(method.recipe.batch_size, bp.recipe.batch_size);
        assert_eq!(method.tune.len(), 6);
        assert!(rates(method).is_superset(&common), "{key}");
        // In situ: on the chip in the loop.
        let own = matches!(method.tuned_on, TunedOn::Clean);
        assert_eq!(
            own,
            !matches!(method.recipe.strategy, StrategyRecipe::Bp | StrategyRecipe::Nat { .. })
        );
    }
}

/// All of free space see alike, train as long, and have rates of one range.
#[test]
fn the_controlled_profile_is_level_in_free_space() {
    let catalogue = Catalogue::load(&default_folder()).unwrap();
    let methods = &catalogue.profiles["controlled"].methods;
    for (train, first, tunings) in [(Trained::Modulators, "fs-bp", 6), (Trained::Masks, "d2-bp", 5)]
    {
        let bp = &methods[first];
        let ends = |method: &Method| {
            let rates = method.tune.iter().map(|s| s["optimizer.adam.rate"]);
            (rates.clone().fold(f64::INFINITY, f64::min), rates.fold(0.0, f64::max))
        };
        for (key, method) in methods.iter().filter(|(_, m)| m.recipe.train == train) {
            assert_eq!(method.recipe.sampling, bp.recipe.sampling, "{key}");
            assert_eq!(method.recipe.epochs, bp.recipe.epochs, "{key}");
            assert_eq!(method.recipe.batch_size, bp.recipe.batch_size, "{key}");
            assert_eq!(method.recipe.images, bp.recipe.images, "{key}");
            assert_eq!((method.tune.len(), ends(method)), (tunings, ends(bp)), "{key}");
            // All that have a second setting have it at the same rates.
            let mut rates: Vec<_> =
                method.tune.iter().map(|s| s["optimizer.adam.rate"].to_string()).collect();
            rates.dedup();
            let shared = if train == Trained::Modulators && key != "fs-bp" { 3 } else { tunings };
            assert_eq!(rates.len(), shared, "{key}");
            // What knows nothing about the misalignment is tuned so.
            let knows = !matches!(method.recipe.strategy, StrategyRecipe::Bp);
            assert_eq!(knows, matches!(method.tuned_on, TunedOn::Sweep(_)), "{key}");
        }
    }
}

#[test]
fn unknown_keys_wrong_types_and_impossible_values_name_file_line_and_range() {
    let good = profile_text();
    let cases = [
        ("epochs = 10\n", "epochz = 10\n", "epochz", "unknown field"),
        ("epochs = 10\n", "epochs = \"ten\"\n", "\"ten\"", "invalid type"),
        (
            "rate = 0.001, momentum = 0.5",
            "rate = -1.0, momentum = 0.5",
            "rate = -1.0",
            "learning rate is -1, allowed is [0, infinity)",
        ),
        ("rho = 0.5", "rho = nan", "rho = nan", "rho is NaN, allowed is [0, infinity)"),
        ("std = 0.3", "std = -0.3", "std = -0.3", "allowed is [0, infinity)"),
        (
            "batch_size = 64\n\n[methods.nat]",
            "batch_size = 1\n\n[methods.nat]",
            "batch_size = 1",
            "[2, 60000]",
        ),
        ("data = \"mnist\"", "data = \"cifar\"", "cifar", "unknown variant"),
    ];
    for (from, to, part, says) in cases {
        assert!(good.contains(from), "{from}");
        let bad = good.replacen(from, to, 1);
        let error = refused(&bad);
        assert!(error.contains("profiles/paper.toml"), "{error}");
        assert!(error.contains(says), "{to}: {error}");
        // Values that depend on each other are reported at the table that holds them.
        let line = line_of(&bad, part);
        let lines = line.saturating_sub(7)..=line;
        assert!(
            lines.clone().any(|l| error.contains(&format!("line {l}, "))),
            "{to}, line {line}: {error}"
        );
    }
}

#[test]
fn methods_refuse_what_their_device_cannot() {
    let text = std::fs::read_to_string(default_folder().join("profiles/controlled.toml")).unwrap();
    let at = text.find("[methods.mzi-bp]").unwrap();
    let (rings, meshes) = text.split_at(at);
    let check = |meshes: &str| {
        let path = Path::new("controlled.toml");
        let profile = parse::<Profile>(path, &format!("{rings}{meshes}"));
        profile.map_err(|e| e.to_string()).and_then(|profile| profile.check())
    };
    check(meshes).unwrap();
    let tuned_on = meshes.lines().find(|line| line.starts_with("tuned_on")).unwrap();
    let strategy = "strategy = \"bp\"";
    let in_situ = "tuned_on = \"clean\"";
    for (from, to, says) in [
        (in_situ, tuned_on, "the chip in its loop, which has errors"),
        (tuned_on, "", "nothing to tune phases or pictures on"),
        (strategy, "strategy = { pruning = { coefficient = 0.01 } }", "only for rings"),
        ("train = \"phases\"", "train = \"weights\"\nweight_limit = 1.0", "only for train"),
        (
            "train = \"phases\"\nstrategy = { dat",
            "train = \"weights\"\nstrategy = { dat",
            "other devices show no field",
        ),
    ] {
        assert!(meshes.contains(from), "{from}");
        let error = check(&meshes.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn sweeps_of_misalignment_refuse_what_does_not_fit() {
    let good = std::fs::read_to_string(default_folder().join("figS-joint.toml")).unwrap();
    let profiles = Catalogue::load(&default_folder()).unwrap().profiles;
    let check = |text: &str| {
        let experiment = parse::<Experiment>(Path::new("figS-joint.toml"), text);
        experiment.map_err(|e| e.to_string()).and_then(|e| e.check(&profiles))
    };
    check(&good).unwrap();
    for (from, to, says) in [
        ("judged_at = [[2.0, 2.0]", "judged_at = [[2.5, 2.0]", "judged_at has [2.5, 2.0]"),
        ("judged_at = [[2.0, 2.0]", "judged_at = [[2.0]", "judged_at has [2.0]"),
        ("values = [-3.0, -2.0", "values = [-2.0, -3.0", "increasing"),
        ("-1.0, 0.0, 1.0", "-1.0, 1.0", "have 0 among them"),
        ("layers = [\"fc1\"]", "layers = []", "layers is empty"),
        ("better = \"fs-sat-joint\"", "better = \"fs-sat-jnt\"", "no profile has a method"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = check(&good.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(says), "{to}: {error}");
    }
}

#[test]
fn experiments_refuse_what_does_not_fit_together() {
    let path = Path::new("fig2j.toml");
    let good = std::fs::read_to_string(default_folder().join("fig2j.toml")).unwrap();
    let error = |text: &str| parse::<Experiment>(path, text).unwrap_err().to_string();
    let message = error(&good.replace("nm_per_kelvin = 0.08", "nm_per_kelvin = 0.0"));
    assert!(message.contains("(0, infinity)") && message.contains("line "), "{message}");

    let folder = tempfile::tempdir().unwrap();
    let profiles = folder.path().join("profiles");
    std::fs::create_dir(&profiles).unwrap();
    std::fs::write(profiles.join("paper.toml"), profile_text()).unwrap();
    let check = |text: &str| {
        let text = &text[..text.find("[profiles.quick]").unwrap()];
        let plan = "[profiles.paper]\nmethods = [\"bp\", \"sat\"]\n\
                    views = [{ name = \"all\", batch_norm = \"running\" }]\n";
        std::fs::write(folder.path().join("fig2j.toml"), format!("{text}\n{plan}")).unwrap();
        Catalogue::load(folder.path()).map(|_| ()).map_err(|e| e.to_string())
    };
    check(&good).unwrap();
    let unjudged = check(&good.replace("judged_at_kelvin = [-2.0]", "judged_at_kelvin = [-3.0]"));
    assert!(unjudged.unwrap_err().contains("judged_at_kelvin -3 is not in kelvin"));
    let twice = check(&good.replace(r#"layers = ["fc2", "fc3"]"#, r#"layers = ["fc2", "fc2"]"#));
    assert!(twice.unwrap_err().contains("twice"));
    let absent = check(&good.replace("method = \"sat\"\nbaseline", "method = \"nat\"\nbaseline"));
    assert!(absent.unwrap_err().contains("lacks \"nat\""));
}

#[test]
fn a_setting_is_changed_by_its_path_and_checked() {
    let profile: Profile = parse(Path::new("p"), &profile_text()).unwrap();
    let sat = &profile.methods["sat"];
    let changed = sat.with_setting("sharpness.asam.rho", 0.25).unwrap();
    assert_ne!(changed.recipe, sat.recipe);
    assert_eq!(changed.with_setting("sharpness.asam.rho", 0.5).unwrap().recipe, sat.recipe);
    assert!(sat.with_setting("sharpness.asam.rho", -1.0).unwrap_err().contains("rho"));
    assert!(sat.with_setting("sharpness.sam.rho", 1.0).unwrap_err().contains("no setting"));
    assert!(sat.with_setting("strategy", 1.0).unwrap_err().contains("not a number"));
    let nat = profile.methods["nat"].with_setting("strategy.nat.noise.0.source.weight.std", 0.1);
    assert!(nat.is_ok());
}

#[test]
fn whole_numbers_stay_whole_when_they_are_set() {
    let catalogue = Catalogue::load(&default_folder()).unwrap();
    let method = &catalogue.profiles["controlled"].methods["nat-quantisation"];
    let bits = "strategy.nat.noise.0.source.quantisation.bits";
    assert_ne!(method.with_setting(bits, 5.0).unwrap().recipe, method.recipe);
    assert!(method.with_setting(bits, 4.5).is_err());
    assert!(method.with_setting(bits, 25.0).unwrap_err().contains("[1, 24]"));
}

/// One experiment of the workspace, changed in one place, with all profiles.
#[test]
fn what_could_only_fail_after_training_is_refused_before() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("profiles")).unwrap();
    let read = |name: &str| std::fs::read_to_string(default_folder().join(name)).unwrap();
    for profile in ["quick", "paper", "controlled"].map(|p| format!("profiles/{p}.toml")) {
        std::fs::write(folder.path().join(&profile), read(&profile)).unwrap();
    }
    let layers = "layers = [\"fc2\", \"fc3\"]";
    for (file, from, to, says) in [
        ("fig2j.toml", layers, "layers = [\"fc2\", \"fc9\"]", "no layer \"fc9\"; there is conv1"),
        ("fig2j.toml", layers, "layers = []", "layers is empty"),
        ("fig2j.toml", "method = \"bp\"\nlabel", "method = \"bb\"\nlabel", "method \"bb\""),
        ("fig2e.toml", "method = \"sat\"\nloss", "method = \"sad\"\nloss", "method \"sad\""),
        ("fig2f.toml", "bin_milliamp = 0.025", "bin_milliamp = 0.03", "a whole number"),
        (
            "gap.toml",
            "judged = { from = \"detunings-adam\"",
            "judged = { from = \"adam\"",
            "lacks \"adam\"",
        ),
        ("gap.toml", "to = \"weights-adam\", what", "to = \"adam\", what", "method \"adam\""),
        ("figS-rho.toml", "kelvin = -1.0", "kelvin = nan", "kelvin NaN is not finite"),
        ("figS-rho.toml", "[1e-32, 0.0001,", "[0.0001, 1e-32,", "in increasing order"),
        ("knowledge.toml", "chips = 20", "chips = 0", "allowed is [1, 1000]"),
        ("knowledge.toml", "chips = 20\n", "", "chips is None"),
        ("knowledge.toml", "nat-drift = \"drift\"", "nat-drift = \"rain\"", "no kind \"rain\""),
        ("knowledge.toml", "nat-weight = \"weight\"\n", "", "\"nat-weight\" is neither"),
        ("knowledge.toml", "rivals = [\"bp-blind\"]\n", "", "rivals has 0 methods"),
        (
            "knowledge.toml",
            "rivals = [\"bp-blind\"]",
            "rivals = [\"sam-blind\"]",
            "\"bp-blind\" is neither",
        ),
        ("knowledge.toml", "label = \"5 bits\"", "label = \"6 bits\"", "labelled \"6 bits\""),
        ("fig4c.toml", "epochs = [10, 20,", "epochs = [20,", "differ in length"),
        ("fig4c.toml", "better = \"mzi-sat\"", "better = \"mzi-sad\"", "method \"mzi-sad\""),
        ("fig4c.toml", "methods = [\"mzi-bp\"", "methods = [\"bp\"", "\"bp\" trains no mesh"),
        ("fig4d.toml", "phase_std = [0.0, 0.05,", "phase_std = [0.05, 0.0,", "increasing order"),
        ("fig4d.toml", "splitter_std = [0.0, 0.05,", "splitter_std = [-1.0, 0.05,", "[0, 3]"),
        ("fig4d.toml", "judged_at = [0.15,", "judged_at = [0.16,", "not in the grid"),
        ("fig4d.toml", "accuracy = [\n", "accuracy = [\n  [1.0],\n", "not of the grid"),
        ("fig4d.toml", "chips = 20", "chips = 1", "allowed is [2, 1000]"),
        ("figS-rho.toml", "methods = [\"sam\"]", "methods = [\"sam\", \"sat\"]", "methods has 2"),
    ] {
        let good = read(file);
        let check = |text: &str| {
            std::fs::write(folder.path().join(file), text).unwrap();
            Catalogue::load(folder.path()).map(|_| ()).map_err(|e| e.to_string())
        };
        check(&good).unwrap();
        assert!(good.contains(from), "{file}: {from}");
        let error = check(&good.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(says) && error.contains(file), "{error}");
        std::fs::remove_file(folder.path().join(file)).unwrap();
    }
}
