"""Which variables of a run a part of them means."""

import numpy as np
import pytest

from cnn_jax.weights.initial import part_of

RUN = {
    "params/backbone/conv1/kernel": 1,
    "params/projection/kernel": 2,
    "batch_stats/backbone/norm1/mean": 3,
    "teacher/params/backbone/conv1/kernel": 4,
    "teacher/batch_stats/backbone/norm1/mean": 5,
    "queue/rows": 6,
}
STUDENT = {"params/conv1/kernel": 1, "batch_stats/norm1/mean": 3}
TEACHER = {"params/conv1/kernel": 4, "batch_stats/norm1/mean": 5}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("", RUN),
        ("backbone", STUDENT),
        ("params/backbone", STUDENT),
        ("backbone/conv1", {"params/kernel": 1}),
        ("teacher/backbone", TEACHER),
        ("teacher/params/backbone", TEACHER),
        ("teacher", {"params/backbone/conv1/kernel": 4, "batch_stats/backbone/norm1/mean": 5}),
    ],
)
def test_a_part_is_a_model_of_its_own(part: str, expected: dict[str, int]) -> None:
    found = part_of({path: np.asarray(value) for path, value in RUN.items()}, part)
    assert {path: int(value) for path, value in found.items()} == expected


def test_a_teacher_of_weights_alone_is_a_model_too() -> None:
    found = {"params/conv1/kernel": np.zeros(1), "teacher/backbone/conv1/kernel": np.ones(1)}
    assert part_of(found, "teacher") == {"params/backbone/conv1/kernel": np.ones(1)}
    assert part_of(found, "teacher/backbone") == {"params/conv1/kernel": np.ones(1)}


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("backbon", "did you mean 'backbone'"),
        ("teachr", "did you mean 'teacher'"),
        ("teacher/projection", "'teacher/projection' is no part of them"),
    ],
)
def test_no_such_part_is_one_line(part: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        part_of({path: np.asarray(value) for path, value in RUN.items()}, part)
