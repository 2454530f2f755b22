"""Golden vectors of SAF and MESA, from PyTorch on the CPU in float64.

Run:  python generate_trajectory.py        (needs torch, numpy, safetensors)

A network of two layers with batch norm between them learns 12 images in batches of 4, in an order of its own in each of
6 epochs, by SGD with momentum. Writes trajectory.safetensors:

    images, labels, order           (12, 4), (12) of uint32, (epochs, 12) of uint32
    initial/NAME                    parameters
    METHOD/loss                     the loss of each step, the term included
    METHOD/NAME                     a parameter or running statistic after each step (steps, ...)
    mesa/average/NAME               the averages after the last step

The steps are those of `train_one_epoch` in SAF_train.py and MESA_train.py of AngusDujw/SAF, in the order of their lines,
with plain cross-entropy for their `loss_fn` and the dimension of softmax said; the average is timm's ModelEmaV2, which
keeps its module in evaluation mode and averages parameters and buffers.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
IMAGES, BATCH, EPOCHS, CLASSES = 12, 4, 6, 3
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(torch.float64)


def forward(p, x, training):
    """`p` has parameters and running statistics; these move in training."""
    h = x @ p["fc1.weight"].T
    h = F.batch_norm(h, p["norm.running_mean"], p["norm.running_var"], p["norm.weight"], p["norm.bias"], training, 0.1, 1e-5)
    return torch.sigmoid(h) @ p["fc2.weight"].T + p["fc2.bias"]


def term(output, reference, temperature):
    each = F.kl_div(F.softmax(output / temperature, 1).log(), F.softmax(reference / temperature, 1), reduction="none")
    return each.sum(-1).mean() * (temperature**2)


def train(data, initial, method, reinforce, temperature, kl_start_epoch, kl_end_epoch, minus_epoch=None, decay=None):
    images, labels, order = data
    p = {k: v.clone() for k, v in initial.items()}
    trained = [p[k].requires_grad_() for k in p if "running" not in k]
    optimizer = torch.optim.SGD(trained, 0.1, momentum=0.5)
    train_logits = torch.zeros(IMAGES, (minus_epoch or 0) + 1, CLASSES, dtype=torch.float64)
    ema = {k: v.detach().clone() for k, v in p.items()}
    out = {f"{method}/{k}": [] for k in p} | {f"{method}/loss": []}
    for epoch in range(EPOCHS):
        for indices in order[epoch].split(BATCH):
            x, target = images[indices], labels[indices]
            if method == "mesa":
                with torch.no_grad():
                    ema_output = forward(ema, x, False)
            output = forward(p, x, True)
            if method == "saf":
                train_logits[indices, epoch % (minus_epoch + 1)] = output.detach()
            loss = F.cross_entropy(output, target)
            if epoch > kl_start_epoch and epoch < kl_end_epoch:
                if method == "saf":
                    ema_output = train_logits[indices, (epoch - minus_epoch) % (minus_epoch + 1)]
                loss = loss + term(output, ema_output, temperature) * reinforce
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                if decay is not None:
                    ema = {k: decay * v + (1.0 - decay) * p[k] for k, v in ema.items()}
                for k, v in p.items():
                    out[f"{method}/{k}"].append(v.detach().clone())
            out[f"{method}/loss"].append(loss.detach())
    out = {k: torch.stack(v) for k, v in out.items()}
    return out | ({f"mesa/average/{k}": v for k, v in ema.items()} if method == "mesa" else {})


def main():
    g = torch.Generator().manual_seed(11)
    images, labels = normal(g, IMAGES, 4), torch.randint(0, CLASSES, (IMAGES,), generator=g)
    order = torch.stack([torch.randperm(IMAGES, generator=g) for _ in range(EPOCHS)])
    initial = {
        "fc1.weight": normal(g, 5, 4), "fc2.bias": normal(g, 3), "fc2.weight": normal(g, 3, 5),
        "norm.bias": normal(g, 5), "norm.weight": normal(g, 5).abs() + 0.5,
        "norm.running_mean": torch.zeros(5, dtype=torch.float64), "norm.running_var": torch.ones(5, dtype=torch.float64),
    }
    initial["norm.weight"] = initial["norm.weight"].float().double()
    data = (images, labels, order)
    out = {"images": images, "labels": labels.to(torch.int64).numpy().astype(np.uint32), "order": order.numpy().astype(np.uint32)}
    out |= {f"initial/{k}": v for k, v in initial.items()}
    out |= train(data, initial, "saf", 0.35, 2.5, 1, 5, minus_epoch=2)
    out |= train(data, initial, "mesa", 0.6, 3.0, 0, 5, decay=0.8)
    arrays = {k: np.array(v.numpy() if torch.is_tensor(v) else v, order="C") for k, v in out.items()}
    facts = {"torch": torch.__version__, "numpy": np.__version__, "script": "generate_trajectory.py"}
    save_file(arrays, HERE / "trajectory.safetensors", {"pnn": json.dumps(facts, sort_keys=True)})


if __name__ == "__main__":
    main()
