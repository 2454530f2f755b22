//! The incoherent matrix multiplier in free space: a display (OLED) shows the inputs, a modulator (SLM) the
//! weights, a lens sums what passes.

use std::sync::Arc;

use pnn_core::device::{Drive, Levels, Passivity, PortShape};
use pnn_core::layers::uniform_fan_in;
use pnn_core::ops::{Packing, Sampling, linear, resample, resample_packed, straight_through};
use pnn_core::{
    Bounds, Control, ControlSpec, Controls, DType, DeviationPort, Deviations, PhysicalLayer, Seed,
    Tensor,
};

pub use crate::detection::SHOT_NOISE;
use crate::detection::shot;
pub use crate::misalignment::{ROTATION_DEG, SCALE_ERROR, SHEAR, SHIFT_X_PX, SHIFT_Y_PX};
use crate::misalignment::{motion, ports};
pub use crate::mrr::{READOUT_ERROR, WEIGHT_ERROR};
use crate::{Error, Result};

/// How filters lie in pictures: row by row in tiles, each in the middle of its tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    /// Rows of tiles in a picture.
    pub rows: usize,
    /// Columns of tiles in a picture.
    pub columns: usize,
    /// Pixels of a tile from top to bottom.
    pub height: usize,
    /// Pixels of a tile from left to right, before they are repeated.
    pub width: usize,
    /// Columns of the modulator that show the same. An input meets the first of them, as in the published code, although a
    /// display pixel of that width lights them all: with two of them a shift by a pixel along the rows meets the same weights on
    /// one side and others on the other. Shifts along the columns are even.
    pub repeat: usize,
}

impl Default for Tiling {
    /// That of Xu et al. (2026): 3 x 4 tiles of 32 x 30 pixels, every column shown twice.
    fn default() -> Self {
        Self { rows: 3, columns: 4, height: 32, width: 30, repeat: 2 }
    }
}

/// A matrix multiplier whose weights are pictures on a modulator in front of a display (Xu et al., Nat. Commun. 17,
/// 1766, 2026; of incoherent light first Goodman, Dias and Woody, Opt. Lett. 2, 1, 1978).
///
/// Each output has a filter of as many pixels as there are inputs; what light passes it is summed. A negative
/// weight takes a second exposure that is subtracted: both are linear in their picture, so they are computed as one
/// picture of signed weights. Where the modulator is misaligned, an input meets the weight that stands at its
/// place; light that meets the border between filters is lost.
///
/// Inputs of either sign have exposures of their own as well: shot noise ([`SHOT_NOISE`]) is that of the light `sum |x| |w|`, in the unit of the
/// inputs. A display ([`Self::with_display`]) rounds inputs and leaves that as it is.
///
/// Errors of weights ([`WEIGHT_ERROR`]) may carry them beyond [-1, 1]: they stand for uneven light and detection as well as for
/// what the modulator does wrong.
///
/// ```
/// use pnn_core::{DType, Deviations, PhysicalLayer, Seed, Tensor};
/// use pnn_devices::freespace::{Multiplier, ROTATION_DEG};
///
/// let layer = Multiplier::new((12, 12), 10)?; // 10 filters of 12 x 12
/// let controls = layer.init(&Seed::new(1), DType::F32)?;
/// let x = Tensor::ones([5, 144], DType::F32)?;
/// let turned = Deviations::none().with(ROTATION_DEG, Tensor::new(2.0)?);
/// assert_eq!(layer.forward(&x, &controls, &turned)?.dims(), [5, 10]);
/// # Ok::<(), pnn_devices::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Multiplier {
    sampling: Sampling,
    display: Option<(u32, Bounds)>,
    /// Where weights stand in the pictures.
    packing: Arc<Packing>,
    controls: [Control; 1],
    ports: Vec<DeviationPort>,
}

impl Multiplier {
    /// `outputs` filters of (height, width) pixels in the published tiling, seen by nearest neighbours; weights in
    /// [-1, 1].
    ///
    /// # Errors
    /// If a filter has no pixels or does not fit into a tile, or there are no outputs.
    pub fn new(filter: (usize, usize), outputs: usize) -> Result<Self> {
        Self::with_tiling(filter, outputs, Tiling::default())
    }

