//! Any matrix: a mesh, attenuators and another mesh.

use num_complex::Complex;
use pnn_core::device::{
    Bounds, Control, ControlSpec, Controls, DeviationPort, Deviations, Drive, Levels,
    PhysicalLayer, PortShape,
};
use pnn_core::{DType, Error, Result, Seed, Tensor};
use rand_distr::StandardUniform;

use super::decompose::complex;
use super::field::Detection;
use super::mesh::MziMesh;
use super::phase::within;
use super::program::{Programmed, distance, refuse};
use super::singular::{Columns, Singular, adjoint, singular};

/// Deviation port: error of the amplitudes that the attenuators let through.
pub const ATTENUATION_ERROR: &str = "attenuation_error";

/// The names of the meshes' controls, in their order: input mesh, output mesh.
const CONTROLS: [[&str; 3]; 2] =
    [["input_theta", "input_phi", "input_gamma"], ["output_theta", "output_phi", "output_gamma"]];

/// The names of the meshes' ports, in their order.
const PORTS: [[&str; 7]; 2] = [
    [
        "input_theta_error_rad",
        "input_phi_error_rad",
        "input_gamma_error_rad",
        "input_left_splitter_error",
        "input_right_splitter_error",
        "input_excess_loss_db",
        "input_thermal_crosstalk",
    ],
    [
        "output_theta_error_rad",
        "output_phi_error_rad",
        "output_gamma_error_rad",
        "output_left_splitter_error",
        "output_right_splitter_error",
        "output_excess_loss_db",
        "output_thermal_crosstalk",
    ],
];

/// Any real or complex matrix `W = scale U diag(attenuation) V^H` (Miller, Photon. Res. 1, 1, 2013;
/// Shen et al., Nat. Photonics 11, 441, 2017): a mesh for `V^H` at the inputs, attenuators for the
/// singular values, a mesh for `U` at the outputs, coherent detectors and their electronic gain.
///
/// There are `min(inputs, outputs)` attenuators. Ports of the input mesh beyond them lead nowhere,
/// and those of the output mesh are dark. Controls are `input_theta`, `input_phi`, `input_gamma`, the
/// same of the `output_` mesh, `attenuation` (amplitudes that are let through, in [0, 1]) and
/// `scale` (one number, at least 0). Deviations are those of [`MziMesh`] for either mesh, with
/// `input_` and `output_` in front of their names, and [`ATTENUATION_ERROR`]. Before the electronics
/// the device is passive.
///
/// # Shapes
/// Input (batch, inputs) of real amplitudes, or (batch, 2, inputs) of real and imaginary parts.
/// Output (batch, 2, outputs): fields.
///
/// # Errors
/// `forward` fails if shapes do not match or if a mesh would.
///
/// ```
/// use pnn_core::{Deviations, PhysicalLayer, Tensor};
/// use pnn_devices::mzi::{Layout, MziMesh, SvdMesh};
/// let mesh = |ports| MziMesh::new(Layout::Rectangular, ports);
/// let device = SvdMesh::new(mesh(3)?, mesh(2)?)?;
/// let weights = Tensor::new(&[[1.0, -2.0, 0.5], [0.0, 3.0, 4.0]])?;
/// let controls = device.decompose(&weights)?;
/// let x = Tensor::new(&[[1.0, 1.0, 2.0]])?;
/// let y = device.forward(&x, &controls, &Deviations::none())?.flatten_all()?.to_vec1::<f64>()?;
/// for (y, want) in y.iter().zip([0.0, 11.0, 0.0, 0.0]) {
///     assert!((y - want).abs() < 1e-12); // real parts, then imaginary ones
/// }
/// # Ok::<(), pnn_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SvdMesh {
    input: MziMesh,
    output: MziMesh,
    controls: Vec<Control>,
    ports: Vec<DeviationPort>,
}

impl SvdMesh {
    /// A device of these two meshes, with as many inputs and outputs as they have; their detectors
    /// are left out.
    ///
    /// # Errors
    /// If a mesh is set by voltage.
    pub fn new(input: MziMesh, output: MziMesh) -> Result<Self> {
        if [&input, &output].iter().any(|mesh| mesh.is_heated()) {
            let device = "a device of two meshes".to_owned();
            let capability = "meshes that are set by voltage".to_owned();
            return Err(Error::Unsupported { device, capability });
        }
        let [input, output] = [input, output].map(|mesh| mesh.with_detection(Detection::Coherent));
        let (mut controls, mut ports) = (Vec::new(), Vec::new());
        for (mesh, (names, port_names)) in
            [&input, &output].into_iter().zip(CONTROLS.iter().zip(&PORTS))
        {
            let own = names.iter().zip(mesh.controls());
            controls.extend(own.map(|(name, control)| Control { name, ..control.clone() }));
            let own = port_names.iter().zip(mesh.ports());
            ports.extend(own.map(|(name, port)| DeviationPort { name, ..port.clone() }));
        }
        let rank = input.wiring().ports().min(output.wiring().ports());
        let control = |name, high, shape| Control {
            name,
            unit: "1",
            bounds: Bounds { low: 0.0, high },
            shape,
        };
        controls.push(control("attenuation", 1.0, vec![rank]));
        controls.push(control("scale", f64::INFINITY, vec![]));
        let shape = PortShape::Fixed(vec![rank]);
        ports.push(DeviationPort { name: ATTENUATION_ERROR, unit: "1", shape });
        Ok(Self { input, output, controls, ports })
    }

