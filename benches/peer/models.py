"""The networks of the workloads as PyTorch modules, with the parameter names of the pnn crates."""

import torch
from torch import nn
from torch.nn import functional as F

HALF_WIDTH_NM = 0.15
# Where pnn lets the optimizer move the settings of a ring.
BOUNDS = {"detuning": (-4.0, 4.0), "weight": (-0.999, 0.999)}


def lorentzian(detuning):
    """The weight of a ring at a detuning in nm."""
    return 1 - 2 / (1 + (detuning / HALF_WIDTH_NM).square())


class MrrBank(nn.Module):
    """A bank of microrings whose weights are trained, or the detunings that give them."""

    def __init__(self, control, *shape):
        super().__init__()
        self.control = control
        self.register_parameter(control, nn.Parameter(torch.empty(shape)))
        self.bias = nn.Parameter(torch.empty(shape[0]))

    def weights(self):
        return lorentzian(self.detuning) if self.control == "detuning" else self.weight


class MrrLinear(MrrBank):
    def __init__(self, control, inputs, outputs):
        super().__init__(control, outputs, inputs)

    def forward(self, x):
        return F.linear(x, self.weights(), self.bias)


class MrrConv2d(MrrBank):
    def __init__(self, control, inputs, outputs, kernel, padding):
        super().__init__(control, outputs, inputs, kernel, kernel)
        self.padding = padding

    def forward(self, x):
        return F.conv2d(x, self.weights(), self.bias, padding=self.padding)


