"""Copies what a run of `cargo xtask reproduce` gave into this folder.

    python3 publish.py OUT FOLDER EXPERIMENT,... [METHOD,...]

OUT is the run's --out, FOLDER a name such as controlled-freespace. Tables, figures, the metrics of each epoch, tunings, what sharpness-link measured of each network and
results.json go to FOLDER; the weights of seed 0 of the methods named to weights/FOLDER-METHOD-seed0.safetensors.
"""

import json
import re
import shutil
import sys
from pathlib import Path

out, folder, experiments = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
methods = sys.argv[4].split(",") if len(sys.argv) > 4 else []
here = Path(__file__).parent
target = here / folder


def clean(text):
    """The command without what is of one machine."""
    text = re.sub(r" --weights \S+", " --weights docs/results/weights", text)
    text = re.sub(r" --(data|reference) \S+", lambda m: f" --{m[1]} {'DATA' if m[1] == 'data' else 'REFERENCE'}", text)
    return re.sub(r" --resume| --(out|experiments) \S+", "", text)


for experiment in experiments:
    (target / experiment).mkdir(parents=True, exist_ok=True)
    for old in (target / experiment).iterdir():
        old.unlink()
    for file in sorted((out / experiment).iterdir()):
        if file.suffix in (".md", ".csv", ".svg"):
            shutil.copy(file, target / experiment / file.name)
runs = out / "runs"
for run in sorted(runs.iterdir()) if runs.is_dir() else []:
    if run.name.startswith("tune-"):
        continue
    if tuning := re.fullmatch(r"(tuning-.+)-[0-9a-f]{12}\.json", run.name):
        (target / "runs").mkdir(exist_ok=True)
        shutil.copy(run, target / "runs" / f"{tuning[1]}.json")
    elif trained := re.fullmatch(r"(.+)-seed(\d+)-[0-9a-f]{12}", run.name):
        for measured in run.glob("sharpness-*.json"):
            (target / "runs").mkdir(exist_ok=True)
            shutil.copy(measured, target / "runs" / f"{trained[1]}-seed{trained[2]}.sharpness.json")
        if (run / "weights.safetensors").exists():
            (target / "runs").mkdir(exist_ok=True)
            shutil.copy(run / "metrics.jsonl", target / "runs" / f"{trained[1]}-seed{trained[2]}.metrics.jsonl")
            if trained[1] in methods and trained[2] == "0":
                name = f"{folder}-{trained[1]}-seed0.safetensors"
                shutil.copy(run / "weights.safetensors", here / "weights" / name)
results = json.loads((out / "results.json").read_text())
results["provenance"]["command"] = clean(results["provenance"]["command"])
results["experiments"] = {key: results["experiments"][key] for key in experiments}
# What the folder has of other experiments stays, with where it is from.
kept = target / "results.json"
if kept.exists():
    old = json.loads(kept.read_text())
    others = {key: value for key, value in old["experiments"].items() if key not in experiments}
    if others:
        results["experiments"] = others | results["experiments"]
        results["provenance_of_other_experiments"] = old.get("provenance_of_other_experiments", []) + [old["provenance"]]
(target / "results.json").write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
