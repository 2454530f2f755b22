//! Complex convolutions and batch norm, for several small networks side by side.
//!
//! Complex images are real ones of twice the channels: (blocks, networks * 2 * channels, height,
//! width, lanes), for each network all real parts, then all imaginary ones, with samples side by side
//! ([`ops::interleave`]). So a complex convolution is one real convolution, whose weight is built once a
//! step, and networks are its groups. A complex rectifier is [`ops::relu`]: it acts on both parts
//! (Trabelsi et al., "Deep complex networks", ICLR 2018).

use crate::device::Bounds;
use crate::layers::uniform_fan_in;
use crate::model::Mode;
use crate::ops::{self, ComplexStatistics, ConvGeometry};
use crate::params::Parameter;
use crate::{DType, Result, Seed, Tensor, Var};

/// Whether a layer's parameters get gradients in a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learning {
    /// They do.
    On,
    /// They are constants: only the input gets a gradient.
    Frozen,
}

impl Learning {
    fn tensor(self, var: &Var) -> Tensor {
        match self {
            Self::On => var.tensor(),
            Self::Frozen => var.value(),
        }
    }
}

/// What the networks of a [`ComplexConv2d`] see and give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// Each has an input and an output of its own.
    Parallel,
    /// All see one input; each has an output of its own.
    Split,
    /// Each has an input of its own; their outputs are added.
    Sum,
}

/// Sizes of a complex convolution in each of several networks.
#[derive(Debug, Clone, Copy)]
pub struct ComplexConvSizes {
    /// Networks side by side.
    pub networks: usize,
    /// Complex channels of the input.
    pub channels: usize,
    /// Complex channels of the output.
    pub outputs: usize,
    /// Side of the square kernel.
    pub kernel: usize,
    /// Stride and padding.
    pub geometry: ConvGeometry,
}

/// `y = W * x + b` with complex `W`, `x` and `b`, for several networks.
///
/// # Shapes
/// `x` (blocks, networks * 2 * channels, height, width, lanes) or, with [`Paths::Split`], (blocks, 2 *
/// channels, ...); result (blocks, networks * 2 * outputs, ...) or, with [`Paths::Sum`], (blocks, 2 *
/// outputs, ...). Parameters `real` and `imag` (networks, outputs, channels, kernel, kernel), and
/// `bias` (networks, 2, outputs) where there is one.
#[derive(Debug, Clone)]
pub struct ComplexConv2d {
    weight: Weight,
    sizes: ComplexConvSizes,
    paths: Paths,
}

impl ComplexConv2d {
    /// A layer with parts of weights uniform in `+-1/sqrt(channels kernel^2)`, as two real layers of
    /// PyTorch's. Before a batch norm a bias has no effect and is best left out.
    ///
    /// # Errors
    /// If `dtype` is not a floating-point type.
    pub fn new(
        name: impl Into<String>,
        sizes: ComplexConvSizes,
        paths: Paths,
        bias: bool,
        seed: &Seed,
        dtype: DType,
    ) -> Result<Self> {
        let weight =
            Weight::new(name.into(), (sizes.outputs, sizes.channels), &sizes, bias, seed, dtype)?;
        Ok(Self { weight, sizes, paths })
    }

    /// The layer's output.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub fn forward(&self, x: &Tensor, learning: Learning) -> Result<Tensor> {
        let ComplexConvSizes { networks, channels, outputs, kernel, geometry } = self.sizes;
        let weight = self.weight.joined(learning, 1.0)?;
        let k = [kernel, kernel];
        let (weight, groups) = match self.paths {
            Paths::Parallel => (weight, networks),
            Paths::Split => (weight, 1),
            Paths::Sum => (weight.transpose(0, 1)?, 1),
        };
        let shape = match self.paths {
            Paths::Parallel | Paths::Split => [networks * 2 * outputs, 2 * channels],
            Paths::Sum => [2 * outputs, networks * 2 * channels],
        };
        let weight = weight.reshape([shape, k].concat())?;
        let y = ops::conv2d_interleaved(x, &weight, geometry, groups)?;
        match (self.weight.bias(learning), self.paths) {
            (None, _) => Ok(y),
            (Some(bias), Paths::Sum) => ops::add_bias(y, &bias.sum(0)?.flatten_all()?),
            (Some(bias), _) => ops::add_bias(y, &bias.flatten_all()?),
        }
    }

    /// Weights, and the bias if there is one.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        self.weight.parameters()
    }
}

/// The transpose of a complex convolution (not its adjoint: nothing is conjugated), in each of
/// several networks.
///
/// # Shapes
/// `x` (blocks, networks * 2 * channels, height, width, lanes), result (blocks, networks * 2 *
/// outputs, ...). Parameters `real` and `imag` (networks, channels, outputs, kernel, kernel), and
/// `bias` (networks, 2, outputs) where there is one.
#[derive(Debug, Clone)]
pub struct ComplexConvTranspose2d {
    weight: Weight,
    sizes: ComplexConvSizes,
    output_padding: usize,
}

