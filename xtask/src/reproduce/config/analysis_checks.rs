//! Whether the parts of an analysis fit together, and a plan to it.

use pnn_train::LeNet5;

use super::checks::repeated;
use super::{
    Analysis, Contest, Deployment, Drift, Gap, Histogram, Knowledge, Misalignment, Plan, Profile,
    Sensitivity, SweptAxis, Transfer,
};

/// An analysis of one method.
fn one_method(plan: &Plan) -> Result<(), String> {
    match &plan.methods[..] {
        [_] => Ok(()),
        methods => Err(format!("methods has {}, one is analysed", methods.len())),
    }
}

impl Analysis {
    /// Methods that are named beside those of the plans.
    pub(super) fn mentions(&self) -> Vec<&str> {
        match self {
            Self::Curves(curves) => curves.paper.iter().map(|p| p.method.as_str()).collect(),
            Self::Drift(drift) => drift.paper.iter().map(|p| p.method.as_str()).collect(),
            Self::Gap(gap) => {
                gap.rungs.iter().flat_map(|r| [r.from.as_str(), r.to.as_str()]).collect()
            }
            Self::Knowledge(knowledge) => {
                let named = knowledge.sharp.iter().chain(knowledge.knows.keys());
                named.map(String::as_str).collect()
            }
            Self::Deployment(spec) => {
                let paper = spec.paper.iter().map(|paper| paper.method.as_str());
                paper.chain(methods(&spec.contests)).collect()
            }
            Self::Transfer(spec) => {
                let paper = spec.paper.iter().map(|paper| paper.method.as_str());
                let keeps = spec.keeps.iter().map(|keeps| keeps.method.as_str());
                paper.chain(methods(&spec.contests)).chain(keeps).collect()
            }
            Self::Misalignment(spec) => {
                let paper = spec.paper.iter().map(|paper| paper.method.as_str());
                let keeps = spec.keeps.iter().map(|keeps| keeps.method.as_str());
                let named = paper.chain(methods(&spec.contests)).chain(methods(&spec.asked));
                named.chain(keeps).collect()
            }
            Self::Landscape(spec) => {
                let paper = spec.paper.iter().map(|paper| paper.method.as_str());
                let claimed = spec.magnitudes.iter().map(|claimed| claimed.method.as_str());
                paper.chain(claimed).chain(methods(&spec.contests)).collect()
            }
            Self::Link(spec) => {
                spec.systems.iter().flat_map(|s| s.methods.iter().map(String::as_str)).collect()
            }
            Self::Family(spec) => {
                let named = [&spec.baseline, &spec.rival].into_iter().chain(&spec.cheaper);
                named.map(String::as_str).collect()
            }
            Self::Ambient(spec) => methods(&spec.contests).collect(),
            Self::Histogram(_) | Self::Sensitivity(_) => Vec::new(),
        }
    }

    /// Whether it can be made of a plan.
    pub(super) fn check_plan(&self, plan: &Plan, profile: &Profile) -> Result<(), String> {
        match self {
            Self::Knowledge(knowledge) => knowledge.check_plan(plan),
            Self::Sensitivity(_) => one_method(plan),
            Self::Gap(gap) => gap.check_plan(plan),
            Self::Transfer(transfer) => transfer.check_plan(plan),
            Self::Link(link) => link.check_plan(plan),
            Self::Family(family) => family.check_plan(plan),
            Self::Ambient(ambient) => ambient.check_plan(plan, profile),
            _ => Ok(()),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Self::Curves(_) => Ok(()),
            Self::Histogram(histogram) => histogram.check(),
            Self::Drift(drift) => drift.check(),
            Self::Sensitivity(sensitivity) => sensitivity.check(),
            Self::Knowledge(knowledge) => knowledge.check(),
            Self::Gap(gap) => check_sweep(&gap.kelvin, &gap.judged_at_kelvin, &gap.layers),
            Self::Deployment(spec) => spec.check(),
            Self::Transfer(spec) => spec.check(),
            Self::Misalignment(spec) => spec.check(),
            Self::Landscape(spec) => spec.check(),
            Self::Link(spec) => spec.check(),
            Self::Family(spec) => spec.check(),
            Self::Ambient(spec) => spec.check(),
        }
    }
}

