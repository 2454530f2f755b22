"""An instrument that does what none should; the first argument says what."""

import os
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../../../python/pnn_instrument"))
import numpy as np
import pnn_instrument as pnn

MODE = sys.argv[1]
SHAPE = (2, 3)
controls = [pnn.Control("detuning", "nm", SHAPE, -1.0, 1.0)]


def out(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


if MODE == "dies":
    print("no such laser", file=sys.stderr)
    sys.exit(3)
if MODE == "silent":
    time.sleep(60)
if MODE == "prints":
    out(b"Hello, lab!     \n")
    time.sleep(60)
if MODE == "version":
    out(struct.pack("<4sHHQ", b"PNNH", 2, 2, 0))
    time.sleep(60)
if MODE == "huge":
    out(struct.pack("<4sHHQ", b"PNNH", 1, 2, 1 << 60))
    time.sleep(60)
if MODE == "truncated":
    out(struct.pack("<4sHHQ", b"PNNH", 1, 2, 100) + b"short")
    sys.exit(0)
if MODE == "garbage":
    out(struct.pack("<4sHHQ", b"PNNH", 1, 2, 8) + b"\xff" * 8)
    time.sleep(60)
if MODE == "unit":
    controls = [pnn.Control("detuning", "pm", SHAPE)]
if MODE == "shape":
    controls = [pnn.Control("detuning", "nm", (3, 2))]
if MODE == "name":
    controls = [pnn.Control("voltage", "V", SHAPE)]
if MODE == "more":
    controls.append(pnn.Control("laser", "mW", (1,)))
if MODE == "bounds":
    controls = [pnn.Control("detuning", "nm", SHAPE, 5.0, 6.0)]

# Counts starts in a file, for instruments that recover.
starts = 0
if len(sys.argv) > 2:
    try:
        starts = int(open(sys.argv[2]).read())
    except FileNotFoundError:
        pass
    with open(sys.argv[2], "w") as file:
        file.write(str(starts + 1))


def measure(x, settings, shot):
    if MODE == "echo":
        return np.broadcast_to(settings["detuning"].reshape(1, -1), (x.shape[0], 6))
    if MODE == "shots":
        return np.full((x.shape[0], 2), float(shot % 1000003))
    if MODE == "hangs":
        time.sleep(60)
    if MODE == "exits" or (MODE == "recovers" and starts < 2):
        print("the heater burnt through", file=sys.stderr)
        sys.stderr.flush()
        os._exit(7)
    if MODE == "raises":
        raise ValueError("laser 3 is off")
    if MODE == "nan":
        return np.full((x.shape[0], 2), np.nan)
    if MODE == "batch":
        return np.zeros((x.shape[0] + 1, 2))
    return x @ np.ones((3, 2))


pnn.serve("a bad instrument", controls, measure)
