"""An instrument that does what none should; the first argument says what."""

import os
import struct
import subprocess
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

# The second argument is a file. It counts starts, for instruments that recover.
FILE = sys.argv[2] if len(sys.argv) > 2 else None
starts = 0
if MODE in ("recovers", "limits"):
    try:
        starts = int(open(FILE).read())
    except FileNotFoundError:
        pass
    with open(FILE, "w") as file:
        file.write(str(starts + 1))
if MODE == "limits":
    # Narrower with the second process, wider than at first with the third.
    limit = [1.0, 0.2, 2.0][min(starts, 2)]
    controls = [pnn.Control("detuning", "nm", SHAPE, -limit, limit)]
if MODE == "strict":
    controls = [pnn.Control("detuning", "nm", SHAPE, 3.5260833019274203, 3.9)]
if MODE == "layers":
    controls = {"fc": controls, "fc3": controls}.__getitem__
if MODE in ("helper", "escapes"):
    # Keeps the pipes and takes no SIGTERM.
    sleeps = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(30)"
    helper = subprocess.Popen([sys.executable, "-c", sleeps], start_new_session=MODE == "escapes")
    with open(FILE, "a") as file:
        print(helper.pid, file=file)
if MODE.startswith("pictures"):
    controls = [pnn.Control("detuning", "nm", (2, 1, 2, 2))]


def cool_down():
    with open(FILE, "a") as file:
        file.write("cooling ")
    time.sleep(0.4)
    with open(FILE, "a") as file:
        file.write("cold ")


measures = 0


def answer(x, settings, shot):
    global measures
    measures += 1
    if MODE == "limits" and (starts, measures) in [(0, 1), (1, 2)]:
        os._exit(7)
    if MODE in ("echo", "limits"):
        return np.resize(settings["detuning"], (x.shape[0], 2))
    if MODE == "strict":
        # As numbers, not as those of the type in which they came.
        beyond = [v for v in settings["detuning"].ravel().tolist() if not controls[0].low <= v <= controls[0].high]
        if beyond:
            raise ValueError(f"{beyond} nm would burn me through")
    if MODE == "chatty":
        print("from Python")
        os.write(1, b"from a library\n")
        subprocess.run(["echo", "from a helper"])
    if MODE == "shots":
        return np.full((x.shape[0], 2), float(shot % 1000003))
    if MODE in ("hangs", "helper", "escapes", "heated, hangs"):
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
    if MODE == "outputs":
        return np.zeros((x.shape[0], 6))
    if MODE.startswith("pictures"):
        batch, channels, height, width = x.shape
        return np.zeros((batch, 3 if "3" in MODE else 2, height - 1, width - 1))
    if MODE == "rank":
        return np.zeros((x.shape[0], 2, 1))
    return x @ np.ones((3, 2))


def named(x, settings, shot, layer):
    return np.full((x.shape[0], 2), float(len(layer)))


pnn.serve(
    "a bad instrument",
    controls,
    named if MODE == "layers" else answer,
    on_shutdown=cool_down if MODE.startswith("heated") else None,
)
