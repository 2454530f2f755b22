//! The weight bank as a device.

use nalgebra::DMatrix;
use pnn_core::device::{
    Bounds, Control, ControlSpec, Controls, DeviationPort, Deviations, Drive, Levels, Passivity,
    PhysicalLayer, PortShape,
};
use pnn_core::layers::{Product, uniform_fan_in};
use pnn_core::{DType, Seed, Tensor};

use super::config::heats;
use super::layout::Layout;
use super::spectral::Rows;
use super::{ThermalCrosstalk, WdmConfig};
use crate::mrr::bank::read_out;
use crate::mrr::{
    READOUT_ERROR, RESONANCE_SHIFT_NM, Ring, RingWeight, TransferFunction, WEIGHT_ERROR,
};
use crate::{Error, Result};

/// Deviation port: heat that a ring gets of its nearest neighbour's heater beyond what the model knows, over what that ring gets;
/// (rings, rings), from column to row.
pub const THERMAL_CROSSTALK: &str = "thermal_crosstalk";
/// Deviation port: by how much a ring's resonance is wider than the model's, over the model's width, above -1; its depth is the
/// same. Rings differ so where their couplings or losses do.
pub const WIDTH_ERROR: &str = "width_error";
/// A weight bank of physical rings: `y = W x`, where each input is the power of one wavelength, `channels` wavelengths share a
/// waveguide with as many rings (the inputs of an output follow one another, the last waveguide may have fewer), and every ring
/// acts on every wavelength. A heater moves its own resonance and, less, those of its neighbours.
///
/// ```text
/// heat       h = nm_per_milliwatt R I^2                                  in nm
/// detuning   x = x_0 - M h + resonance_shift                             M from ThermalCrosstalk, x_0 the heat of resonance_milliamp
/// weight     w_j = S_0j,  S_ij = T(x_i + (j - i) spacing) S_(i+1)j - D(x_i + (j - i) spacing),  S_nj = 1
/// ```
///
/// with the powers `T` and `D` of a [`Ring`] (that is balanced detection; see [`Detection`](crate::mrr::Detection)), of the detuning over `1 + e` where the
/// ring's line is wider ([`WIDTH_ERROR`]). The detuning is that of
/// [`RESONANCE_SHIFT_NM`]: laser less resonance, so heat lowers it, and so does a warmer room (to a common drift of `pnn-noise`, which
/// adds to the port, give the other sign).
///
/// # Shapes
/// As [`Product`]; controls have the shape of the weights.
///
/// # Errors
/// `forward` fails if input, controls or deviations have other shapes.
#[derive(Debug, Clone)]
pub struct WdmBank {
    product: Product,
    config: WdmConfig,
    pub(super) rows: Rows,
    crosstalk: ThermalCrosstalk,
    /// Those that a heater may have, in nm.
    pub(super) heats: Bounds,
    single: RingWeight,
    layout: Layout,
    controls: [Control; 1],
    ports: Vec<DeviationPort>,
}

