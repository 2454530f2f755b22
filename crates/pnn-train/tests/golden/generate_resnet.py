"""Golden vectors of ResNet-18 for CIFAR, from PyTorch on the CPU in float64.

Run:  python generate_resnet.py        (needs torch, numpy, safetensors)

Writes resnet18.safetensors: base width 4, 10 classes, electronic weights, 2 random images of 16x16.

    initial/NAME    parameters, exact in float32, stored as float32
    images, labels  the batch, in [0, 1] (float32), and its labels (uint32)
    logits, loss    of that batch in training mode, float64
    gradient/NAME   gradients of the mean cross-entropy, float64
    running/NAME    running statistics after one forward pass, float64
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
WIDTH = 4
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.downsample(x))


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.layer1 = nn.Sequential(Block(WIDTH, WIDTH, 1), Block(WIDTH, WIDTH, 1))
        self.layer2 = nn.Sequential(Block(WIDTH, 2 * WIDTH, 2), Block(2 * WIDTH, 2 * WIDTH, 1))
        self.layer3 = nn.Sequential(Block(2 * WIDTH, 4 * WIDTH, 2), Block(4 * WIDTH, 4 * WIDTH, 1))
        self.layer4 = nn.Sequential(Block(4 * WIDTH, 8 * WIDTH, 2), Block(8 * WIDTH, 8 * WIDTH, 1))
        self.fc = nn.Linear(8 * WIDTH, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


torch.manual_seed(11)
model = ResNet18().double()
with torch.no_grad():
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 and not name.startswith("fc"):
            # Not 1 and 0, which would hide a missing factor or term.
            low, width = (0.5, 1.0) if name.endswith("weight") else (-0.1, 0.2)
            parameter.uniform_(low, low + width)
        parameter.copy_(parameter.float().double())
initial = {name: p.detach().float() for name, p in model.named_parameters()}
images = torch.rand(2, 3, 16, 16)
labels = torch.tensor([3, 8])
logits = model(images.double())
loss = F.cross_entropy(logits, labels)
loss.backward()

out = {f"initial/{name}": value for name, value in initial.items()}
out |= {"images": images, "logits": logits, "loss": loss}
out |= {f"gradient/{name}": p.grad for name, p in model.named_parameters()}
out |= {f"running/{name}": b for name, b in model.named_buffers() if "running" in name}
arrays = {name: np.array(value.detach().numpy(), order="C") for name, value in out.items()}
arrays["labels"] = labels.numpy().astype(np.uint32)
facts = {"torch": torch.__version__, "script": "generate_resnet.py", "width": str(WIDTH)}
# pnn_core::store keeps metadata as one sorted JSON map under the key `pnn`.
save_file(arrays, HERE / "resnet18.safetensors", {"pnn": json.dumps(facts, sort_keys=True)})
