//! What stands in the light and what the light does: pictures on modulators, masks, fields, detectors.

use pnn_core::model::{Model, load_model_state, model_state};
use pnn_core::{DType, Deviations, Seed, Tensor};
use pnn_devices::diffraction::Diffractive;
use pnn_devices::freespace::Multiplier;
use pnn_eval::Svg;
use pnn_eval::plot::{Colours, Picture, pictures};
use pnn_train::{D2nn, Recipe, Trained};

use super::misalignment::words;
use super::{Context, Figures, Plan};
use crate::error::{Error, Result};
use crate::reproduce::config::Misalignment;

/// Distance in m between the places at which light is shown on its way.
const STEP_M: f64 = 1e-4;

/// Pictures of the methods of the first contest, their first seed, aligned and where they are compared first;
/// and what makes the computed light differ from light.
pub(super) fn show(
    spec: &Misalignment,
    plan: &Plan,
    context: &Context<'_>,
) -> Result<(Figures, Option<String>)> {
    let (Some(contest), Some(place)) = (spec.contests.first(), spec.judged_at.first()) else {
        return Ok((Vec::new(), None));
    };
    let keys = [&contest.worse, &contest.better];
    let mut shown = Vec::new();
    for key in keys.into_iter().filter(|key| plan.methods.contains(key)) {
        let Some(run) = context.trained(key)?.into_iter().next() else { continue };
        let recipe = &context.profile.methods[key].recipe;
        shown.push(Shown { label: context.label(key), model: run.model.as_ref(), recipe });
    }
    let turned = words(spec, place);
    let of = |layer: &str| {
        let axes = spec.axes.iter().zip(place);
        axes.filter(|(axis, _)| axis.layers.iter().any(|name| name == layer)).try_fold(
            Deviations::none(),
            |deviations, (axis, value)| -> Result<Deviations> {
                Ok(deviations.with(&axis.port, Tensor::new(*value)?))
            },
        )
    };
    match shown.first().map(|method| method.recipe.train) {
        Some(Trained::Modulators) => Ok((vec![modulators(&shown, &of("fc1")?, &turned)?], None)),
        Some(Trained::Masks) => {
            let image = context.data.test.images_tensor(
                &[0],
                &pnn_data::Normalisation::UNIT,
                DType::F32,
            )?;
            let device = Diffractive::published()?;
            let warnings = device.warnings();
            let about = format!("Limits of the simulation: {}.", warnings.join("; "));
            let figures = masks(&shown, &image, &of(D2nn::OPTICS)?, &turned)?;
            Ok((figures, (!warnings.is_empty()).then_some(about)))
        }
        _ => Ok((Vec::new(), None)),
    }
}

/// A method with one of its networks.
struct Shown<'a> {
    label: String,
    model: &'a dyn Model,
    recipe: &'a Recipe,
}

