//! The error network of dual adaptive training: a small complex U-Net.

use pnn_core::layers::{
    ComplexBatchNorm, ComplexConv2d, ComplexConvSizes, ComplexConvTranspose2d, Learning, Paths,
};
use pnn_core::model::Mode;
use pnn_core::ops::{self, ConvGeometry};
use pnn_core::{DType, Error, ParamSet, Parameter, Result, Seed, Tensor, Var};

/// Complex channels at full, half and quarter size.
const CHANNELS: [usize; 3] = [4, 8, 16];

/// Several complex mini-U-Nets side by side, whose outputs are added: `S(E) = sum_n S_n(E)`, on the
/// field at `side^2` ports seen as a complex image (Zheng et al., Nat. Mach. Intell. 5, 1119, 2023; the
/// channels of Xu et al., Nat. Commun. 17, 1766, 2026). For 64 ports:
///
/// | layer | input | complex channels | size | |
/// |---|---|---|---|---|
/// | `block1.0` to `.2` | the field | 1-4, 4-4, 4-4 | 8x8 | |
/// | `down1` | the field | 1-4 | 8x8 to 4x4 | stride 2 |
/// | `block2.0` to `.2` | `down1` | 4-8, 8-8, 8-8 | 4x4 | |
/// | `down2` | `down1` | 4-8 | 4x4 to 2x2 | stride 2 |
/// | `block3.0` to `.2` | `down2` | 8-16, 16-16, 16-16 | 2x2 | |
/// | `up1` | `block3` | 16-8 | 2x2 to 4x4 | transposed, stride 2, output padding 1 |
/// | `up2` | `block2` and `up1` | 16-4 | 4x4 to 8x8 | transposed, stride 2, output padding 1 |
/// | `last` | `block1` and `up2` | 8-1 | 8x8 | linear, with bias |
///
/// Every kernel is 3x3 with padding 1. All but `last` are followed by complex batch norm and a rectifier
/// on both parts; they have no bias, which batch norm would remove. What goes down is not a block's output
/// but the field itself: so do the published channels fit, and so does Zheng et al.'s code.
pub struct MiniUNet {
    networks: usize,
    side: usize,
    blocks: [[Stage<ComplexConv2d>; 3]; 3],
    downs: [Stage<ComplexConv2d>; 2],
    ups: [Stage<ComplexConvTranspose2d>; 2],
    last: ComplexConv2d,
    parameters: ParamSet,
}

/// A convolution with its norm.
struct Stage<C> {
    convolution: C,
    norm: ComplexBatchNorm,
}

impl MiniUNet {
    /// Networks for the field at `ports` ports, initialised from `seed` as PyTorch's layers.
    ///
    /// # Errors
    /// If there are no networks, or `ports` is not the square of a multiple of 4.
    pub fn new(networks: usize, ports: usize, seed: &Seed, dtype: DType) -> Result<Self> {
        let side = ports.isqrt();
        let range = |what: &str, value: usize, inside: bool, allowed| {
            let (what, value) = (what.to_owned(), value as f64);
            if inside { Ok(()) } else { Err(Error::Range { what, value, allowed }) }
        };
        range("number of error networks", networks, networks > 0, "[1, infinity)")?;
        let fits = ports > 0 && side * side == ports && side.is_multiple_of(4);
        range("number of ports that error networks see", ports, fits, "16, 64, 144, ...: (4 n)^2")?;
        let sizes = |channels, outputs, stride| {
            let geometry = ConvGeometry { stride, padding: 1 };
            ComplexConvSizes { networks, channels, outputs, kernel: 3, geometry }
        };
        let stage = |name: &str, channels, outputs, stride, paths| -> Result<_> {
            let sizes = sizes(channels, outputs, stride);
            let convolution = ComplexConv2d::new(name, sizes, paths, false, seed, dtype)?;
            let norm = ComplexBatchNorm::new(format!("{name}.norm"), networks, outputs, dtype)?;
            Ok(Stage { convolution, norm })
        };
        let up = |name: &str, channels, outputs| -> Result<_> {
            let sizes = sizes(channels, outputs, 2);
            let convolution = ComplexConvTranspose2d::new(name, sizes, 1, false, seed, dtype)?;
            let norm = ComplexBatchNorm::new(format!("{name}.norm"), networks, outputs, dtype)?;
            Ok(Stage { convolution, norm })
        };
        let [full, half, quarter] = CHANNELS;
        let (split, parallel) = (Paths::Split, Paths::Parallel);
        let block = |name: &str, channels, outputs, first| -> Result<_> {
            Ok([
                stage(&format!("{name}.0"), channels, outputs, 1, first)?,
                stage(&format!("{name}.1"), outputs, outputs, 1, parallel)?,
                stage(&format!("{name}.2"), outputs, outputs, 1, parallel)?,
            ])
        };
        let blocks = [
            block("block1", 1, full, split)?,
            block("block2", full, half, parallel)?,
            block("block3", half, quarter, parallel)?,
        ];
        let downs = [stage("down1", 1, full, 2, split)?, stage("down2", full, half, 2, parallel)?];
        let ups = [up("up1", quarter, half)?, up("up2", 2 * half, full)?];
        let last = sizes(2 * full, 1, 1);
        let last = ComplexConv2d::new("last", last, Paths::Sum, true, seed, dtype)?;
        let all =
            blocks.iter().flatten().chain(&downs).flat_map(Stage::<ComplexConv2d>::parameters);
        let ups_parameters = ups.iter().flat_map(Stage::<ComplexConvTranspose2d>::parameters);
        let parameters = ParamSet::new(all.chain(ups_parameters).chain(last.parameters()))?;
        Ok(Self { networks, side, blocks, downs, ups, last, parameters })
    }