/// The methods that contests name.
fn methods(contests: &[Contest]) -> impl Iterator<Item = &str> {
    contests.iter().flat_map(|contest| [contest.better.as_str(), contest.worse.as_str()])
}

impl Deployment {
    fn check(&self) -> Result<(), String> {
        let ragged = self.paper.iter().find(|paper| {
            paper.epochs.len() != paper.loss.len() || paper.epochs.len() != paper.accuracy.len()
        });
        match ragged {
            Some(paper) => {
                Err(format!("paper {:?}: epochs, loss and accuracy differ in length", paper.method))
            }
            None => Ok(()),
        }
    }
}

impl Misalignment {
    fn check(&self) -> Result<(), String> {
        if !(1..=2).contains(&self.axes.len()) {
            return Err(format!("axes has {}, allowed are 1 and 2", self.axes.len()));
        }
        for SweptAxis { label, values, layers, .. } in &self.axes {
            let increasing = values.windows(2).all(|pair| pair[0] < pair[1]);
            if !increasing || !values.contains(&0.0) || values.iter().any(|v| !v.is_finite()) {
                return Err(format!(
                    "axes, {label:?}: values {values:?} must be finite, increasing and have 0 among them"
                ));
            }
            if layers.is_empty() {
                return Err(format!("axes, {label:?}: layers is empty, at least one is needed"));
            }
        }
        for place in &self.judged_at {
            let inside = place.len() == self.axes.len()
                && place.iter().zip(&self.axes).all(|(value, axis)| axis.values.contains(value));
            if !inside {
                return Err(format!("judged_at has {place:?}, which is not in the sweep"));
            }
        }
        match self.paper.iter().find(|paper| paper.values.len() != paper.accuracy.len()) {
            Some(paper) => {
                Err(format!("paper {:?}: values and accuracy differ in length", paper.label))
            }
            None if self.axes.len() == 2 && !self.paper.is_empty() => {
                Err("paper: there is none over two axes".into())
            }
            None => Ok(()),
        }
    }
}

impl Transfer {
    fn check(&self) -> Result<(), String> {
        for (name, values) in [("phase_std", &self.phase_std), ("splitter_std", &self.splitter_std)]
        {
            let increasing = values.windows(2).all(|pair| pair[0] < pair[1]);
            // Beyond 3 most draws of a splitter are thrown away.
            if values.is_empty() || !increasing || values.iter().any(|v| !(0.0..=3.0).contains(v)) {
                return Err(format!(
                    "{name} {values:?}: at least one value in [0, 3] is needed, in increasing order"
                ));
            }
        }
        let [phase, splitter] = self.judged_at;
        if !self.phase_std.contains(&phase) || !self.splitter_std.contains(&splitter) {
            return Err(format!("judged_at {:?} is not in the grid", self.judged_at));
        }
        let fits = |grid: &Vec<Vec<f64>>| {
            grid.len() == self.phase_std.len()
                && grid.iter().all(|row| row.len() == self.splitter_std.len())
        };
        match self.paper.iter().find(|paper| !fits(&paper.accuracy)) {
            Some(paper) => Err(format!("paper {:?}: accuracy is not of the grid", paper.method)),
            None => Ok(()),
        }
    }

    fn check_plan(&self, plan: &Plan) -> Result<(), String> {
        if plan.chips.is_some_and(|chips| (2..=1000).contains(&chips)) {
            Ok(())
        } else {
            Err(format!("chips is {:?}, allowed is [2, 1000]", plan.chips))
        }
    }
}

impl Histogram {
    fn check(&self) -> Result<(), String> {
        let [low, high] = self.range_milliamp;
        let bins = (high - low) / self.bin_milliamp;
        // A width such as 0.025 is not exact in binary.
        let whole = (bins - bins.round()).abs() < 1e-6;
        if whole && (1.0..=10_000.0).contains(&bins) {
            return Ok(());
        }
        Err(format!(
            "range_milliamp [{low}, {high}] in bins of {} makes {bins} bins, allowed is a whole number in [1, 10000]",
            self.bin_milliamp
        ))
    }
}

impl Drift {
    fn check(&self) -> Result<(), String> {
        check_sweep(&self.kelvin, &self.judged_at_kelvin, &self.layers)?;
        match self.paper.iter().find(|paper| paper.kelvin.len() != paper.accuracy.len()) {
            Some(paper) => {
                Err(format!("paper {:?}: kelvin and accuracy differ in length", paper.label))
            }
            None => Ok(()),
        }
    }
}