impl ComplexConvTranspose2d {
    /// A layer with parts of weights uniform in `+-1/sqrt(outputs kernel^2)`, as two real layers of
    /// PyTorch's.
    ///
    /// # Errors
    /// If `dtype` is not a floating-point type.
    pub fn new(
        name: impl Into<String>,
        sizes: ComplexConvSizes,
        output_padding: usize,
        bias: bool,
        seed: &Seed,
        dtype: DType,
    ) -> Result<Self> {
        let weight =
            Weight::new(name.into(), (sizes.channels, sizes.outputs), &sizes, bias, seed, dtype)?;
        Ok(Self { weight, sizes, output_padding })
    }

    /// The layer's output.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub fn forward(&self, x: &Tensor, learning: Learning) -> Result<Tensor> {
        let ComplexConvSizes { networks, channels, outputs, kernel, geometry } = self.sizes;
        let weight = self.weight.joined(learning, -1.0)?;
        let weight = weight.reshape([networks * 2 * channels, 2 * outputs, kernel, kernel])?;
        let y =
            ops::conv_transpose2d_interleaved(x, &weight, geometry, self.output_padding, networks)?;
        match self.weight.bias(learning) {
            Some(bias) => ops::add_bias(y, &bias.flatten_all()?),
            None => Ok(y),
        }
    }

    /// Weights, and the bias if there is one.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        self.weight.parameters()
    }
}

/// Complex weights (networks, rows, columns, kernel, kernel) and bias (networks, 2, outputs).
#[derive(Debug, Clone)]
struct Weight {
    name: String,
    real: Var,
    imaginary: Var,
    bias: Option<Var>,
}

impl Weight {
    fn new(
        name: String,
        (rows, columns): (usize, usize),
        sizes: &ComplexConvSizes,
        bias: bool,
        seed: &Seed,
        dtype: DType,
    ) -> Result<Self> {
        let seed = seed.child(&name);
        let ComplexConvSizes { networks, kernel, outputs, .. } = *sizes;
        let fan_in = columns * kernel * kernel;
        let draw = |part: &str, shape: &[usize]| -> Result<Var> {
            Ok(Var::new(&uniform_fan_in(&seed.child(part), shape, fan_in, dtype)?))
        };
        let shape = [networks, rows, columns, kernel, kernel];
        Ok(Self {
            real: draw("real", &shape)?,
            imaginary: draw("imag", &shape)?,
            bias: bias.then(|| draw("bias", &[networks, 2, outputs])).transpose()?,
            name,
        })
    }

    /// `[[Wr, -s Wi], [s Wi, Wr]]` of each network: (networks, 2 rows, 2 columns, kernel, kernel).
    fn joined(&self, learning: Learning, sign: f64) -> Result<Tensor> {
        let (re, im) = (learning.tensor(&self.real), learning.tensor(&self.imaginary));
        let of_real = Tensor::cat(&[&re, &im.affine(-sign, 0.0)?], 2)?;
        let of_imaginary = Tensor::cat(&[&im.affine(sign, 0.0)?, &re], 2)?;
        Tensor::cat(&[&of_real, &of_imaginary], 1)
    }

    fn bias(&self, learning: Learning) -> Option<Tensor> {
        self.bias.as_ref().map(|bias| learning.tensor(bias))
    }

    fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        let parts = [("real", &self.real), ("imag", &self.imaginary)].into_iter();
        parts.chain(self.bias.iter().map(|bias| ("bias", bias))).map(|(part, var)| Parameter {
            name: format!("{}.{part}", self.name),
            var: var.clone(),
            bounds: Bounds::UNBOUNDED,
        })
    }
}

/// Batch norm that whitens pairs of real and imaginary part ([`ops::complex_batch_norm`]), with the
/// settings of the package complexPyTorch, which published dual adaptive training uses: eps 1e-5,
/// momentum 0.1, diagonal weights and running variances that start at sqrt 2. (Trabelsi et al. start
/// at 1/sqrt 2; before another batch norm that makes no difference.) Running covariances are unbiased.
///
/// # Shapes
/// As [`ops::complex_batch_norm`]. Parameters `weight` (networks, 3, channels) and `bias` (networks, 2,
/// channels), buffers `running_mean` and `running_covar` of the same shapes.
#[derive(Debug, Clone)]
pub struct ComplexBatchNorm {
    name: String,
    weight: Var,
    bias: Var,
    running_mean: Var,
    running_covariance: Var,
    eps: f64,
    momentum: f64,
}

