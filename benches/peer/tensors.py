"""Tensors in safetensors files, without another package."""

import json
from pathlib import Path

import numpy as np
import torch

DTYPES = {"F32": np.float32, "F64": np.float64, "U32": np.uint32}


def load(path):
    """The tensors of a safetensors file: float32, and labels as int64."""
    raw = Path(path).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        array = np.frombuffer(raw[start:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        wanted = np.int64 if array.dtype == np.uint32 else np.float32
        tensors[name] = torch.from_numpy(array.astype(wanted))
    return tensors


def save(path, tensors):
    """Writes float32 tensors as a safetensors file."""
    header, parts, offset = {}, [], 0
    for name, tensor in tensors.items():
        part = tensor.contiguous().numpy().tobytes()
        offsets = [offset, offset + len(part)]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
        parts.append(part)
        offset += len(part)
    encoded = json.dumps(header).encode()
    Path(path).write_bytes(b"".join([len(encoded).to_bytes(8, "little"), encoded, *parts]))


def part(tensors, prefix):
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
