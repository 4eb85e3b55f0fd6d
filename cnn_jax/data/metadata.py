"""What image files say beside their pixels: taken out where it is damaged, and asked for the value that is white."""

import struct

from PIL import Image

PNG, WEBP = b"\x89PNG\r\n\x1a\n", (b"RIFF", b"WEBP")
PALETTE, TRANSPARENCY = b"PLTE", b"tRNS"
JPEG_NOTES = (*range(0xE0, 0xF0), 0xFE)  # APP0 to APP15 and comments
ADOBE, ADOBE_BYTES = 0xEE, 16  # the one of them that says how colours are stored, and its least length
WEBP_NOTES, WEBP_FLAGS = (b"EXIF", b"ICCP", b"XMP "), 0x2C  # and the bits by which its header announces them
BITS, PHOTOMETRIC, WHITEST, KIND = 258, 262, 281, 339  # tags of TIFF: BitsPerSample, ..., MaxSampleValue, SampleFormat
SIGNED = 2  # the kind of numbers that goes below 0


def without_metadata(data: bytes) -> bytes:
    """A PNG, JPEG or WebP file with what is needed to read its pixels alone; other data as they are."""
    if data.startswith(PNG):
        return _png(data)
    if (data[:4], data[8:12]) == WEBP:
        parts = [
            part[:8] + bytes([part[8] & ~WEBP_FLAGS & 0xFF]) + part[9:] if kind == b"VP8X" and len(part) > 8 else part
            for kind, part in _chunks(data, 12, "<4sI", 0)
            if kind not in WEBP_NOTES
        ]
        body = b"WEBP" + b"".join(parts)
        return b"RIFF" + struct.pack("<I", len(body)) + body
    return _jpeg(data) if data.startswith(b"\xff\xd8") else data


def says_white(picture: Image.Image, data: bytes) -> int:
    """The value that is white in an image of 16-bit grey which Pillow has opened, 0 where the file does not say.

    A netpbm file says it, and Pillow then scales to 16 bits; so does a PNG that says how many of the bits are
    significant (the values fill 16 bits all the same). A TIFF may say the greatest value, or that it has 12 bits.
    """
    if picture.format == "PPM":
        return 65535
    if picture.format == "PNG":
        return 65535 if any(kind == b"sBIT" for kind, _ in _chunks(data, 8, ">I4s", 4, b"IDAT")) else 0
    if picture.format != "TIFF":
        return 0
    tags = picture.tag_v2  # type: ignore[attr-defined]
    values = [tags.get(WHITEST, 0), tags.get(BITS, 0)]
    greatest, bits = (value[0] if isinstance(value, tuple) and value else value for value in values)
    if isinstance(greatest, int) and 0 < greatest < 65535:
        return greatest
    return 2**bits - 1 if isinstance(bits, int) and 8 < bits < 16 else 0


def white_is_zero(picture: Image.Image) -> bool:
    """Whether great values are dark, which Pillow regards in TIFF of 8 bits only."""
    return picture.format == "TIFF" and picture.tag_v2.get(PHOTOMETRIC) == 0  # type: ignore[attr-defined]


def is_signed(picture: Image.Image) -> bool:
    """Whether values may be below 0, which Pillow reads as if they were not in TIFF of 8 bits."""
    kind = picture.tag_v2.get(KIND, 0) if picture.format == "TIFF" else 0  # type: ignore[attr-defined]
    return SIGNED in (kind if isinstance(kind, tuple) else (kind,))


def _chunks(data: bytes, start: int, head: str, extra: int, end: bytes = b"") -> list[tuple[bytes, bytes]]:
    """(kind, all its bytes) of the chunks from `start` on, up to the kind `end`; a last one may be cut short."""
    found: list[tuple[bytes, bytes]] = []
    while start + 8 <= len(data):
        fields = struct.unpack_from(head, data, start)
        kind, length = fields if isinstance(fields[0], bytes) else fields[::-1]
        if kind == end:
            break
        stop = start + 8 + length + (extra or length % 2)  # a checksum, or padding to an even length
        found.append((kind, data[start:stop]))
        start = stop
    return found


def _png(data: bytes) -> bytes:
    """Without what the standard calls ancillary, by a small first letter, but for transparency."""
    chunks = [(kind, part) for kind, part in _chunks(data, 8, ">I4s", 4) if kind[:1].isupper() or kind == TRANSPARENCY]
    if data[25:26] == b"\3" and PALETTE not in [kind for kind, _ in chunks]:
        return data  # its palette is damaged, which is no mere metadata
    return PNG + b"".join(part for _, part in chunks)


def _jpeg(data: bytes) -> bytes:
    parts, start = [data[:2]], 2
    while start + 4 <= len(data) and data[start] == 0xFF and data[start + 1] != 0xDA:  # up to the first scan
        stop = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if data[start + 1] not in JPEG_NOTES or (data[start + 1] == ADOBE and stop - start >= ADOBE_BYTES):
            parts.append(data[start:stop])
        start = stop
    return b"".join(parts) + data[start:]
