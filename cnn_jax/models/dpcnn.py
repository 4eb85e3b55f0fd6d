"""DPCNN: a pyramid of convolutions over words (Johnson & Zhang 2017, ACL, "Deep Pyramid CNNs for Text Categorization").

Fifteen layers of weights are fifteen kernels; widespread copies share one among all blocks.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax.models.heads import Output, classified
from cnn_jax.models.layers import Activation, Conv, Dropout, Layer
from cnn_jax.models.masked import Mixed, greatest, halved, kept, read, table, widened
from cnn_jax.models.variant import Variant


class DPCNN(nn.Module):
    """[B, L] tokens or [B, L, C] vectors -> logits: regions of 3 words without activation, then pairs of convolutions
    after their activations, each with an identity around it and a maximum of 3 at every second position before it.

    blocks: pairs of each stage, of which there is one more than maxima; the published network has seven stages of one.
    """

    classes: int | None
    blocks: tuple[int, ...] = (1,) * 7
    vocabulary: int | None = None
    dim: int = 300
    features: int = 250
    dropout: float = 0.5
    conv: Layer = Conv
    act: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mixed: Mixed = None) -> Output:
        x, real = read(x, table(self.vocabulary, self.dim, model="DPCNN"), model="DPCNN", dtype=self.dtype, mixed=mixed)
        conv = partial(self.conv, self.features, (3,), dtype=self.dtype)
        features = {"stem": (x := kept(conv(name="region")(x), real))}
        for stage, count in enumerate(self.blocks, 1):
            if stage > 1:
                x, real = halved(x, real)
            for block in range(1, count + 1):
                y = x
                for layer in (1, 2):
                    y = kept(conv(name=f"stage{stage}_block{block}_conv{layer}")(self.act(y)), real)
                x = x + y
            features[f"stage{stage}"] = x
        features["pooled"] = x = widened(greatest(x, real))
        return classified(Dropout(self.dropout)(x, train=train), features, self.classes) if self.classes else features


dpcnn = Variant(
    build=partial(DPCNN),
    input_shape=(256, 300),
    classes=2,
    params=2_854_252,
    macs=248_100_500,
    source="Johnson & Zhang 2017, ACL, section 2, without vectors",
)
