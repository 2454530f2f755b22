"""Golden vectors of the LeNet-5 of the microring experiments, from PyTorch on the CPU in float64.

Run:  python generate_lenet.py        (needs torch, numpy, safetensors)

Writes lenet-weights.safetensors (weights are trained) and lenet-detunings.safetensors (detunings x
in nm are trained, weight w(x) = 1 - 2 / (1 + (x / 0.15)^2), x started at the inverse of the usual
initialisation). In each:

    initial/NAME    parameters, exact in float32, stored as float32
    images, labels  a batch of 8 random images in [0, 1] (float32) and labels (uint32)
    logits, loss    of that batch in training mode, float64
    gradient/NAME   gradients of the mean cross-entropy, float64
    running/NAME    running statistics after one forward pass, float64; a second pass of SAM
                    leaves them as they are
    STEP/NAME       parameters after one step from the initial state, float64, every 17th
                    element (row-major) of tensors with more than 1000: STEP is sgd (0.05,
                    momentum 0.5), adam (0.01), sam-sgd (rho 0.05 around that sgd) or asam-adam
                    (rho 0.5, eta 0, all parameters, around that adam)

Biases in front of a batch-norm (conv1, conv2, fc1, fc2) have a true gradient of zero. What is left
of it is rounding, some 1e-15, which adam divides by its eps of 1e-8: after an adam step they agree
to 1e-8, everything else to 1e-11.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
HALF_WIDTH_NM = 0.15
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

SHAPES = {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5), "fc1": (120, 400), "fc2": (84, 120), "fc3": (10, 84)}
CHANNELS = {"norm1": 6, "norm2": 16, "norm3": 120, "norm4": 84}


def lorentzian(x):
    return 1 - 2 / (1 + (x / HALF_WIDTH_NM) ** 2)


def initial(detunings):
    generator = torch.Generator().manual_seed(7)
    params = {}
    for name, shape in SHAPES.items():
        bound = 1 / math.sqrt(math.prod(shape[1:]))

        def uniform(*size):
            return (torch.rand(*size, generator=generator, dtype=torch.float64) * 2 - 1) * bound

        weight = uniform(*shape)
        if detunings:
            params[f"{name}.detuning"] = HALF_WIDTH_NM * torch.sqrt((1 + weight) / (1 - weight))
        else:
            params[f"{name}.weight"] = weight
        params[f"{name}.bias"] = uniform(shape[0])
    for name, channels in CHANNELS.items():
        # Not 1 and 0, which would hide a missing factor or term.
        spread = torch.rand(2, channels, generator=generator, dtype=torch.float64)
        params[f"{name}.weight"] = 0.5 + spread[0]
        params[f"{name}.bias"] = 0.2 * spread[1] - 0.1
    return {k: v.float().double() for k, v in params.items()}


def forward(p, images, running=None):
    """Training mode; moves `running` if given."""
    f = torch.nn.functional

    def weight(name):
        return lorentzian(p[f"{name}.detuning"]) if f"{name}.detuning" in p else p[f"{name}.weight"]

    def norm(name, x):
        mean = running[f"{name}.running_mean"] if running else None
        variance = running[f"{name}.running_var"] if running else None
        y = f.batch_norm(x, mean, variance, p[f"{name}.weight"], p[f"{name}.bias"], training=True)
        return f.relu(y)

    x = f.max_pool2d(norm("norm1", f.conv2d(images, weight("conv1"), p["conv1.bias"], padding=2)), 2)
    x = f.max_pool2d(norm("norm2", f.conv2d(x, weight("conv2"), p["conv2.bias"])), 2)
    x = x.flatten(1)
    x = norm("norm3", f.linear(x, weight("fc1"), p["fc1.bias"]))
    x = norm("norm4", f.linear(x, weight("fc2"), p["fc2.bias"]))
    return f.linear(x, weight("fc3"), p["fc3.bias"])


def step(start, images, labels, make, rho, adaptive):
    """One step as in github.com/davda54/sam; rho None is a plain step."""
    p = {k: v.clone().requires_grad_() for k, v in start.items()}
    params = list(p.values())
    optimizer = make(params)

    def gradients():
        loss = torch.nn.functional.cross_entropy(forward(p, images), labels)
        return torch.autograd.grad(loss, params)

    grads = gradients()
    if rho is not None:
        with torch.no_grad():
            weight = [q.abs() if adaptive else torch.ones_like(q) for q in params]
            norm = torch.stack([(w * g).norm(p=2) for w, g in zip(weight, grads)]).norm(p=2)
            for q, w, g in zip(params, weight, grads):
                q.add_(w**2 * g * (rho / (norm + 1e-12)))
        grads = gradients()
    with torch.no_grad():
        for (k, q), g in zip(p.items(), grads):
            q.copy_(start[k])
            q.grad = g
    optimizer.step()
    return p


def thinned(tensor):
    flat = tensor.detach().reshape(-1)
    return flat[::17] if flat.numel() > 1000 else tensor


def sgd(params):
    return torch.optim.SGD(params, 0.05, momentum=0.5)


def adam(params):
    return torch.optim.Adam(params, 0.01)


for detunings in [False, True]:
    start = initial(detunings)
    generator = torch.Generator().manual_seed(8)
    images = torch.rand(8, 1, 28, 28, generator=generator, dtype=torch.float32).double()
    labels = torch.randint(0, 10, (8,), generator=generator)
    p = {k: v.clone().requires_grad_() for k, v in start.items()}
    running = {}
    for name, channels in CHANNELS.items():
        running[f"{name}.running_mean"] = torch.zeros(channels, dtype=torch.float64)
        running[f"{name}.running_var"] = torch.ones(channels, dtype=torch.float64)
    logits = forward(p, images, running)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    grads = torch.autograd.grad(loss, list(p.values()))

    out = {f"initial/{k}": v.float() for k, v in start.items()}
    out |= {"images": images.float(), "logits": logits, "loss": loss}
    out |= {f"gradient/{k}": g for k, g in zip(p, grads)}
    out |= {f"running/{k}": v for k, v in running.items()}
    for name, make, rho, adaptive in [
        ("sgd", sgd, None, False),
        ("adam", adam, None, False),
        ("sam-sgd", sgd, 0.05, False),
        ("asam-adam", adam, 0.5, True),
    ]:
        after = step(start, images, labels, make, rho, adaptive)
        out |= {f"{name}/{k}": thinned(v) for k, v in after.items()}
    arrays = {k: np.array(v.detach().numpy(), order="C") for k, v in out.items()}
    arrays["labels"] = labels.numpy().astype(np.uint32)
    facts = {"torch": torch.__version__, "script": "generate_lenet.py", "half_width_nm": str(HALF_WIDTH_NM)}
    path = HERE / f"lenet-{'detunings' if detunings else 'weights'}.safetensors"
    # pnn_core::store keeps metadata as one sorted JSON map under the key `pnn`.
    save_file(arrays, path, {"pnn": json.dumps(facts, sort_keys=True)})