    /// The mesh that light meets first.
    #[must_use]
    pub fn input(&self) -> &MziMesh {
        &self.input
    }

    /// The mesh behind the attenuators.
    #[must_use]
    pub fn output(&self) -> &MziMesh {
        &self.output
    }

    /// The matrix from inputs to outputs.
    ///
    /// # Shapes
    /// Result (2, outputs, inputs): real and imaginary parts.
    ///
    /// # Errors
    /// As `forward`.
    pub fn matrix(&self, controls: &Controls, chip: &Deviations) -> Result<Tensor> {
        let inputs = self.inputs();
        let each = (0..inputs * inputs).map(|k| f64::from(u8::from(k % (inputs + 1) == 0)));
        let each = Tensor::from_vec(each.collect::<Vec<_>>(), (inputs, inputs))?;
        let each = each.to_dtype(controls.get("attenuation")?.dtype())?;
        self.forward(&each, controls, chip)?.transpose(0, 2)?.transpose(0, 1)
    }

    /// The controls with which the ideal device, without loss, has this matrix (f64): the largest
    /// singular value is the scale.
    ///
    /// # Shapes
    /// `target` (outputs, inputs) of real numbers, or (2, outputs, inputs) of real and imaginary
    /// parts.
    ///
    /// # Errors
    /// If the target has another shape or is not finite, or a mesh is a butterfly.
    pub fn decompose(&self, target: &Tensor) -> Result<Controls> {
        Ok(self.realise(target, &Deviations::none())?.0)
    }

    /// The controls with which a chip whose errors are known is nearest to a matrix, part by part:
    /// both meshes by [`MziMesh::program`], the attenuators less their errors. The scale is the
    /// smallest at which no attenuator would have to amplify.
    ///
    /// # Shapes
    /// As [`Self::decompose`].
    ///
    /// # Errors
    /// As [`Self::decompose`] and [`MziMesh::program`]; if an error of attenuation is not above -1.
    pub fn program(&self, target: &Tensor, chip: &Deviations) -> Result<Programmed> {
        let (controls, unreachable) = self.realise(target, chip)?;
        let [input, output] =
            [&self.input, &self.output].map(|mesh| mesh.clone().with_loss_db(0.0));
        let reached = Self::new(input?, output?)?.matrix(&controls, chip)?;
        let whole = self.with_imaginary_part(target)?;
        Ok(Programmed { controls, unreachable, distance: distance(&reached, &whole)? })
    }

    fn inputs(&self) -> usize {
        self.input.wiring().ports()
    }

    fn outputs(&self) -> usize {
        self.output.wiring().ports()
    }

    /// A target as (2, outputs, inputs).
    fn with_imaginary_part(&self, target: &Tensor) -> Result<Tensor> {
        let (outputs, inputs) = (self.outputs(), self.inputs());
        match target.dims() {
            [rows, columns] if [*rows, *columns] == [outputs, inputs] => {
                Tensor::stack(&[target, &target.zeros_like()?])
            }
            [2, rows, columns] if [*rows, *columns] == [outputs, inputs] => Ok(target.clone()),
            _ => {
                let want = format!("({outputs}, {inputs}) or (2, {outputs}, {inputs})");
                Err(Error::shape("target", target, want))
            }
        }
    }

    fn realise(&self, target: &Tensor, chip: &Deviations) -> Result<(Controls, usize)> {
        chip.check(&self.ports)?;
        for ports in &PORTS {
            refuse(chip, &ports[5..])?;
        }
        let (outputs, inputs) = (self.outputs(), self.inputs());
        let values = complex(&self.with_imaginary_part(target)?)?;
        let columns = (0..inputs)
            .map(|column| values.iter().skip(column).step_by(inputs).copied().collect())
            .collect();
        let Singular { u, values, v } = singular(&columns, outputs)?;
        let unitary = |columns: &Columns| -> Result<Tensor> {
            let rows = adjoint(columns, columns.len());
            let part = |of: fn(&Complex<f64>) -> f64| rows.iter().flatten().map(of);
            let parts = part(|v| v.re).chain(part(|v| -v.im)).collect::<Vec<_>>();
            Tensor::from_vec(parts, [2, columns.len(), columns.len()])
        };
        let targets = [unitary(&adjoint(&v, inputs))?, unitary(&u)?];
        let mut controls = Vec::new();
        let mut unreachable = 0;
        for (side, (mesh, target)) in
            [&self.input, &self.output].into_iter().zip(&targets).enumerate()
        {
            let (own, missed) = mesh.realise(target, &part_of(chip, side, mesh))?;
            for (name, control) in CONTROLS[side].iter().zip(mesh.controls()) {
                controls.push(((*name).to_owned(), own.get(control.name)?.clone()));
            }
            unreachable += missed;
        }
        let errors = chip.shift(ATTENUATION_ERROR, &Tensor::zeros(values.len(), DType::F64)?)?;
        let errors = within(ATTENUATION_ERROR, errors, (-1.0, f64::INFINITY, "(-1, infinity)"))?;
        let errors = errors.elements::<f64>()?;
        let least = values.iter().zip(errors).map(|(value, error)| value / (1.0 + error).min(1.0));
        let scale = match least.fold(0.0, f64::max) {
            0.0 => 1.0,
            scale => scale,
        };
        let attenuation = values.iter().zip(errors).map(|(value, error)| {
            let wanted = value / scale - error;
            unreachable += usize::from(wanted < 0.0);
            wanted.clamp(0.0, 1.0)
        });
        let attenuation = Tensor::from_vec(attenuation.collect::<Vec<_>>(), values.len())?;
        controls.push(("attenuation".to_owned(), attenuation));
        controls.push(("scale".to_owned(), Tensor::new(scale)?));
        Ok((controls.into_iter().collect(), unreachable))
    }