    /// As [`Self::new`], in another tiling.
    ///
    /// # Errors
    /// As [`Self::new`], and if the tiling has no tiles or no columns, or its pictures 2^32 pixels or more.
    pub fn with_tiling(filter: (usize, usize), outputs: usize, tiling: Tiling) -> Result<Self> {
        let (height, width) = filter;
        for (what, value, most) in [
            ("height of a filter", height, tiling.height),
            ("width of a filter", width, tiling.width),
            ("number of outputs", outputs, usize::MAX),
            ("rows of tiles", tiling.rows, usize::MAX),
            ("columns of tiles", tiling.columns, usize::MAX),
            ("repetitions of a column", tiling.repeat, usize::MAX),
        ] {
            if value == 0 || value > most {
                let allowed = "at least 1, and at most that of a tile";
                return Err(Error::Range { what, value: value as f64, allowed });
            }
        }
        let pixels = [tiling.rows, tiling.height, tiling.columns, tiling.width, tiling.repeat]
            .iter()
            .fold(outputs.div_ceil(tiling.rows.saturating_mul(tiling.columns)), |pixels, side| {
                pixels.saturating_mul(*side)
            });
        if u32::try_from(pixels).is_err() {
            let (what, allowed) = ("pixels of all pictures", "at most 2^32 - 1");
            return Err(Error::Range { what, value: pixels as f64, allowed });
        }
        let shape = vec![outputs, height * width];
        let bounds = Bounds { low: -1.0, high: 1.0 };
        let port = |name, shape| DeviationPort { name, unit: "1", shape };
        let mut ports = ports(&[]);
        ports.push(port(WEIGHT_ERROR, PortShape::Fixed(shape.clone())));
        ports.push(port(READOUT_ERROR, PortShape::Output(vec![outputs])));
        ports.push(port(SHOT_NOISE, PortShape::Output(vec![outputs])));
        Ok(Self {
            packing: Arc::new(packing(filter, outputs, tiling)?),
            sampling: Sampling::Nearest,
            display: None,
            controls: [Control { name: "weight", unit: "1", bounds, shape }],
            ports,
        })
    }

    /// What a place between pixels of the modulator shows. Nearest neighbours are the published model and have no
    /// gradient in the misalignment; [`Sampling::Bilinear`] has one.
    #[must_use]
    pub fn with_sampling(self, sampling: Sampling) -> Self {
        Self { sampling, ..self }
    }

    /// Shows the inputs on a display with `bits` bits over a range: each becomes the nearest of `2^bits` levels that
    /// divide it evenly, both ends included, and what is beyond becomes the end. Gradients pass unchanged.
    ///
    /// # Errors
    /// If there are no bits or more than 24, or the range is not finite.
    pub fn with_display(self, bits: u32, range: Bounds) -> Result<Self> {
        if !(1..=24).contains(&bits) {
            let (what, value) = ("bits of the display", f64::from(bits));
            return Err(Error::Range { what, value, allowed: "[1, 24]" });
        }
        if !(range.low.is_finite() && range.high.is_finite() && range.low < range.high) {
            let (what, value) = ("range of the display", range.high - range.low);
            return Err(Error::Range { what, value, allowed: "(0, infinity)" });
        }
        Ok(Self { display: Some((bits, range)), ..self })
    }

    /// The inputs as the display shows them.
    fn shown(&self, x: &Tensor) -> pnn_core::Result<Tensor> {
        let Some((bits, Bounds { low, high })) = self.display else { return Ok(x.clone()) };
        let steps = f64::from(bits).exp2() - 1.0;
        let level = |v: &f64| ((v - low) / (high - low) * steps).round().clamp(0.0, steps);
        let wide = x.to_dtype(DType::F64)?;
        let shown = wide.elements::<f64>()?.iter().map(|v| low + level(v) / steps * (high - low));
        let shown = Tensor::from_vec(shown.collect(), x.shape().clone())?.to_dtype(x.dtype())?;
        straight_through(x, &shown)
    }

    /// Number of pictures, and their height and width in pixels of the modulator.
    #[must_use]
    pub fn picture_shape(&self) -> [usize; 3] {
        self.packing.pictures()
    }

    /// The pictures of signed weights as the modulator shows them, misaligned as it is.
    ///
    /// # Shapes
    /// (pictures, height, width), as [`Self::picture_shape`].
    ///
    /// # Errors
    /// If controls or deviations do not fit.
    pub fn pictures(&self, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        let weights = self.set(controls, deviations)?;
        let pictures = self.packing.show(&weights)?;
        Ok(match motion(deviations, 0)? {
            Some((linear, shift)) => resample(&pictures, &linear, &shift, self.sampling)?,
            None => pictures,
        })
    }