fn check_sweep(kelvin: &[f64], judged: &[f64], layers: &[String]) -> Result<(), String> {
    if judged.is_empty() {
        return Err("judged_at_kelvin is empty, at least one temperature is needed".into());
    }
    if let Some(missing) = judged.iter().chain([&0.0]).find(|k| !kelvin.contains(k)) {
        return Err(format!("judged_at_kelvin {missing} is not in kelvin (0 must be too)"));
    }
    if let Some(kelvin) = kelvin.iter().find(|k| !k.is_finite()) {
        return Err(format!("kelvin {kelvin} is not finite"));
    }
    if let Some(kelvin) = repeated(kelvin) {
        return Err(format!("kelvin lists {kelvin} twice"));
    }
    check_layers(layers)
}

/// Layers of LeNet-5, at least one, each once.
fn check_layers(layers: &[String]) -> Result<(), String> {
    let known = LeNet5::LAYERS;
    if let Some(layer) = layers.iter().find(|layer| !known.contains(&layer.as_str())) {
        return Err(format!("no layer {layer:?}; there is {}", known.join(", ")));
    }
    match repeated(layers) {
        Some(layer) => Err(format!("layers lists {layer:?} twice")),
        None if layers.is_empty() => {
            Err(format!("layers is empty, at least one is needed of {}", known.join(", ")))
        }
        None => Ok(()),
    }
}

impl Sensitivity {
    fn check(&self) -> Result<(), String> {
        let increasing = self.rho.windows(2).all(|pair| pair[0] < pair[1]);
        if self.rho.len() < 2 || !increasing {
            return Err(format!(
                "rho {:?}: at least two values are needed, in increasing order",
                self.rho
            ));
        }
        if !self.kelvin.is_finite() {
            return Err(format!("kelvin {} is not finite", self.kelvin));
        }
        check_layers(&self.layers)
    }
}

impl Gap {
    /// The gap and the step that is judged can be measured.
    fn check_plan(&self, plan: &Plan) -> Result<(), String> {
        let needed = [&self.whole, &self.judged].into_iter().flat_map(|r| [&r.from, &r.to]);
        match needed.into_iter().find(|method| !plan.methods.contains(method)) {
            Some(method) => Err(format!("methods lacks {method:?}, which the analysis compares")),
            None => Ok(()),
        }
    }
}

impl Knowledge {
    fn check(&self) -> Result<(), String> {
        for (method, kind) in &self.knows {
            if !self.kinds.iter().any(|k| &k.name == kind) {
                let known: Vec<_> = self.kinds.iter().map(|k| k.name.as_str()).collect();
                let known = known.join(", ");
                return Err(format!("knows.{method}: no kind {kind:?}; there is {known}"));
            }
        }
        let labels: Vec<_> =
            self.kinds.iter().flat_map(|k| k.strengths.iter().map(|s| &s.label)).collect();
        if let Some(label) = repeated(&labels) {
            return Err(format!("kinds has two strengths labelled {label:?}"));
        }
        match self.kinds.iter().find(|kind| kind.strengths.is_empty()) {
            Some(kind) => Err(format!("kind {:?} has no strengths", kind.name)),
            None if self.kinds.is_empty() => Err("kinds is empty, at least one is needed".into()),
            None => Ok(()),
        }
    }

    /// Every method of a plan has a place in the matrix, and chips are counted.
    fn check_plan(&self, plan: &Plan) -> Result<(), String> {
        if !plan.chips.is_some_and(|chips| (1..=1000).contains(&chips)) {
            return Err(format!("chips is {:?}, allowed is [1, 1000]", plan.chips));
        }
        let [rival] = &plan.rivals[..] else {
            let given = plan.rivals.len();
            return Err(format!(
                "rivals has {given} methods, the one that knows nothing is needed"
            ));
        };
        let placed =
            |m: &String| m == rival || self.sharp.contains(m) || self.knows.contains_key(m);
        match plan.methods.iter().find(|m| !placed(m)) {
            Some(m) => Err(format!("methods: {m:?} is neither rival, sharp nor in knows")),
            None => Ok(()),
        }
    }
}
