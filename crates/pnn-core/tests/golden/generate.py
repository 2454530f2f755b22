"""Golden vectors for pnn-core, from PyTorch on the CPU.

Run:  python generate.py [NAME ...]        (needs torch, numpy, safetensors)

Writes the .safetensors files beside this script, or only those named. Tensors are named `case/tensor`. Inputs are
exact in float32 and stored and processed in float64, so that one file checks both precisions.
The versions that made a file are in its metadata.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


def write(name, tensors, **facts):
    facts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}
    facts |= {"torch": torch.__version__, "numpy": np.__version__, "script": "generate.py"}
    arrays = {}
    for key, value in tensors.items():
        array = value.detach().numpy() if torch.is_tensor(value) else np.asarray(value)
        arrays[key] = np.array(array, order="C")
    # pnn_core::store keeps metadata as one sorted JSON map under the key `pnn`.
    save_file(arrays, HERE / f"{name}.safetensors", {"pnn": json.dumps(facts, sort_keys=True)})


def normal(generator, *shape, scale=1.0):
    """Normal deviates that are exact in float32, as float64."""
    x = torch.randn(shape, generator=generator, dtype=torch.float32) * scale
    return x.to(torch.float64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def run(out, case, function, **inputs):
    """Stores inputs, output, the gradient `g` sent into it, and the gradients of the inputs."""
    inputs = {k: v.clone().requires_grad_() for k, v in inputs.items()}
    y = function(**inputs)
    g = normal(seeded(1000 + len(out)), *y.shape)
    gradients = torch.autograd.grad(y, list(inputs.values()), g)
    out |= {f"{case}/{k}": v for k, v in inputs.items()} | {f"{case}/y": y, f"{case}/g": g}
    out |= {f"{case}/d{k}": d for k, d in zip(inputs, gradients)}


def conv():
    out, cases = {}, []
    shapes = [  # batch, channels, outputs, height, width, kernel height and width, stride, padding
        (1, 1, 1, 1, 1, 1, 1, 1, 0),
        (2, 1, 3, 5, 7, 1, 1, 1, 0),
        (2, 3, 2, 7, 5, 3, 3, 1, 0),
        (3, 2, 4, 7, 9, 3, 3, 1, 1),
        (2, 2, 3, 9, 7, 5, 5, 1, 2),
        (2, 3, 2, 9, 8, 3, 3, 2, 0),
        (1, 2, 2, 7, 6, 3, 3, 2, 1),
        (9, 1, 2, 8, 11, 5, 5, 2, 2),
        (2, 2, 2, 5, 6, 1, 1, 2, 1),
        (2, 2, 3, 3, 4, 5, 5, 1, 2),
        (1, 2, 2, 6, 5, 3, 2, 2, 1),
        (17, 2, 3, 4, 3, 3, 3, 1, 1),
    ]
    for i, (b, c, o, h, w, kh, kw, s, p) in enumerate(shapes):
        g = seeded(i)
        name = f"b{b}c{c}o{o}-{h}x{w}-k{kh}x{kw}s{s}p{p}"
        cases.append({"name": name, "stride": s, "padding": p})
        run(
            out,
            name,
            lambda x, w, s=s, p=p: torch.nn.functional.conv2d(x, w, stride=s, padding=p),
            x=normal(g, b, c, h, w),
            w=normal(g, o, c, kh, kw),
        )
    write("conv", out, cases=cases)


def pool():
    out, cases = {}, []
    shapes = [  # batch, channels, height, width, size, stride
        (2, 3, 4, 6, 2, 2),
        (2, 2, 7, 5, 2, 2),
        (1, 2, 9, 7, 3, 2),
        (2, 1, 5, 8, 2, 3),
        (1, 3, 6, 7, 3, 1),
        (2, 2, 5, 3, 1, 1),
        (1, 1, 4, 5, 4, 1),
    ]
    for i, (b, c, h, w, size, stride) in enumerate(shapes):
        g = seeded(100 + i)
        # Few distinct values: most windows have ties. Then only negative values. Then normal ones.
        ties = torch.randint(-2, 2, (b, c, h, w), generator=g).to(torch.float64)
        variants = {"ties": ties, "negative": -normal(g, b, c, h, w).abs() - 1, "normal": normal(g, b, c, h, w)}
        for kind, x in variants.items():
            name = f"b{b}c{c}-{h}x{w}-k{size}s{stride}-{kind}"
            cases.append({"name": name, "size": size, "stride": stride})
            run(out, name, lambda x: torch.nn.functional.max_pool2d(x, size, stride), x=x)
    write("pool", out, cases=cases)


def norm():
    out, cases = {}, []
    for i, shape in enumerate([(5, 3), (2, 4), (2, 3, 4, 5), (3, 1, 2, 1), (4, 2, 7, 3)]):
        for offset in [0.0, 1000.0]:
            g = seeded(200 + i)
            name = "x".join(map(str, shape)) + ("" if offset == 0 else "-offset")
            cases.append({"name": name})
            channels = shape[1]
            layer = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
            layer = layer(channels, dtype=torch.float64)
            weight, bias = normal(g, channels), normal(g, channels)

            def forward(x, weight, bias):
                parameters = {"weight": weight, "bias": bias}
                return torch.func.functional_call(layer, parameters, (x,))

            first, second = ((normal(g, *shape) + offset).float().double() for _ in range(2))
            run(out, f"{name}/train", forward, x=first, weight=weight, bias=bias)
            # The running statistics after one step and after a second one with another batch.
            out[f"{name}/mean1"] = layer.running_mean.clone()
            out[f"{name}/variance1"] = layer.running_var.clone()
            out[f"{name}/second"] = second
            layer(second)
            out[f"{name}/mean2"] = layer.running_mean.clone()
            out[f"{name}/variance2"] = layer.running_var.clone()
            layer.eval()
            run(out, f"{name}/eval", forward, x=first, weight=weight, bias=bias)
    write("norm", out, cases=cases)


def dense():
    out = {}
    for i, (b, n, m) in enumerate([(1, 1, 1), (4, 3, 5), (3, 17, 2), (65, 9, 11), (33, 31, 34)]):
        g = seeded(300 + i)
        name = f"linear/{b}x{n}x{m}"
        run(out, name, lambda x, w: torch.nn.functional.linear(x, w), x=normal(g, b, n), w=normal(g, m, n))
    for i, shape in enumerate([(4, 3), (2, 3, 5), (2, 3, 4, 5)]):
        g = seeded(320 + i)
        spread = (1, shape[1]) + (1,) * (len(shape) - 2)
        name = "bias/" + "x".join(map(str, shape))
        run(out, name, lambda x, b: x + b.reshape(spread), x=normal(g, *shape), b=normal(g, shape[1]))
    edge = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1.0, -1.0, 88.0, -88.0, 100.0, -100.0, 745.0, -745.0, 1e4, -1e4])
    x = torch.cat([edge.double(), normal(seeded(340), 50, scale=4.0)])
    run(out, "relu", torch.relu, x=x)
    run(out, "sigmoid", torch.sigmoid, x=x)
    write("dense", out)


def loss():
    out = {}
    for name, scale, (b, k) in [("one", 1.0, (1, 1)), ("small", 1.0, (5, 10)), ("large", 1e4, (7, 10)), ("odd", 30.0, (3, 17))]:
        g = seeded(400 + b)
        z = normal(g, b, k, scale=scale).requires_grad_()
        labels = torch.randint(0, k, (b,), generator=g)
        y = torch.nn.functional.cross_entropy(z, labels)
        (dz,) = torch.autograd.grad(y, z)
        case = f"cross-entropy/{name}"
        out |= {f"{case}/z": z, f"{case}/y": y, f"{case}/dz": dz}
        out[f"{case}/labels"] = labels.numpy().astype(np.uint32)
    for i, shape in enumerate([(1,), (5, 10), (2, 3, 4)]):
        g = seeded(420 + i)
        z, target = normal(g, *shape).requires_grad_(), normal(g, *shape)
        y = torch.nn.functional.mse_loss(z, target)
        (dz,) = torch.autograd.grad(y, z)
        case = f"mse/{i}"
        out |= {f"{case}/z": z, f"{case}/target": target, f"{case}/y": y, f"{case}/dz": dz}
    for i, (b, k) in enumerate([(1, 2), (7, 10)]):
        g = seeded(430 + i)
        z = normal(g, b, k).requires_grad_()
        labels = torch.randint(0, k, (b,), generator=g)
        target = 0.1 * torch.nn.functional.one_hot(labels, k).to(z.dtype)
        y = torch.nn.functional.mse_loss(z, target, reduction="sum")
        (dz,) = torch.autograd.grad(y, z)
        case = f"one-hot/{i}"
        out |= {f"{case}/z": z, f"{case}/y": y, f"{case}/dz": dz}
        out[f"{case}/labels"] = labels.numpy().astype(np.uint32)
    # As in AngusDujw/SAF, SAF_train.py and MESA_train.py, train_one_epoch, with the dimension of softmax said.
    for i, (b, k, scale, temperature) in enumerate([(1, 2, 1.0, 1.0), (5, 10, 3.0, 5.0), (3, 4, 20.0, 0.7)]):
        g = seeded(440 + i)
        z, reference = normal(g, b, k, scale=scale).requires_grad_(), normal(g, b, k, scale=scale)
        softmax = torch.nn.functional.softmax
        each = torch.nn.functional.kl_div(softmax(z / temperature, 1).log(), softmax(reference / temperature, 1), reduction="none")
        y = each.sum(-1).mean() * (temperature**2)
        (dz,) = torch.autograd.grad(y, z)
        case = f"kl/{i}"
        out |= {f"{case}/z": z, f"{case}/reference": reference, f"{case}/y": y, f"{case}/dz": dz}
        out[f"{case}/temperature"] = np.array([temperature])
    write("loss", out)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05),
    "sgd-momentum": lambda p: torch.optim.SGD(p, 0.05, momentum=0.5),
    "sgd-heavy": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
    "adam-betas": lambda p: torch.optim.Adam(p, 0.02, betas=(0.5, 0.9)),
    "adam-decay": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01),
    "adamw-decay": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
}


def optim():
    """Steps with gradients from the file; the second tensor has none in every third step."""
    out, steps = {}, 12
    g = seeded(500)
    start = {"a": normal(g, 3, 4), "b": normal(g, 5)}
    gradients = [{k: normal(g, *v.shape, scale=10.0 ** (t % 3 - 2)) for k, v in start.items()} for t in range(steps)]
    gradients[4]["a"][0, 0] = 0.0
    out |= {f"start/{k}": v for k, v in start.items()}
    for t, gradient in enumerate(gradients):
        out |= {f"gradient/{t}/{k}": v for k, v in gradient.items() if not (k == "b" and t % 3 == 2)}
    for dtype, suffix in [(torch.float64, "f64"), (torch.float32, "f32")]:
        for name, make in OPTIMIZERS.items():
            params = {k: v.to(dtype).clone().requires_grad_() for k, v in start.items()}
            optimizer = make(params.values())
            for t, gradient in enumerate(gradients):
                for k, p in params.items():
                    p.grad = None if k == "b" and t % 3 == 2 else gradient[k].to(dtype)
                optimizer.step()
                out |= {f"{name}/{suffix}/{t}/{k}": p.detach().clone() for k, p in params.items()}
    write("optim", out, steps=steps)


def schedule():
    out = {}
    for name, make, epochs in [
        ("step", lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5), 12),
        ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10), 11),
    ]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
        scheduler = make(optimizer)
        rates = []
        for _ in range(epochs):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        out[name] = np.array(rates, dtype=np.float64)
    write("schedule", out)


def sam_step(params, loss, optimizer, rho, adaptive, eta):
    """One step as in github.com/davda54/sam, with Kwon's eta (2021) where it is not 0."""
    value = loss()
    grads = torch.autograd.grad(value, params)
    with torch.no_grad():
        weight = [p.abs() + eta if adaptive else torch.ones_like(p) for p in params]
        norms = torch.stack([(w * g).norm(p=2) for w, g in zip(weight, grads)])
        scale = rho / (norms.norm(p=2) + 1e-12)
        old = [p.clone() for p in params]
        for p, w, g in zip(params, weight, grads):
            p.add_(w**2 * g * scale)
    second = torch.autograd.grad(loss(), params)
    with torch.no_grad():
        for p, o, g in zip(params, old, second):
            p.copy_(o)
            p.grad = g
    optimizer.step()
    return value


