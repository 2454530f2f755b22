//! Cases pass, fail or are unsupported for the right reasons.

use std::path::PathBuf;

use super::case::{Case, agree};
use super::*;

fn outcome(change: impl Fn(&mut serde_json::Value)) -> Outcome {
    let mut case = serde_json::json!({
        "id": "a", "system": "mrr-lenet5", "weights": "absent.safetensors", "fc_activation": "relu",
        "input": { "mean": 0.0, "std": 1.0 }, "batch_norm": "running",
        "images": { "first": 0, "count": 10, "batch": 10 },
        "perturb": { "port": "resonance_shift_nm", "layers": ["fc2"], "values": [0.0] },
        "metric": "accuracy_percent", "expected": [50.0], "tolerance": 0.1
    });
    change(&mut case);
    let folder = PathBuf::from("no-such-folder");
    let args = Args { manifest: folder.join("m.json"), data: folder, only: None, json: None };
    replay("a", &case, &args, &mut None)
}

#[test]
fn what_is_malformed_or_unheard_of_fails() {
    let failed = |change: &dyn Fn(&mut serde_json::Value), says: &str| {
        let outcome = outcome(change);
        assert_eq!(outcome.status, Status::Failed);
        let reason = outcome.reason.unwrap();
        assert!(reason.contains(says), "{reason}");
    };
    failed(&|_| {}, "absent.safetensors");
    failed(&|c| c["pertrub"] = c["perturb"].take(), "unknown field");
    failed(&|c| c["id"] = "".into(), "id is empty");
    failed(&|c| c["expected"] = serde_json::json!([]), "expected is empty");
    failed(&|c| c["perturb"]["values"] = serde_json::json!([]), "values is empty");
    failed(&|c| c["perturb"]["layers"] = serde_json::json!([]), "layers is empty");
    failed(&|c| c["images"]["count"] = 0.into(), "at least 1");
    failed(&|c| c["fc_activation"] = serde_json::Value::Null, "missing field `fc_activation`");
    failed(&|c| c["fabrication"] = "chip.safetensors".into(), "of meshes only");
    failed(&|c| c["system"] = "mzi-lenet5".into(), "of rings only");
    failed(&|c| c["batch_norm"] = serde_json::Value::Null, "missing field `batch_norm`");
    let panels = |c: &mut serde_json::Value| {
        c["system"] = "freespace-mlp".into();
        for key in ["fc_activation", "batch_norm"] {
            c[key] = serde_json::Value::Null;
        }
        c["perturb"] = serde_json::json!({ "port": "scale", "values": [1.0] });
    };
    failed(&panels, "absent.safetensors");
    let and = |more: &dyn Fn(&mut serde_json::Value), says: &str| {
        failed(
            &|c: &mut serde_json::Value| {
                panels(c);
                more(c);
            },
            says,
        );
    };
    and(&|c| c["batch_norm"] = "running".into(), "has none");
    and(&|c| c["perturb"]["layers"] = serde_json::json!(["fc1"]), "follow from the port");
    and(&|c| c["fabrication"] = "chip.safetensors".into(), "of meshes only");
    failed(&|c| c["system"] = "abacus".into(), "unknown system");
    failed(
        &|c| c["metric"] = "beauty".into(),
        "unknown variant `beauty`, expected `accuracy_percent`",
    );
    failed(&|c| c["metric"] = "lambda_max".into(), "perturb is of accuracies only");
    failed(&|c| c["expected"] = "many".into(), "malformed case");
}

#[test]
fn agreement_needs_every_value_and_a_tolerance() {
    let case = |expected: &str, tolerance: &str| -> Case {
        serde_json::from_str(&format!(
            r#"{{"id": "a", "system": "mrr-lenet5", "weights": "w", "fc_activation": "relu",
                "input": {{"mean": 0, "std": 1}}, "batch_norm": "running",
                "images": {{"first": 0, "count": 1, "batch": 1}}, "metric": "accuracy_percent",
                "expected": {expected} {tolerance}}}"#
        ))
        .unwrap()
    };
    let strict = case("[50.0, 60.0]", r#", "tolerance": 0.1"#);
    assert!(agree(&strict, &[50.05, 59.95]).is_ok());
    assert!(agree(&strict, &[50.2, 60.0]).unwrap_err().contains("value 0"));
    assert!(agree(&strict, &[50.0, f64::NAN]).unwrap_err().contains("value 1"));
    assert!(agree(&strict, &[50.0]).unwrap_err().contains("malformed"));
    let relative = case("[1000.0]", r#", "relative_tolerance": 0.01"#);
    assert!(agree(&relative, &[1009.0]).is_ok() && agree(&relative, &[1011.0]).is_err());
    assert!(agree(&case("[1.0]", ""), &[1.0]).unwrap_err().contains("neither"));
}

#[test]
fn notes_reach_the_outcome() {
    let noted = outcome(|c| {
        c["note"] = "the first".into();
        c["weights_are"] = "transmissions".into();
        c["perturb"]["note"] = "a drift".into();
    });
    assert_eq!(noted.notes, ["the first", "weights: transmissions", "a drift"]);
    assert!(line(&noted).contains("the first"), "{}", line(&noted));
}
