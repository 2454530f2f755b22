//! ResNet-18 for small images (He et al., CVPR 2016).

use pnn_core::layers::{BatchNorm, Product, uniform_fan_in};
use pnn_core::model::{Model, Pass, Physical};
use pnn_core::ops::{ConvGeometry, Tail};
use pnn_core::{DType, Error, ParamSet, Result, Seed, Tensor, Var};

use crate::lenet::LayerFactory;

/// Blocks in each of the four stages.
const BLOCKS: usize = 2;

/// ResNet-18 for CIFAR: a 3x3 stem without pooling, four stages of two basic blocks with `width`,
/// 2, 4 and 8 times as many channels, of which all but the first halve the image, the mean over
/// the image, and a linear layer. A shortcut that changes shape is a 1x1 convolution with
/// batch-norm.
///
/// Convolutions have no bias. Layers are called as in torchvision (conv1, bn1, layer1.0.conv1, ...,
/// layer2.0.downsample.0, ..., fc), so weights trained there load into electronic layers. Initial
/// settings are the devices' own ([`PhysicalLayer::init`](pnn_core::PhysicalLayer::init)).
///
/// # Shapes
/// Input (batch, 3, height, width), output (batch, classes).
pub struct ResNet18 {
    stem: Convolution,
    blocks: Vec<Block>,
    classifier: Physical,
    parameters: ParamSet,
}

/// What the layers of one network have in common.
struct Builder<'a> {
    factory: &'a dyn LayerFactory,
    seed: &'a Seed,
    dtype: DType,
}

impl Builder<'_> {
    fn layer(&self, name: &str, product: Product, bias: Option<Tensor>) -> Result<Physical> {
        Physical::new(name, self.factory.layer(name, product)?, bias, self.seed, self.dtype)
    }
}

impl ResNet18 {
    /// A network whose layers of weights are made by `factory`, initialised from `seed`. The
    /// published network has a width of 64.
    ///
    /// # Errors
    /// If `width` is not in [1, 4096], `classes` is 0, or a device cannot be built or initialised.
    pub fn new(
        factory: &dyn LayerFactory,
        width: usize,
        classes: usize,
        seed: &Seed,
        dtype: DType,
    ) -> Result<Self> {
        let range = |what: &str, count: usize, inside: bool, allowed| {
            let (what, value) = (format!("{what} of ResNet-18"), count as f64);
            if inside { Ok(()) } else { Err(Error::Range { what, value, allowed }) }
        };
        range("width", width, (1..=4096).contains(&width), "[1, 4096]")?;
        range("number of classes", classes, classes > 0, "[1, infinity)")?;
        let build = Builder { factory, seed, dtype };
        let stem = Convolution::new(&build, ["conv1", "bn1"], (3, width), (3, 1))?;
        let mut blocks = Vec::new();
        let mut channels = width;
        for stage in 0..4 {
            let outputs = width << stage;
            for block in 0..BLOCKS {
                let name = format!("layer{}.{block}", stage + 1);
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                blocks.push(Block::new(&build, &name, (channels, outputs), stride)?);
                channels = outputs;
            }
        }
        let bias_seed = seed.child("fc").child("bias");
        let bias = uniform_fan_in(&bias_seed, &[classes], channels, dtype)?;
        let product = Product::Linear { inputs: channels, outputs: classes };
        let classifier = build.layer("fc", product, Some(bias))?;
        let convolutions = convolutions(&stem, &blocks);
        let parameters = convolutions
            .flat_map(|c| c.weights.parameters().chain(c.norm.parameters()))
            .chain(classifier.parameters());
        let parameters = ParamSet::new(parameters)?;
        Ok(Self { stem, blocks, classifier, parameters })
    }

    fn convolutions(&self) -> impl Iterator<Item = &Convolution> {
        convolutions(&self.stem, &self.blocks)
    }
}

/// The stem, then those of each block.
fn convolutions<'a>(
    stem: &'a Convolution,
    blocks: &'a [Block],
) -> impl Iterator<Item = &'a Convolution> {
    let blocks = blocks.iter().flat_map(|b| [&b.first, &b.second].into_iter().chain(&b.shortcut));
    std::iter::once(stem).chain(blocks)
}

impl Model for ResNet18 {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let mut x = self.stem.forward(x, pass, &Tail::Relu)?;
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        // The mean of each plane.
        self.classifier.forward(&x.flatten_from(2)?.mean(2)?, pass)
    }

    fn parameters(&self) -> &ParamSet {
        &self.parameters
    }

    fn buffers(&self) -> Vec<(String, Var)> {
        self.convolutions().flat_map(|c| c.norm.buffers()).collect()
    }

    fn physical_layers(&self) -> Vec<&Physical> {
        self.convolutions().map(|c| &c.weights).chain([&self.classifier]).collect()
    }
}

/// A convolution without bias, and its batch-norm.
struct Convolution {
    weights: Physical,
    norm: BatchNorm,
}

impl Convolution {
    /// `kernel` is odd, and the image keeps its size but for the stride.
    fn new(
        build: &Builder<'_>,
        [weights, norm]: [&str; 2],
        (channels, outputs): (usize, usize),
        (kernel, stride): (usize, usize),
    ) -> Result<Self> {
        let geometry = ConvGeometry { stride, padding: kernel / 2 };
        let product = Product::Conv2d { channels, outputs, kernel, geometry };
        let weights = build.layer(weights, product, None)?;
        Ok(Self { weights, norm: BatchNorm::new(norm, outputs, build.dtype)? })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>, tail: &Tail) -> Result<Tensor> {
        let y = self.weights.forward(x, pass)?;
        self.norm.forward_with(&y, pass.mode, tail)
    }
}

/// `relu(second(relu(first(x))) + shortcut(x))`.
struct Block {
    first: Convolution,
    second: Convolution,
    /// `None` is `x` itself.
    shortcut: Option<Convolution>,
}

impl Block {
    fn new(
        build: &Builder<'_>,
        name: &str,
        (channels, outputs): (usize, usize),
        stride: usize,
    ) -> Result<Self> {
        let convolution = |parts: [&str; 2], channels, kernel, stride| {
            let [weights, norm] = parts.map(|part| format!("{name}.{part}"));
            Convolution::new(build, [&weights, &norm], (channels, outputs), (kernel, stride))
        };
        let shortcut = (stride != 1 || channels != outputs)
            .then(|| convolution(["downsample.0", "downsample.1"], channels, 1, stride));
        Ok(Self {
            first: convolution(["conv1", "bn1"], channels, 3, stride)?,
            second: convolution(["conv2", "bn2"], outputs, 3, 1)?,
            shortcut: shortcut.transpose()?,
        })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x, pass, &Tail::None)?,
            None => x.clone(),
        };
        let y = self.first.forward(x, pass, &Tail::Relu)?;
        self.second.forward(&y, pass, &Tail::AddRelu(shortcut))
    }
}
