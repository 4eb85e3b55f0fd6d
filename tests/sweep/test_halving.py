"""Asynchronous successive halving against its definition."""

import math
import random

import pytest

from cnn_jax.sweep import folder, halving
from cnn_jax.sweep.board import scores
from cnn_jax.sweep.folder import Standing, Sweep

INF = math.inf


@pytest.mark.parametrize(
    ("done", "assigned", "next_one"),
    [
        ([{}, {}], {}, None),
        ([{"a": 0.5, "b": 0.7}, {}], {"a": 0, "b": 0}, None),  # of two the best third is none
        ([{"a": 0.5, "b": 0.7, "c": 0.6}, {}], {"a": 0, "b": 0, "c": 0}, "b"),
        ([{"a": 0.5, "b": 0.7, "c": 0.6}, {}], {"a": 0, "b": 1, "c": 0}, None),  # it is on its way
        ([{"a": 0.5, "b": 0.5, "c": 0.5}, {}], {"a": 0, "b": 0, "c": 0}, "a"),  # of equals the first
        ([{"a": -INF, "b": math.nan, "c": -INF}, {}], {"a": 0, "b": 0, "c": 0}, None),
        ([{"a": -INF, "b": math.nan, "c": 0.1}, {}], {"a": 0, "b": 0, "c": 0}, "c"),  # failed ones count
        # A higher rung goes first.
        (
            [{x: n for n, x in enumerate("abcdefghijkl")}, {"l": 1, "k": 2, "j": 3}, {}],
            {**dict.fromkeys("abcdefghi", 0), "l": 1, "k": 1, "j": 1},
            "j",
        ),
        # One that was overtaken stays promoted, and the best quarter of eight are two.
        ([{x: n for n, x in enumerate("abcdefgh")}, {}], {**dict.fromkeys("abcdefg", 0), "h": 1}, "g"),
    ],
)
def test_who_goes_on(done, assigned, next_one):
    assert halving.promoted(done, assigned, 4 if len(assigned) == 8 else 3) == next_one


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_ends_keeps_to_the_definition(seed):
    """Workers that end in any order: who goes on is in the best 1 / eta, and nobody waits where one could go on."""
    draw = random.Random(seed)
    eta, rungs, names = draw.choice([2, 3, 4]), draw.choice([1, 2, 3]), [f"t{n:03}" for n in range(80)]
    done: list[dict[str, float]] = [{} for _ in range(rungs + 1)]
    assigned: dict[str, int] = {}
    busy, fresh = list[str](), list(names)
    while True:
        while len(busy) < 4:
            name = halving.promoted(done, assigned, eta)
            may = [
                [x for x in sorted(done[k], key=lambda x: -done[k][x])[: len(done[k]) // eta] if assigned[x] == k]
                for k in range(rungs)
            ]
            highest = max((k for k in range(rungs) if may[k]), default=None)
            assert (name is None) == (highest is None)
            if name is not None:
                assert name in may[highest] and name not in busy
                assigned[name] += 1
            elif fresh:
                name = fresh.pop(0)
                assigned[name] = 0
            else:
                break
            busy.append(name)
        if not busy:
            break
        name = busy.pop(draw.randrange(len(busy)))
        done[assigned[name]][name] = draw.random()
    sizes = [len(rung) for rung in done]
    assert sizes[0] == 80 and all(more >= less // eta for less, more in zip(sizes, sizes[1:], strict=False))
    best = max(done[0], key=lambda x: done[0][x])
    assert best in done[1]


def test_as_many_as_are_needed_bring_one_to_the_end():
    for rungs, eta in ((1, 3), (2, 3), (3, 2)):
        for count in (halving.needed(rungs, eta) - 1, halving.needed(rungs, eta)):
            done, assigned = [{} for _ in range(rungs + 1)], {}
            for number in range(count):  # one at a time
                done[0][number], assigned[number] = -number, 0
                while (name := halving.promoted(done, assigned, eta)) is not None:
                    assigned[name] += 1
                    done[assigned[name]][name] = -number
            assert bool(done[-1]) == (count == halving.needed(rungs, eta))


def test_a_configuration_has_come_to_a_rung_with_all_its_seeds():
    sweep = Sweep("a", "", {}, {}, folder.GRID, 0, (0, 1), ("10%", "30%"), 3)
    runs = {
        "both": [Standing((0.2, 0.4)), Standing((0.4, 0.8, 0.9), seconds=1.0)],
        "one": [Standing((0.2,)), Standing()],
        "failed later": [Standing((0.2,)), Standing((0.6,), failed="no memory")],
        "failed": [Standing((0.2, 0.3)), Standing(failed="no memory")],
    }
    assert scores(sweep, runs) == [
        {"both": pytest.approx(0.3), "failed later": pytest.approx(0.4), "failed": -INF},
        {"both": pytest.approx(0.6), "failed later": -INF},
        {},
    ]
