"""Parts of an image that are hidden or shown together: SLIC superpixels, or a grid where there are no colours."""

import numpy as np
from scipy import ndimage

ROUNDS = 10


def segments(x: np.ndarray, count: int, *, compactness: float = 0.1) -> np.ndarray:
    """[*spatial, C] -> [*spatial] int from 0: about `count` parts, each of one piece.

    SLIC (Achanta et al. 2012, doi:10.1109/TPAMI.2012.120): k-means of colour and place from centres on a
    grid, each over all positions. compactness: what a step of one cell counts, in standard deviations of the colours.
    """
    spatial = x.shape[:-1]
    spread = x.std(tuple(range(x.ndim - 1))) + 1e-12
    cell = (np.prod(spatial) / count) ** (1 / len(spatial))
    grid = [max(1, round(size / cell)) for size in spatial]
    places = np.stack(np.meshgrid(*map(np.arange, spatial), indexing="ij"), -1).reshape(-1, len(spatial))
    colours = (x / spread).reshape(-1, x.shape[-1]) / np.sqrt(x.shape[-1])
    points = np.concatenate([colours, places / cell * np.sqrt(compactness)], 1).astype(np.float32)
    found = np.ravel_multi_index(
        tuple(
            np.minimum(places[:, i] * n // size, n - 1) for i, (n, size) in enumerate(zip(grid, spatial, strict=True))
        ),
        grid,
    )
    for _ in range(ROUNDS):
        sizes = np.maximum(np.bincount(found, minlength=np.prod(grid)), 1)
        sums = [np.bincount(found, weights=column, minlength=len(sizes)) for column in points.T]
        centres = (np.stack(sums, 1) / sizes[:, None]).astype(np.float32)
        distance = (np.square(centres).sum(1) - 2 * points @ centres.T).argmin(1)
        if (distance == found).all():
            break
        found = distance
    return _in_one_piece(found.reshape(spatial))


def _in_one_piece(found: np.ndarray) -> np.ndarray:
    """Each part keeps its largest piece; what is cut off goes to the part that is nearest."""
    kept = np.full(found.shape, -1)
    for number, part in enumerate(np.unique(found)):
        pieces, count = ndimage.label(found == part)
        largest = np.bincount(pieces.ravel(), minlength=count + 1)[1:].argmax() + 1
        kept[pieces == largest] = number
    nearest = ndimage.distance_transform_edt(kept < 0, return_distances=False, return_indices=True)
    return kept[tuple(nearest)]
