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


def build(network, control):
    """`network` is "lenet5" or {"resnet18": {"width": w}}."""
    if network == "lenet5":
        return LeNet5(control)
    return ResNet18(network["resnet18"]["width"])
