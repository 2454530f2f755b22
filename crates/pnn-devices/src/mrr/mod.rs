//! Microring-resonator weight banks (Tait et al., J. Lightwave Technol. 32, 3427, 2014; Xu et al.,
//! Nat. Commun. 17, 1766, 2026).
//!
//! A ring on each input wavelength splits its power between a through and a drop port; balanced
//! detection of the two gives a weight between -1 (on resonance) and 1 (far from it). A heater
//! sets the detuning of ring and wavelength, and everything else that moves the resonance
//! (fabrication, ambient temperature, neighbours) is a deviation of that detuning.

mod bank;
mod heater;
pub mod measured;
mod ring;
mod ring_weight;
mod transfer;
pub mod wdm;

pub use bank::{
    CURRENT_ERROR_MA, MrrBank, MrrConv2d, MrrLinear, Parametrisation, READOUT_ERROR,
    RESONANCE_SHIFT_NM, WEIGHT_ERROR,
};
pub use heater::Heater;
pub use ring::{Ring, RingGeometry};
pub use ring_weight::{Detection, RingWeight};
pub use transfer::{Lorentzian, TransferFunction};
