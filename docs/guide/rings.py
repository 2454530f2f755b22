"""Makes rings.csv: tuning curves of four rings that nobody built, as a lab might measure them. Run it in this folder."""

import random

random.seed(2026)
# Current at resonance in mA, half-width in mA, depth.
RINGS = {"a1": (4.10, 0.52, 1.92), "a2": (3.95, 0.49, 1.95), "b1": (4.05, 0.55, 1.88), "b2": (3.88, 0.50, 1.93)}
BEND = 0.004  # the heater's resistance rises with its heat, in 1/mA^2


def weight(milliamp, centre, half_width, depth):
    heat = milliamp**2 - centre**2
    u = heat * (1 + BEND * heat) / (2 * centre * half_width)
    return 1 - depth / (1 + u * u) + random.gauss(0, 0.01)


with open("rings.csv", "w") as file:
    print("Current (mA)", *RINGS, sep=",", file=file)
    for step in range(61):
        milliamp = 0.1 * step
        print(f"{milliamp:.1f}", *(f"{weight(milliamp, *ring):.4f}" for ring in RINGS.values()), sep=",", file=file)
