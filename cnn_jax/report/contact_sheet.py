"""Many small pictures in one: filters, feature maps, visualised units, patches that a unit answers to."""

import io

import numpy as np
from numpy.typing import NDArray

SMALLEST = 28  # pixels of the longer side of a tile, below which it is enlarged by whole numbers
GAP = 2
PAPER = 255


def sheet(tiles: np.ndarray, *, signed: bool = False, columns: int = 0) -> NDArray[np.uint8]:
    """Tiles [N, h, w], [N, h, w, C] or, of signals, [N, L, C], as one picture uint8 [H, W, 3].

    Bytes, and floats in [0, 1] that are not `signed`, with 3 channels are colours; of other channels the mean is
    taken. Other numbers are scaled tile by tile: grey from the smallest to the largest, or, where `signed`, blue below
    0, white at 0 and orange above. columns: 0 for as many as rows, about.
    """
    tiles = np.asarray(tiles)
    if tiles.ndim == 3 and tiles.shape[-1] <= 4 < tiles.shape[1]:  # signals as strips
        tiles = np.repeat(tiles.mean(-1)[:, None], 8, 1)
    coloured = np.stack([_coloured(tile, signed) for tile in tiles])
    count, height, width, _ = coloured.shape
    times = max(-(-SMALLEST // max(height, width)), 1)
    coloured = coloured.repeat(times, 1).repeat(times, 2)
    columns = columns or int(np.ceil(np.sqrt(count * height / width)))
    rows = -(-count // columns)
    tall, wide = coloured.shape[1] + GAP, coloured.shape[2] + GAP
    picture = np.full((rows * tall + GAP, columns * wide + GAP, 3), PAPER, np.uint8)
    for number, tile in enumerate(coloured):
        top, left = GAP + number // columns * tall, GAP + number % columns * wide
        picture[top : top + tall - GAP, left : left + wide - GAP] = tile
    return picture


def png(picture: NDArray[np.uint8]) -> bytes:
    """A picture [H, W, 3] as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _coloured(tile: np.ndarray, signed: bool) -> NDArray[np.uint8]:
    if tile.ndim == 3 and tile.shape[-1] == 3:
        if tile.dtype == np.uint8:
            return tile
        if signed:
            return np.rint(255 * (0.5 + tile / (2 * max(np.abs(tile).max(), 1e-12)))).astype(np.uint8)
        if 0 <= tile.min() and tile.max() <= 1:
            return np.rint(255 * tile).astype(np.uint8)
    plane = tile.astype(np.float64)
    plane = plane.mean(-1) if plane.ndim == 3 else plane
    if not signed:
        low, high = (0, 255) if tile.dtype == np.uint8 else (plane.min(), plane.max())
        grey = np.rint(255 * (plane - low) / max(high - low, 1e-12)).astype(np.uint8)
        return np.repeat(grey[..., None], 3, -1)
    share = (plane / max(np.abs(plane).max(), 1e-12))[..., None]
    ends = np.where(share > 0, [213.0, 94.0, 0.0], [0.0, 114.0, 178.0])  # of Okabe and Ito
    return np.rint(255 + np.abs(share) * (ends - 255)).astype(np.uint8)