impl ComplexBatchNorm {
    /// A layer for several networks of so many complex channels.
    ///
    /// # Errors
    /// If `dtype` is not a floating-point type.
    pub fn new(
        name: impl Into<String>,
        networks: usize,
        channels: usize,
        dtype: DType,
    ) -> Result<Self> {
        let diagonal = || -> Result<Var> {
            let row = [std::f64::consts::SQRT_2, std::f64::consts::SQRT_2, 0.0];
            let rows = row.iter().flat_map(|v| std::iter::repeat_n(*v, channels));
            let one: Vec<f64> = rows.collect();
            let all = Tensor::from_vec(one.repeat(networks), [networks, 3, channels])?;
            Ok(Var::new(&all.to_dtype(dtype)?))
        };
        let zeros =
            || -> Result<Var> { Ok(Var::new(&Tensor::zeros([networks, 2, channels], dtype)?)) };
        Ok(Self {
            name: name.into(),
            weight: diagonal()?,
            bias: zeros()?,
            running_mean: zeros()?,
            running_covariance: diagonal()?,
            eps: 1e-5,
            momentum: 0.1,
        })
    }

    /// The normalised batch, rectified (both parts) if asked.
    ///
    /// # Errors
    /// If the channels differ, or batch statistics are asked of a single value per channel.
    pub fn forward(
        &self,
        x: &Tensor,
        mode: Mode,
        relu: bool,
        learning: Learning,
    ) -> Result<Tensor> {
        let (weight, bias) = (learning.tensor(&self.weight), learning.tensor(&self.bias));
        let momentum = match mode {
            Mode::Eval => {
                let given = Some(self.running_statistics()?);
                let given = given.as_ref();
                return Ok(ops::complex_batch_norm(x, &weight, &bias, self.eps, given, relu)?.0);
            }
            Mode::Train { update_statistics: false } => None,
            Mode::Train { update_statistics: true } => Some(self.momentum),
            Mode::Calibrate { seen } => Some(1.0 / (seen as f64 + 1.0)),
        };
        let (y, batch) = ops::complex_batch_norm(x, &weight, &bias, self.eps, None, relu)?;
        if let Some(momentum) = momentum {
            self.average(&batch, momentum)?;
        }
        Ok(y)
    }

    /// `running = (1 - momentum) running + momentum batch`.
    fn average(&self, batch: &ComplexStatistics, momentum: f64) -> Result<()> {
        let count = batch.count as f64;
        let unbiased = count / (count - 1.0);
        let mean = by_part(&batch.mean, 1.0, &self.running_mean)?;
        let covariance = by_part(&batch.covariance, unbiased, &self.running_covariance)?;
        for (running, new) in [(&self.running_mean, mean), (&self.running_covariance, covariance)] {
            let old = running.value().to_dtype(DType::F64)?;
            let next = ((old * (1.0 - momentum))? + (new * momentum)?)?;
            running.set(&next.to_dtype(running.dtype())?)?;
        }
        Ok(())
    }

    fn running_statistics(&self) -> Result<ComplexStatistics> {
        Ok(ComplexStatistics {
            mean: by_channel(&self.running_mean)?,
            covariance: by_channel(&self.running_covariance)?,
            count: 0,
        })
    }

    /// Weight and bias.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        [("weight", &self.weight), ("bias", &self.bias)].into_iter().map(|(part, var)| Parameter {
            name: format!("{}.{part}", self.name),
            var: var.clone(),
            bounds: Bounds::UNBOUNDED,
        })
    }

    /// Running mean and covariance.
    #[must_use]
    pub fn buffers(&self) -> Vec<(String, Var)> {
        vec![
            (format!("{}.running_mean", self.name), self.running_mean.clone()),
            (format!("{}.running_covar", self.name), self.running_covariance.clone()),
        ]
    }
}

/// From one array for each channel to a tensor (networks, parts, channels) like `var`, times a factor.
fn by_part<const N: usize>(values: &[[f64; N]], factor: f64, var: &Var) -> Result<Tensor> {
    let shape = var.dims();
    let channels = shape[2];
    let networks = values.chunks(channels);
    let ordered = networks.flat_map(|network| {
        (0..N).flat_map(move |part| network.iter().map(move |value| value[part] * factor))
    });
    Tensor::from_vec(ordered.collect(), shape)
}

/// The inverse of [`by_part`].
fn by_channel<const N: usize>(var: &Var) -> Result<Vec<[f64; N]>> {
    let channels = var.dims()[2];
    let values = var.value().to_dtype(DType::F64)?;
    let networks = values.elements::<f64>()?.chunks(N * channels);
    let each = networks.flat_map(|network| {
        (0..channels).map(move |c| std::array::from_fn(|part| network[part * channels + c]))
    });
    Ok(each.collect())
}
