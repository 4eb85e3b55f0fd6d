"""TextCNN: one layer of convolutions over the words, and their maxima over time (Kim 2014, arXiv:1408.5882).

As the paper has it with Adadelta, batches of 50, dropout of one half and the norm of each row of the last layer held to
3, for which see `train.optim.adadelta`. Vectors of words come from a file, `transfer.weights=vectors:PATH`; without,
they are drawn, which the paper calls CNN-rand. With `transfer.weights=ratios` the first of a word's numbers says of
which class it speaks; a sum over time adds that up over a text, as a linear model of its words does.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, Conv, Dropout, Layer
from cnn_jax.models.masked import Mixed, Real, greatest, read, summed, table, uniform_within, widened
from cnn_jax.models.variant import Variant
from cnn_jax.ops.pooling import max_pool


class TextCNN(nn.Module):
    """[B, L] tokens or [B, L, C] vectors -> logits: for each width the maximum over time of `features` filters.

    Every window that has a word in it counts, so that a text may be shorter than a filter is wide.

    dim: of the vectors. limit: filters begin with numbers drawn evenly from -limit to limit; as published 0.01, which
      Adadelta soon leaves and other optimizers do not.
    tuned: the table of vectors is trained (non-static). multichannel: there are two tables that begin alike, of which
      one is trained; each filter reads both, and its results are added.
    sums: of each filter, beside its maximum, the sum over time by the root of how many windows there are, which keeps
      its scale at any length as the maximum does; the paper does not have it.
    """

    classes: int | None
    vocabulary: int | None = None
    dim: int = 300
    features: int = 100
    widths: tuple[int, ...] = (3, 4, 5)
    dropout: float = 0.5
    limit: float = 0.01
    tuned: bool = True
    multichannel: bool = False
    sums: bool = False
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mixed: Mixed = None) -> Output:
        words = table(self.vocabulary, self.dim, model="TextCNN", frozen=not self.tuned)
        x, real = read(
            x, self._both(words) if self.multichannel else words, model="TextCNN", dtype=self.dtype, mixed=mixed
        )
        pooled, maps, length = [], [], x.shape[1]
        for width in self.widths:
            conv = self.conv(
                self.features,
                (width,),
                padding=[(width - 1, width - 1)],
                kernel_init=uniform_within(self.limit),
                dtype=self.dtype,
                name=f"conv{width}",
            )
            y = self.act(conv(x))
            seen = windows(real, width)
            pooled += [greatest(y, seen), *([summed(y, seen)] if self.sums else [])]
            maps.append(y[:, width // 2 : width // 2 + length])  # those around each word
        features = {"windows": jnp.concatenate(maps, axis=-1)}
        features["pooled"] = x = jnp.concatenate([widened(y) for y in pooled], axis=-1)
        return classified(Dropout(self.dropout)(x, train=train), features, self.classes) if self.classes else features

    def _both(self, words: Any) -> Any:
        # The sum of a filter's results for two channels is its result for their sum.
        def build() -> Any:
            trained, still = words(), words(name="words_static", frozen=True)
            return lambda tokens: trained(tokens) + still(tokens)

        return build


def windows(real: Real, width: int) -> Real:
    """Which of the windows [B, L + width - 1, 1], some of which begin before a text or end after it, have a word."""
    return real if real is None else max_pool(real, width, 1, width - 1)


_table_2 = partial(
    Variant,
    input_shape=(56, 300),  # the longest sentence of MR
    classes=2,
    params=360_902,
    macs=21_300_600,
    source="Kim 2014, arXiv:1408.5882, section 3.1 and table 2, without the vectors",
)

textcnn = _table_2(build=partial(TextCNN))
textcnn_static = _table_2(build=partial(TextCNN, tuned=False))
textcnn_multichannel = _table_2(build=partial(TextCNN, multichannel=True))