class LeNet5(nn.Module):
    """LeNet-5 with batch-norm, all five layers of weights made of microrings."""

    def __init__(self, control):
        super().__init__()
        self.conv1 = MrrConv2d(control, 1, 6, 5, 2)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv2 = MrrConv2d(control, 6, 16, 5, 0)
        self.norm2 = nn.BatchNorm2d(16)
        self.fc1 = MrrLinear(control, 400, 120)
        self.norm3 = nn.BatchNorm1d(120)
        self.fc2 = MrrLinear(control, 120, 84)
        self.norm4 = nn.BatchNorm1d(84)
        self.fc3 = MrrLinear(control, 84, 10)

    def bounded(self):
        banks = [m for m in self.modules() if isinstance(m, MrrBank)]
        return [getattr(bank, bank.control) for bank in banks], BOUNDS[banks[0].control]

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        x = F.relu(self.norm3(self.fc1(x.flatten(1))))
        x = F.relu(self.norm4(self.fc2(x)))
        return self.fc3(x)


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet18(nn.Module):
    """ResNet-18 for CIFAR: a 3x3 stem without pooling, then blocks of width, 2, 4 and 8 times it."""

    def __init__(self, width, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self.stage(width, width, 1)
        self.layer2 = self.stage(width, 2 * width, 2)
        self.layer3 = self.stage(2 * width, 4 * width, 2)
        self.layer4 = self.stage(4 * width, 8 * width, 2)
        self.fc = nn.Linear(8 * width, classes)

    @staticmethod
    def stage(inputs, outputs, stride):
        return nn.Sequential(BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Multiplier(nn.Module):
    """Weights as pictures on a modulator, which is seen turned by nearest neighbours: filters of `side` x
    `side` in 3 x 4 tiles of 32 x 30 pixels, every column shown twice."""

    HEIGHT, WIDTH = 96, 240

    def __init__(self, side, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, side * side))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.side = side
        self.pictures = -(-outputs // 12)
        # Where a filter's pixel stands in the pictures, and where a pixel of a picture has its weight from.
        number = torch.arange(outputs)[:, None, None]
        tile, y, x = number % 12, torch.arange(side)[None, :, None], torch.arange(side)[None, None, :]
        row = tile // 4 * 32 + (32 - side) // 2 + y
        column = 2 * (tile % 4 * 30 + (30 - side) // 2 + x)
        first = ((number // 12 * self.HEIGHT + row) * self.WIDTH + column).flatten()
        self.register_buffer("first", first, persistent=False)

    def turned(self, degrees):
        """The weights that the inputs meet."""
        flat = self.weight.flatten()
        shape = (self.pictures, self.HEIGHT * self.WIDTH)
        picture = flat.new_zeros(shape[0] * shape[1])
        picture = picture.index_copy(0, self.first, flat).index_copy(0, self.first + 1, flat).view(shape)
        angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
        cx, cy = (self.WIDTH - 1) / 2, (self.HEIGHT - 1) / 2
        y = torch.arange(self.HEIGHT, dtype=torch.float64)[:, None] - cy
        x = torch.arange(self.WIDTH, dtype=torch.float64)[None, :] - cx
        sin, cos = angle.sin(), angle.cos()
        column = (cos * x + sin * y + cx).float().round().long().flatten()
        row = (-sin * x + cos * y + cy).float().round().long().flatten()
        inside = (column >= 0) & (column < self.WIDTH) & (row >= 0) & (row < self.HEIGHT)
        place = (row * self.WIDTH + column).clamp(0, self.HEIGHT * self.WIDTH - 1)
        seen = picture.index_select(1, place) * inside
        return seen.flatten().index_select(0, self.first).view_as(self.weight)

    def forward(self, x, degrees=0.0):
        return F.linear(x, self.turned(degrees) if degrees else self.weight, self.bias)


class FreeSpaceMlp(nn.Module):
    """784-144-sigmoid-10, the first modulator turned."""

    def __init__(self, degrees):
        super().__init__()
        self.fc1, self.fc2 = Multiplier(28, 144), Multiplier(12, 10)
        self.degrees = degrees

    def bounded(self):
        return [self.fc1.weight, self.fc2.weight], (-1.0, 1.0)

    def forward(self, x):
        return self.fc2(torch.sigmoid(self.fc1(x.flatten(1), self.degrees)))


class Optics(nn.Module):
    def __init__(self):
        super().__init__()
        self.phase = nn.Parameter(torch.empty(2, 128, 128))


class D2nn(nn.Module):
    """The nonlinear diffractive network: 5 mm, lens, 4 mm, mask, absorber, 2 mm, mask, absorber, 4 mm, lens,
    5 mm, ten detectors; 128 x 128 pixels of 2 um, 532 nm, f = 5 mm."""

    N, PITCH, WAVELENGTH, FOCUS = 128, 2e-6, 532e-9, 5e-3

    def __init__(self):
        super().__init__()
        self.optics = Optics()
        f = torch.fft.fftfreq(self.N, self.PITCH, dtype=torch.float64)
        squared = self.WAVELENGTH**-2 - f[:, None] ** 2 - f[None, :] ** 2
        kz = 2 * torch.pi * torch.complex(squared, torch.zeros_like(squared)).sqrt()
        for millimetres in (2, 4, 5):
            transfer = torch.exp(1j * kz * millimetres * 1e-3).to(torch.complex64)
            self.register_buffer(f"space{millimetres}", transfer, persistent=False)
        x = (torch.arange(self.N, dtype=torch.float64) - self.N // 2) * self.PITCH
        square = x[:, None] ** 2 + x[None, :] ** 2
        lens = torch.exp(-1j * torch.pi / (self.WAVELENGTH * self.FOCUS) * square).to(torch.complex64)
        self.register_buffer("lens", lens, persistent=False)
        regions = torch.zeros(10, self.N, self.N)
        corners = [(32 + 27 * r, 32 + a * c) for r, (k, a) in enumerate([(3, 27), (4, 18), (3, 27)]) for c in range(k)]
        for region, (top, left) in zip(regions, corners):
            region[top : top + 9, left : left + 9] = 1
        self.register_buffer("regions", regions.flatten(1).T.contiguous(), persistent=False)

    @staticmethod
    def propagate(field, transfer):
        return torch.fft.ifft2(torch.fft.fft2(field) * transfer)

    @staticmethod
    def absorb(field):
        intensity = field.real.square() + field.imag.square()
        kept = F.relu(intensity - intensity.mean((1, 2), keepdim=True) / 2)
        return field * torch.where(kept > 0, kept / torch.where(kept > 0, intensity, 1.0), 1.0).sqrt() * (kept > 0)

    def forward(self, images):
        large = F.interpolate(images, (64, 64), mode="bilinear", align_corners=False)
        field = F.pad(large[:, 0].sqrt(), (32, 32, 32, 32)).to(torch.complex64)
        field = self.propagate(self.propagate(field, self.space5) * self.lens, self.space4)
        angle = 2 * torch.pi * self.optics.phase
        mask = torch.complex(angle.cos(), angle.sin())
        field = self.propagate(self.absorb(field * mask[0]), self.space2)
        field = self.propagate(self.absorb(field * mask[1]), self.space4)
        field = self.propagate(field * self.lens, self.space5)
        powers = (field.real.square() + field.imag.square()).flatten(1) @ self.regions
        return powers / powers.sum(1, keepdim=True)


def build(network, recipe):
    """`network` is "lenet5", "free_space", "d2nn" or {"resnet18": {"width": w}}."""
    if network == "lenet5":
        return LeNet5(recipe["train"].removesuffix("s"))
    if network == "free_space":
        noise, = recipe["strategy"]["nat"]["noise"]
        return FreeSpaceMlp(noise["source"]["misalignment"]["spread"]["fixed"])
    if network == "d2nn":
        return D2nn()
    return ResNet18(network["resnet18"]["width"])
