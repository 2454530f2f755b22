//! Pictures of the loss around the minima of the first seed.

use pnn_core::Seed;
use pnn_core::curvature::{Extremes, Hessian, Surface, spectral_density};
use pnn_data::Dataset;
use pnn_eval::landscape::{Direction, Plane, Vectors, line, plane, positions};
use pnn_eval::plot::{
    Axis, LineSeries, Relief, SpectralDensity, contour, line_chart, spectrum, surface,
};

use super::super::{Context, Figures};
use crate::error::Result;
use crate::reproduce::config::{Landscape, View};
use crate::reproduce::precise::Precise;

/// Losses above so many nats are drawn as this one.
const CEILING: f64 = 10.0;
/// Starts and steps of a spectral density.
const DENSITY: (usize, usize) = (4, 40);

/// What is drawn of one method.
struct Views {
    label: String,
    eigenvector: Vec<(f64, f64)>,
    random: Vec<(f64, f64)>,
    density: SpectralDensity,
    /// How far the nodes of the density are spread.
    width: f64,
    plane: Plane,
}

pub(super) fn all(
    spec: &Landscape,
    view: &View,
    methods: &[(String, Option<Extremes>)],
    context: &Context<'_>,
) -> Result<Figures> {
    let images = context.images(view)?;
    let mut views = Vec::new();
    for (key, extremes) in methods {
        let Some(extremes) = extremes else { continue };
        eprintln!("  pictures: {}", context.label(key));
        views.push(of(spec, view, (key, extremes), &images, context)?);
    }
    let loss = || Axis::logarithmic("loss").unit("nats");
    let mut figures = Vec::new();
    let lines = |pick: fn(&Views) -> &Vec<(f64, f64)>| -> Vec<LineSeries> {
        views.iter().map(|v| LineSeries::new(&v.label, pick(v).iter().copied())).collect()
    };
    let distance =
        Axis::linear("distance along the eigenvector (detunings in nm, biases and scales)");
    figures.push((
        line_chart("Loss along the sharpest direction", &distance, &loss(), &lines(|v| &v.eigenvector))?,
        format!(
            "The loss of {} images along the unit eigenvector of lambda_max of each network, first seed. At 0 is the trained \
             network: the steeper the walls beside it, the sharper the minimum.",
            images.len()
        ),
    ));
    let distance = Axis::linear("distance along a random direction (sizes of the filters)");
    figures.push((
        line_chart("Loss along a filter-normalised direction", &distance, &loss(), &lines(|v| &v.random))?,
        "A random direction in which every filter is as large as that of the network (Li et al., 2018): what merely \
         scales weights does not show. At 1 each filter has changed by its own size."
            .to_owned(),
    ));
    let all = views.iter().flat_map(|view| view.plane.losses.iter().copied());
    let least = all.filter(|loss| loss.is_finite()).fold(CEILING, f64::min);
    for view in views {
        let Views { label, density, width, plane, .. } = view;
        let title = format!("{label}: loss in the plane of the two sharpest directions");
        let plane = Relief::of(title, &plane, loss().range(least, CEILING))
            .axes("first eigenvector", "second eigenvector")
            .ceiling(CEILING)
            .mark("trained", 0.0, 0.0);
        let caption = format!(
            "{label}, first seed: the loss in the plane of the eigenvectors of the two largest eigenvalues, around the trained network. \
             The same distances and colours for all methods; losses above {CEILING} nats are drawn as {CEILING}."
        );
        figures.push((contour(&plane)?, caption.clone()));
        figures.push((surface(&plane)?, caption));
        // Each on its own axis: eigenvalues of two methods may differ a thousandfold.
        let title = format!("{label}: spectrum of the Hessian");
        let axes = ("eigenvalue", "share of eigenvalues per unit");
        let caption = format!(
            "{label}, first seed: spectral density by stochastic Lanczos quadrature ({} starts of {} steps), each node spread by 1 % of \
             lambda_max. Nearly all eigenvalues lie at 0; the outliers make the minimum sharp.",
            DENSITY.0, DENSITY.1
        );
        figures.push((spectrum(&title, axes, &[density], 1e-7 / width)?, caption));
    }
    Ok(figures)
}

fn of(
    spec: &Landscape,
    view: &View,
    (key, extremes): (&str, &Extremes),
    images: &Dataset,
    context: &Context<'_>,
) -> Result<Views> {
    let label = context.label(key);
    let run = context.trained(key)?[0];
    let precise = Precise::of(&context.profile.methods[key], run)?;
    let evaluator = context.evaluator(view, run.normalisation);
    let mut losses = precise.surface(evaluator, &run.chip, images)?;
    let silent = &mut |_: usize, _: usize| {};
    let direction = |place: usize| Direction::new(extremes.largest[place].vector.clone());
    let (first, second) = (direction(0)?, direction(1)?);
    let span = positions(-spec.span, spec.span, 4 * spec.points + 1);
    let eigenvector = line(&mut losses, &first, &span, silent)?.points().collect();
    let seed = Seed::new(0).child("direction");
    let random = Direction::filter_normalised(losses.parameters(), Vectors::Held, &seed)?;
    let span = positions(-spec.filter_span, spec.filter_span, 2 * spec.points + 1);
    let random = line(&mut losses, &random, &span, silent)?.points().collect();
    let side = positions(-spec.span, spec.span, spec.points);
    let plane = plane(&mut losses, [&first, &second], &side, &side, silent)?;
    let width = 0.01 * extremes.largest[0].value;
    let density = density(&label, &mut losses, extremes, width)?;
    Ok(Views { label, eigenvector, random, density, width, plane })
}

fn density(
    label: &str,
    losses: &mut Surface<'_>,
    extremes: &Extremes,
    width: f64,
) -> Result<SpectralDensity> {
    let mut hessian = Hessian::new(losses)?;
    let seed = Seed::new(0).child("density");
    let found = spectral_density(&mut hessian, DENSITY.0, DENSITY.1, &seed)?;
    let marked = extremes.largest.iter().chain(&extremes.smallest).map(|pair| pair.value);
    Ok(SpectralDensity::spread(label, &found, width).eigenvalues(marked))
}
