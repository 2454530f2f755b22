//! A method with other values of some settings.

use std::collections::BTreeMap;

use super::{Method, TunedOn};

impl Method {
    /// This method with other values of some settings of its recipe.
    pub(crate) fn with_settings(&self, settings: &BTreeMap<String, f64>) -> Result<Self, String> {
        settings.iter().try_fold(self.clone(), |method, (path, value)| {
            method
                .with_setting(path, *value)
                .map_err(|reason| format!("{path} = {value}: {reason}"))
        })
    }

    /// This method with another value of one setting of its recipe, named by its path.
    pub(crate) fn with_setting(&self, path: &str, value: f64) -> Result<Self, String> {
        let mut recipe = serde_json::to_value(&self.recipe).map_err(|e| e.to_string())?;
        let mut here = &mut recipe;
        for part in path.split('.') {
            let next = match part.parse::<usize>() {
                Ok(index) => here.get_mut(index),
                Err(_) => here.get_mut(part),
            };
            here = next.ok_or_else(|| format!("the recipe has no setting {part:?} in {path:?}"))?;
        }
        if !here.is_number() {
            return Err(format!("{path:?} is not a number in the recipe"));
        }
        // A whole number stays one: bits and epochs take no fractions.
        *here = if here.is_u64() && value >= 0.0 && value.fract() == 0.0 {
            serde_json::json!(value as u64)
        } else {
            serde_json::json!(value)
        };
        let recipe = serde_json::from_value(recipe).map_err(|e| e.to_string())?;
        Ok(Self { recipe, tune: Vec::new(), tuned_on: TunedOn::default(), ..self.clone() })
    }
}
