"""Golden vectors of the sharpness-aware family beyond SAM, from PyTorch on the CPU in float64.

Run:  python sam_family.py        (needs torch, numpy, safetensors)

Writes sam_family.safetensors. Each method trains the two-layer net of generate.py's `sam` for 12 steps, each on a
batch of its own and at a learning rate of its own, around SGD with momentum and around Adam; METHOD/BASE/NAME is a
parameter after each step (steps, ...), METHOD/BASE/loss the losses. What follows the code of authors says so where it
does, by repository, file and function, in the order of their lines; their names are kept.
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
    """As in all of these repositories: the norm of the norms."""
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
    """juntang-zhuang/GSAM, gsam/gsam.py, class GSAM; radius of gsam/scheduler.py, ProportionScheduler."""

    def __init__(self, problem, base, rho, rho_min, alpha, max_lr, adaptive):
        self.problem, self.base = problem, base
        self.max_value, self.min_value, self.alpha, self.max_lr = rho, rho_min, alpha, max_lr
        self.adaptive, self.perturb_eps = adaptive, 1e-12

    def step(self, t):
        params = self.problem.params
        # ProportionScheduler.step with min_lr 0
        lr = self.base.param_groups[0]["lr"]
        rho = self.min_value + (self.max_value - self.min_value) * (lr - 0.0) / (self.max_lr - 0.0)
        losses = self.problem.backward(t)
        with torch.no_grad():
            # perturb_weights
            grad_norm = norm([(torch.abs(p.data) if self.adaptive else 1.0) * p.grad for p in params])
            scale = rho / (grad_norm + self.perturb_eps)
            old_g, e_ws = [], []
            for p in params:
                old_g.append(p.grad.data.clone())
                e_w = p.grad * scale
                if self.adaptive:
                    e_w *= torch.pow(p, 2)
                p.add_(e_w)
                e_ws.append(e_w)
        self.problem.backward(t)
        with torch.no_grad():
            # gradient_decompose
            inner_prod = sum(torch.sum(o * p.grad.data) for o, p in zip(old_g, params))
            new_grad_norm = norm([p.grad for p in params])
            old_grad_norm = norm(old_g)
            cosine = inner_prod / (new_grad_norm * old_grad_norm + self.perturb_eps)
            for p, o in zip(params, old_g):
                vertical = o - cosine * old_grad_norm * p.grad.data / (new_grad_norm + self.perturb_eps)
                p.grad.data.add_(vertical, alpha=-self.alpha)
            # unperturb
            for p, e_w in zip(params, e_ws):
                p.data.sub_(e_w)
        self.base.step()
        return losses.mean()


class LookSam:
    """Liu et al. (CVPR 2022), Algorithm 1; there is no code of the authors. The form of the projection and its
    1e-12 are those of MarlonBecker/MSAM, optimizer/looksam.py, move_back and update_gradient; the second 1e-12
    keeps 0 / 0 from being NaN."""

    def __init__(self, problem, base, rho, k, alpha):
        self.problem, self.base, self.rho, self.k, self.alpha = problem, base, rho, k, alpha
        self.g_v = None

    def step(self, t):
        params = self.problem.params
        losses = self.problem.backward(t)
        g = [p.grad.clone() for p in params]
        if t % self.k == 0:
            old = [p.detach().clone() for p in params]
            with torch.no_grad():
                scale = self.rho / (norm(g) + 1e-12)
                for p, gradient in zip(params, g):
                    p.add_(gradient * scale)
            self.problem.backward(t)
            with torch.no_grad():
                # g_v = g_s - |g_s| cos(theta) g / |g|
                scalar_product = sum((p.grad * gradient).sum() for p, gradient in zip(params, g))
                self.g_v = [p.grad - scalar_product / (norm(g) ** 2 + 1e-12) * gradient for p, gradient in zip(params, g)]
                for p, value in zip(params, old):
                    p.copy_(value)
        else:
            # g_s = g + alpha |g| / |g_v| g_v
            factor = self.alpha * norm(g) / (norm(self.g_v) + 1e-12)
            for p, g_v in zip(params, self.g_v):
                p.grad.add_(factor * g_v)
        self.base.step()
        return losses.mean()


class FriendlySam:
    """nblt/F-SAM, utils.py, class FriendlySAM."""

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
                grad = p.grad.clone()
                if i not in self.momentum:
                    self.momentum[i] = grad
                else:
                    p.grad -= self.momentum[i] * self.sigma
                    self.momentum[i] = self.momentum[i] * self.lmbda + grad * (1 - self.lmbda)
            grad_norm = norm([(torch.abs(p) if self.adaptive else 1.0) * p.grad for p in params])
            scale = self.rho / (grad_norm + 1e-12)
            old_p = [p.data.clone() for p in params]
            for p in params:
                e_w = (torch.pow(p, 2) if self.adaptive else 1.0) * p.grad * scale
                p.add_(e_w)
        self.problem.backward(t)
        # second_step
        with torch.no_grad():
            for p, old in zip(params, old_p):
                p.copy_(old)
        self.base.step()
        return losses.mean()


class Esam:
    """dydjw9/Efficient_SAM, utils/Esam.py, class ESAM. There, second_step freezes each parameter with probability
    1 - beta for the gradient of the next step, which first_step then unfreezes; here the parameters that are not
    frozen are those of MASKS."""

    def __init__(self, problem, base, rho, beta, gamma, adaptive):
        self.problem, self.base = problem, base
        self.rho, self.beta, self.gamma, self.adaptive = rho, beta, gamma, adaptive

    def step(self, t):
        params = self.problem.params
        l_before = self.problem.backward(t)
        with torch.no_grad():
            # first_step; a frozen parameter has no gradient
            for p, kept in zip(params, MASKS[t]):
                if not kept:
                    p.grad = None
            moving = [p for p in params if p.grad is not None]
            grad_norm = norm([(torch.abs(p) if self.adaptive else 1.0) * p.grad for p in moving])
            scale = self.rho / (grad_norm + 1e-7) / self.beta
            e_ws = []
            for p in moving:
                e_w = (torch.pow(p, 2) if self.adaptive else 1.0) * p.grad * scale
                p.add_(e_w * 1)
                e_ws.append(e_w)
            # step
            l_after = self.problem.losses(t)
            instance_sharpness = l_after - l_before
            prob = self.gamma
            if prob >= 0.99:
                indices = torch.arange(BATCH)
            else:
                position = int(BATCH * prob)
                cutoff, _ = torch.topk(instance_sharpness, position)
                cutoff = cutoff[-1]
                indices = torch.nonzero(instance_sharpness > cutoff).flatten()
        assert len(indices) >= 2
        self.problem.backward(t, indices)
        with torch.no_grad():
            # second_step
            for p, e_w in zip(moving, e_ws):
                p.sub_(e_w)
        self.base.step()
        return l_before.mean()


class MsamSgd:
    """MarlonBecker/MSAM, optimizer/msam.py, class MSAM, with momentum and no weight decay."""

    def __init__(self, problem, base, rho):
        self.problem, self.base, self.rho = problem, base, rho
        self.momentum = base.param_groups[0]["momentum"]
        self.buffers = [torch.zeros_like(p) for p in problem.params]
        self.inverse_norm_buffer = 0

    def step(self, t):
        losses = self.problem.backward(t)
        lr = self.base.param_groups[0]["lr"]
        with torch.no_grad():
            for p, buf in zip(self.problem.params, self.buffers):
                p.add_(buf, alpha=float(self.rho * self.inverse_norm_buffer))
                buf.mul_(self.momentum).add_(p.grad)
                p.add_(buf, alpha=-lr)
            ascent_norm = norm(self.buffers)
            self.inverse_norm_buffer = 1 / (ascent_norm + 1e-12)
            for p, buf in zip(self.problem.params, self.buffers):
                p.sub_(buf, alpha=float(self.rho * self.inverse_norm_buffer))
        return losses.mean()

    def unperturbed(self):
        """move_back_from_momentumAscent, which leaves the parameters as they are here."""
        factor = self.rho * self.inverse_norm_buffer
        return [(p + buf * factor).detach() for p, buf in zip(self.problem.params, self.buffers)]


class MsamAdam:
    """MarlonBecker/MSAM, optimizer/adamW_msam.py, adamW_msam, without weight decay."""

    def __init__(self, problem, base, rho):
        self.problem, self.base, self.rho = problem, base, rho
        self.beta1, self.beta2 = base.param_groups[0]["betas"]
        self.eps = base.param_groups[0]["eps"]
        self.exp_avgs = [torch.zeros_like(p) for p in problem.params]
        self.exp_avg_sqs = [torch.zeros_like(p) for p in problem.params]
        self.norm_factor = 0.0

    def step(self, t):
        losses = self.problem.backward(t)
        lr, step = self.base.param_groups[0]["lr"], t + 1
        with torch.no_grad():
            for p, exp_avg, exp_avg_sq in zip(self.problem.params, self.exp_avgs, self.exp_avg_sqs):
                bias_correction1 = 1 - self.beta1**step
                bias_correction2 = 1 - self.beta2**step
                p.add_(exp_avg, alpha=float(self.norm_factor))
                exp_avg.mul_(self.beta1).add_(p.grad, alpha=1 - self.beta1)
                exp_avg_sq.mul_(self.beta2).addcmul_(p.grad, p.grad, value=1 - self.beta2)
                denom = (exp_avg_sq.sqrt() / bias_correction2**0.5).add_(self.eps)
                p.addcdiv_(exp_avg, denom, value=-lr / bias_correction1)
            self.norm_factor = 1 / (norm(self.exp_avgs) + 1e-12) * self.rho
            for p, exp_avg in zip(self.problem.params, self.exp_avgs):
                p.sub_(exp_avg, alpha=float(self.norm_factor))
        return losses.mean()

    def unperturbed(self):
        return [(p + m * self.norm_factor).detach() for p, m in zip(self.problem.params, self.exp_avgs)]


class Asam:
    """SamsungLabs/ASAM, asam.py, class ASAM: ascent_step and descent_step. What is called a weight there is so here."""

    def __init__(self, problem, base, rho, eta):
        self.problem, self.base, self.rho, self.eta = problem, base, rho, eta

    def step(self, t):
        params = list(self.problem.p.items())
        losses = self.problem.backward(t)
        old = [p.detach().clone() for _, p in params]
        with torch.no_grad():
            wgrads, sizes = [], {}
            for n, p in params:
                if n.startswith("w"):
                    sizes[n] = torch.abs(p).add(self.eta)
                    p.grad.mul_(sizes[n])
                wgrads.append(torch.norm(p.grad, p=2))
            wgrad_norm = torch.norm(torch.stack(wgrads), p=2) + 1.0e-16
            for n, p in params:
                if n in sizes:
                    p.grad.mul_(sizes[n])
                p.add_(p.grad.clone().mul_(self.rho / wgrad_norm))
        self.problem.backward(t)
        with torch.no_grad():
            for (_, p), value in zip(params, old):
                p.copy_(value)
        self.base.step()
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
