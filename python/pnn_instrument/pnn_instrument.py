"""The instrument's side of pnn's hardware protocol (docs/hardware-protocol.md): standard library and numpy only.

A lab imports `serve` and gives it two things: what can be set, and a function that sets it and reads what comes out.

    from pnn_instrument import Control, serve

    def measure(x, controls, shot):
        ...                             # program controls["detuning"], send x, read y
        return y                        # (batch, outputs)

    serve("ring bank, lab 2", [Control("detuning", "nm", (4, 8), -4.0, 4.0)], measure)

Standard output is for frames. While `serve` runs, what anything else writes there goes to standard error; before, print(..., file=sys.stderr).
"""

import inspect
import json
import os
import signal
import struct
import sys
import threading
import traceback

import numpy as np

MAGIC = b"PNNH"
PROTOCOL = 1
HELLO, DESCRIBED, MEASURE, MEASURED, FAILED, SHUTDOWN = 1, 2, 3, 4, 5, 6
HEADER = struct.Struct("<4sHHQ")  # magic, version, kind, length of the payload
TYPES = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "U32": np.dtype("<u4")}


class Control:
    """Something that can be set: its name, its unit, the shape of its values and what they may be (None: no limit)."""

    def __init__(self, name, unit, shape, low=None, high=None):
        self.name, self.unit, self.shape, self.low, self.high = name, unit, tuple(shape), low, high

    def described(self):
        return {"name": self.name, "unit": self.unit, "shape": list(self.shape), "low": self.low, "high": self.high}


def encode(words, tensors):
    """A payload: a safetensors file whose metadata have one entry, "pnn", a JSON object of words."""
    header, data = {"__metadata__": {"pnn": json.dumps(words, sort_keys=True)}}, b""
    for name, array in sorted(tensors.items()):
        array = np.ascontiguousarray(array)
        kind = next((k for k, dtype in TYPES.items() if dtype == array.dtype), None)
        if kind is None:
            kind, array = "F64", array.astype("<f8")
        raw = array.tobytes()
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def decode(payload):
    """The words and the arrays of a payload."""
    (length,) = struct.unpack_from("<Q", payload)
    header = json.loads(payload[8 : 8 + length])
    words = json.loads(header.pop("__metadata__", {}).get("pnn", "{}"))
    data, tensors = payload[8 + length :], {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[start:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return words, tensors


def read_exactly(stream, count):
    parts = b""
    while len(parts) < count:
        part = stream.read(count - len(parts))
        if not part:
            return None
        parts += part
    return parts


def read_frame(stream):
    header = read_exactly(stream, HEADER.size)
    if header is None:
        return SHUTDOWN, b""
    magic, version, kind, length = HEADER.unpack(header)
    if magic != MAGIC or version != PROTOCOL:
        raise RuntimeError(f"no frame of version {PROTOCOL}: {header!r}")
    return kind, read_exactly(stream, length)


def write_frame(stream, kind, payload):
    stream.write(HEADER.pack(MAGIC, PROTOCOL, kind, len(payload)) + payload)
    stream.flush()


class Terminated(BaseException):
    """SIGTERM came: raised wherever the program is, for `serve` to end."""


class Serving:
    """While it lasts, standard output leads to standard error, for Python, libraries in C and helpers alike, and SIGTERM raises `Terminated` once."""

    def __enter__(self):
        self.over = False
        self.stdout, self.number = sys.stdout, sys.stdout.fileno()
        self.sink = os.fdopen(os.dup(self.number), "wb")
        os.dup2(sys.stderr.fileno(), self.number)
        self.stdout.flush()  # what was printed before and not yet written
        sys.stdout = sys.stderr
        # Python takes signals in its main thread only.
        self.signals = threading.current_thread() is threading.main_thread()
        if self.signals:
            self.before = signal.signal(signal.SIGTERM, self.terminate)
        return self

    def terminate(self, *_):
        if not self.over:
            self.over = True
            raise Terminated

    def __exit__(self, *_):
        if self.signals:
            signal.signal(signal.SIGTERM, self.before or signal.SIG_DFL)
        sys.stdout = self.stdout
        self.stdout.flush()
        os.dup2(self.sink.fileno(), self.number)
        try:
            self.sink.close()
        except OSError:  # nobody reads any more
            pass


def takes_layer(measure):
    try:
        return "layer" in inspect.signature(measure).parameters
    except (TypeError, ValueError):  # not all functions in C say what they take
        return False


def serve(instrument, controls, measure, on_shutdown=None):
    """Answers until it is told to stop, its input ends, or SIGTERM comes.

    `measure(x, controls, shot)` gets the inputs (batch, ...), the settings by name, and a whole number that is the same whenever
    the same is asked (a seed for simulated noise); it returns what was read, (batch, ...). What it raises goes back as an error.

    `on_shutdown()` is called once, at the end, however it came about: to bring heaters down and to close instruments. SIGTERM
    interrupts a measurement that is under way (`Terminated` is raised inside `measure`), not what `on_shutdown` does. Who needs longer
    than `shutdown_timeout_s` (5 s by default) is killed.

    One script may serve several layers, each in a process of its own: `controls` may be a function of the layer's name, and a `measure`
    that has an argument called `layer` gets the name.
    """
    with Serving() as serving:
        try:
            try:
                answer_all(instrument, controls, measure, serving)
            finally:
                serving.over = True
        except Terminated:
            print("ends: SIGTERM", file=sys.stderr)
        finally:
            if on_shutdown is not None:
                on_shutdown()


def answer_all(instrument, controls, measure, serving):
    source, sink = sys.stdin.buffer, serving.sink
    layer, named = "", takes_layer(measure)
    while not serving.over:  # it is over where `measure` kept `Terminated` to itself
        kind, payload = read_frame(source)
        if kind == SHUTDOWN or payload is None:
            return
        words, tensors = decode(payload)
        answer = {"id": words["id"]}
        try:
            if kind == HELLO:
                layer = words.get("layer", "")
                described = [control.described() for control in (controls(layer) if callable(controls) else controls)]
                answer.update(instrument=instrument, controls=json.dumps(described))
                write_frame(sink, DESCRIBED, encode(answer, {}))
                continue
            settings = {name[len("control."):]: value for name, value in tensors.items() if name.startswith("control.")}
            more = {"layer": layer} if named else {}
            y = np.asarray(measure(tensors["x"], settings, int(words["shot"], 16), **more))
            write_frame(sink, MEASURED, encode(answer, {"y": y}))
        except Exception as error:  # the other side decides whether to ask again
            traceback.print_exc()
            write_frame(sink, FAILED, encode({"id": words["id"], "message": f"{type(error).__name__}: {error}"}, {}))