    /// The weights that the modulator was set to, errors included.
    fn set(&self, controls: &Controls, deviations: &Deviations) -> pnn_core::Result<Tensor> {
        deviations.check(&self.ports)?;
        let set = deviations.shift(WEIGHT_ERROR, controls.of(&self.controls[0])?)?;
        if set.all_finite()? {
            return Ok(set);
        }
        let wide = set.to_dtype(DType::F64)?;
        let values = wide.elements::<f64>()?;
        let place = values.iter().position(|weight| !weight.is_finite()).unwrap_or(0);
        let inputs = self.controls[0].shape[1];
        let what = format!("weight of output {}, input {}", place / inputs, place % inputs);
        Err(pnn_core::Error::Range { what, value: values[place], allowed: "finite" })
    }

    /// The weights that the inputs meet.
    fn met(&self, controls: &Controls, deviations: &Deviations) -> pnn_core::Result<Tensor> {
        self.moved(&self.set(controls, deviations)?, deviations)
    }

    /// Weights as the panel stands.
    fn moved(&self, weights: &Tensor, deviations: &Deviations) -> pnn_core::Result<Tensor> {
        match motion(deviations, 0)? {
            Some((linear, shift)) => {
                resample_packed(weights, &self.packing, &linear, &shift, self.sampling)
            }
            None => Ok(weights.clone()),
        }
    }
}

/// Filters in their tiles.
fn packing(filter: (usize, usize), outputs: usize, tiling: Tiling) -> pnn_core::Result<Packing> {
    let Tiling { rows, columns, height, width, repeat } = tiling;
    let (tiles, pixels) = (rows * columns, filter.0 * filter.1);
    let [count, high, wide] = [outputs.div_ceil(tiles), rows * height, columns * width * repeat];
    let mut shown = vec![None; high * wide];
    let mut read = vec![0; tiles * pixels];
    let corner = ((height - filter.0) / 2, (width - filter.1) / 2);
    for (number, place) in read.iter_mut().enumerate() {
        let (tile, pixel) = (number / pixels, number % pixels);
        let row = tile / columns * height + corner.0 + pixel / filter.1;
        let column = tile % columns * width + corner.1 + pixel % filter.1;
        let at = row * wide + column * repeat;
        shown[at..at + repeat].fill(Some(number as u32));
        // Of repeated columns the first is read.
        *place = at as u32;
    }
    Packing::new([count, high, wide], outputs * pixels, shown.into(), &read)
}

impl PhysicalLayer for Multiplier {
    fn controls(&self) -> &ControlSpec {
        &self.controls
    }

    fn ports(&self) -> &[DeviationPort] {
        &self.ports
    }

    /// Uniform in `+-1/sqrt(inputs)`.
    fn init(&self, seed: &Seed, dtype: DType) -> pnn_core::Result<Controls> {
        let shape = &self.controls[0].shape;
        let weight = uniform_fan_in(&seed.child("weight"), shape, shape[1], dtype)?;
        Ok(Controls::one("weight", weight))
    }

    fn forward(
        &self,
        x: &Tensor,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Tensor> {
        let (x, set) = (self.shown(x)?, self.set(controls, deviations)?);
        let weights = self.moved(&set, deviations)?;
        let mut y = linear(&x, &weights)?;
        if deviations.is_active(SHOT_NOISE)? {
            // Positive and negative parts of inputs and weights have exposures of their own, whose light adds up. A pixel that is
            // seen half and half with one of the other sign is bright in two of them, though its weight is 0.
            let shown = self.moved(&set.abs()?, deviations)?;
            let light = linear(&x.abs()?, &shown)?;
            y = shot(&y, &light, deviations)?;
        }
        deviations.shift(READOUT_ERROR, &y)
    }

    fn weights(
        &self,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Option<Tensor>> {
        self.met(controls, deviations).map(Some)
    }

    /// Weights of either sign are shown in exposures of their own, each with all levels of the modulator.
    fn drives(&self, controls: &Controls) -> pnn_core::Result<Vec<Drive>> {
        let control = &self.controls[0];
        let setting = controls.of(control)?.clone();
        let range = control.bounds;
        Ok(vec![Drive { setting, range, levels: Levels::Signed, port: WEIGHT_ERROR }])
    }

    fn passivity(&self) -> Passivity {
        Passivity::Incoherent
    }
}