impl WdmBank {
    /// A bank for a product, whose heaters warm one another as `crosstalk` says.
    ///
    /// # Errors
    /// If a constant is out of range, the wavelengths do not fit into a free spectral range, or the crosstalk is for
    /// another number of rings.
    pub fn new(product: Product, config: WdmConfig, crosstalk: ThermalCrosstalk) -> Result<Self> {
        let ring = Ring::new(config.ring)?;
        for (what, value) in [
            ("distance of wavelengths in nm", config.spacing_nm),
            ("heater resistance in ohm", config.resistance_ohm),
            ("heater efficiency in nm/mW", config.nm_per_milliwatt),
            ("current at resonance in mA", config.resonance_milliamp),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::Range { what, value, allowed: "(0, infinity)" });
            }
        }
        let band = config.channels as f64 * config.spacing_nm;
        if config.channels == 0 || band > ring.free_spectral_range_nm() {
            let what = "nm that all wavelengths of a waveguide take (channels times spacing)";
            let allowed = "(0, free spectral range of the ring]";
            return Err(Error::Range { what, value: band, allowed });
        }
        if crosstalk.rings() != config.channels {
            let (what, value) = ("rings of the thermal crosstalk", crosstalk.rings() as f64);
            return Err(Error::Range { what, value, allowed: "the number of channels" });
        }
        let shape = product.weight_shape();
        let layout = Layout::new(&shape, config.channels);
        let (name, unit) = config.setting.control();
        let port = |name, unit, shape| DeviationPort { name, unit, shape };
        let all = || PortShape::Fixed(shape.clone());
        let pairs = PortShape::Fixed(vec![config.channels; 2]);
        let ports = vec![
            port(RESONANCE_SHIFT_NM, "nm", all()),
            port(WIDTH_ERROR, "1", all()),
            port(THERMAL_CROSSTALK, "1", pairs),
            port(config.setting.error_port(), unit, all()),
            port(WEIGHT_ERROR, "1", all()),
            port(READOUT_ERROR, "1", PortShape::Output(product.output_shape())),
        ];
        let single = RingWeight::new(ring, config.detection)?;
        let inputs = product.fan_in();
        let rows = Rows::new(&ring, config.detection, config.spacing_nm, config.channels, inputs);
        let heats = heats(&config, &crosstalk);
        let bounds =
            Bounds { low: config.setting_of(heats.low), high: config.setting_of(heats.high) };
        let controls = [Control { name, unit, bounds, shape }];
        Ok(Self { product, config, rows, crosstalk, heats, single, layout, controls, ports })
    }

    /// Its constants.
    #[must_use]
    pub fn config(&self) -> &WdmConfig {
        &self.config
    }

    /// Its rings.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        self.single.ring()
    }

    /// The detunings in nm of each ring from its own laser, deviations included.
    ///
    /// # Shapes
    /// That of the weights.
    ///
    /// # Errors
    /// If controls or deviations do not fit.
    pub fn detunings(&self, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        deviations.check(&self.ports)?;
        Ok(self.layout.unpack(&self.detunings_in_rows(controls, deviations)?)?)
    }

    /// The heat of each heater in mW.
    ///
    /// # Shapes
    /// That of the weights.
    ///
    /// # Errors
    /// If controls do not fit.
    pub fn milliwatts(&self, controls: &Controls) -> Result<Tensor> {
        let setting = controls.of(&self.controls[0])?;
        Ok((self.config.heat(setting)? * (1.0 / self.config.nm_per_milliwatt))?)
    }

    /// (rows, rings) of waveguides.
    fn detunings_in_rows(
        &self,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Tensor> {
        let port = self.config.setting.error_port();
        let setting = deviations.shift(port, controls.of(&self.controls[0])?)?;
        let heat = self.layout.pack(&self.config.heat(&setting)?)?;
        let active = deviations.is_active(THERMAL_CROSSTALK)?;
        let heat = if self.crosstalk.is_none() && !active {
            heat
        } else {
            let rings = self.config.channels;
            let dtype = heat.dtype();
            let known = self.crosstalk.matrix().transpose();
            let known = Tensor::from_slice(known.as_slice(), [rings, rings])?.to_dtype(dtype)?;
            // nalgebra is column by column: the slice of the transpose is the matrix row by row.
            let matrix = if active {
                let profile = Tensor::from_vec(self.crosstalk.profile(), [rings, rings])?;
                let more = &deviations
                    .get(THERMAL_CROSSTALK)
                    .map_or_else(|| Tensor::zeros([rings, rings], dtype), |t| t.to_dtype(dtype))?;
                (known + (profile.to_dtype(dtype)? * more)?)?
            } else {
                known
            };
            heat.matmul(&matrix.t()?)?
        };
        let cold = self.config.cold_nm();
        let detunings = heat.affine(-1.0, cold)?;
        if !deviations.is_active(RESONANCE_SHIFT_NM)? {
            return Ok(detunings);
        }
        let own = self.layout.unpack(&detunings)?;
        self.layout.pack(&deviations.shift(RESONANCE_SHIFT_NM, &own)?)
    }

    /// The weights that controls and deviations give.
    pub(super) fn programmed(
        &self,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Tensor> {
        deviations.check(&self.ports)?;
        let detunings = self.detunings_in_rows(controls, deviations)?;
        let widths = self.widths(deviations, detunings.dtype())?;
        let weights = self.layout.unpack(&self.rows.weights(&detunings, widths.as_ref())?)?;
        deviations.shift(WEIGHT_ERROR, &weights)
    }

    /// Widths of the lines over the model's, (rows, rings): none if they are the model's.
    pub(super) fn widths(
        &self,
        deviations: &Deviations,
        dtype: DType,
    ) -> pnn_core::Result<Option<Tensor>> {
        if !deviations.is_active(WIDTH_ERROR)? {
            return Ok(None);
        }
        let errors = Tensor::zeros(self.controls[0].shape.clone(), dtype)?;
        let errors = deviations.shift(WIDTH_ERROR, &errors)?;
        let least = errors.detach().to_dtype(DType::F64)?;
        let least = least.elements::<f64>()?.iter().copied().fold(f64::INFINITY, f64::min);
        if least <= -1.0 {
            let (what, allowed) = (WIDTH_ERROR.to_owned(), "(-1, infinity)");
            return Err(pnn_core::Error::Range { what, value: least, allowed });
        }
        // Rings that a row lacks have the model's width as well.
        Ok(Some(self.layout.pack(&errors)?.affine(1.0, 1.0)?))
    }

    /// What heats `M` must be multiplied with: the shifts over the heats, all deviations included, (rings, rings).
    pub(super) fn thermal_matrix(&self, deviations: &Deviations) -> pnn_core::Result<DMatrix<f64>> {
        let mut matrix = self.crosstalk.matrix();
        if let Some(more) = deviations.get(THERMAL_CROSSTALK) {
            let rings = self.config.channels;
            let more = more.to_dtype(DType::F64)?.broadcast_as([rings, rings])?;
            let profile = DMatrix::from_row_slice(rings, rings, &self.crosstalk.profile());
            let more = DMatrix::from_row_slice(rings, rings, more.elements::<f64>()?);
            matrix += profile.component_mul(&more);
        }
        Ok(matrix)
    }

    /// One ring alone.
    pub(super) fn single(&self) -> &RingWeight {
        &self.single
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The control, with its bounds.
    pub(super) fn control(&self) -> &Control {
        &self.controls[0]
    }
}

impl PhysicalLayer for WdmBank {
    fn controls(&self) -> &ControlSpec {
        &self.controls
    }

    fn ports(&self) -> &[DeviationPort] {
        &self.ports
    }

    /// The usual initialisation of the weights (uniform in `+-1/sqrt(fan_in)`), as settings that each ring alone would have them at,
    /// on the branch above its laser, with the heat of its neighbours taken off; within the bounds.
    fn init(&self, seed: &Seed, dtype: DType) -> pnn_core::Result<Controls> {
        let shape = &self.controls[0].shape;
        let fan_in = self.product.fan_in();
        let weights = uniform_fan_in(&seed.child("weight"), shape, fan_in, DType::F64)?;
        let Bounds { low, high } = self.heats;
        let detunings = weights.elements::<f64>()?.iter().map(|w| self.nearest_detuning(*w));
        let detunings = Tensor::from_vec(detunings.collect(), shape.clone())?;
        let mut heats = self.layout.pack(&detunings)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let matrix = self.crosstalk.matrix();
        for (row, heats) in heats.iter_mut().enumerate() {
            let used = self.rows.used(row);
            heats.iter_mut().for_each(|x| *x = self.config.cold_nm() - *x);
            heats[used..].fill(0.0);
            let wanted = nalgebra::DVector::from_column_slice(&heats[..used]);
            let among = matrix.view((0, 0), (used, used)).into_owned();
            if let Some(own) = among.lu().solve(&wanted) {
                heats[..used].copy_from_slice(own.as_slice());
            }
        }
        let settings = heats.concat().into_iter();
        let settings = settings.map(|heat| self.config.setting_of(heat.clamp(low, high)));
        let rows = heats.len();
        let settings = Tensor::from_vec(settings.collect(), [rows, self.rows.rings])?;
        let settings = self.layout.unpack(&settings)?.to_dtype(dtype)?;
        let Bounds { low, high } = self.controls[0].bounds;
        Ok(Controls::one(self.controls[0].name, settings.clamp(low, high)?))
    }

    fn forward(
        &self,
        x: &Tensor,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Tensor> {
        let weights = self.programmed(controls, deviations)?;
        read_out(&self.product, x, &weights, deviations)
    }

    fn forward_with(
        &self,
        x: &Tensor,
        weights: &Tensor,
        deviations: &Deviations,
    ) -> pnn_core::Result<Option<Tensor>> {
        read_out(&self.product, x, weights, deviations).map(Some)
    }

    fn weights(
        &self,
        controls: &Controls,
        deviations: &Deviations,
    ) -> pnn_core::Result<Option<Tensor>> {
        self.programmed(controls, deviations).map(Some)
    }

    fn drives(&self, controls: &Controls) -> pnn_core::Result<Vec<Drive>> {
        let control = &self.controls[0];
        let (setting, range) = (controls.of(control)?.clone(), control.bounds);
        let port = self.config.setting.error_port();
        Ok(vec![Drive { setting, range, levels: Levels::Even, port }])
    }

    fn passivity(&self) -> Passivity {
        Passivity::Incoherent
    }
}

impl WdmBank {
    /// The detuning, from 0 to half the distance to the next laser, at which a ring alone comes closest to a weight; not quite 0, where a
    /// weight has no slope.
    pub(super) fn nearest_detuning(&self, weight: f64) -> f64 {
        let least = 1e-3 * self.ring().full_width_nm();
        let ends = [least, self.config.reach_nm()];
        let [on, off] = ends.map(|x| self.single.weight(x));
        match weight {
            w if w <= on.min(off) => ends[usize::from(off < on)],
            w if w >= on.max(off) => ends[usize::from(off > on)],
            w => self.single.detuning(w),
        }
    }
}