    /// The sum of the networks' outputs.
    ///
    /// # Shapes
    /// `field` (batch, 2, ports), result the same.
    ///
    /// # Errors
    /// If the field has another shape, or batch statistics are asked of one sample of 16 ports.
    pub fn forward(&self, field: &Tensor, mode: Mode, learning: Learning) -> Result<Tensor> {
        let side = self.side;
        let (batch, ports) = (field.dim(0)?, side * side);
        if field.dims() != [batch, 2, ports] {
            return Err(Error::shape("field", field, format!("(batch, 2, {ports})")));
        }
        let x = ops::interleave(&field.reshape([batch, 2, side, side])?, ops::lanes(batch))?;
        let run = |stage: &Stage<ComplexConv2d>, x: &Tensor| stage.forward(x, mode, learning);
        let block = |i: usize, x: &Tensor| -> Result<Tensor> {
            let [first, second, third] = &self.blocks[i];
            run(third, &run(second, &run(first, x)?)?)
        };
        let [down1, down2] = &self.downs;
        let [up1, up2] = &self.ups;
        let half = run(down1, &x)?;
        let quarter = block(2, &run(down2, &half)?)?;
        let up = up1.forward(&quarter, mode, learning)?;
        let up = self.beside(&block(1, &half)?, &up)?;
        let up = up2.forward(&up, mode, learning)?;
        let up = self.beside(&block(0, &x)?, &up)?;
        let y = ops::deinterleave(&self.last.forward(&up, learning)?)?;
        y.reshape([batch, 2, ports])
    }

    /// The channels of both, network by network and part by part.
    fn beside(&self, one: &Tensor, other: &Tensor) -> Result<Tensor> {
        let &[blocks, channels, height, width, lanes] = one.dims() else {
            return Err(Error::shape("complex images", one, "five dimensions"));
        };
        let parts = blocks * self.networks * 2;
        let (one, other) = (
            one.reshape([parts, one.elem_count() / parts.max(1)])?,
            other.reshape([parts, other.elem_count() / parts.max(1)])?,
        );
        Tensor::cat(&[&one, &other], 1)?.reshape([blocks, 2 * channels, height, width, lanes])
    }

    /// What is trained.
    #[must_use]
    pub fn parameters(&self) -> &ParamSet {
        &self.parameters
    }

    /// Running statistics, by name.
    #[must_use]
    pub fn buffers(&self) -> Vec<(String, Var)> {
        let stages = self.blocks.iter().flatten().chain(&self.downs).map(|stage| &stage.norm);
        let ups = self.ups.iter().map(|stage| &stage.norm);
        stages.chain(ups).flat_map(ComplexBatchNorm::buffers).collect()
    }
}

impl Stage<ComplexConv2d> {
    fn forward(&self, x: &Tensor, mode: Mode, learning: Learning) -> Result<Tensor> {
        let y = self.convolution.forward(x, learning)?;
        self.norm.forward(&y, mode, true, learning)
    }

    fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        self.convolution.parameters().chain(self.norm.parameters())
    }
}

impl Stage<ComplexConvTranspose2d> {
    fn forward(&self, x: &Tensor, mode: Mode, learning: Learning) -> Result<Tensor> {
        let y = self.convolution.forward(x, learning)?;
        self.norm.forward(&y, mode, true, learning)
    }

    fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        self.convolution.parameters().chain(self.norm.parameters())
    }
}