    /// The controls of one mesh, under its own names.
    fn mesh_controls(&self, controls: &Controls, side: usize, mesh: &MziMesh) -> Result<Controls> {
        let names = CONTROLS[side].iter().zip(mesh.controls());
        names.map(|(name, own)| Ok((own.name.to_owned(), controls.get(name)?.clone()))).collect()
    }

    /// Fails if a control has another shape than its spec.
    fn check(&self, controls: &Controls) -> Result<()> {
        self.controls.iter().try_for_each(|control| controls.of(control).map(|_| ()))
    }
}

/// The deviations of one mesh, under its own names.
fn part_of(chip: &Deviations, side: usize, mesh: &MziMesh) -> Deviations {
    let names = PORTS[side].iter().zip(mesh.ports());
    names.fold(Deviations::none(), |part, (name, own)| match chip.get(name) {
        Some(value) => part.with(own.name, value.clone()),
        None => part,
    })
}

impl PhysicalLayer for SvdMesh {
    fn controls(&self) -> &ControlSpec {
        &self.controls
    }

    fn ports(&self) -> &[DeviationPort] {
        &self.ports
    }

    /// Two Haar-random meshes and attenuations uniform in [0, 1). The scale is such that a weight
    /// has the mean square `1 / (3 inputs)` that PyTorch's linear layers start with.
    fn init(&self, seed: &Seed, dtype: DType) -> Result<Controls> {
        let mut all = Vec::new();
        for (side, mesh) in [&self.input, &self.output].into_iter().enumerate() {
            let own = mesh.init(&seed.child(["input", "output"][side]), dtype)?;
            for (name, control) in CONTROLS[side].iter().zip(mesh.controls()) {
                all.push(((*name).to_owned(), own.get(control.name)?.clone()));
            }
        }
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let rank = inputs.min(outputs);
        let attenuation = seed.child("attenuation").tensor(StandardUniform, &[rank], dtype)?;
        // The mean square is scale^2 sum(attenuation^2) / (inputs outputs), of which the sum is rank / 3.
        let scale = Tensor::new((outputs as f64 / rank as f64).sqrt())?.to_dtype(dtype)?;
        all.push(("attenuation".to_owned(), attenuation));
        all.push(("scale".to_owned(), scale));
        Ok(all.into_iter().collect())
    }

    fn forward(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        self.check(controls)?;
        deviations.check(&self.ports)?;
        let run = |side: usize, mesh: &MziMesh, x: &Tensor| {
            let controls = self.mesh_controls(controls, side, mesh)?;
            mesh.forward(x, &controls, &part_of(deviations, side, mesh))
        };
        // Attenuators neither amplify nor turn what is let through around, whatever their error.
        let attenuation = deviations.shift(ATTENUATION_ERROR, controls.get("attenuation")?)?;
        let attenuation = attenuation.clamp(0.0, 1.0)?;
        let rank = attenuation.dim(0)?;
        let field = run(0, &self.input, x)?;
        let mut field = (field.narrow(2, 0, rank)? * attenuation)?;
        if rank < self.outputs() {
            let dark = Tensor::zeros([x.dim(0)?, 2, self.outputs() - rank], field.dtype())?;
            field = Tensor::cat(&[&field, &dark], 2)?;
        }
        run(1, &self.output, &field)? * controls.get("scale")?
    }

    /// Those of the meshes, and the attenuations.
    fn drives(&self, controls: &Controls) -> Result<Vec<Drive>> {
        self.check(controls)?;
        let mut drives = Vec::new();
        for (side, mesh) in [&self.input, &self.output].into_iter().enumerate() {
            let own = mesh.drives(&self.mesh_controls(controls, side, mesh)?)?;
            for (port, drive) in PORTS[side].iter().zip(own) {
                drives.push(Drive { port, ..drive });
            }
        }
        let setting = controls.get("attenuation")?.to_dtype(DType::F64)?;
        let range = Bounds { low: 0.0, high: 1.0 };
        drives.push(Drive { setting, range, levels: Levels::Even, port: ATTENUATION_ERROR });
        Ok(drives)
    }
}
