//! One panel turned, moved or stretched against another, in the plane of the pixels.

use pnn_core::device::PortShape;
use pnn_core::{DType, DeviationPort, Deviations, Error, Result, Tensor};

/// Deviation port: rotation in degrees, counted from the x axis (columns) to the y axis (rows, downwards).
pub const ROTATION_DEG: &str = "rotation_deg";
/// Deviation port: shift along the rows, in pixels.
pub const SHIFT_X_PX: &str = "shift_x_px";
/// Deviation port: shift along the columns, in pixels.
pub const SHIFT_Y_PX: &str = "shift_y_px";
/// Deviation port: magnification less 1.
pub const SCALE_ERROR: &str = "scale_error";
/// Deviation port: shear, shift along the rows for each pixel of vertical distance from the centre.
pub const SHEAR: &str = "shear";

/// The ports of as many panels as `shape` has places.
pub(crate) fn ports(shape: &[usize]) -> Vec<DeviationPort> {
    let port = |name, unit| DeviationPort { name, unit, shape: PortShape::Fixed(shape.to_vec()) };
    vec![
        port(ROTATION_DEG, "deg"),
        port(SHIFT_X_PX, "px"),
        port(SHIFT_Y_PX, "px"),
        port(SCALE_ERROR, "1"),
        port(SHEAR, "1"),
    ]
}

/// How [`pnn_core::ops::resample`] shows panel number `panel`: linear part and shift, in f64 and with the gradients
/// of the deviations. `None` if it is aligned.
///
/// A picture that is sheared by `k`, then turned by `a` and enlarged by `s`, and then shifted shows at a pixel `p` what
/// was at
///
/// ```text
/// (1 -k; 0 1) (cos a  sin a; -sin a  cos a) / s (p - centre - shift) + centre
/// ```
///
/// which undoes these from the last to the first. `centre` is that of the picture, between the middle pixels of an even number; the axis of lenses
/// and grids is at pixel `count / 2`.
pub(crate) fn motion(deviations: &Deviations, panel: usize) -> Result<Option<(Tensor, Tensor)>> {
    let mut aligned = true;
    for port in ports(&[]) {
        aligned &= !deviations.is_active(port.name)?;
    }
    if aligned {
        return Ok(None);
    }
    // Of this panel, as a tensor of one value.
    let value = |port: &str| -> Result<Tensor> {
        let Some(deviation) = deviations.get(port) else {
            return Tensor::zeros(1, DType::F64);
        };
        let values = deviation.to_dtype(DType::F64)?.flatten_all()?;
        if values.elem_count() == 1 { Ok(values) } else { values.narrow(0, panel, 1) }
    };
    let angle = (value(ROTATION_DEG)? * (std::f64::consts::PI / 180.0))?;
    let scale = value(SCALE_ERROR)?.affine(1.0, 1.0)?;
    let magnification = scale.to_vec1::<f64>()?[0];
    if magnification <= 0.0 {
        let (what, value) = (SCALE_ERROR.to_owned(), magnification - 1.0);
        return Err(Error::Range { what, value, allowed: "above -1: a picture has a size" });
    }
    let shear = value(SHEAR)?;
    let (sin, cos) = ((angle.sin()? / &scale)?, (angle.cos()? / &scale)?);
    let (right, down) = ((&cos + (&shear * &sin)?)?, (&sin - (&shear * &cos)?)?);
    let linear = Tensor::cat(&[&right, &down, &(&sin * -1.0)?, &cos], 0)?.reshape([2, 2])?;
    let shift = Tensor::cat(&[&value(SHIFT_X_PX)?, &value(SHIFT_Y_PX)?], 0)?;
    Ok(Some((linear, shift)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(deviations: &Deviations, panel: usize) -> (Vec<f64>, Vec<f64>) {
        let (linear, shift) = motion(deviations, panel).unwrap().unwrap();
        let linear = linear.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        (linear, shift.to_vec1::<f64>().unwrap())
    }

    #[test]
    fn a_motion_is_that_of_its_panel() {
        let of = |values: &[f64]| Tensor::new(values).unwrap();
        let none = Deviations::none();
        assert!(motion(&none, 0).unwrap().is_none());
        let zero = none.clone().with(ROTATION_DEG, of(&[0.0, 0.0]));
        assert!(motion(&zero, 1).unwrap().is_none());
        let turned = none.with(ROTATION_DEG, of(&[0.0, 90.0])).with(SHIFT_Y_PX, of(&[3.0]));
        let (linear, shift) = read(&turned, 1);
        for (got, want) in linear.iter().zip([0.0, 1.0, -1.0, 0.0]) {
            assert!((got - want).abs() < 1e-15, "{linear:?}");
        }
        assert_eq!(shift, [0.0, 3.0]);
        assert_eq!(read(&turned, 0), (vec![1.0, 0.0, 0.0, 1.0], vec![0.0, 3.0]));
        // All at once, against the inverse of the motion itself.
        let (k, a, m) = (0.3f64, 20f64.to_radians(), 1.5);
        let all = Deviations::none().with(SHEAR, of(&[k])).with(SCALE_ERROR, of(&[m - 1.0]));
        let all = all.with(ROTATION_DEG, of(&[20.0]));
        let turn = [[a.cos(), -a.sin()], [a.sin(), a.cos()]];
        // Sheared first, x + k y, then turned and enlarged.
        let forward = [
            [m * turn[0][0], m * (turn[0][0] * k + turn[0][1])],
            [m * turn[1][0], m * (turn[1][0] * k + turn[1][1])],
        ];
        let back = read(&all, 0).0;
        for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let product =
                back[2 * row] * forward[0][column] + back[2 * row + 1] * forward[1][column];
            assert!((product - f64::from(u8::from(row == column))).abs() < 1e-14, "{back:?}");
        }
        let large = Deviations::none().with(SCALE_ERROR, of(&[1.0])).with(SHEAR, of(&[0.5]));
        assert_eq!(read(&large, 0).0, [0.5, -0.25, 0.0, 0.5]);
        for gone in [-1.0, -1.5] {
            let error = motion(&Deviations::none().with(SCALE_ERROR, of(&[gone])), 0).unwrap_err();
            let want = format!("scale_error is {gone}, allowed is above -1: a picture has a size");
            assert_eq!(error.to_string(), want);
        }
    }
}
