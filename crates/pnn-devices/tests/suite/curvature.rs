//! The Hessian of a single interferometer against its closed form.

use pnn_core::curvature::{Hessian, Lanczos, Operator, Surface};
use pnn_core::{
    Bounds, Controls, DType, Deviations, ParamSet, Parameter, PhysicalLayer, Seed, Tensor, Var,
};
use pnn_devices::mzi::{Detection, MziMesh};

/// With light in one port of a single interferometer, the power at a port is `sin^2(theta / 2)` or `cos^2`: its
/// second derivative is `cos(theta) / 2` or less that, and phases outside the interferometer change nothing.
#[test]
fn an_interferometer_curves_as_its_cosine() {
    let mesh = MziMesh::published(2).unwrap().with_detection(Detection::Power);
    let light = Tensor::new([[1.0, 0.0]]).unwrap();
    for theta in [0.3f64, 1.2, 2.9, 4.4] {
        let settings = mesh.init(&Seed::new(1), DType::F64).unwrap();
        let named = |(name, value): (&str, &Tensor)| {
            let value = if name == "theta" {
                Tensor::full(theta, value.shape()).unwrap()
            } else {
                value.clone()
            };
            Parameter { name: name.into(), var: Var::new(&value), bounds: Bounds::UNBOUNDED }
        };
        let parameters = ParamSet::new(settings.iter().map(named)).unwrap();
        let controls = || -> Controls {
            parameters.iter().map(|p| (p.name.clone(), p.var.tensor())).collect()
        };
        let power = |port: usize| {
            let detected = mesh.forward(&light, &controls(), &Deviations::none())?;
            detected.narrow(1, port, 1)?.sum_all()
        };
        let mut sum = 0.0;
        for port in 0..2 {
            let place = parameters.iter().position(|p| p.name == "theta").unwrap();
            let before: usize =
                parameters.iter().take(place).map(|p| p.var.tensor().elem_count()).sum();
            let mut surface = Surface::new(parameters.clone(), 1, |_| power(port)).unwrap();
            // Which of the two ports is which.
            let sign = if (surface.loss().unwrap() - (theta / 2.0).sin().powi(2)).abs() < 1e-12 {
                1.0
            } else {
                -1.0
            };
            let mut hessian = Hessian::new(&mut surface).unwrap();
            let dim = hessian.dim();
            for column in 0..dim {
                let unit: Vec<f64> = (0..dim).map(|row| f64::from(row == column)).collect();
                for (row, found) in hessian.apply(&unit).unwrap().into_iter().enumerate() {
                    let both = row == before && column == before;
                    let want = if both { sign * theta.cos() / 2.0 } else { 0.0 };
                    assert!(
                        (found - want).abs() < 1e-7,
                        "{theta} {port} {row} {column}: {found} {want}"
                    );
                }
            }
            // The other eigenvalues are 0.
            let found = Lanczos::extremes(1, 1).run(&mut hessian, &Seed::new(0)).unwrap();
            let curved = sign * theta.cos() / 2.0;
            assert!((found.largest[0].value - curved.max(0.0)).abs() < 1e-7);
            assert!((found.smallest[0].value - curved.min(0.0)).abs() < 1e-7);
            sum += found.largest[0].value + found.smallest[0].value;
        }
        // Energy is conserved, whatever theta: what one port's curvature has more the other's has less.
        assert!(sum.abs() < 1e-9, "{sum}");
    }
}
