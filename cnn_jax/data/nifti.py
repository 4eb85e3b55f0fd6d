"""NIfTI-1 files (.nii, .nii.gz), in which volumes of magnetic resonance are kept, as arrays."""

import gzip
import struct
import zlib

import numpy as np

HEADER = 348  # bytes, which are also what the first number in it is
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}


def read_nifti(data: bytes) -> np.ndarray:
    """The values of a file held in memory as they are stored, [x, y, z, ...] by the axes of its header.

    Raises ValueError, going on from "the file", for what is no whole file of this kind, for numbers of another type,
    and for values that the header says to scale.
    """
    try:
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error):
        raise ValueError("is damaged: it cannot be decompressed") from None
    order = {struct.pack("<i", HEADER): "<", struct.pack(">i", HEADER): ">"}.get(data[:4], "")
    if not order or len(data) < HEADER or data[344:347] != b"n+1":
        raise ValueError("is no NIfTI-1 file with its values in it")
    count, *lengths = struct.unpack_from(f"{order}8h", data, 40)
    (kind,) = struct.unpack_from(f"{order}h", data, 70)
    start, slope, intercept = struct.unpack_from(f"{order}3f", data, 108)
    shape = tuple(lengths[:count])
    if not 1 <= count <= 7 or min(shape) < 1 or not HEADER <= start <= len(data):
        raise ValueError(f"has a header that makes no sense: dim {count} {lengths}, vox_offset {start}")
    if kind not in TYPES:
        raise ValueError(f"has numbers of the type {kind}, none of {', '.join(map(str, TYPES))}")
    if (slope, intercept) not in ((0.0, 0.0), (1.0, 0.0)):  # a slope of 0 says that nothing is scaled
        raise ValueError(f"has values that are to be scaled by {slope} and {intercept}")
    values = np.dtype(order + TYPES[kind])
    size = int(np.prod(shape, dtype=object))
    if len(data) - int(start) < size * values.itemsize:
        raise ValueError(f"is cut off: {size:,} values are missing a part")
    found = np.frombuffer(data, values, size, int(start)).reshape(shape, order="F")
    return found.astype(values.newbyteorder("="), copy=False)
