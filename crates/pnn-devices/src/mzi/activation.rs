//! The electro-optic activation.

use pnn_core::{Error, Result, Tensor};

/// A nonlinearity for each port: part of the light is detected, and its photocurrent drives an
/// interferometer through which the rest passes (Williamson et al., IEEE J. Sel. Top. Quantum
/// Electron. 26, 7700412, 2020, Eqs. 6-8).
///
/// A tap takes the part `alpha` of the power `|z|^2`. A detector and an amplifier make of it a
/// voltage, which adds to a bias and turns one arm of an interferometer with even splitters by
/// `Delta = g |z|^2 + phi_b`: `g = pi alpha G R / V_pi` for amplification `G` (ohm), responsivity `R`
/// (A/W) and half-wave voltage `V_pi`, and `phi_b = pi V_b / V_pi` for bias `V_b`. What crosses it
/// are the ways through either arm, `i/2 exp(-i Delta)` and `i/2`, of the amplitude `sqrt(1 - alpha)
/// z`:
///
/// ```text
/// f(z) = i/2 sqrt(1 - alpha) (1 + exp(-i Delta)) z
///      = i sqrt(1 - alpha) exp(-i [g |z|^2 / 2 + phi_b / 2]) cos(g |z|^2 / 2 + phi_b / 2) z
/// ```
///
/// Energy never grows: `|f(z)|^2 <= (1 - alpha) |z|^2`.
///
/// ```
/// use pnn_core::Tensor;
/// use pnn_devices::mzi::ElectroOptic;
/// // Dark below, bright where g |z|^2 = pi.
/// let activation = ElectroOptic::new(0.1, std::f64::consts::PI, std::f64::consts::PI)?;
/// let field = Tensor::new(&[[[0.1, 1.0], [0.0, 0.0]]])?; // (batch, 2, ports)
/// let out = activation.forward(&field)?;
/// let power = pnn_core::ops::power(&out)?.to_vec2::<f64>()?;
/// assert!(power[0][0] < 1e-5 && (power[0][1] - 0.9).abs() < 1e-12);
/// # Ok::<(), pnn_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ElectroOptic {
    tap: f64,
    phase_gain: f64,
    phase_bias: f64,
}

impl ElectroOptic {
    /// Part `tap` of the power that is detected (`alpha`), `phase_gain` in rad for each unit of power
    /// before the tap (`g`) and `phase_bias` in rad (`phi_b`).
    ///
    /// # Errors
    /// If the tap leaves [0, 1), the gain is negative, or one of them is not finite.
    pub fn new(tap: f64, phase_gain: f64, phase_bias: f64) -> Result<Self> {
        let check = |fits: bool, what: &str, value: f64, allowed| {
            if fits { Ok(()) } else { Err(Error::Range { what: what.to_owned(), value, allowed }) }
        };
        check((0.0..1.0).contains(&tap), "tap of the activation", tap, "[0, 1)")?;
        let gain = (0.0..f64::INFINITY).contains(&phase_gain);
        check(gain, "phase gain in rad per unit of power", phase_gain, "[0, infinity)")?;
        check(phase_bias.is_finite(), "phase bias in rad", phase_bias, "finite")?;
        Ok(Self { tap, phase_gain, phase_bias })
    }

    /// The light behind the activation.
    ///
    /// # Shapes
    /// Field and result (batch, 2, ports): real and imaginary parts.
    ///
    /// # Errors
    /// If the field has another shape.
    pub fn forward(&self, field: &Tensor) -> Result<Tensor> {
        if !matches!(field.dims(), [_, 2, _]) {
            return Err(Error::shape("field of an activation", field, "(batch, 2, ports)"));
        }
        let (re, im) = (field.narrow(1, 0, 1)?, field.narrow(1, 1, 1)?);
        let power = (re.sqr()? + im.sqr()?)?;
        let phase = power.affine(self.phase_gain, self.phase_bias)?;
        // i/2 (1 + exp(-i Delta)) = (sin Delta + i (1 + cos Delta)) / 2.
        let half = (1.0 - self.tap).sqrt() / 2.0;
        let (t_re, t_im) = (phase.sin()?.affine(half, 0.0)?, phase.cos()?.affine(half, half)?);
        let out_re = ((&t_re * &re)? - (&t_im * &im)?)?;
        let out_im = ((&t_re * &im)? + (&t_im * &re)?)?;
        Tensor::cat(&[&out_re, &out_im], 1)
    }
}
