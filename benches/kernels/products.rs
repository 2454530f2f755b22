//! Convolution and linear layers at the shapes of LeNet-5 and ResNet-18.

use criterion::{Criterion, criterion_group, criterion_main};
use pnn_benches::{F32, Work, bench, count, or_stop, variable};
use pnn_core::ops::{self, ConvGeometry};

struct Conv {
    id: &'static str,
    /// (batch, channels, height, width)
    input: [usize; 4],
    /// (outputs, channels, kernel, kernel)
    weight: [usize; 4],
    stride: usize,
    padding: usize,
}

const CONVOLUTIONS: [Conv; 7] = [
    conv("lenet-conv1-b64", [64, 1, 28, 28], [6, 1, 5, 5], 1, 2),
    conv("lenet-conv2-b64", [64, 6, 14, 14], [16, 6, 5, 5], 1, 0),
    conv("lenet-conv2-b600", [600, 6, 14, 14], [16, 6, 5, 5], 1, 0),
    conv("resnet-w16-stage1-b128", [128, 16, 32, 32], [16, 16, 3, 3], 1, 1),
    conv("resnet-w16-stage4-b128", [128, 128, 4, 4], [128, 128, 3, 3], 1, 1),
    conv("resnet-w64-stage2-entry-b16", [16, 64, 32, 32], [128, 64, 3, 3], 2, 1),
    conv("resnet-w64-shortcut-b16", [16, 64, 32, 32], [128, 64, 1, 1], 2, 0),
];

const fn conv(
    id: &'static str,
    input: [usize; 4],
    weight: [usize; 4],
    stride: usize,
    padding: usize,
) -> Conv {
    Conv { id, input, weight, stride, padding }
}

impl Conv {
    /// A multiply and an add for each output and each weight that it sees, and as many again for
    /// the gradient of the input and for that of the weight. Zeros of the padding count.
    fn work(&self) -> (Work, Work) {
        let out = |size: usize, kernel: usize| (size + 2 * self.padding - kernel) / self.stride + 1;
        let [batch, _, height, width] = self.input;
        let [outputs, channels, kernel, _] = self.weight;
        let output = count(&[batch, outputs, out(height, kernel), out(width, kernel)]);
        work(output, count(&[channels, kernel, kernel]), &self.input, &self.weight)
    }
}

fn work(output: u64, taps: u64, input: &[usize], weight: &[usize]) -> (Work, Work) {
    let (elements, operands) = (2 * output * taps, count(input) + count(weight));
    let forward = Work { elements, bytes: F32 * (operands + output) };
    // Backward reads both operands and the output's gradient, and writes two gradients.
    let bytes = forward.bytes + F32 * (2 * operands + output);
    (forward, Work { elements: 3 * elements, bytes })
}

fn convolutions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("conv2d");
    for conv in &CONVOLUTIONS {
        let operands = [
            or_stop(conv.id, variable("input", &conv.input)),
            or_stop(conv.id, variable("weight", &conv.weight)),
        ];
        let geometry = ConvGeometry { stride: conv.stride, padding: conv.padding };
        bench(&mut group, conv.id, &operands, conv.work(), |t| ops::conv2d(&t[0], &t[1], geometry));
    }
}

fn linear(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("linear");
    for (id, batch, inputs, outputs) in
        [("lenet-fc1-b64", 64, 400, 120), ("lenet-fc1-b600", 600, 400, 120)]
    {
        let (input, weight) = ([batch, inputs], [outputs, inputs]);
        let operands =
            [or_stop(id, variable("input", &input)), or_stop(id, variable("weight", &weight))];
        let work = work(count(&[batch, outputs]), inputs as u64, &input, &weight);
        bench(&mut group, id, &operands, work, |t| ops::linear(&t[0], &t[1]));
    }
}

criterion_group!(benches, convolutions, linear);
criterion_main!(benches);
