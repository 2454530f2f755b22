//! The sharpness-aware family by recipe: in silico and in situ, what it costs, killed and resumed.

use crate::common;

use common::{Outcome, digits, recipe, train};
use pnn_train::{Error, Observer, Recipe, Result, SharpnessRecipe, StepEvent};

const IN_SITU: &str = r#"{"pat": {"hardware": [{"source": {"fabrication": {"std_nm": 0.03}}, "layers": ["fc2", "fc3"]}]}}"#;

fn recipe_of(strategy: &str, optimizer: &str, extra: &str, epochs: usize) -> Recipe {
    recipe(&format!(
        r#"{{"train": "detunings", "strategy": {strategy}, "optimizer": {optimizer}, {extra},
            "epochs": {epochs}, "batch_size": 64}}"#
    ))
}

const ADAM: &str = r#"{"adam": {"rate": 0.01}}"#;
const SGD: &str = r#"{"sgd": {"rate": 0.05, "momentum": 0.5}}"#;

/// The methods with radii for detunings in nm, and the passes of ten steps, forward and backward.
const METHODS: [(&str, [u64; 2]); 8] = [
    (r#""sharpness": {"sam": {"rho": 0.05}}"#, [20, 20]),
    (r#""sharpness": {"gsam": {"rho": 0.05, "alpha": 0.2}}"#, [20, 20]),
    (r#""sharpness": {"looksam": {}}"#, [12, 12]),
    (r#""sharpness": {"looksam": {"k": 2, "rho": 0.02}}"#, [15, 15]),
    (r#""sharpness": {"fsam": {}}"#, [20, 20]),
    (r#""sharpness": {"esam": {"beta": 0.9}}"#, [30, 20]),
    (r#""sharpness": {"esam": {"gamma": 1.0, "adaptive": true}}"#, [20, 20]),
    (r#""sharpness": {"msam": {"rho": 0.1}}"#, [10, 10]),
];

#[test]
fn each_method_learns_and_costs_what_it_says() {
    struct Losses(Vec<f64>);
    impl Observer for Losses {
        fn on_step(&mut self, event: &StepEvent) -> Result<()> {
            self.0.push(event.loss);
            Ok(())
        }
    }
    for (method, [forward, backward]) in METHODS {
        for strategy in [r#""bp""#, IN_SITU] {
            let recipe = recipe_of(strategy, SGD, method, 1);
            let mut losses = Losses(Vec::new());
            let outcome = train(&recipe, &digits(640), None, &mut losses).unwrap();
            let counts = outcome.history[0].counts;
            assert_eq!([counts.forward, counts.backward], [forward, backward], "{method}");
            let measured = if strategy == IN_SITU { forward } else { 0 };
            assert_eq!(counts.measured, measured, "{method}");
            let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
            let (first, last) = (mean(&losses.0[..2]), mean(&losses.0[8..]));
            assert!(last < first - 0.1, "{method} {strategy}: from {first} to {last}");
        }
    }
}

/// What `LookSAM` saves: `k + 1` gradients for `k` steps.
#[test]
fn looksam_costs_a_fifth_more_than_descent() {
    let plain =
        train(&recipe_of(r#""bp""#, SGD, r#""in_order": false"#, 1), &digits(640), None, &mut ());
    let looks = recipe_of(r#""bp""#, SGD, r#""sharpness": {"looksam": {}}"#, 1);
    let expected = looks.sharpness.unwrap().gradients_per_step();
    let looks = train(&looks, &digits(640), None, &mut ()).unwrap();
    let gradients = |outcome: &Outcome| outcome.history[0].counts.backward as f64;
    assert_eq!(gradients(&looks) / gradients(&plain.unwrap()), 1.2);
    assert_eq!(expected, 1.2);
}

/// Fails after so many steps: what is on disk then is what a kill would leave.
struct StopAfter(usize);

impl Observer for StopAfter {
    fn on_step(&mut self, _: &StepEvent) -> Result<()> {
        self.0 -= 1;
        if self.0 == 0 { Err(Error::Observer("stopped".into())) } else { Ok(()) }
    }
}

const SAF: &str = r#""trajectory": {"saf": {"start": 0, "past": 1, "temperature": 2.0}}"#;
const MESA: &str = r#""trajectory": {"mesa": {"start": 0, "decay": 0.9}}"#;

#[test]
fn a_stopped_training_resumes_to_the_same_bits() {
    let with_saf = format!(r#"{SAF}, "sharpness": {{"esam": {{}}}}"#);
    let with_mesa = format!(r#"{MESA}, "sharpness": {{"fsam": {{}}}}"#);
    let methods = METHODS.iter().map(|(method, _)| *method).skip(1);
    for extra in methods.chain([SAF, MESA, &with_saf, &with_mesa]) {
        for (strategy, rule) in [(r#""bp""#, SGD), (IN_SITU, ADAM)] {
            let recipe = recipe_of(strategy, rule, extra, 3);
            let data = digits(320); // five steps an epoch
            let whole = train(&recipe, &data, None, &mut ()).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let checkpoint = folder.path().join("checkpoint.safetensors");
            // In the first epoch within a period of LookSAM, and in the second where SAF and MESA act.
            for steps in [3, 5] {
                let stop = &mut StopAfter(steps);
                assert!(train(&recipe, &data, Some(checkpoint.clone()), stop).is_err());
            }
            let resumed = train(&recipe, &data, Some(checkpoint), &mut ()).unwrap();
            assert_eq!(resumed.bits, whole.bits, "{extra} {strategy}");
            let summary = |outcome: &Outcome| -> Vec<_> {
                let records = outcome.history.iter();
                records.map(|record| (record.train_loss.to_bits(), record.counts)).collect()
            };
            assert_eq!(summary(&resumed), summary(&whole), "{extra} {strategy}");
        }
    }
}

#[test]
fn one_thread_and_two_give_the_same_bits() {
    for extra in [
        format!(r#"{SAF}, "sharpness": {{"esam": {{}}}}"#),
        format!(r#"{MESA}, "sharpness": {{"gsam": {{"rho": 0.05}}}}"#),
    ] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let recipe = recipe_of(IN_SITU, ADAM, &extra, 2);
            pool.install(|| train(&recipe, &digits(320), None, &mut ()).unwrap())
        };
        assert_eq!(run(1).bits, run(2).bits, "{extra}");
    }
}

#[test]
fn the_memory_of_the_loss_changes_what_is_learned() {
    let plain =
        train(&recipe_of(r#""bp""#, ADAM, r#""in_order": false"#, 3), &digits(320), None, &mut ())
            .unwrap();
    for (extra, forward) in [(SAF, 15), (MESA, 25)] {
        let with = train(&recipe_of(r#""bp""#, ADAM, extra, 3), &digits(320), None, &mut ());
        let with = with.unwrap();
        // The first epoch is the same; the term makes the loss of the second larger.
        let loss = |outcome: &Outcome, epoch: usize| outcome.history[epoch].train_loss;
        assert_eq!(loss(&with, 0).to_bits(), loss(&plain, 0).to_bits(), "{extra}");
        assert!(loss(&with, 1) > loss(&plain, 1), "{extra}");
        assert_ne!(with.bits, plain.bits, "{extra}");
        assert_eq!(with.history[2].counts.forward, forward, "{extra}");
        assert_eq!(with.history[2].counts.backward, 15, "{extra}");
    }
}

#[test]
fn recipes_have_the_defaults_of_the_papers() {
    let cases = [
        (r#""sharpness": {"gsam": {}}"#, r#"{"gsam":{"rho":0.6,"alpha":0.6,"adaptive":false}}"#),
        (r#""sharpness": {"looksam": {}}"#, r#"{"looksam":{"rho":0.05,"k":5,"alpha":0.7}}"#),
        (
            r#""sharpness": {"fsam": {}}"#,
            r#"{"fsam":{"rho":0.05,"sigma":1.0,"lambda":0.9,"adaptive":false}}"#,
        ),
        (
            r#""sharpness": {"esam": {}}"#,
            r#"{"esam":{"rho":0.05,"beta":0.6,"gamma":0.5,"adaptive":false}}"#,
        ),
        (r#""sharpness": {"msam": {}}"#, r#"{"msam":{"rho":3.0}}"#),
    ];
    for (extra, want) in cases {
        let recipe = recipe_of(r#""bp""#, ADAM, extra, 1);
        assert_eq!(serde_json::to_string(&recipe.sharpness).unwrap(), want);
        let again: Recipe = serde_json::from_value(serde_json::to_value(&recipe).unwrap()).unwrap();
        assert_eq!(again, recipe);
    }
    for (extra, want) in [
        (
            r#""trajectory": {"saf": {}}"#,
            r#"{"saf":{"weight":0.3,"temperature":5.0,"past":3,"start":5}}"#,
        ),
        (
            r#""trajectory": {"mesa": {}}"#,
            r#"{"mesa":{"weight":0.8,"temperature":5.0,"decay":0.9998,"start":5}}"#,
        ),
    ] {
        let recipe = recipe_of(r#""bp""#, ADAM, extra, 7);
        assert_eq!(serde_json::to_string(&recipe.trajectory).unwrap(), want);
    }
}

/// The radii of the papers, where a recipe has none; and no field that would change what older recipes are called.
#[test]
fn sam_and_asam_have_the_radii_of_their_papers() {
    let sharpness = |json: &str| -> SharpnessRecipe { serde_json::from_str(json).unwrap() };
    assert_eq!(sharpness(r#"{"sam": {}}"#), SharpnessRecipe::Sam { rho: 0.05 });
    let asam = SharpnessRecipe::Asam { rho: 0.5, eta: 0.0, plain_biases: false };
    assert_eq!(sharpness(r#"{"asam": {}}"#), asam);
    assert_eq!(serde_json::to_string(&asam).unwrap(), r#"{"asam":{"rho":0.5,"eta":0.0}}"#);
    assert_ne!(sharpness(r#"{"asam": {"plain_biases": true}}"#), asam);
}

#[test]
fn recipes_that_cannot_be_are_refused() {
    let error = |strategy: &str, train: &str, extra: &str, epochs: usize| {
        let json = format!(
            r#"{{"train": "{train}", "strategy": {strategy}, "optimizer": {ADAM}, {extra},
                "epochs": {epochs}, "batch_size": 64}}"#
        );
        serde_json::from_str::<Recipe>(&json).unwrap_err().to_string()
    };
    let bp = r#""bp""#;
    for (extra, says) in [
        (r#""sharpness": {"gsam": {"rho": -1.0}}"#, "rho is -1, allowed is [0, infinity)"),
        (r#""sharpness": {"gsam": {"rho": 0.1, "rho_min": 0.2}}"#, "rho_min is 0.2"),
        (r#""sharpness": {"looksam": {"k": 0}}"#, "k is 0, allowed is [1, infinity)"),
        (r#""sharpness": {"fsam": {"lambda": 1.0}}"#, "lambda is 1, allowed is [0, 1)"),
        (r#""sharpness": {"esam": {"beta": 0.0}}"#, "beta is 0, allowed is (0, 1]"),
        (r#""sharpness": {"esam": {"sigma": 0.0}}"#, "unknown field"),
        (r#""sharpness": {"msam": {"rho": -0.1}}"#, "rho is -0.1"),
        (r#""trajectory": {"saf": {}}"#, "start of the trajectory is 5"),
        (r#""trajectory": {"mesa": {"decay": 1.0, "start": 0}}"#, "decay of mesa is 1"),
    ] {
        let error = error(bp, "detunings", extra, 3);
        assert!(error.contains(says), "{extra}: {error}");
    }
    let esam = r#""sharpness": {"esam": {}}"#;
    let climbs = r#"{"deviation_ascent": {"climbs": [{"port": "rotation_deg", "layers": ["fc1"], "probe": 1.0, "rate": 0.8}]}}"#;
    let message = error(climbs, "modulators", esam, 1);
    assert!(message.contains("deviation_ascent cannot tell samples apart"), "{message}");
    let readout = r#"{"nat": {"noise": [{"source": {"readout": {"std": 0.05}}}]}}"#;
    let message = error(readout, "detunings", esam, 1);
    assert!(message.contains("readout and shot sources of nat under esam is 1"), "{message}");
    let message = error(bp, "masks", MESA, 3);
    assert!(message.contains("only for networks with logits"), "{message}");
    let message = error(bp, "detunings", r#""display_bits": 8"#, 3);
    assert!(message.contains("display_bits is 8, allowed is only for"), "{message}");
    let message = error(bp, "modulators", r#""display_bits": 0"#, 3);
    assert!(message.contains("display_bits is 0, allowed is [1, 24]"), "{message}");
}
