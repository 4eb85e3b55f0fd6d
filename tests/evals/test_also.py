"""Further evaluations: none, several, and another source of the same classes."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data.folder import folder
from cnn_jax.data.source import ArraySource, opened
from cnn_jax.data.spec import Field, kinds
from cnn_jax.evals.also import Evaluation, nothing, several
from cnn_jax.evals.also.elsewhere import elsewhere
from cnn_jax.evals.evaluator import Evaluator
from cnn_jax.lookup import describe, lookup

TASK = SimpleNamespace(evaluator=Evaluator(*[lambda *_: None] * 4))


def draw(root: Path, classes: tuple[str, ...], grey: int, size: tuple[int, int] = (4, 5)) -> str:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", size[::-1], (grey + number, label, 0)).save(root / name / f"{number}.png")
    return f"folder:{root}"


@pytest.fixture
def own(tmp_path: Path) -> tuple:
    draw(tmp_path / "own", ("cat", "dog"), 0)
    splits = opened(partial(folder, path=str(tmp_path / "own")))
    return TASK, splits["train"].spec, splits


def test_nothing(own: tuple) -> None:
    assert nothing(*own) == ()


def test_elsewhere_scores_another_source_by_the_own_evaluator(own: tuple, tmp_path: Path) -> None:
    text = draw(tmp_path / "sketches", ("cat", "dog"), 100)
    (found,) = elsewhere(*own, source=text)
    assert (found.name, found.every, found.predict) == ("sketches", "", None)
    assert found.evaluator is TASK.evaluator and isinstance(found.source, ArraySource)
    assert len(found.source) == 10 and found.source.arrays["image"].max() >= 100  # it is not cut up
    for part in ("train", "test"):
        draw(tmp_path / "split" / part, ("cat", "dog"), 7)
    text = f"folder:{tmp_path / 'split'}"
    (train,) = elsewhere(*own, source=text, split="train", name="more", every="5 epochs")
    assert (train.name, train.every, len(train.source)) == ("more", "5 epochs", 10)


def test_it_is_read_as_the_data_of_the_run(own: tuple, tmp_path: Path) -> None:
    _, spec, _ = own
    read_so = replace(spec, prepare=replace(spec.prepare, size=(4, 5), resize="stretch"))
    text = draw(tmp_path / "large", ("dog", "cat"), 100, (12, 9))
    (found,) = elsewhere(TASK, read_so, {}, source=text)
    assert found.source.spec.prepare.resize == "stretch" and found.source.spec.input.shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("classes", "size"), [(("cat", "dog", "eel"), (4, 5)), (("cat", "cow"), (4, 5)), (("cat", "dog"), (5, 4))]
)
def test_other_classes_or_fields_are_refused_in_one_line(own: tuple, tmp_path: Path, classes, size) -> None:
    text = draw(tmp_path / "other", classes, 0, size)
    says = "evaluate.also: '.*' has (other classes than the run was trained on|image .* uint8 for 'image')"
    with pytest.raises(ValueError, match=says) as caught:
        elsewhere(*own, source=text)
    assert text in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "split", "message"),
    [
        ("folder:/no/such/place", "test", "is not a folder"),
        ("digits", "validation", "digits has no validation split"),
        ("digits", "tests", "split must be one of"),
        ("folder", "test", "missing a required argument: 'path'"),
        ("digts", "test", "did you mean 'digits'"),
    ],
)
def test_a_source_that_cannot_be_opened_is_named_in_one_line(own: tuple, source: str, split: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        elsewhere(*own, source=source, split=split)
    assert "\n" not in str(caught.value)


def test_ranges_of_floats_may_differ() -> None:
    a, b = ({"x": Field("image", (2, 2, 1), "float32", span)} for span in ((0.0, 1.0), (-3.0, 3.0)))
    assert a != b and kinds(a) == kinds(b)


def test_several_are_one_after_another_and_have_a_name(own: tuple, tmp_path: Path) -> None:
    texts = [draw(tmp_path / name, ("cat", "dog"), 50) for name in ("first one", "second")]
    written = f"several(elsewhere(source='{texts[0]}'), nothing, elsewhere(source='{texts[1]}', split='train'))"
    function = lookup(written)
    found = function(*own)
    assert all(isinstance(evaluation, Evaluation) for evaluation in found)
    assert [(evaluation.name, len(evaluation.source)) for evaluation in found] == [("first one", 10), ("second", 10)]
    again = lookup(describe(function))
    assert describe(again) == describe(function) and [e.name for e in again(*own)] == ["first one", "second"]
    assert several()(*own) == ()


def test_a_picture_of_the_other_source_keeps_its_place(own: tuple, tmp_path: Path) -> None:
    (found,) = elsewhere(*own, source=draw(tmp_path / "other", ("cat", "dog"), 100), split="train")
    batch = found.source.batch(np.arange(10))
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 1], batch["label"])
