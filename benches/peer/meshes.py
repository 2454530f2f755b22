"""Rectangular meshes of interferometers in PyTorch: as neurophox 0.1.0a4 does them, and faster."""

import math
import time

import torch
from tensors import part, save
from torch.nn import functional as F

# At most so many passes come before the clock starts in each round.
WARM_UP = 3


def polar(phase):
    return torch.polar(torch.ones_like(phase), phase)


def pair(z):
    return torch.stack([z.real, z.imag])


def times(a, b):
    """The product of complex numbers kept as pairs (2, ...)."""
    return torch.stack([a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]])


class Mesh:
    """Of an even number of ports; light is a complex tensor (batch, ports)."""

    def __init__(self, ports):
        columns, rows = torch.arange(ports), torch.arange(ports // 2)
        used = 2 * rows + 1 + columns[:, None] % 2 < ports
        self.used = used.to(torch.float32)
        self.ports = ports
        self.column = self.mix

    def columns(self, theta, phi):
        """What stays in each port and what crosses into it: (columns, ports) of complex numbers."""
        # Where there is no interferometer neurophox has one in the bar state.
        theta = theta * self.used + (1 - self.used) * math.pi
        phi = phi * self.used + (1 - self.used) * math.pi
        upper, sin, cos = polar(phi), torch.sin(theta / 2), torch.cos(theta / 2)
        stay = torch.stack([1j * upper * sin, -1j * sin], -1).flatten(-2)
        cross = torch.stack([1j * upper * cos, 1j * cos], -1).flatten(-2)
        return stay, cross

    def through(self, x, columns):
        """Sends x through all columns; ports roll by one between them, and return in the end."""
        stay, cross = columns
        columns = zip(stay.unbind(), cross.unbind())
        for number, (stay, cross) in enumerate(columns):
            x = self.column(x, stay, cross, self.roll(number))
        return x.roll(self.roll(self.ports), -1)

    def roll(self, column):
        """By how much ports roll before a column, or after the last one."""
        if column == self.ports:
            return 1 - column % 2
        return (1 if column % 2 == 0 else -1) if column else 0

    @staticmethod
    def mix(x, stay, cross, roll):
        """A column, whose pairs are neighbours once ports have rolled."""
        x = x.roll(roll, -1)
        return x * stay + x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2) * cross

    def as_neurophox(self, light, gamma, columns):
        """Pairs of real tensors (2, batch, ports), whose ports are permuted by index."""
        ports = torch.arange(self.ports)
        swapped = ports.unflatten(0, (-1, 2)).flip(-1).flatten()
        stay, cross = (pair(column).unsqueeze(2) for column in columns)
        cross = cross[..., swapped]
        x = times(torch.stack([light, torch.zeros_like(light)]), pair(polar(gamma)).unsqueeze(1))
        for number in range(self.ports):
            if self.roll(number):
                x = x[..., ports.roll(self.roll(number))]
            x = times(x, stay[:, number]) + times(x, cross[:, number])[..., swapped]
        return x[..., ports.roll(self.roll(self.ports))]

    def powers(self, light, gamma, columns, product):
        """The powers of what leaves the mesh; `product` of the light and its matrix, or a way through it."""
        if product == "neurophox":
            return self.as_neurophox(light, gamma, columns).square().sum(0)
        if product == "real":
            matrix = self.through(torch.diag(polar(gamma)), columns)
            out = light @ torch.view_as_real(matrix).flatten(1)
            return out.unflatten(1, (-1, 2)).square().sum(-1)
        if product == "complex":
            out = light.to(torch.complex64) @ self.through(torch.diag(polar(gamma)), columns)
        else:
            out = self.through(light * polar(gamma), columns)
        return out.real.square() + out.imag.square()


class Passes:
    """Forward and backward passes: mean squared error of normalised powers, gradients of phases and light."""

    def __init__(self, workload, tensors, variant):
        settings = workload["network"]["mesh"]
        product = "real" if variant.endswith("real_product") else "complex"
        self.product = {"materialised": product, "neurophox": "neurophox"}.get(settings["peer"])
        self.mesh = Mesh(settings["ports"])
        initial = part(tensors, "initial/")
        self.parameters = {name: value.requires_grad_() for name, value in initial.items()}
        self.wanted = tensors["wanted"]
        if variant.startswith("compile"):
            # Column by column: all of them in one graph take more than ten minutes to compile.
            self.mesh.column = torch.compile(self.mesh.column, dynamic=False)
        self.step()

    def loss(self, theta, phi, gamma, light):
        powers = self.mesh.powers(light, gamma, self.mesh.columns(theta, phi), self.product)
        return F.mse_loss(F.normalize(powers, dim=1), self.wanted)

    def step(self):
        for parameter in self.parameters.values():
            parameter.grad = None
        loss = self.loss(**self.parameters)
        loss.backward()
        return loss.detach()

    def check(self, gradients):
        loss = self.step().item()
        save(gradients, {name: parameter.grad for name, parameter in self.parameters.items()})
        return {"losses": [loss]}

    def round(self, n):
        for _ in range(min(n, WARM_UP)):
            self.step()
        start = time.perf_counter()
        for _ in range(n):
            loss = self.step()
        loss.item()
        return time.perf_counter() - start
