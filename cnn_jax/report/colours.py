"""A colour for each class, the same in every figure, told apart as far as that goes with any common colour vision."""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cnn_jax.report.figures import BLUE, GREEN, ORANGE

# The first are those of Okabe and Ito (2008) without black; each further one is the furthest from all before it.
FIRST = (ORANGE, "#56B4E9", "#E69F00", GREEN, "#CC79A7", "#F0E442", BLUE)
LIGHTNESS = (25.0, 92.0)  # CIELAB: neither lost on black nor on white
CHROMA = 25.0  # at least, or a tint would be lost on grey pictures
STEPS = 15  # values of red, green and blue from which colours are taken

# Linear RGB as it is seen without one of the three cones (Machado, Oliveira and Fernandes 2009, severity 1).
VISIONS = np.array(
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)
WEIGHTS = (1.0, 2.0, 2.0, 2.0)  # of distances as each sees them: the others have fewer colours to go round
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # of linear sRGB
WHITE = TO_XYZ.sum(1)


def colours_of(labels: Sequence[int]) -> list[str]:
    """A colour for each class, by its number, as #RRGGBB."""
    table = palette()
    return ["#" + bytes(table[label % len(table)].tolist()).hex() for label in labels]


@functools.cache
def palette() -> NDArray[np.uint8]:
    """The colours [256, 3] of classes by their number, all of them different."""
    levels = np.linspace(0, 255, STEPS).round()
    known = np.array([[int(text[k : k + 2], 16) for k in (1, 3, 5)] for text in FIRST])
    others = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    light, *chroma = lab(others).T
    others = others[(light > LIGHTNESS[0]) & (light < LIGHTNESS[1]) & (np.hypot(*chroma) > CHROMA)]
    colours = np.concatenate([known, others])
    seen = np.stack([w * lab(colours, vision) for w, vision in zip(WEIGHTS, VISIONS, strict=True)])
    nearest, taken = np.full(len(colours), np.inf), list[int]()
    for number in range(256):
        chosen = number if number < len(known) else int(nearest.argmax())
        taken.append(chosen)
        nearest = np.minimum(nearest, np.linalg.norm(seen - seen[:, [chosen]], axis=-1).min(0))
    return colours[taken].astype(np.uint8)


def lab(colours: NDArray, vision: NDArray = VISIONS[0]) -> NDArray[np.float64]:
    """Colours [N, 3] of 0 to 255 in CIELAB, as a vision [3, 3] of VISIONS sees them."""
    values = np.asarray(colours) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    ratio = np.clip(linear @ vision.T, 0, 1) @ TO_XYZ.T / WHITE
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)
