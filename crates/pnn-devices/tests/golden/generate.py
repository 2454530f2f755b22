"""Golden vectors for the meshes of pnn-devices, from neurophox (Pai et al., Phys. Rev. Applied 11, 064044, 2019).

Run:  python generate.py        (needs neurophox 0.1.0a4, which needs tensorflow; numpy, safetensors)

Writes neurophox.safetensors beside this script. Tensors are named `case/tensor`, in float64, all from
neurophox's NumPy backend, the only one that computes in float64 and with different errors in both splitters:

    theta, phi (columns, ports / 2) and gamma (ports)   phases in rad; entries without interferometer are noise
    left, right (columns, ports / 2)                    splitter errors, drawn by neurophox
    re, im (ports, ports)                               its matrix, from input (row) to output (column)

A butterfly permutes the ports between its columns and leaves them so: its tensors are sorted here, the
interferometers of a column by their first port, and outputs by port. Cases are listed in the metadata.
"""

import json
import os
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

import numpy as np

# The butterfly stacks generators, which NumPy has ceased to take.
hstack = np.hstack
np.hstack = lambda parts: hstack(list(parts))

from importlib.metadata import version

from neurophox.meshmodel import ButterflyMeshModel, RectangularMeshModel, TriangularMeshModel
from neurophox.numpy.generic import MeshNumpy, MeshPhases
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
# Standard deviation of the splitter errors: the most that neurophox's own seed draws stays below 1.
SPLITTER_ERROR = 0.15


def model(layout, ports, basis, errors):
    settings = {"basis": basis, "bs_error": SPLITTER_ERROR if errors else 0.0}
    if layout == "butterfly":
        made = ButterflyMeshModel(ports.bit_length() - 1, **settings)
    else:
        made = {"rectangular": RectangularMeshModel, "triangular": TriangularMeshModel}[layout](ports, **settings)
    # Errors from a fixed seed, others in the second splitters.
    made.testing = made.use_different_errors = True
    return made


def case(layout, ports, basis, errors, rng):
    made = model(layout, ports, basis, errors)
    shape = (made.num_layers, ports // 2)
    theta, phi = rng.uniform(0, np.pi, shape), rng.uniform(0, 2 * np.pi, shape)
    gamma = rng.uniform(0, 2 * np.pi, ports)
    phases = MeshPhases(theta, phi, gamma, made.mask, basis)
    left, right = made.mzi_error_matrices
    assert max(np.abs(left).max(), np.abs(right).max()) < 1
    matrix = np.diag(phases.input_phase_shift_layer)
    for layer in MeshNumpy(made).mesh_layers(phases, use_different_errors=True):
        matrix = layer.transform(matrix)
    grids = {"theta": theta, "phi": phi, "left": left, "right": right}
    if layout == "butterfly":
        at = np.arange(ports)
        for column in range(made.num_layers):
            at = at[made.perm_idx[column]]
            order = np.argsort(at[::2])
            assert (at[1::2] - at[::2] == 2**column).all()
            for grid in grids.values():
                grid[column] = grid[column][order]
        matrix = matrix[:, np.argsort(at[made.perm_idx[-1]])]
    return grids | {"gamma": gamma, "re": matrix.real, "im": matrix.imag}


def main():
    out, cases = {}, []
    rng = np.random.default_rng(1)
    grid = [("rectangular", n) for n in (2, 5, 8, 13, 64)] + [("triangular", n) for n in (2, 5, 8, 13, 32)]
    for layout, ports in grid + [("butterfly", n) for n in (2, 8, 32)]:
        for basis in ("bloch", "sm"):
            for errors in (False, True):
                # The large ones once each.
                if ports >= 32 and errors == (basis == "sm"):
                    continue
                name = f"{layout}-{ports}-{basis}{'-errors' if errors else ''}"
                found = case(layout, ports, basis, errors, rng)
                out |= {f"{name}/{k}": np.ascontiguousarray(v) for k, v in found.items()}
                cases.append({"name": name, "layout": layout, "ports": ports, "basis": basis})
    facts = {"cases": json.dumps(cases), "script": "generate.py"}
    facts |= {name: version(name) for name in ("neurophox", "numpy")}
    # pnn_core::store keeps metadata as one sorted JSON map under the key `pnn`.
    metadata = {"pnn": json.dumps(facts, sort_keys=True)}
    save_file(out, HERE / "neurophox.safetensors", metadata)


if __name__ == "__main__":
    main()
