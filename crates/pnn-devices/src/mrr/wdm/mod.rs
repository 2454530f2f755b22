//! Weight banks of physical rings on shared waveguides: every ring meets every wavelength, and heaters warm their
//! neighbours.

mod bank;
mod calibrate;
mod config;
mod crosstalk;
mod layout;
mod spectral;

pub use bank::{THERMAL_CROSSTALK, WIDTH_ERROR, WdmBank};
pub use calibrate::Calibration;
pub use config::{POWER_ERROR_MW, Setting, VOLTAGE_ERROR_V, WdmConfig};
pub use crosstalk::ThermalCrosstalk;
