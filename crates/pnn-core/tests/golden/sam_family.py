"""Golden vectors of the sharpness-aware family beyond SAM, from PyTorch on the CPU in float64.

Run:  python sam_family.py        (needs torch, numpy, safetensors)

Writes sam_family.safetensors. Each method trains the two-layer net of generate.py's `sam` for 12 steps, each
on a batch of its own and at a learning rate of its own, around SGD with momentum and around Adam;
METHOD/BASE/NAME is a parameter after each step (steps, ...), METHOD/BASE/loss the losses. SAM itself is in
generate.py, SAF and MESA are in pnn-train's generate_trajectory.py.

What follows the code of authors says so where it does: the class names the paper, the repository, the file,
the first 12 digits of the commit and the lines; a comment such as `# 84` or `# 23-24` beside a step names the
lines of that file, at that commit, which it reproduces. Their names are kept. Left out everywhere: loops over
parameter groups, parameters without a gradient, running statistics, and what synchronises processes.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
STEPS, BATCH = 12, 12
NAMES = ["b1", "b2", "w1", "w2"]  # in the order of the names, as ParamSet has them
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

# What `Esam::mask` draws with beta 0.6 from Seed::new(601).index(step) for the four parameters.
MASKS = [
    [1, 1, 0, 1],
    [1, 0, 0, 1],
    [0, 1, 0, 0],
    [1, 0, 1, 1],
    [1, 1, 0, 0],
    [1, 0, 0, 1],
    [0, 0, 1, 1],
    [1, 1, 0, 1],
    [0, 1, 0, 1],
    [1, 1, 1, 1],
    [1, 0, 1, 1],
    [1, 1, 0, 1],
]


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(torch.float64)


def norm(tensors):
    """As in all of these repositories: the norm of the norms.

    GSAM's gsam.py 102-122, F-SAM's utils.py 486-496, ESAM's Esam.py 123-136, MSAM's msam.py 83-88,
    adamW_msam.py 158-164 and looksam.py 130-138 and 140-152, ASAM's asam.py 26-27, at the commits of the
    classes below.
    """
    return torch.norm(torch.stack([t.norm(p=2) for t in tensors]), p=2)


class Problem:
    def __init__(self, x, labels, start):
        self.x, self.labels = x, labels
        self.p = {k: start[k].clone().requires_grad_() for k in NAMES}
        self.params = list(self.p.values())

    def losses(self, t, indices=slice(None)):
        p = self.p
        hidden = torch.sigmoid(self.x[t][indices] @ p["w1"].T + p["b1"])
        logits = hidden @ p["w2"].T + p["b2"]
        return torch.nn.functional.cross_entropy(logits, self.labels[t][indices], reduction="none")

    def backward(self, t, indices=slice(None)):
        for p in self.params:
            p.grad = None
        losses = self.losses(t, indices)
        losses.mean().backward()
        return losses.detach()


class Gsam:
    """Zhuang et al. (ICLR 2022), Algorithm 1.

    juntang-zhuang/GSAM, gsam/gsam.py at bab6bbe65612, class GSAM, 41-85 and 153-188; the radius is that of
    gsam/scheduler.py at 07de043bea5c, class ProportionScheduler, 24-31 (with the one rate here for the list
    of rates there), and of the authors' code in JAX, google-research/big_vision,
    big_vision/trainers/proj/gsam/gsam.py at 0a83553c7915, 72-75.
    """

    def __init__(self, problem, base, rho, rho_min, alpha, max_lr, adaptive):
        self.problem, self.base = problem, base
        self.max_value, self.min_value, self.alpha, self.max_lr = rho, rho_min, alpha, max_lr
        self.adaptive, self.perturb_eps = adaptive, 1e-12

    def step(self, t):
        params = self.problem.params
        # scheduler.py 26 and 28, with min_lr 0
        lr = self.base.param_groups[0]["lr"]
        rho = self.min_value + (self.max_value - self.min_value) * (lr - 0.0) / (self.max_lr - 0.0)
        losses = self.problem.backward(t)  # 162
        with torch.no_grad():
            # perturb_weights, called in 165
            grad_norm = norm([(torch.abs(p.data) if self.adaptive else 1.0) * p.grad for p in params])  # 42
            scale = rho / (grad_norm + self.perturb_eps)  # 44
            old_g, e_ws = [], []
            for p in params:
                old_g.append(p.grad.data.clone())  # 48
                e_w = p.grad * scale  # 49
                if self.adaptive:  # 50
                    e_w *= torch.pow(p, 2)  # 51
                p.add_(e_w)  # 52
                e_ws.append(e_w)  # 53
        self.problem.backward(t)  # 171
        with torch.no_grad():
            # gradient_decompose, called in 174
            inner_prod = sum(torch.sum(o * p.grad.data) for o, p in zip(old_g, params))  # 65-71
            new_grad_norm = norm([p.grad for p in params])  # 74
            old_grad_norm = norm(old_g)  # 75
            cosine = inner_prod / (new_grad_norm * old_grad_norm + self.perturb_eps)  # 78
            for p, o in zip(params, old_g):
                vertical = o - cosine * old_grad_norm * p.grad.data / (new_grad_norm + self.perturb_eps)  # 84
                p.grad.data.add_(vertical, alpha=-self.alpha)  # 85
            # unperturb, called in 177
            for p, e_w in zip(params, e_ws):
                p.data.sub_(e_w)  # 60
        self.base.step()  # 183
        return losses.mean()


class LookSam:
    """Liu et al. (CVPR 2022), Algorithm 1; there is no code of the authors.

    The form of the projection and its 1e-12 are those of others, MarlonBecker/MSAM, optimizer/looksam.py at
    780fa4f623fe, class LookSAM, move_up, move_back, update_gradient and step, 50-128; the second 1e-12, which
    is not in it, keeps 0 / 0 from being NaN. There g_v is divided by its norm where it is made (82-88), here
    where it is used.
    """

    def __init__(self, problem, base, rho, k, alpha):
        self.problem, self.base, self.rho, self.k, self.alpha = problem, base, rho, k, alpha
        self.g_v = None

    def step(self, t):
        params = self.problem.params
        losses = self.problem.backward(t)  # 101-104
        g = [p.grad.clone() for p in params]  # 65
        if t % self.k == 0:  # 106
            old = [p.detach().clone() for p in params]
            with torch.no_grad():
                # move_up, called in 109
                scale = self.rho / (norm(g) + 1e-12)  # 51 and 55
                for p, gradient in zip(params, g):
                    p.add_(gradient * scale)  # 61 and 63
            self.problem.backward(t)  # 114 and 116
            with torch.no_grad():
                # move_back, called in 118: g_v = g_s - |g_s| cos(theta) g / |g|
                scalar_product = sum((p.grad * gradient).sum() for p, gradient in zip(params, g))  # 69
                self.g_v = [
                    p.grad - scalar_product / (norm(g) ** 2 + 1e-12) * gradient  # 70 and 79
                    for p, gradient in zip(params, g)
                ]
                for p, value in zip(params, old):
                    p.copy_(value)  # 76, which subtracts the step
        else:
            # update_gradient, called in 120: g_s = g + alpha |g| / |g_v| g_v
            factor = self.alpha * norm(g) / (norm(self.g_v) + 1e-12)  # 82, 88, 92 and 98
            for p, g_v in zip(params, self.g_v):
                p.grad.add_(factor * g_v)  # 98
        self.base.step()  # 123
        return losses.mean()


class FriendlySam:
    """Li et al. (CVPR 2024), Eq. 9, of which the average here is that of the steps before.

    nblt/F-SAM, utils.py at 39e42171c0a5, class FriendlySAM, 442-473. Its defaults (428) are rho 0.05, sigma 1
    and lmbda 0.9; the authors' train.py has lmbda 0.95 where none is given (at 08678790d938 and
    3944730f0de3), and their run.sh sets 0.95 (line 11 at 08678790d938 and e74bec1474b6) or 0.6 (line 11 at
    0cc3e1f7a2b1), with rho 0.2 and sigma 1 (lines 9 and 10) in all three.
    """

    def __init__(self, problem, base, rho, sigma, lmbda, adaptive):
        self.problem, self.base, self.rho = problem, base, rho
        self.sigma, self.lmbda, self.adaptive = sigma, lmbda, adaptive
        self.momentum = {}

    def step(self, t):
        params = self.problem.params
        losses = self.problem.backward(t)
        with torch.no_grad():
            # first_step
            for i, p in enumerate(params):
                grad = p.grad.clone()  # 447
                if i not in self.momentum:  # 448
                    self.momentum[i] = grad  # 449
                else:
                    p.grad -= self.momentum[i] * self.sigma  # 451
                    self.momentum[i] = self.momentum[i] * self.lmbda + grad * (1 - self.lmbda)  # 452
            grad_norm = norm([(torch.abs(p) if self.adaptive else 1.0) * p.grad for p in params])  # 454, 490
            scale = self.rho / (grad_norm + 1e-12)  # 456
            old_p = [p.data.clone() for p in params]  # 460
            for p in params:
                e_w = (torch.pow(p, 2) if self.adaptive else 1.0) * p.grad * scale  # 461
                p.add_(e_w)  # 462
        self.problem.backward(t)  # 483
        # second_step
        with torch.no_grad():
            for p, old in zip(params, old_p):
                p.copy_(old)  # 471
        self.base.step()  # 473
        return losses.mean()


class Esam:
    """Du et al. (ICLR 2022), Algorithm 1, which masks single weights where the code masks parameters.

    dydjw9/Efficient_SAM, utils/Esam.py at 4c84cf5467ba, class ESAM, 22-35, 53-63 and 67-120. There,
    second_step freezes each parameter with probability 1 - beta for the gradient of the next step (60-61),
    which first_step then unfreezes (28); here the parameters that are not frozen are those of MASKS.
    """

    def __init__(self, problem, base, rho, beta, gamma, adaptive):
        self.problem, self.base = problem, base
        self.rho, self.beta, self.gamma, self.adaptive = rho, beta, gamma, adaptive

    def step(self, t):
        params = self.problem.params
        l_before = self.problem.backward(t)  # 75-82
        with torch.no_grad():
            # first_step, called in 85; a frozen parameter has no gradient
            for p, kept in zip(params, MASKS[t]):
                if not kept:
                    p.grad = None
            moving = [p for p in params if p.grad is not None]  # 29
            grad_norm = norm([(torch.abs(p) if self.adaptive else 1.0) * p.grad for p in moving])  # 24, 130
            scale = self.rho / (grad_norm + 1e-7) / self.beta  # 26
            e_ws = []
            for p in moving:
                e_w = (torch.pow(p, 2) if self.adaptive else 1.0) * p.grad * scale  # 33
                p.add_(e_w * 1)  # 34
                e_ws.append(e_w)  # 35
            # step
            l_after = self.problem.losses(t)  # 89
            instance_sharpness = l_after - l_before  # 90
            prob = self.gamma  # 93
            if prob >= 0.99:  # 94
                indices = torch.arange(BATCH)  # 95
            else:
                position = int(BATCH * prob)  # 97
                cutoff, _ = torch.topk(instance_sharpness, position)  # 98
                cutoff = cutoff[-1]  # 99
                indices = torch.nonzero(instance_sharpness > cutoff).flatten()  # 104
        assert len(indices) >= 2
        self.problem.backward(t, indices)  # 115-117
        with torch.no_grad():
            # second_step, called in 118
            for p, e_w in zip(moving, e_ws):
                p.sub_(e_w)  # 57
        self.base.step()  # 63
        return l_before.mean()


class MsamSgd:
    """Becker et al. (2024, arXiv:2401.12033), Algorithm 1, with momentum and no weight decay.

    MarlonBecker/MSAM, optimizer/msam.py at 780fa4f623fe, class MSAM, 23-33 and 65-94.
    """

    def __init__(self, problem, base, rho):
        self.problem, self.base, self.rho = problem, base, rho
        self.momentum = base.param_groups[0]["momentum"]
        self.buffers = [torch.zeros_like(p) for p in problem.params]  # 30
        self.inverse_norm_buffer = 0  # 33

    def step(self, t):
        losses = self.problem.backward(t)
        lr = self.base.param_groups[0]["lr"]
        with torch.no_grad():
            for p, buf in zip(self.problem.params, self.buffers):
                p.add_(buf, alpha=float(self.rho * self.inverse_norm_buffer))  # 72
                buf.mul_(self.momentum).add_(p.grad)  # 78
                p.add_(buf, alpha=-lr)  # 80
            ascent_norm = norm(self.buffers)  # 83-88
            self.inverse_norm_buffer = 1 / (ascent_norm + 1e-12)  # 89
            for p, buf in zip(self.problem.params, self.buffers):
                p.sub_(buf, alpha=float(self.rho * self.inverse_norm_buffer))  # 94
        return losses.mean()

    def unperturbed(self):
        """move_back_from_momentumAscent (112-116), which leaves the parameters as they are here."""
        factor = self.rho * self.inverse_norm_buffer  # 116
        return [(p + buf * factor).detach() for p, buf in zip(self.problem.params, self.buffers)]


class MsamAdam:
    """As MsamSgd, along the first moment of Adam; without weight decay (154).

    MarlonBecker/MSAM, optimizer/adamW_msam.py at 780fa4f623fe, function adamW_msam, 133-169; its state is
    made in class AdamW_MSAM, 29 and 66-71.
    """

    def __init__(self, problem, base, rho):
        self.problem, self.base, self.rho = problem, base, rho
        self.beta1, self.beta2 = base.param_groups[0]["betas"]
        self.eps = base.param_groups[0]["eps"]
        self.exp_avgs = [torch.zeros_like(p) for p in problem.params]  # 69
        self.exp_avg_sqs = [torch.zeros_like(p) for p in problem.params]  # 71
        self.norm_factor = 0.0  # 29

    def step(self, t):
        losses = self.problem.backward(t)
        lr, step = self.base.param_groups[0]["lr"], t + 1  # 78
        with torch.no_grad():
            for p, exp_avg, exp_avg_sq in zip(self.problem.params, self.exp_avgs, self.exp_avg_sqs):
                bias_correction1 = 1 - self.beta1**step  # 139
                bias_correction2 = 1 - self.beta2**step  # 140
                p.add_(exp_avg, alpha=float(self.norm_factor))  # 143
                exp_avg.mul_(self.beta1).add_(p.grad, alpha=1 - self.beta1)  # 146
                exp_avg_sq.mul_(self.beta2).addcmul_(p.grad, p.grad, value=1 - self.beta2)  # 147
                denom = (exp_avg_sq.sqrt() / bias_correction2**0.5).add_(self.eps)  # 148
                p.addcdiv_(exp_avg, denom, value=-lr / bias_correction1)  # 150 and 152
            self.norm_factor = 1 / (norm(self.exp_avgs) + 1e-12) * self.rho  # 158-165
            for p, exp_avg in zip(self.problem.params, self.exp_avgs):
                p.sub_(exp_avg, alpha=float(self.norm_factor))  # 169
        return losses.mean()

    def unperturbed(self):
        # 107-111, move_back_from_momentumAscent
        return [(p + m * self.norm_factor).detach() for p, m in zip(self.problem.params, self.exp_avgs)]


class Asam:
    """Kwon et al. (ICML 2021), Eq. 8.

    SamsungLabs/ASAM, asam.py at dc9b513fde61, class ASAM, ascent_step and descent_step, 13-47; its defaults
    (5) are rho 0.5 and eta 0.01. What is called a weight there (22 and 32) is so here.
    """

    def __init__(self, problem, base, rho, eta):
        self.problem, self.base, self.rho, self.eta = problem, base, rho, eta

    def step(self, t):
        params = list(self.problem.p.items())
        losses = self.problem.backward(t)
        old = [p.detach().clone() for _, p in params]
        with torch.no_grad():
            wgrads, sizes = [], {}
            for n, p in params:
                if n.startswith("w"):  # 22
                    sizes[n] = torch.abs(p).add(self.eta)  # 23-24
                    p.grad.mul_(sizes[n])  # 25
                wgrads.append(torch.norm(p.grad, p=2))  # 26
            wgrad_norm = torch.norm(torch.stack(wgrads), p=2) + 1.0e-16  # 27
            for n, p in params:
                if n in sizes:  # 32
                    p.grad.mul_(sizes[n])  # 33
                p.add_(p.grad.clone().mul_(self.rho / wgrad_norm))  # 34-37
        self.problem.backward(t)
        with torch.no_grad():
            for (_, p), value in zip(params, old):
                p.copy_(value)  # 45, which subtracts the step
        self.base.step()  # 46
        return losses.mean()


METHODS = {
    "gsam": lambda p, o, lr: Gsam(p, o, 0.3, 0.07, 0.35, lr, False),
    "gsam-adaptive": lambda p, o, lr: Gsam(p, o, 0.6, 0.2, 0.25, lr, True),
    "looksam": lambda p, o, lr: LookSam(p, o, 0.4, 4, 0.65),
    "fsam": lambda p, o, lr: FriendlySam(p, o, 0.3, 0.75, 0.85, False),
    "fsam-adaptive": lambda p, o, lr: FriendlySam(p, o, 0.5, 0.9, 0.6, True),
    "esam": lambda p, o, lr: Esam(p, o, 0.25, 0.6, 0.5, False),
    "esam-adaptive": lambda p, o, lr: Esam(p, o, 0.4, 0.6, 0.7, True),
    "esam-all": lambda p, o, lr: Esam(p, o, 0.25, 0.6, 0.995, False),
    "msam": lambda p, o, lr: (MsamSgd if isinstance(o, torch.optim.SGD) else MsamAdam)(p, o, 0.3),
    "asam": lambda p, o, lr: Asam(p, o, 0.5, 0.01),
}


def main():
    g = torch.Generator().manual_seed(610)
    x = normal(g, STEPS, BATCH, 4)
    labels = torch.randint(0, 3, (STEPS, BATCH), generator=g)
    start = {"w1": normal(g, 5, 4), "b1": normal(g, 5), "w2": normal(g, 3, 5), "b2": normal(g, 3)}
    factors = [1 / (1 + 0.15 * t) for t in range(STEPS)]
    out = {"x": x, "labels": labels.numpy().astype(np.uint32), "factors": np.array(factors)}
    out["masks"] = np.array(MASKS, dtype=np.uint32)
    out |= {f"start/{k}": v for k, v in start.items()}
    bases = {
        "sgd": (0.05, lambda p: torch.optim.SGD(p, 0.05, momentum=0.5)),
        "adam": (0.01, lambda p: torch.optim.Adam(p, 0.01)),
    }
    for name, method in METHODS.items():
        for base, (lr, make) in bases.items():
            problem = Problem(x, labels, start)
            optimizer = make(problem.params)
            stepper = method(problem, optimizer, lr)
            losses, path = [], {k: [] for k in NAMES}
            for t in range(STEPS):
                optimizer.param_groups[0]["lr"] = lr * factors[t]
                losses.append(stepper.step(t).item())
                now = stepper.unperturbed() if hasattr(stepper, "unperturbed") else problem.params
                for k, p in zip(NAMES, now):
                    path[k].append(p.detach().clone())
            out[f"{name}/{base}/loss"] = np.array(losses)
            out |= {f"{name}/{base}/{k}": torch.stack(v) for k, v in path.items()}
    facts = {"torch": torch.__version__, "numpy": np.__version__, "script": "sam_family.py"}
    arrays = {k: np.array(v.numpy() if torch.is_tensor(v) else v, order="C") for k, v in out.items()}
    save_file(arrays, HERE / "sam_family.safetensors", {"pnn": json.dumps(facts, sort_keys=True)})


if __name__ == "__main__":
    main()
