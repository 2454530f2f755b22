"""The instrument's side of pnn's hardware protocol (docs/hardware-protocol.md): standard library and numpy only.

A lab imports `serve` and gives it two things: what can be set, and a function that sets it and reads what comes out.

    from pnn_instrument import Control, serve

    def measure(x, controls, shot):
        ...                             # program controls["detuning"], send x, read y
        return y                        # (batch, outputs)

    serve("ring bank, lab 2", [Control("detuning", "nm", (4, 8), -4.0, 4.0)], measure)

Nothing else may write to standard output: print(..., file=sys.stderr).
"""

import json
import struct
import sys
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


def serve(instrument, controls, measure):
    """Answers until it is told to stop, or its input ends.

    `measure(x, controls, shot)` gets the inputs (batch, ...), the settings by name, and a whole number that is the same whenever
    the same is asked (a seed for simulated noise); it returns what was read, (batch, ...). What it raises goes back as an error.
    """
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    described = json.dumps([control.described() for control in controls])
    while True:
        kind, payload = read_frame(source)
        if kind == SHUTDOWN or payload is None:
            return
        words, tensors = decode(payload)
        answer = {"id": words["id"]}
        if kind == HELLO:
            answer.update(instrument=instrument, controls=described)
            write_frame(sink, DESCRIBED, encode(answer, {}))
            continue
        try:
            settings = {name[len("control."):]: value for name, value in tensors.items() if name.startswith("control.")}
            y = np.asarray(measure(tensors["x"], settings, int(words["shot"], 16)))
            write_frame(sink, MEASURED, encode(answer, {"y": y}))
        except Exception as error:  # the other side decides whether to ask again
            traceback.print_exc()
            write_frame(sink, FAILED, encode({**answer, "message": f"{type(error).__name__}: {error}"}, {}))
