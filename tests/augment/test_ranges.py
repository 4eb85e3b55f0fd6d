"""Images of any range: strength 0 changes nothing, nothing leaves what is promised, and what needs [0, 1] refuses."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from cnn_jax.augment.colour import colour_jitter, gamma
from cnn_jax.augment.erase import cutout, random_erasing
from cnn_jax.augment.geometry import flip, random_iou_crop, random_resized_crop, rotate, scale, scale_jitter, shift
from cnn_jax.augment.policy import rand_augment, trivial_augment
from cnn_jax.augment.quality import blur, low_resolution, noise
from cnn_jax.batch import Batch
from tests.augment.test_contract import AUGMENTATIONS

RANGES = [(0.0, 255.0), (-1.0, 1.0), (1e-8, 1e-7)]
# Each at strength 0. What only mixes examples has none; what maps grey values needs to know the range.
NOTHING: dict[str, Any] = {
    "flip": partial(flip, probability=0.0),
    "shift": partial(shift, pixels=0),
    "rotate": partial(rotate, degrees=0.0),
    "scale": partial(scale, factor=(1.0, 1.0)),
    "cutout": partial(cutout, size=0),
    "random_erasing": partial(random_erasing, probability=0.0, fill=0.0),
    "random_resized_crop": partial(random_resized_crop, area=(1.0, 1.0), aspect=(1.0, 1.0)),
    "random_iou_crop": partial(random_iou_crop, overlaps=(1.0,)),
    "scale_jitter": partial(scale_jitter, factor=(1.0, 1.0), fill=0.0),
    "blur": partial(blur, probability=0.0),
    "low_resolution": partial(low_resolution, probability=0.0),
}
UNIT: dict[str, Any] = {
    "colour_jitter": colour_jitter,
    "gamma": gamma,
    "noise": noise,
    "random_erasing": random_erasing,
    "rand_augment": rand_augment,
    "trivial_augment": trivial_augment,
}
MIX = {"mixup", "cutmix", "mixup_or_cutmix", "dihedral"}  # no strength


def batch_of(make_batch: Callable[..., Batch], low: float, high: float) -> Batch:
    images = np.random.default_rng(0).uniform(low, high, (2, 8, 8, 3)).astype(np.float32)
    found = (float(images.min()), float(images.max()))
    return make_batch({"image": images, "label": np.zeros(2, np.int32)}, range=found)


@pytest.mark.parametrize("span", RANGES)
def test_strength_zero_changes_nothing_and_no_value_leaves_what_is_promised(span, make_batch, keys) -> None:
    batch = batch_of(make_batch, *span)
    spread = {name: AUGMENTATIONS[name] for name in {*NOTHING, *MIX} - {"random_erasing", "cutout"}}

    def everything(keys: jax.Array, batch: Batch) -> tuple[dict[str, Batch], dict[str, Batch]]:
        return tuple({name: f(keys, batch) for name, f in some.items()} for some in (NOTHING, spread))  # type: ignore

    same, changed = jax.jit(everything)(keys(2), batch)  # as one program, which is compiled faster
    step = max(abs(span[0]), abs(span[1])) * 1.2e-7  # of float32
    for name, found in same.items():
        np.testing.assert_allclose(found["image"], batch["image"], rtol=0, atol=4 * step, err_msg=name)
    for name, found in changed.items():
        low, high = found.fields["image"].range
        assert low - step <= found["image"].min() and found["image"].max() <= high + step, name
        assert found["image"].max() - found["image"].min() > 0.5 * (span[1] - span[0]), name  # not clipped away


@pytest.mark.parametrize("name", UNIT)
def test_what_maps_grey_values_refuses_other_ranges(name: str, make_batch: Callable, keys) -> None:
    for span in RANGES:  # 1e-7 is no grey level
        batch = batch_of(make_batch, *span)
        with pytest.raises(ValueError, match=f"{name} needs images in \\[0, 1\\]; 'image' promises .* to "):
            jax.eval_shape(UNIT[name], keys(2), batch)


def test_every_augmentation_of_images_is_here() -> None:
    signals = {name for name in AUGMENTATIONS if name.endswith("1d")} | {"token_dropout", "word_swap"}
    others = {
        "identity",
        "apply_all",
        "two_views",
        "mosaic",
        "copy_paste",
        "crop",
    }  # these three have files of their own
    assert {*NOTHING, *UNIT, *MIX} == AUGMENTATIONS.keys() - signals - others
