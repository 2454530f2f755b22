//! Where reality enters a mesh.

use pnn_core::device::{DeviationPort, PortShape};
use pnn_core::ops::Wiring;

use super::cell::SplitterError;

/// Deviation port: error of the internal phases in rad (interferometers).
pub const THETA_ERROR_RAD: &str = "theta_error_rad";
/// Deviation port: error of the external phases in rad (interferometers).
pub const PHI_ERROR_RAD: &str = "phi_error_rad";
/// Deviation port: error of the input phases in rad (ports).
pub const GAMMA_ERROR_RAD: &str = "gamma_error_rad";
/// Deviation port: error of the splitter that light meets first ([`SplitterError`]).
pub const LEFT_SPLITTER_ERROR: &str = "left_splitter_error";
/// Deviation port: error of the second splitter ([`SplitterError`]).
pub const RIGHT_SPLITTER_ERROR: &str = "right_splitter_error";
/// Deviation port: insertion loss in dB beyond the mesh's own (interferometers).
pub const EXCESS_LOSS_DB: &str = "excess_loss_db";
/// Deviation port: the part of a heater's phase that each of its neighbours in the column gets, one
/// number for the mesh.
pub const THERMAL_CROSSTALK: &str = "thermal_crosstalk";

/// Deviation port of meshes that are set by voltage: error of the voltages of theta in V.
pub const THETA_ERROR_VOLT: &str = "theta_error_volt";
/// Deviation port of meshes that are set by voltage: error of the voltages of phi in V.
pub const PHI_ERROR_VOLT: &str = "phi_error_volt";
/// Deviation port of meshes that are set by voltage: error of the voltages of gamma in V.
pub const GAMMA_ERROR_VOLT: &str = "gamma_error_volt";

/// The ports of a mesh, those of its heaters last.
pub(super) fn deviation_ports(
    wiring: &Wiring,
    splitter: SplitterError,
    heated: bool,
) -> Vec<DeviationPort> {
    let (cells, inputs) = (vec![wiring.cells()], vec![wiring.ports()]);
    let split = match splitter {
        SplitterError::Ratio => "1",
        SplitterError::Angle => "rad",
    };
    let all = [
        (THETA_ERROR_RAD, "rad", &cells),
        (PHI_ERROR_RAD, "rad", &cells),
        (GAMMA_ERROR_RAD, "rad", &inputs),
        (LEFT_SPLITTER_ERROR, split, &cells),
        (RIGHT_SPLITTER_ERROR, split, &cells),
        (EXCESS_LOSS_DB, "dB", &cells),
        (THERMAL_CROSSTALK, "1", &vec![]),
        (THETA_ERROR_VOLT, "V", &cells),
        (PHI_ERROR_VOLT, "V", &cells),
        (GAMMA_ERROR_VOLT, "V", &inputs),
    ];
    let count = if heated { all.len() } else { all.len() - 3 };
    let port = |(name, unit, dims): (&'static str, &'static str, &Vec<usize>)| DeviationPort {
        name,
        unit,
        shape: PortShape::Fixed(dims.clone()),
    };
    all[..count].iter().copied().map(port).collect()
}
