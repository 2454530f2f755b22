//! Checked values and phase factors.

use pnn_core::{Error, Result, Tensor};

/// The values, if all lie between two limits, which are out.
pub(super) fn within(
    what: &str,
    values: Tensor,
    (low, high, allowed): (f64, f64, &'static str),
) -> Result<Tensor> {
    let outside = |v: &f64| !(low < *v && *v < high);
    if let Some(place) = values.elements::<f64>()?.iter().position(outside) {
        let value = values.elements::<f64>()?[place];
        return Err(Error::Range { what: format!("{what} (number {place})"), value, allowed });
    }
    Ok(values)
}

/// `exp(i gamma)`: (chips, ports) to (chips, ports, 2).
pub(super) fn phasors(gamma: &Tensor) -> Result<Tensor> {
    let shape = [gamma.dim(0)?, gamma.dim(1)?, 2];
    let values = gamma.elements::<f64>()?.iter().flat_map(|phase| [phase.cos(), phase.sin()]);
    let phasors = Tensor::from_vec(values.collect::<Vec<_>>(), shape)?;
    let (saved, of) = (phasors.clone(), gamma.shape().clone());
    Ok(phasors.with_gradient(&[gamma], move |gradient| {
        let pairs = gradient.elements::<f64>()?.as_chunks::<2>().0.iter();
        let pairs = pairs.zip(saved.elements::<f64>()?.as_chunks::<2>().0);
        let found = pairs.map(|([gre, gim], [cos, sin])| gim * cos - gre * sin).collect();
        Ok(vec![Some(Tensor::from_vec(found, of.clone())?)])
    }))
}