impl Shown<'_> {
    fn controls(&self, layer: &str) -> Result<pnn_core::Controls> {
        let layers = self.model.physical_layers();
        let found = layers.iter().find(|l| l.name() == layer);
        let found = found.ok_or_else(|| Error::Usage(format!("no layer {layer:?}")))?;
        Ok(found.controls().detach())
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// The first picture of the first modulator.
fn modulators(shown: &[Shown<'_>], deviations: &Deviations, turned: &str) -> Result<(Svg, String)> {
    let mut panels = Vec::new();
    for method in shown {
        let device = Multiplier::new((28, 28), 144)?.with_sampling(method.recipe.sampling);
        let controls = method.controls("fc1")?;
        for (how, deviations) in [("aligned", &Deviations::none()), (turned, deviations)] {
            let first = device.pictures(&controls, deviations)?.narrow(0, 0, 1)?;
            let [_, height, width] = device.picture_shape();
            let title = format!("{}, {how}", method.label);
            let size = (height, width);
            let picture = Picture::new(title, "", size, values(&first)?, Colours::Signed);
            panels.push(picture.largest(1.0));
        }
    }
    let caption = "The first twelve filters as the modulator shows them (weights; each column twice), and as they stand \
                   against the display when it is misaligned.";
    Ok((pictures("First of the pictures on the modulator", &panels)?, caption.into()))
}

/// Masks, light on its way, planes on the way and detectors.
fn masks(
    shown: &[Shown<'_>],
    image: &Tensor,
    deviations: &Deviations,
    turned: &str,
) -> Result<Figures> {
    let (mut phases, mut ways, mut planes, mut ends) = (vec![], vec![], vec![], vec![]);
    for method in shown {
        let device = Diffractive::published()?.with_sampling(method.recipe.sampling);
        let network = D2nn::new(method.recipe.sampling, &Seed::new(0), DType::F32)?;
        load_model_state(&network, &model_state(method.model))?;
        let light = network.light(image)?;
        let controls = method.controls(D2nn::OPTICS)?;
        let size = (device.grid().height, device.grid().width);
        let aligned = Deviations::none();
        for (number, phase) in device.masks(&controls, &aligned)?.iter().enumerate() {
            let title = format!("{}, mask {}", method.label, number + 1);
            let colours = Colours::Cyclic(1.0);
            phases.push(Picture::new(title, "turn", size, values(phase)?, colours));
        }
        let (_, way) = device.along_axis(&light, &controls, &aligned, STEP_M)?;
        let amplitudes = values(&way.sqrt()?.t()?)?;
        let title = format!("{}, from the input (left) to the detectors", method.label);
        let size_of_way = (way.dim(1)?, way.dim(0)?);
        ways.push(Picture::new(title, "", size_of_way, amplitudes, Colours::Intensity));
        let intensity = |field: &Tensor| -> Result<Vec<f64>> {
            values(&field.reshape([2, size.0, size.1])?.sqr()?.sum(0)?)
        };
        let detectors = device.detectors().regions().iter();
        let marks: Vec<_> = detectors.map(|r| [r.top, r.left, r.height, r.width]).collect();
        let inside = |pixel: usize| {
            let (row, column) = (pixel / size.1, pixel % size.1);
            marks.iter().any(|[top, left, high, wide]| {
                (*top..top + high).contains(&row) && (*left..left + wide).contains(&column)
            })
        };
        for (how, deviations) in [("aligned", &aligned), (turned, deviations)] {
            let fields = device.fields(&light, &controls, deviations)?;
            if how == "aligned" {
                for (name, plane) in PLANES {
                    let title = format!("{}, {name}", method.label);
                    let field = intensity(&fields[plane])?;
                    planes.push(Picture::new(title, "", size, field, Colours::Intensity));
                }
            }
            let title = format!("{}, {how}", method.label);
            let end = intensity(&fields[fields.len() - 1])?;
            let detected = end.iter().enumerate().filter(|(pixel, _)| inside(*pixel));
            let largest = detected.map(|(_, value)| *value).fold(0.0, f64::max);
            let picture = Picture::new(title, "", size, end, Colours::Intensity);
            ends.push(picture.marks(marks.iter().copied()).largest(largest));
        }
    }
    Ok(vec![
        (pictures("Phase masks", &phases)?, "Phases of the masks, less whole turns.".into()),
        (
            pictures("Light on its way through the network", &ways)?,
            "Amplitudes of the first test image in the middle row of the field, every 0.1 mm of 20 mm: lenses after 5 and \
             15 mm, masks with absorbers after 9 and 11 mm."
                .into(),
        ),
        (
            pictures("Intensities at planes on the way", &planes)?,
            "The first test image: the light that enters, the light before each mask, and the light after the last one and its absorber."
                .into(),
        ),
        (
            pictures("Detectors", &ends)?,
            "Intensities at the detectors (frames; digits 0 to 9 row by row) for the first test image; the scale ends at \
             the largest that a detector has."
                .into(),
        ),
    ])
}

/// Planes by their number among the fields of [`Diffractive::fields`].
const PLANES: [(&str, usize); 4] =
    [("input", 0), ("before mask 1", 3), ("before mask 2", 6), ("after mask 2", 8)];
