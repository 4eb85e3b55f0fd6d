"""What every network for segmentation is: a module that gives each pixel logits, and says which outputs are trained.

It is called as a classifier is, `__call__(x [B, H, W, C], *, train) -> (logits [B, H, W, classes], features)`, for
images of any size. What it has beside the logits of its pixels, an auxiliary head or the coarse logits of deep
supervision, lies among the features.
"""

from collections.abc import Mapping
from typing import Protocol

import flax.linen as nn

LOGITS = "logits"


class Segmenter(Protocol):
    """loss_weights: what each trained output counts in the loss: "logits", and features that are logits themselves.

    Such a feature is [B, h, w, classes], of all pixels or of fewer.
    """

    def loss_weights(self) -> Mapping[str, float]: ...


def loss_weights(model: nn.Module) -> Mapping[str, float]:
    """Those of a segmenter; of another module its logits alone."""
    return model.loss_weights() if hasattr(model, "loss_weights") else {LOGITS: 1.0}
