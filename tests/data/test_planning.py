"""What a set of masks holds, and the plan that follows from it."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnn_jax.data.planning import BYTES, EDGE, LEAST, MOST, WIDEST, Fingerprint, fingerprint, plan, reasons
from cnn_jax.lookup import lookup
from tests.data.painted import mask_set

CLASSES = np.zeros((20, 40), np.uint8)
CLASSES[2:8, 5:15], CLASSES[10:14, 30:38], CLASSES[0] = 1, 2, 255


def found(size: tuple[int, int] = (256, 256), foreground: float = 0.1, **changes: object) -> Fingerprint:
    """A hundred colour pictures of two classes."""
    known = Fingerprint(
        100, size, 3, ("background", "cell"), (round(1e6 * (1 - foreground)), round(1e6 * foreground)), (100, 50), 0.0,
        0.4, 0.2, 0.05,
    )  # fmt: skip
    return known._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("lazy", [False, True])
def test_the_fingerprint_is_of_the_pictures_without_their_bars(tmp_path: Path, monkeypatch, lazy: bool) -> None:
    """Of a letterbox only the picture counts, its ignored pixels are a share of it, and rare classes are counted."""
    mask_set(tmp_path, CLASSES, "ab")
    mask_set(tmp_path, np.where(CLASSES == 2, 0, CLASSES), "c")
    if lazy:
        monkeypatch.setattr("cnn_jax.data.decoded.HELD", 0)
    source = lookup(f"masks('{tmp_path}', size=80, channels=1, classes=('background', 'x', 'y'))")()["all"]
    assert (source.held is None) == lazy
    seen = fingerprint(source)
    assert (seen.examples, seen.size, seen.channels, seen.images) == (3, (40, 80), 1, (3, 3, 2))
    assert seen.pixels == tuple(4 * n for n in ((CLASSES == 0).sum() * 3 + 32, 3 * 60, 2 * 32))
    assert seen.ignored == pytest.approx(1 / 20) and sum(seen.shares) == pytest.approx(1)
    assert seen.foreground == pytest.approx((180 + 64) / (3 * 20 * 40 - 3 * 40))
    pictures = [np.asarray(Image.open(tmp_path / f"images/{name}.png").resize((80, 40), 2)) / 255 for name in "abc"]
    assert seen.mean == pytest.approx(np.mean(pictures), abs=2e-3)
    assert seen.std == pytest.approx(np.std(pictures), abs=0.02)  # bars mix in at the border
    assert seen.brightness == pytest.approx(np.std([picture.mean() for picture in pictures]), abs=2e-3)


PLANS: dict[str, tuple[Fingerprint, dict[str, object]]] = {
    "small pictures whole": (found((64, 64)), {"crop": (64, 64), "levels": 5, "foreground": 0.0, "whole": True}),
    "odd sizes": (found((70, 101)), {"crop": (70, 101), "levels": 5}),
    "long ones": (found((40, 300)), {"crop": (40, 300), "levels": 4}),
    "tiny ones": (found((7, 7)), {"crop": (7, 7), "levels": 1}),
    "large ones": (
        found((2048, 3000)),
        {"crop": (224, 256), "levels": 6, "foreground": pytest.approx(1 / 3), "whole": False},
    ),
    "mostly foreground": (found((2048, 2048), foreground=0.7), {"foreground": 0.0}),
    "few": (found((64, 64), examples=20), {"batch_size": LEAST}),
    "many": (found((64, 64), examples=9000), {"batch_size": MOST}),
    "grey of one brightness": (found(channels=1), {"percentiles": ()}),
    "grey of any brightness": (found(channels=1, brightness=0.15), {"percentiles": (0.5, 99.5)}),
    "colour of any brightness": (found(brightness=0.15), {"percentiles": ()}),
}


@pytest.mark.parametrize("case", PLANS)
def test_plans(case: str) -> None:
    seen, expected = PLANS[case]
    made = plan(seen)
    assert {name: getattr(made, name) for name in expected} == expected
    assert all("\n" not in line for line in reasons(made, seen).values())


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 10**5), st.sampled_from([8, 16, 32, 64]))
def test_a_plan_fits_into_memory_and_its_maps_into_one_another(
    height: int, width: int, examples: int, features: int
) -> None:
    seen = found((height, width), examples=examples)
    made = plan(seen, features=features)
    step = 2 ** (made.levels - 1)
    assert all(
        1 <= side <= of and (side == of or side % step == 0) for side, of in zip(made.crop, seen.size, strict=True)
    )
    assert min(made.crop) // step >= min(EDGE, height, width) and features * step <= WIDEST
    assert made.batch_size * math.prod(made.crop) * features * 120 <= BYTES and LEAST <= made.batch_size <= MOST
    smaller = plan(seen, features=features, memory=BYTES // 4)
    assert math.prod(smaller.crop) <= math.prod(made.crop) and smaller.batch_size <= max(made.batch_size, MOST)
