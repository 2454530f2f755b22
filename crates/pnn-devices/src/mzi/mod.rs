//! Meshes of Mach-Zehnder interferometers (Reck et al., Phys. Rev. Lett. 73, 58, 1994; Clements et
//! al., Optica 3, 1460, 2016; Xu et al., Nat. Commun. 17, 1766, 2026).
//!
//! Two splitters and two heaters couple two waveguides by any 2x2 unitary matrix, up to phases;
//! columns of them make any unitary matrix of many ports. Splitters that do not split evenly, phases
//! that are not as set, loss and the warmth of neighbours are deviations.

mod activation;
mod cell;
mod decompose;
mod field;
mod grid;
mod heaters;
mod idle;
mod layout;
mod mesh;
mod neighbours;
mod phase;
mod ports;
mod program;
mod singular;
mod svd;

pub use activation::ElectroOptic;
pub use cell::{Basis, SplitterError};
pub use field::Detection;
pub use heaters::PhaseHeaters;
pub use layout::Layout;
pub use mesh::MziMesh;
pub use ports::{
    EXCESS_LOSS_DB, GAMMA_ERROR_RAD, GAMMA_ERROR_VOLT, LEFT_SPLITTER_ERROR, PHI_ERROR_RAD,
    PHI_ERROR_VOLT, RIGHT_SPLITTER_ERROR, THERMAL_CROSSTALK, THETA_ERROR_RAD, THETA_ERROR_VOLT,
};
pub use program::Programmed;
pub use svd::{ATTENUATION_ERROR, SvdMesh};
