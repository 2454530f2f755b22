"""The largest eigenvalue of the Hessian of a trained network by PyHessian (Yao et al., 2020, PyPI: PyHessian 0.1)."""

import time

import torch
from models import build
from tensors import part
from torch.nn import functional as F

# The relative change at which its power iteration stops. Its default of 1e-3 takes a product more than 1 % needs: of five
# starts on a network as timed, all were within 0.3 % with this.
TOLERANCE = 1e-2


class LambdaMax:
    """`hessian(...).eigenvalues()` over all images, batch by batch, with running statistics."""

    def __init__(self, workload, tensors, variant):
        try:
            from pyhessian import hessian
        except ImportError as error:
            raise ImportError(f"{error} (pip install pyhessian)") from error
        self.hessian = hessian
        self.model = build(workload["network"], workload["recipe"]).eval()
        self.model.load_state_dict(part(tensors, "initial/"), strict=False)
        images, labels = tensors["images"], tensors["labels"]
        if variant.endswith("channels_last"):
            self.model = self.model.to(memory_format=torch.channels_last)
            images = images.to(memory_format=torch.channels_last)
        batch = workload["task"]["lambda_max"]["batch"]
        self.batches = list(zip(images.split(batch), labels.split(batch)))
        torch.manual_seed(0)

    def find(self):
        made = self.hessian(self.model, F.cross_entropy, dataloader=self.batches, cuda=False)
        return made.eigenvalues(tol=TOLERANCE)[0][0]

    def check(self, gradients):
        return {"lambda_max": self.find()}

    def round(self, n):
        start = time.perf_counter()
        for _ in range(n):
            self.find()
        return time.perf_counter() - start
