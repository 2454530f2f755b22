"""The PyTorch side of `cargo xtask bench`: the same work on the CPU, timed beside ours.

Reads one JSON request a line from stdin and answers each with one JSON line on stdout:

    {"command": "describe", "threads": 2}
        sets the number of threads; gives versions
    {"command": "prepare", "workload": {...}, "inputs": FILE, "variant": "eager"}
    {"command": "check", "variant": "eager", "gradients": FILE}
        gives the losses of the first steps and writes the first gradients to FILE, or gives the
        number of correct answers of each chip, or the largest eigenvalue of the Hessian
    {"command": "round", "variant": "eager", "n": 100}
        gives the seconds that n iterations took
    {"command": "release"}
        forgets what was prepared

A request that fails is answered by {"error": "..."}. Variants: `eager`, `channels_last` (the same in
that memory format), `compile` (torch.compile with static shapes) and `compile_channels_last`; for meshes
that are made a matrix `real_product` instead of `channels_last` (as light is real, its product with real and imaginary
parts). FILE is a safetensors file; inputs are `initial/NAME` (parameters and
buffers), `images`, `labels`, for chips `shifts/CHIP/LAYER`, and for meshes `wanted`. Needs torch and numpy, and
pyhessian for the eigenvalue.
"""

import gc
import json
import os
import platform
import sys
import time

try:
    import torch
    from lambda_max import LambdaMax
    from meshes import Passes
    from models import LeNet5, build, lorentzian
    from tensors import load, part, save
except ImportError as error:
    print(json.dumps({"error": str(error)}), flush=True)
    sys.exit(1)

from torch.nn import functional as F

# Steps whose losses are compared before anything is timed.
CHECKED_STEPS = 3
# At most so many steps come before the clock starts in each round.
WARM_UP_STEPS = 3


class Training:
    """Training steps of a network on one batch."""

    def __init__(self, workload, tensors, variant):
        recipe = workload["recipe"]
        self.recipe = recipe
        self.batch_size = recipe["batch_size"]
        self.model = build(workload["network"], recipe)
        self.images, self.labels = tensors["images"], tensors["labels"]
        if variant.endswith("channels_last"):
            self.model = self.model.to(memory_format=torch.channels_last)
            self.images = self.images.to(memory_format=torch.channels_last)
        self.initial = part(tensors, "initial/")
        self.params = list(self.model.parameters())
        self.norms = [m for m in self.model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        bounded = getattr(self.model, "bounded", lambda: ([], None))
        self.controls, self.bounds = bounded()
        self.shares = workload["network"] == "d2nn"
        self.objective = self.loss
        if variant.startswith("compile"):
            self.objective = torch.compile(self.loss, dynamic=False)
        self.reset()
        self.warm_up()

    def warm_up(self):
        """Runs everything once, so that compilation and its errors come before the clock."""
        self.step(*self.first_batch())

    def first_batch(self):
        return self.images[: self.batch_size], self.labels[: self.batch_size]

    def loss(self, images, labels):
        outputs = self.model(images)
        if self.shares:
            return F.mse_loss(outputs, 0.1 * F.one_hot(labels, 10), reduction="sum")
        return F.cross_entropy(outputs, labels)

    def reset(self):
        """Back to the initial parameters and running statistics, with a fresh optimizer."""
        missing, unexpected = self.model.load_state_dict(self.initial, strict=False)
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]
        if missing or unexpected:
            raise ValueError(f"parameters missing: {missing}, unexpected: {unexpected}")
        (kind, settings), = self.recipe["optimizer"].items()
        make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[kind]
        momentum = {"momentum": settings["momentum"]} if kind == "sgd" else {}
        self.optimizer = make(self.params, settings["rate"], fused=True, **momentum)

    def gradients(self, images, labels):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.objective(images, labels)
        loss.backward()
        return loss.detach()

    def step(self, images, labels):
        """One training step; the loss before it."""
        loss = self.gradients(images, labels)
        if self.recipe.get("sharpness"):
            before = self.ascend(**self.recipe["sharpness"]["asam"])
            # The second pass leaves the running statistics alone, as in github.com/davda54/sam.
            for norm in self.norms:
                norm.momentum = 0.0
            self.gradients(images, labels)
            for norm in self.norms:
                norm.momentum = 0.1
            with torch.no_grad():
                torch._foreach_copy_(self.params, before)
        self.optimizer.step()
        if self.bounds:
            with torch.no_grad():
                torch._foreach_clamp_min_(self.controls, self.bounds[0])
                torch._foreach_clamp_max_(self.controls, self.bounds[1])
        return loss

    @torch.no_grad()
    def ascend(self, rho, eta):
        """Moves to the ascent point of ASAM (Kwon et al., 2021); the parameters before."""
        before = [p.clone() for p in self.params]
        size = torch._foreach_abs(self.params)
        if eta:
            torch._foreach_add_(size, eta)
        ascent = torch._foreach_mul(size, [p.grad for p in self.params])
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(ascent)))
        torch._foreach_mul_(ascent, size)
        torch._foreach_mul_(ascent, rho / (norm + 1e-12))
        torch._foreach_add_(self.params, ascent)
        return before

    def check(self, gradients):
        self.reset()
        self.gradients(*self.first_batch())
        save(gradients, {name: p.grad for name, p in self.model.named_parameters()})
        self.reset()
        return {"losses": [self.step(*self.first_batch()).item() for _ in range(CHECKED_STEPS)]}

    def round(self, n):
        self.reset()
        images, labels = self.first_batch()
        for _ in range(min(n, WARM_UP_STEPS)):
            self.step(images, labels)
        start = time.perf_counter()
        for _ in range(n):
            loss = self.step(images, labels)
        loss.item()
        return time.perf_counter() - start


