//! Weight banks of physical rings on shared waveguides: every ring meets every wavelength, and heaters warm their
//! neighbours.

mod bank;
mod calibrate;
mod crosstalk;
mod spectral;

pub use bank::{
    POWER_ERROR_MW, Setting, THERMAL_CROSSTALK, VOLTAGE_ERROR_V, WIDTH_ERROR, WdmBank, WdmConfig,
};
pub use calibrate::Calibration;
pub use crosstalk::ThermalCrosstalk;
