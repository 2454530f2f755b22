"""A simulated mesh of Mach-Zehnder interferometers, rectangular (Clements et al., Optica 3, 1460, 2016), read by powers over their 2-norm.

    python3 simulated_mesh.py --ports 16 --phase-rad 0.15 --splitter 0.15 --noise 0.001

It stands for pnn_devices::mzi::MziMesh::published(16). It stands in for a lab: a chip of its own (`--seed`), whose phases lie off and whose splitters are not even, and readings with noise. An interferometer is
diag(exp(i phi), 1) B diag(exp(i theta/2), exp(-i theta/2)) B with B = [[sqrt(1+e), i sqrt(1-e)], [i sqrt(1-e), sqrt(1+e)]] / sqrt 2.
"""

import argparse
import sys

import numpy as np
from pnn_instrument import Control, serve


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ports", type=int, required=True)
    parser.add_argument("--idle-phase-rad", type=float, default=-np.pi / 2, help="of a port without interferometer in a column")
    parser.add_argument("--phase-rad", type=float, default=0.0, help="standard deviation of theta and phi")
    parser.add_argument("--splitter", type=float, default=0.0, help="standard deviation of the splitters' e")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation of a reading")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    ports, count = args.ports, args.ports * (args.ports - 1) // 2
    chip = np.random.default_rng([args.seed, 1])
    theta_error, phi_error = args.phase_rad * chip.normal(size=(2, count))
    left, right = np.clip(args.splitter * chip.normal(size=(2, count)), -0.9, 0.9)

    def split(a, b, e):
        stay, cross = np.sqrt((1 + e) / 2), 1j * np.sqrt((1 - e) / 2)
        return stay * a + cross * b, cross * a + stay * b

    def measure(x, controls, shot):
        kind, x = x.dtype, x.astype("f8")
        light = x if x.ndim == 2 else x[:, 0] + 1j * x[:, 1]
        light = light * np.exp(1j * controls["gamma"].astype("f8"))
        theta = controls["theta"].astype("f8") + theta_error
        phi = controls["phi"].astype("f8") + phi_error
        first = 0
        for column in range(ports):
            top, pairs = column % 2, (ports - column % 2) // 2
            upper, lower = slice(top, top + 2 * pairs, 2), slice(top + 1, top + 2 * pairs, 2)
            cells = slice(first, first + pairs)
            a, b = split(light[:, upper], light[:, lower], left[cells])
            a, b = a * np.exp(0.5j * theta[cells]), b * np.exp(-0.5j * theta[cells])
            a, b = split(a, b, right[cells])
            light = light * np.exp(1j * args.idle_phase_rad)
            light[:, upper], light[:, lower] = a * np.exp(1j * phi[cells]), b
            first += pairs
        power = np.abs(light) ** 2
        y = power / np.linalg.norm(power, axis=1, keepdims=True)
        if args.noise > 0.0:
            y += np.random.default_rng([args.seed, 2, shot]).normal(0.0, args.noise, y.shape)
        return y.astype(kind)

    print(f"simulated mesh of {ports} ports", file=sys.stderr)
    controls = [Control("theta", "rad", (count,)), Control("phi", "rad", (count,)), Control("gamma", "rad", (ports,))]
    serve("simulated mesh", controls, measure)


if __name__ == "__main__":
    main()
