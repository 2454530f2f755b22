//! How curved a loss is: Hessian-vector products, extreme eigenvalues, trace, spectral density, and
//! sharpness in a neighbourhood.
//!
//! Everything is measured on a [`Surface`]: the loss of a whole data set as a function of parameters that the
//! caller chooses. [`Hessian`] makes it an [`Operator`], of which only products with vectors are
//! needed, so that no matrix is ever stored.
//!
//! ```
//! use pnn_core::curvature::{Hessian, Lanczos, Surface, hutchinson};
//! use pnn_core::{Bounds, ParamSet, Parameter, Seed, Tensor, Var};
//! let x = Var::new(&Tensor::new([1.0, 2.0])?);
//! let bounds = Bounds::UNBOUNDED;
//! let parameters = ParamSet::new([Parameter { name: "x".into(), var: x.clone(), bounds }])?;
//! // 5 x0^2 - x1^2: a saddle.
//! let scale = Tensor::new([5.0, -1.0])?;
//! let mut surface = Surface::new(parameters, 1, move |_| (x.tensor().sqr()? * &scale)?.sum_all())?;
//! let mut hessian = Hessian::new(&mut surface)?;
//! let found = Lanczos::extremes(1, 1).run(&mut hessian, &Seed::new(0))?;
//! assert!((found.largest[0].value - 10.0).abs() < 1e-6);
//! assert!((found.smallest[0].value + 2.0).abs() < 1e-6);
//! assert!((hutchinson(&mut hessian, 4, &Seed::new(0))?.value - 8.0).abs() < 1e-6);
//! # Ok::<(), pnn_core::Error>(())
//! ```

mod density;
mod hessian;
mod lanczos;
mod operator;
mod power;
mod sharpness;
mod surface;
mod trace;

pub use density::{Density, spectral_density};
pub use hessian::{Differences, Hessian};
pub use lanczos::{Eigenpair, Extremes, Lanczos};
pub use operator::Operator;
pub use power::Power;
pub use sharpness::{Neighbourhood, Rise, Scaling, rise_in_ball, rise_under_noise};
pub use surface::Surface;
pub use trace::{Estimate, frobenius_norm, hutch_plus_plus, hutchinson};
