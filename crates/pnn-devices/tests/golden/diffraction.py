"""Golden vectors for free space in pnn-devices, from PyTorch's FFT in double precision on the CPU.

Run:  python diffraction.py        (needs torch, numpy, safetensors)

Writes diffraction.safetensors beside this script. For each case: `field` and `g` (2, height, width), real and
imaginary parts, exact in float32; `y`, the field after the distance; `dfield`, the gradient of sum(g y) in the field. The
formula is kz = sqrt((2 pi)^2 (1/lambda^2 - fx^2 - fy^2)), imaginary when evanescent (Xu et al., Nat. Commun. 17, 1766,
2026: without padding and band limit), and with both Matsushima and Shimobaba, Opt. Express 17, 19662 (2009).
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
torch.set_num_threads(1)

CASES = [  # height, width, pitch, wavelength, distance, padded and band-limited
    (32, 32, 2e-6, 532e-9, 5e-3, False),
    (12, 17, 0.2e-6, 532e-9, 1e-6, False),  # evanescent waves
    (15, 20, 2e-6, 633e-9, 0.2e-3, True),
    (16, 16, 2e-6, 532e-9, 4e-3, True),  # most of the band is left out
]


def propagate(field, pitch, wavelength, distance, padded):
    height, width = field.shape
    rows, columns = (2 * height, 2 * width) if padded else (height, width)
    fy = torch.fft.fftfreq(rows, pitch, dtype=torch.float64)[:, None]
    fx = torch.fft.fftfreq(columns, pitch, dtype=torch.float64)[None, :]
    kz = torch.sqrt(((2 * np.pi) ** 2 * (1 / wavelength**2 - fx**2 - fy**2)).to(torch.complex128))
    h = torch.exp(1j * kz * distance)
    if padded:
        limit = lambda count: 1 / (wavelength * np.sqrt((2 * distance / (count * pitch)) ** 2 + 1))
        h = h * (fy.abs() <= limit(rows)) * (fx.abs() <= limit(columns))
    return torch.fft.ifft2(torch.fft.fft2(field, s=(rows, columns)) * h)[:height, :width]


tensors, cases = {}, []
for number, (height, width, pitch, wavelength, distance, padded) in enumerate(CASES):
    random = torch.Generator().manual_seed(number)
    normal = lambda: torch.randn((2, height, width), generator=random, dtype=torch.float32).to(torch.float64)
    field, g = normal().requires_grad_(), normal()
    y = torch.view_as_real(propagate(torch.complex(field[0], field[1]), pitch, wavelength, distance, padded))
    y = y.movedim(-1, 0)
    (dfield,) = torch.autograd.grad(y, field, g)
    name = f"{height}x{width}-{number}"
    cases.append({"name": name, "pitch": pitch, "wavelength": wavelength, "distance": distance, "padded": padded})
    for key, value in {"field": field, "g": g, "y": y, "dfield": dfield}.items():
        tensors[f"{name}/{key}"] = np.array(value.detach().numpy(), order="C")

facts = {"cases": json.dumps(cases), "torch": torch.__version__, "numpy": np.__version__, "script": "diffraction.py"}
# pnn_core::store keeps metadata as one sorted JSON map under the key `pnn`.
save_file(tensors, HERE / "diffraction.safetensors", {"pnn": json.dumps(facts, sort_keys=True)})
