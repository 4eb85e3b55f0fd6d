"""Larger maps from the same weights: dilation in place of the last strides, for dense prediction ("a trous").

Chen et al. 2017, arXiv:1706.05587, section 3.1. A network whose last map has 1 / 32 of the image's size is run so that
no map has less than 1 / 16 or 1 / 8. A layer that gives up its stride of 2 keeps every position, and what follows it
leaves out every second one. So the maps of the strided network are every second or fourth position of those of the
dilated one, up to the borders. They are not where a layer looks at a whole map, as squeeze-and-excitation does, and
with TensorFlow's padding (EfficientNet-Lite) they begin at another position.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax

OUTPUT_STRIDES = (8, 16, 32)


class Sampling(NamedTuple):
    """Which positions the layers of a stage read.

    strides: of its first block. before: dilation of the layer that has the stride, or had it. after: of all behind it.
    """

    strides: int
    before: int
    after: int

    def of_block(self, i: int) -> "Sampling":
        """The same for block i of the stage alone, from 0: only the first has the stride."""
        return self if i == 0 else Sampling(1, self.after, self.after)


def dilated(strides: Sequence[int], output_stride: int) -> list[Sampling]:
    """What becomes of stages with these strides where no map may have a larger stride than `output_stride`.

    The layer whose stride goes keeps the dilation from before it, as in torchvision's `replace_stride_with_dilation`
    and the authors' code: before the stride nothing is left out yet.

    Args:
      strides: of all stages in order, with what stands before them.
      output_stride: 8 or 16; 32 leaves the network as it is.

    Raises:
      ValueError: another `output_stride`.
    """
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride {output_stride} is not one of {', '.join(map(str, OUTPUT_STRIDES))}")
    stages, reached, dilation = [], 1, 1
    for step in strides:
        if output_stride < max(OUTPUT_STRIDES) and reached * step > output_stride:
            stages.append(Sampling(1, dilation, dilation * step))
            dilation *= step
        else:
            stages.append(Sampling(step, dilation, dilation))
            reached *= step
    return stages


def stride_between(x: jax.Array, y: jax.Array) -> int:
    """The stride, a power of two, of what made y [B, *small, D] of x [B, *large, C]; from 6 positions on it is exact.

    For a stem that is injected, and may follow the size of the image.
    """
    return int(2 ** round(math.log2(max(x.shape[1:-1]) / max(y.shape[1:-1]))))
