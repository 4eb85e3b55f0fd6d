"""Durations against arithmetic by hand."""

import pytest

from cnn_jax.train.steps import in_steps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500 steps", 500),
        ("1 step", 1),
        ("20 epochs", 312),  # 312.5, halves to the even neighbour
        ("0.5 epochs", 8),  # 7.8125
        ("6400 examples", 100),
        ("100 examples", 2),  # 1.5625
        ("5%", 20),
        (" 12.5 % ", 50),
        ("0 steps", 0),
        ("0%", 0),
        ("1 examples", 1),  # never rounded away
        ("0.01 epochs", 1),
    ],
)
def test_in_steps_is_amount_times_unit(text: str, expected: int) -> None:
    assert in_steps(text, examples=1000, batch_size=64, total=400) == expected


def test_a_percentage_needs_the_total() -> None:
    with pytest.raises(ValueError, match="cannot be a percentage"):
        in_steps("5%", examples=1000, batch_size=64)


@pytest.mark.parametrize("text", ["", "20", "epochs", "-1 steps", "2 weeks", "1e3 steps", "5 steps more"])
def test_what_is_no_duration_is_refused_with_examples_of_one(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write '20 epochs'"):
        in_steps(text, examples=1000, batch_size=64, total=400)
