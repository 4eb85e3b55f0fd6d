"""The timeline of a small network over two checkpoints, and its page."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from cnn_jax.data.digits import digits
from cnn_jax.explain.inside.filters import first_filters
from cnn_jax.explain.inside.timeline import timeline
from cnn_jax.report import contact_sheet
from cnn_jax.report import timeline as timelines
from cnn_jax.tasks.classify import classify
from cnn_jax.train.predictor import Predictor, compiler


class Net(nn.Module):
    classes: int = 10

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        first = nn.relu(nn.Conv(3, (3, 3), name="first")(x))
        pooled = first.mean((1, 2))
        return nn.Dense(self.classes, name="classifier")(pooled), {"first": first, "pooled": pooled}


def test_filters_maps_and_drift_of_each_checkpoint() -> None:
    test = digits()["test"]
    spec, model = test.spec, Net()
    task = classify(model, spec)
    early, late = (jax.device_get(task.init(jax.random.key(seed))) for seed in (0, 1))
    predictor = Predictor(spec, model, task, late, compiler(spec, jax.devices()[:1], "native"), 1)
    seen = timeline(predictor, [(10, early), (25, late)], {"image": test.arrays["image"][:8]})
    assert (seen.steps, seen.layers) == ([10, 25], ["first", "pooled"])
    assert seen.filters.shape == (2, 3, 3, 3, 1)
    np.testing.assert_array_equal(seen.filters[0], first_filters(model, early, (8, 8, 1)))
    np.testing.assert_array_equal(seen.filters[1][2, ..., 0], late["params"]["first"]["kernel"][..., 0, 2])
    assert seen.maps.keys() == {"first"} and seen.maps["first"].shape == (2, 8, 8, 3)
    np.testing.assert_allclose(seen.drift[1], 1)
    assert (seen.drift[0] < 0.999).all() and seen.last.shape == (2, 2)
    # Narrow maps of images are no signals.
    assert contact_sheet.sheet(timelines.tiles_of(np.zeros((40, 4, 3))), columns=3).shape == (44, 20, 3)
    html = timelines.page("runs/<b>", *seen)
    assert (
        html.count("data:image/png;base64,") == 2 + 2 + 2
        and "runs/&lt;b&gt;" in html
        and "http" not in html.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    )
    for wrong in ([], [(25, late), (10, early)]):
        with pytest.raises(ValueError, match="in their order"):
            timeline(predictor, wrong, {"image": test.arrays["image"][:8]})


def test_a_network_without_convolutions_has_no_filters() -> None:
    with pytest.raises(ValueError, match="_Flat has no convolution"):
        first_filters(_Flat(), {"params": {"dense": {"kernel": np.zeros((64, 2)), "bias": np.zeros(2)}}}, (8, 8, 1))


class _Flat(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = nn.Dense(2, name="dense")(x.reshape(len(x), -1))
        return x, {"pooled": x}