def sam():
    """A two-layer net, 12 steps each."""
    out, steps = {}, 12
    g = seeded(600)
    x = normal(g, 6, 4)
    labels = torch.randint(0, 3, (6,), generator=g)
    start = {"w1": normal(g, 5, 4), "b1": normal(g, 5), "w2": normal(g, 3, 5), "b2": normal(g, 3)}
    out |= {"x": x, "labels": labels.numpy().astype(np.uint32)}
    out |= {f"start/{k}": v for k, v in start.items()}
    kinds = {"sam": (0.05, False, 0.0), "sam-wide": (2.0, False, 0.0), "asam": (0.5, True, 0.0), "asam-eta": (0.5, True, 0.01)}
    bases = {"sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.5), "adam": lambda p: torch.optim.Adam(p, 0.01)}
    for kind, (rho, adaptive, eta) in kinds.items():
        for base, make in bases.items():
            p = {k: v.clone().requires_grad_() for k, v in start.items()}

            def loss():
                hidden = torch.sigmoid(x @ p["w1"].T + p["b1"])
                return torch.nn.functional.cross_entropy(hidden @ p["w2"].T + p["b2"], labels)

            optimizer = make(list(p.values()))
            losses = [sam_step(list(p.values()), loss, optimizer, rho, adaptive, eta).item() for _ in range(steps)]
            out[f"{kind}/{base}/loss"] = np.array(losses)
            out |= {f"{kind}/{base}/{k}": v.detach().clone() for k, v in p.items()}
    write("sam", out, steps=steps)


def away(generator, *shape):
    """Values of either sign that are at least 0.5 in magnitude: divisors."""
    x = normal(generator, *shape)
    return torch.where(x < 0, x - 0.5, x + 0.5).float().double()


def elementwise():
    """Every operator of `Tensor`, with its gradients: op/case."""
    out, cases = {}, []

    def case(op, function, note="", **inputs):
        name = f"{op}/{len(cases)}"
        cases.append({"name": name, "op": op, "inputs": list(inputs)} | ({"note": note} if note else {}))
        run(out, name, lambda **values: function(*values.values()), **inputs)

    shapes = [  # of the two operands: equal, other ranks, sizes of 1 on either side, scalars
        ((2, 3), (2, 3)), ((2, 3), (3,)), ((3,), (2, 3)), ((2, 1), (1, 3)), ((), (2, 3)), ((2, 3), ()),
        ((1,), (4,)), ((2, 1, 3), (4, 1)), ((1, 3, 1, 2), (2, 1, 4, 1)), ((2, 3, 1), (1,)), ((), ()), ((5, 1), (5, 7)),
    ]
    for op in ["add", "sub", "mul", "div"]:
        for i, (a, b) in enumerate(shapes):
            g = seeded(700 + i)
            case(op, getattr(torch, op), a=normal(g, *a), b=(away if op == "div" else normal)(g, *b))
    # Zeros of either sign, values at and beside the bounds of the clamp, equal values.
    edge = torch.tensor([0.0, -0.0, 1.0, -1.0, 1.0, 0.5, 0.5, -0.5, 1.0000001, 0.9999999, -1.0000001, -0.9999999, 1e-30, -1e-30, 3.0])
    edge = edge.float().double()
    spread = normal(seeded(720), 3, 7, scale=2.0)
    positive = (normal(seeded(721), 3, 7).abs() + 0.01).float().double()
    for op, function in [("sqr", torch.square), ("exp", torch.exp), ("sin", torch.sin), ("cos", torch.cos), ("tanh", torch.tanh),
                         ("abs", torch.abs), ("neg", torch.neg)]:
        case(op, function, a=spread)
        case(op, function, a=edge)
    case("sqrt", torch.sqrt, a=positive)
    case("log", torch.log, a=positive)
    # At a bound itself the derivative is 1 or 0, by the version of PyTorch: left out.
    for a in [spread, edge[edge.abs() != 1.0]]:
        case("clamp", lambda a: torch.clamp(a, -1.0, 1.0), a=a)
    for a in [spread, edge]:
        case("affine", lambda a: 2.5 * a - 0.75, a=a)
        case("add_scalar", lambda a: a + 0.375, a=a)
        case("sub_scalar", lambda a: a - 0.375, a=a)
        case("mul_scalar", lambda a: a * -1.7, a=a)
        case("div_scalar", lambda a: a / 3.0, a=a)
        case("sum_all", torch.sum, a=a)
        case("mean_all", torch.mean, a=a)
    cube = normal(seeded(730), 2, 5, 3)
    for dim in range(3):
        case("sum", lambda a: a.sum(dim), note=str(dim), a=cube)
        case("mean", lambda a: a.mean(dim), note=str(dim), a=cube)
    case("sum", lambda a: a.sum(0), note="0", a=normal(seeded(731), 100))
    for m, k, n in [(1, 1, 1), (3, 5, 2), (34, 7, 33)]:
        g = seeded(740 + m)
        case("matmul", torch.matmul, a=normal(g, m, k), b=normal(g, k, n))
    case("t", torch.t, a=normal(seeded(750), 3, 5))
    for one, other in [(0, 1), (0, 2), (1, 2), (1, 1)]:
        case("transpose", lambda a: a.transpose(one, other), note=f"{one} {other}", a=cube)
    for dim, start, length in [(0, 1, 1), (1, 2, 3), (2, 0, 2), (1, 0, 5)]:
        case("narrow", lambda a: a.narrow(dim, start, length), note=f"{dim} {start} {length}", a=cube)
    for dim in range(3):
        other = [2, 5, 3]
        other[dim] = 4
        case("cat", lambda a, b: torch.cat([a, b, a], dim), note=str(dim), a=cube, b=normal(seeded(760 + dim), *other))
    case("stack", lambda a, b: torch.stack([a, b]), a=cube, b=normal(seeded(765), 2, 5, 3))
    case("reshape", lambda a: a.reshape(5, 6), a=cube)
    case("flatten_all", torch.flatten, a=cube)
    case("flatten_from", lambda a: torch.flatten(a, 1), a=cube)
    case("broadcast_as", lambda a: a.expand(4, 3, 2), a=normal(seeded(770), 3, 1))
    wide = torch.randn(20, generator=seeded(771), dtype=torch.float64)  # not exact in float32
    case("to_dtype", lambda a: a.float().double(), a=wide)
    write("elementwise", out, cases=cases)


def average():
    out, cases = {}, []
    shapes = [  # batch, channels, height, width, size, stride
        (2, 3, 4, 6, 2, 2),
        (2, 2, 7, 5, 2, 2),
        (1, 2, 9, 7, 3, 2),
        (2, 1, 5, 8, 2, 3),
        (1, 3, 6, 7, 3, 1),
        (2, 2, 5, 3, 1, 1),
        (1, 1, 4, 5, 4, 1),
    ]
    for i, (b, c, h, w, size, stride) in enumerate(shapes):
        name = f"b{b}c{c}-{h}x{w}-k{size}s{stride}"
        cases.append({"name": name, "size": size, "stride": stride})
        run(out, name, lambda x: torch.nn.functional.avg_pool2d(x, size, stride), x=normal(seeded(800 + i), b, c, h, w))
    write("average", out, cases=cases)


def fused():
    """Batch norm with what follows it, with the statistics of the batch and with given ones."""
    out, cases = {}, []
    shapes = [(3, 2, 4, 6), (2, 3, 5, 7), (5, 1, 2, 3), (6, 4)]
    for i, shape in enumerate(shapes):
        for tail in ["none", "relu", "add-relu", "relu-pool"]:
            for mode in ["batch", "given"]:
                for kind in ["normal", "ties"]:
                    if tail == "relu-pool" and len(shape) == 2:
                        continue
                    g = seeded(900 + i)
                    channels = shape[1]
                    name = f"{'x'.join(map(str, shape))}/{tail}/{mode}/{kind}"
                    cases.append({"name": name, "tail": tail, "given": mode == "given"})
                    mean, variance = normal(g, channels), (normal(g, channels).abs() + 0.5).float().double()
                    out |= {f"{name}/mean": mean, f"{name}/variance": variance}
                    x = normal(g, *shape)
                    if kind == "ties":
                        # Few values, so that windows have ties; and, with given statistics, values
                        # that the norm takes to exactly 0.
                        x = torch.randint(-2, 2, shape, generator=g).to(torch.float64)

                    def forward(x, weight, bias, r=None):
                        arguments = (mean, variance) if mode == "given" else (None, None)
                        y = torch.nn.functional.batch_norm(x, *arguments, weight, bias, mode == "batch", 0.1, 1e-5)
                        if tail == "add-relu":
                            y = y + r
                        if tail != "none":
                            y = torch.relu(y)
                        return torch.nn.functional.max_pool2d(y, 2, 2) if tail == "relu-pool" else y

                    inputs = {"x": x, "weight": normal(g, channels), "bias": normal(g, channels)}
                    if kind == "ties" and mode == "given":
                        mean.zero_()
                        inputs["bias"] = torch.zeros(channels, dtype=torch.float64)
                    if tail == "add-relu":
                        inputs["r"] = normal(g, *shape) if kind == "normal" else -torch.zeros(shape, dtype=torch.float64)
                    run(out, name, forward, **inputs)
    write("fused", out, cases=cases)


def cascade():
    out, cases = {}, []
    meshes = [  # chips, ports, columns of pairs
        (1, 2, [[(0, 1)]]),
        (2, 5, [[(0, 1), (2, 3)], [(1, 2), (3, 4)], [(4, 0)], [(3, 1)]]),
        (1, 40, [[(p, p + 1) for p in range(c % 2, 39, 2)] for c in range(6)]),
    ]
    for i, (chips, ports, columns) in enumerate(meshes):
        g = seeded(900 + i)
        name = f"{chips}-chips-{ports}-ports-{len(columns)}-columns"
        cases.append({"name": name, "ports": ports, "columns": columns})
        count = sum(map(len, columns))

        def forward(cells, diagonal):
            m = torch.view_as_complex(cells)
            matrices = []
            for chip in range(chips):
                u = torch.diag(torch.view_as_complex(diagonal[chip]))
                cell = 0
                for column in columns:
                    step = torch.eye(ports, dtype=torch.complex128)
                    for a, b in column:
                        rows = torch.tensor([[a, a], [b, b]])
                        step = step.index_put((rows, rows.T), m[chip, cell])
                        cell += 1
                    u = step @ u
                matrices.append(torch.stack([u.real, u.imag]))
            return torch.stack(matrices)

        cells = normal(g, chips, count, 2, 2, 2, scale=0.7)
        run(out, name, forward, cells=cells, diagonal=normal(g, chips, ports, 2))
    write("cascade", out, cases=cases)


def detect():
    out, cases = {}, []
    for i, shape in enumerate([(1, 2, 1), (3, 2, 5), (5, 2, 64)]):
        for kind in ["power", "normalised"]:
            name = f"{'x'.join(map(str, shape))}/{kind}"
            cases.append({"name": name, "normalised": kind == "normalised"})

            def forward(field):
                power = (torch.view_as_complex(field.movedim(1, 2).contiguous()).abs() ** 2)
                return torch.nn.functional.normalize(power, dim=1) if kind == "normalised" else power

            run(out, name, forward, field=normal(seeded(950 + i), *shape))
    write("detect", out, cases=cases)


def fourier():
    """Transforms of pictures as (..., 2, height, width), filters, and products of fields."""
    out, cases = {}, []

    def complex_(pair):
        return torch.view_as_complex(pair.movedim(-3, -1).contiguous())

    def pair(field):
        return torch.view_as_real(field).movedim(-1, -3)

    shapes = [  # dimensions of the field, size of the transfer function, number of them
        ((1, 2, 1, 1), (1, 1), 1),
        ((2, 2, 4, 6), (4, 6), 1),
        ((3, 2, 5, 7), (8, 9), 1),
        ((2, 3, 2, 3, 4), (7, 5), 3),
        ((2, 8, 16), (16, 32), 1),
    ]
    for i, (dims, size, count) in enumerate(shapes):
        g = seeded(1200 + i)
        name = "x".join(map(str, dims))
        field, angle = normal(g, *dims), normal(g, *dims[-2:])
        factors = normal(g, *([count] if count > 1 else []), 2, *size)
        cases.append({"name": name, "height": size[0], "width": size[1]})
        height, width = dims[-2:]

        def transfer(x):
            spread = torch.fft.fft2(complex_(x), s=size)
            return pair(torch.fft.ifft2(spread * complex_(factors)))[..., :height, :width]

        out[f"{name}/factors"] = factors
        run(out, f"{name}/fft2", lambda x: pair(torch.fft.fft2(complex_(x))), x=field)
        run(out, f"{name}/ifft2", lambda x: pair(torch.fft.ifft2(complex_(x))), x=field)
        run(out, f"{name}/transfer", transfer, x=field)
        run(out, f"{name}/phase", lambda x, a: pair(complex_(x) * torch.polar(torch.ones_like(a), a)), x=field, a=angle)
        other = normal(g, *dims[-3 if count == 1 else -4 :])
        run(out, f"{name}/product", lambda x, b: pair(complex_(x) * complex_(b)), x=field, b=other)
    write("fourier", out, cases=cases)


def motion():
    """Pictures seen through an affine motion, by grid_sample; coordinates (x, y) in pixels about the centre."""
    out, cases = {}, []
    motions = [  # dimensions, angle, scale, shear, shift
        ((2, 3), 0.4, 1.0, 0.0, (0.25, -0.5)),
        ((2, 6, 5), 0.0, 1.0, 0.0, (0.0, 0.0)),
        ((2, 6, 5), 0.0, 1.0, 0.0, (1.0, -2.0)),
        ((3, 7, 4), 0.3, 1.1, 0.1, (0.4, -1.3)),
        ((2, 2, 12, 9), -2.0, 0.7, 0.0, (-0.6, 0.2)),
        ((5, 8), 0.1, 1.0, -0.2, (20.0, 0.0)),
    ]
    for i, (dims, angle, scale, shear, move) in enumerate(motions):
        g = seeded(1300 + i)
        height, width = dims[-2:]
        cos, sin = np.cos(angle), np.sin(angle)
        linear = torch.tensor([[cos, sin + shear], [-sin, cos]], dtype=torch.float64) / scale

        def sample(x, linear, shift, mode):
            centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
            rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            places = torch.stack([columns, rows], dim=-1).to(torch.float64)
            places = (places - centre - shift) @ linear.T
            # From -1 to 1 between the centres of the outer pixels.
            grid = places / centre
            pictures = x.reshape(1, -1, height, width)
            moved = torch.nn.functional.grid_sample(pictures, grid[None], mode, "zeros", align_corners=True)
            return moved.reshape(x.shape)

        name = f"{'x'.join(map(str, dims))}-{i}"
        cases.append({"name": name, "kinks": angle == 0.0})
        inputs = {"x": normal(g, *dims), "linear": linear, "shift": torch.tensor(move, dtype=torch.float64)}
        for mode in ["bilinear", "nearest"]:
            run(out, f"{name}/{mode}", lambda x, linear, shift: sample(x, linear, shift, mode), **inputs)
    write("motion", out, cases=cases)


def transpose():
    """Convolutions in groups, and transposed ones."""
    out, cases = {}, []
    shapes = [  # batch, groups, channels and outputs of a group, height, width, kernel, stride, padding, output padding
        (1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0),
        (6, 1, 3, 2, 2, 2, 3, 3, 1, 1, 0),
        (6, 1, 2, 5, 2, 3, 3, 3, 2, 1, 1),
        (16, 3, 4, 8, 2, 2, 3, 3, 2, 1, 1),
        (48, 2, 2, 4, 2, 3, 3, 2, 1, 1, 0),
        (5, 2, 1, 3, 3, 4, 2, 3, 3, 0, 2),
        (34, 1, 9, 7, 2, 2, 3, 3, 1, 1, 0),
        (3, 1, 2, 1, 3, 2, 1, 1, 3, 0, 1),
        (2, 1, 2, 2, 3, 3, 5, 5, 2, 2, 0),
    ]
    for i, (b, n, c, o, h, w, kh, kw, s, p, q) in enumerate(shapes):
        g = seeded(1100 + i)
        name = f"b{b}n{n}c{c}o{o}-{h}x{w}-k{kh}x{kw}s{s}p{p}q{q}"
        cases.append({"name": name, "groups": n, "stride": s, "padding": p, "output_padding": q})
        x, weight = normal(g, b, n * c, h, w), normal(g, n * c, o, kh, kw)

        def forward(x, w, s=s, p=p, q=q, n=n):
            return torch.nn.functional.conv_transpose2d(x, w, stride=s, padding=p, output_padding=q, groups=n)

        run(out, f"transposed/{name}", forward, x=x, w=weight)
        # The convolution whose transpose this is.
        image = normal(g, *out[f"transposed/{name}/y"].shape)

        def forward(x, w, s=s, p=p, n=n):
            return torch.nn.functional.conv2d(x, w, stride=s, padding=p, groups=n)

        run(out, f"conv/{name}", forward, x=image, w=weight)
    write("transpose", out, cases=cases)


def joined(parts, networks):
    """Real images of a complex one: for each network all real parts, then all imaginary ones."""
    b, channels = parts.shape[:2]
    per = parts.reshape(b, networks, channels // networks, *parts.shape[2:])
    return torch.cat([per.real, per.imag], 2).reshape(b, 2 * channels, *parts.shape[2:])


def separate(x, networks):
    b, channels = x.shape[:2]
    re, im = x.reshape(b, networks, channels // networks, *x.shape[2:]).chunk(2, 2)
    return torch.complex(re, im).reshape(b, channels // 2, *x.shape[2:])


def complex_layers():
    """Convolutions in PyTorch's own complex arithmetic, and whitening by eigenvalues."""
    out, cases = {}, []
    for i, kind in enumerate(["parallel", "split", "sum", "transposed"]):
        n, c, o, b = 3, 2, 4, 6
        g = seeded(1200 + i)
        name = f"conv/{kind}"
        cases.append({"name": name, "kind": kind, "networks": n, "channels": c, "outputs": o})
        rows, columns = (c, o) if kind == "transposed" else (o, c)

        def forward(x, real, imag, bias):
            z = separate(x, 1 if kind == "split" else n)
            w = torch.complex(real, imag)
            bias = torch.complex(bias[:, 0], bias[:, 1])
            if kind == "transposed":
                w = w.reshape(n * c, o, 3, 3)
                y = torch.nn.functional.conv_transpose2d(z, w, bias.flatten(), 2, 1, 1, n)
                return joined(y, n)
            each = z.chunk(n, 1) if kind != "split" else [z] * n
            ys = [torch.nn.functional.conv2d(e, w[k], bias[k], stride=2, padding=1) for k, e in enumerate(each)]
            return joined(sum(ys), 1) if kind == "sum" else joined(torch.cat(ys, 1), n)

        x = normal(g, b, 2 * c * (1 if kind == "split" else n), 4, 4)
        weights = {"real": normal(g, n, rows, columns, 3, 3), "imag": normal(g, n, rows, columns, 3, 3)}
        run(out, name, forward, x=x, **weights, bias=normal(g, n, 2, o))
    for i, (b, n, c, h, w) in enumerate([(5, 1, 1, 1, 1), (4, 2, 3, 2, 3), (35, 1, 2, 1, 2)]):
        for relu in [False, True]:
            for given in [False, True]:
                g = seeded(1220 + i)
                name = f"norm/b{b}n{n}c{c}-{h}x{w}{'-relu' if relu else ''}{'-given' if given else ''}"
                cases.append({"name": name, "kind": "norm", "relu": relu, "given": given})
                factor = normal(g, n * c, 2, 2)
                # Real and imaginary parts that are correlated and of unlike size.
                pairs = torch.einsum("kij,bkjhw->bkihw", factor, normal(g, b, n * c, 2, h, w)) + normal(g, n * c, 2)[None, :, :, None, None]
                x = joined(torch.complex(pairs[:, :, 0], pairs[:, :, 1]), n).float().double()
                other = (factor @ factor.mT + 0.1 * torch.eye(2, dtype=torch.float64)).float().double()
                centre = normal(g, n * c, 2)

                def forward(x, weight, bias):
                    z = separate(x, n)
                    v = torch.stack([z.real, z.imag], 2).movedim(0, -1).reshape(n * c, 2, -1)
                    mean = v.mean(-1) if not given else centre
                    v = v - mean[:, :, None]
                    cov = v @ v.mT / v.shape[-1] if not given else other
                    values, vectors = torch.linalg.eigh(cov + 1e-5 * torch.eye(2, dtype=torch.float64))
                    white = vectors @ torch.diag_embed(values ** -0.5) @ vectors.mT @ v
                    rr, ii, ri = weight.movedim(1, 0).reshape(3, -1)
                    gain = torch.stack([rr, ri, ri, ii], 1).reshape(-1, 2, 2)
                    y = gain @ white + bias.movedim(1, 2).reshape(-1, 2)[:, :, None]
                    y = torch.relu(y) if relu else y
                    y = y.reshape(n * c, 2, h, w, b).permute(4, 0, 1, 2, 3)
                    return joined(torch.complex(y[:, :, 0], y[:, :, 1]), n)

                out |= {f"{name}/mean": centre, f"{name}/covariance": other.reshape(-1, 4)[:, [0, 3, 1]]}
                run(out, name, forward, x=x, weight=normal(g, n, 3, c), bias=normal(g, n, 2, c))
    write("complex", out, cases=cases)


def npy():
    """Arrays in NumPy's own files."""
    folder = HERE / "npy"
    folder.mkdir(exist_ok=True)
    values = np.arange(24).reshape(2, 3, 4) / 4
    both = values - 2j * values
    arrays = {
        "f8": values, "f4": values.astype(np.float32), "c16": both, "c8": both.astype(np.complex64),
        "fortran": np.asfortranarray(values), "big-endian": values.astype(">f8"),
        "scalar": np.float64(1.5), "i8": np.arange(3),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


for make in [conv, transpose, complex_layers, pool, norm, dense, loss, optim, schedule, sam, elementwise, average, fused, cascade, detect, fourier, motion, npy]:
    if not sys.argv[1:] or make.__name__.removesuffix("_layers") in sys.argv[1:]:
        make()
