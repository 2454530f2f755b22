"""The paper's SAT on the microring LeNet-5 in plain PyTorch: an independent check of the training
curve that `cargo xtask reproduce --only fig2e --profile paper` gives.

Run:  python pytorch_sat.py MNIST_FOLDER [epochs] [seed]     (needs torch and numpy)

Detunings x start at the inverse of PyTorch's usual initialisation, w(x) = 1 - 2 / (1 + (x/0.15)^2);
Adam 0.01, batch 64, ascent e = 0.5 x^2 g / |x g| over all parameters. Prints for each epoch the mean
loss at the parameters and at the ascent points, and the test accuracy in both batch-norm modes.
"""

import copy
import gzip
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HALF_WIDTH_NM, RHO = 0.15, 0.5


def read(folder, part):
    images = gzip.open(next(folder.glob(f"{part}-images*.gz"))).read()
    labels = gzip.open(next(folder.glob(f"{part}-labels*.gz"))).read()
    images = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    labels = np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)
    return torch.tensor(images).float() / 255, torch.tensor(labels)


def weight(x):
    return 1 - 2 / (1 + (x / HALF_WIDTH_NM) ** 2)


class LeNet5(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)
        self.norm1, self.norm2 = nn.BatchNorm2d(6), nn.BatchNorm2d(16)
        self.norm3, self.norm4 = nn.BatchNorm1d(120), nn.BatchNorm1d(84)
        for layer in (self.conv1, self.conv2, self.fc1, self.fc2, self.fc3):
            w = layer.weight.data
            layer.weight.data = HALF_WIDTH_NM * torch.sqrt((1 + w) / (1 - w))

    def forward(self, x):
        x = F.conv2d(x, weight(self.conv1.weight), self.conv1.bias, padding=2)
        x = F.max_pool2d(F.relu(self.norm1(x)), 2)
        x = F.conv2d(x, weight(self.conv2.weight), self.conv2.bias)
        x = F.max_pool2d(F.relu(self.norm2(x)), 2).flatten(1)
        x = F.relu(self.norm3(F.linear(x, weight(self.fc1.weight), self.fc1.bias)))
        x = F.relu(self.norm4(F.linear(x, weight(self.fc2.weight), self.fc2.bias)))
        return F.linear(x, weight(self.fc3.weight), self.fc3.bias)


def main():
    torch.set_num_threads(1)  # another number rounds differently, and the curve parts after some steps
    folder = Path(sys.argv[1])
    epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    torch.manual_seed(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    images, labels = read(folder, "train")
    test_images, test_labels = read(folder, "t10k")
    net = LeNet5()
    params = list(net.parameters())
    adam = torch.optim.Adam(params, lr=0.01)
    for epoch in range(epochs):
        net.train()
        losses = []
        for batch in torch.randperm(len(images)).split(64):
            adam.zero_grad()
            loss = F.cross_entropy(net(images[batch]), labels[batch])
            loss.backward()
            with torch.no_grad():
                norm = torch.stack([(p.abs() * p.grad).norm() for p in params]).norm()
                before = [p.data.clone() for p in params]
                for p in params:
                    p.add_(p.pow(2) * p.grad * (RHO / (norm + 1e-12)))
            adam.zero_grad()
            ascent = F.cross_entropy(net(images[batch]), labels[batch])
            ascent.backward()
            for p, value in zip(params, before):
                p.data = value
            adam.step()
            losses.append((loss.item(), ascent.item()))
        with torch.no_grad():
            frozen = copy.deepcopy(net).eval()
            running = (frozen(test_images).argmax(1) == test_labels).float().mean()
            frozen.train()
            right = [(frozen(x).argmax(1) == y).sum() for x, y in zip(test_images.split(100), test_labels.split(100))]
        loss, ascent = np.mean(losses, 0)
        print(
            f"epoch {epoch + 1}: loss {loss:.4f}, at the ascent points {ascent:.4f}, accuracy "
            f"{100 * running:.2f} % (running), {sum(right) / 100:.2f} % (batches of 100)",
            flush=True,
        )


main()