class Epoch(Training):
    """Whole epochs: shuffling, gathering batches, steps."""

    def warm_up(self):
        self.step(*self.first_batch())
        last = len(self.images) % self.batch_size
        if last > 1:
            self.step(self.images[:last], self.labels[:last])

    def round(self, n):
        self.reset()
        start = time.perf_counter()
        for _ in range(n):
            total = torch.zeros(())
            for indices in torch.randperm(len(self.images)).split(self.batch_size):
                if len(indices) > 1:
                    total += self.step(self.images[indices], self.labels[indices])
            total.item()
        return time.perf_counter() - start


class Chips:
    """Correct answers of one network on many chips, each with its own shifts of the resonances."""

    def __init__(self, workload, tensors, variant):
        # A chip's weights do not depend on the images: they are computed once a chip.
        self.model = LeNet5("weight").eval()
        initial = part(tensors, "initial/")
        self.detunings = {k: v for k, v in initial.items() if k.endswith(".detuning")}
        weights = {k.replace(".detuning", ".weight"): v for k, v in initial.items()}
        self.model.load_state_dict(weights, strict=False)
        count = workload["task"]["chips"]["count"]
        self.chips = [part(tensors, f"shifts/{chip}/") for chip in range(count)]
        images, labels = tensors["images"], tensors["labels"]
        if variant.endswith("channels_last"):
            self.model = self.model.to(memory_format=torch.channels_last)
            images = images.to(memory_format=torch.channels_last)
        batch = workload["task"]["chips"]["batch"]
        self.batches = list(zip(images.split(batch), labels.split(batch)))
        self.forward = self.model
        if variant.startswith("compile"):
            self.forward = torch.compile(self.model, dynamic=False)
        with torch.inference_mode():
            for images in {len(images): images for images, _ in self.batches}.values():
                self.forward(images)

    def program(self, shifts):
        for name, detuning in self.detunings.items():
            layer = name.removesuffix(".detuning")
            weight = self.model.get_parameter(f"{layer}.weight")
            weight.copy_(lorentzian(detuning + shifts[layer]))

    @torch.inference_mode()
    def correct(self):
        counts = []
        for shifts in self.chips:
            self.program(shifts)
            hits = [(self.forward(x).argmax(1) == y).sum() for x, y in self.batches]
            counts.append(int(torch.stack(hits).sum()))
        return counts

    def check(self, gradients):
        return {"correct": self.correct()}

    def round(self, n):
        start = time.perf_counter()
        for _ in range(n):
            self.correct()
        return time.perf_counter() - start


TASKS = {"step": Training, "epoch": Epoch, "chips": Chips, "lambda_max": LambdaMax}
prepared = {}


def describe(threads):
    torch.set_num_threads(threads)
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "simd": torch.backends.cpu.get_cpu_capability(),
        "mkldnn": torch.backends.mkldnn.is_available(),
    }


def prepare(workload, inputs, variant):
    task = workload["task"]
    kind = task if isinstance(task, str) else next(iter(task))
    made = Passes if "mesh" in workload["network"] else TASKS[kind]
    prepared[variant] = made(workload, load(inputs), variant)
    return {}


def release():
    prepared.clear()
    torch.compiler.reset()
    gc.collect()
    return {}


COMMANDS = {
    "describe": describe,
    "prepare": prepare,
    "check": lambda variant, gradients: prepared[variant].check(gradients),
    "round": lambda variant, n: {"seconds": prepared[variant].round(n)},
    "release": release,
}


def main():
    # Answers go to the real stdout; whatever a library prints goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = COMMANDS[request.pop("command")](**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
