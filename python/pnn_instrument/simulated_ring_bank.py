"""A simulated bank of microrings with noise, drift and latency: y = x W^T, W = 1 - 2 / (1 + (detuning / g)^2).

    python3 simulated_ring_bank.py --inputs 8 --outputs 4 --shift-nm 0.05 --noise 0.01

It stands for pnn_devices::mrr::MrrLinear::new(8, 4), a linear layer set by detunings in nm, whose rings do not disturb each other. It is not the WdmBank of
docs/guide, whose heaters are set in mA and whose rings act on each other's light and heat: see docs/hardware-protocol.md for what such a program has to say.

It stands in for a lab: a chip of its own (`--seed`), whose resonances lie off by `--shift-nm`, and readings with noise. Noise is drawn from the
seed and from what is asked, so the same question has the same answer.
"""

import argparse
import sys
import time

import numpy as np
from pnn_instrument import Control, serve


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--outputs", type=int, required=True)
    parser.add_argument("--half-width-nm", type=float, default=0.15)
    parser.add_argument("--shift-nm", type=float, default=0.0, help="standard deviation of the resonances")
    parser.add_argument("--drift-nm", type=float, default=0.0, help="a shift that all rings share")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation of a reading")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    shape = (args.outputs, args.inputs)
    chip = np.random.default_rng([args.seed, 1]).normal(0.0, 1.0, shape) * args.shift_nm + args.drift_nm

    def measure(x, controls, shot):
        time.sleep(args.latency_ms / 1000)
        detuning = controls["detuning"].astype("f8") + chip
        weights = 1.0 - 2.0 / (1.0 + (detuning / args.half_width_nm) ** 2)
        y = x.astype("f8") @ weights.T
        if args.noise > 0.0:
            y += np.random.default_rng([args.seed, 2, shot]).normal(0.0, args.noise, y.shape)
        return y.astype(x.dtype)

    print(f"simulated ring bank of {args.inputs} x {args.outputs}", file=sys.stderr)
    serve("simulated ring bank", [Control("detuning", "nm", shape, -4.0, 4.0)], measure)


if __name__ == "__main__":
    main()
