"""The loop, turned by hand: engine, hooks and checkpoints are stand-ins that write down what is asked of them."""

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_jax.config import Experiment
from cnn_jax.data.batches import training_indices
from cnn_jax.data.source import ArraySource
from cnn_jax.train import preempt
from cnn_jax.train.loop import UNLOGGED, UNSCORED, Hooks, Verdict, fit
from cnn_jax.train.meter import Diverged
from cnn_jax.train.preempt import Preempted, Stop, stop_requested
from cnn_jax.train.run import Run, assemble
from cnn_jax.train.steps import Steps

Events = list[tuple[Any, ...]]


class Stage:
    """A run whose state is the number of steps, whose loss after step k is k over 2 examples."""

    def __init__(self, config: Experiment, source: ArraySource, steps: Steps, bad: tuple[int, ...] = ()) -> None:
        self.events: Events = []
        self.rows: list[tuple[int, str, dict[str, float]]] = []
        self.source, self.bad, self.in_a_row = source, bad, 0
        run = assemble(config, source.spec, len(source))
        engine = run.engine._replace(
            step=self.step, place_batch=lambda batch: batch["index"], whole=lambda state: state
        )
        self.run: Run = run._replace(engine=engine, steps=steps)
        self.stop_at: int | None = None
        self.stop, self.stop_in_evaluation = Stop(), False
        self.keep, self.end = tuple[int, ...](), 0  # steps of which the evaluation says so
        self.folder = Path()
        self.now = 0

    def step(self, state: int, batch: np.ndarray) -> tuple[int, Callable[[], dict[str, Any]]]:
        self.now = state + 1
        self.events.append(("step", self.now, *batch))
        self.stop.asked |= self.now == self.stop_at
        self.in_a_row = self.in_a_row + 1 if self.now in self.bad else 0
        metrics = {"loss": (float(self.now), 2.0), "grad_norm": 9.0, "skipped": float(self.in_a_row)}

        def fetch(step: int = self.now) -> dict[str, Any]:
            self.events.append(("fetch", step))
            return metrics

        return self.now, fetch

    def write(self, step: int, split: str, metrics: Any) -> None:
        self.events.append(("write", step, split))
        self.rows.append((step, split, dict(metrics)))

    def validate(self, step: int, state: int) -> Verdict:
        self.events.append(("validate", state))
        with self.stop.waiting():
            if self.stop_in_evaluation:
                self.stop.note()
        scores = {"top1": state / 100, "nll": 1.0}
        self.write(step, "validation", scores)
        return Verdict(scores["top1"], keep=state in self.keep, end=state == self.end)

    def save(self, step: int, state: int, about: dict[str, Any], score: float | None, first: Any) -> None:
        self.unscored = about.get(UNSCORED, False)
        self.events.append(("save", step, state, score, about[UNLOGGED]))

    def prepare(self, state: int) -> None:
        pass

    def poll(self) -> None:
        pass

    def finish(self) -> None:
        self.events.append(("finish",))

    def fit(self, start: int = 0, unlogged: dict[str, list[float]] | None = None, unscored: bool = False) -> Any:
        hooks = Hooks(
            write=self.write,
            show=lambda *_: None,
            evaluate=self.validate,
            due=lambda step: self.run.steps.due(step, self.run.steps.evaluate),
            stop=self.stop,
            about=lambda: {"who": "me"},
            sync=lambda: None,
        )
        given: Any = self
        return fit(self.run, self.source, start, start, given, hooks, unlogged, unscored=unscored)

    def of(self, *kinds: str) -> Events:
        return [event for event in self.events if event[0] in kinds]


Set = Callable[..., Stage]


@pytest.fixture
def stage(config: Experiment, source: ArraySource) -> Set:
    def stage(total: int, evaluate: int = 0, save: int = 0, log: int = 0, bad: tuple[int, ...] = ()) -> Stage:
        return Stage(config, source, Steps(total, evaluate, save, log, 5.0), bad)

    return stage


def test_metrics_are_fetched_one_step_late(stage: Set) -> None:
    run = stage(total=4)
    run.fit()
    order = [event[:2] for event in run.of("step", "fetch")]
    steps_first = [("step", 1), ("step", 2), ("fetch", 1), ("step", 3), ("fetch", 2), ("step", 4), ("fetch", 3)]
    assert order == [*steps_first, ("fetch", 4)]


def test_each_step_gets_its_own_batch_wherever_it_begins(stage: Set) -> None:
    for start in (0, 3):
        run = stage(total=8)
        assert run.fit(start) == (8, 8)
        expected = [("step", s + 1, *training_indices(0, s, batch_size=16, size=80)) for s in range(start, 8)]
        assert run.of("step") == expected


def test_rows_are_means_over_the_examples_since_the_row_before(stage: Set) -> None:
    run = stage(total=7, log=3)
    run.fit()
    rows = [(step, row) for step, split, row in run.rows if split == "train"]
    found = [(step, row["loss"], row["epoch"], row["grad_norm"]) for step, row in rows]
    # (1 + 2 + 3) / 6 examples; epochs are 5 steps; the last step always has a row
    assert found == [(3, 1.0, 0.6, 9.0), (6, 2.5, 1.2, 9.0), (7, 3.5, 1.4, 9.0)]
    assert all(row["learning_rate"] == pytest.approx(0.05) for _, row in rows)


def test_a_row_goes_on_where_the_checkpoint_left_it(stage: Set) -> None:
    whole, first = stage(total=8, log=4, save=6), stage(total=8, log=4, save=6)
    whole.fit()
    first.stop_at = 6
    with pytest.raises(Preempted):
        first.fit()
    unlogged = first.of("save")[-1][-1]
    assert unlogged == {"loss": [5.0 + 6.0, 4.0]}
    second = stage(total=8, log=4, save=6)
    second.fit(6, unlogged)
    measured = {"examples_per_second"}
    rows = [[{k: v for k, v in row.items() if k not in measured} for *_, row in run.rows] for run in (second, whole)]
    assert rows[0] == rows[1][-len(rows[0]) :]


def test_what_is_due_at_one_step_is_written_then_scored_then_saved(stage: Set) -> None:
    run = stage(total=4, evaluate=2, save=2, log=2)
    run.fit()
    at_two = [("fetch", 2), ("write", 2, "train"), ("validate", 2), ("write", 2, "validation")]
    at_two.append(("save", 2, 2, 0.02, {}))
    begin = run.events.index(("fetch", 2))
    assert run.events[begin : begin + 5] == at_two
    assert run.of("validate", "save", "finish")[2:] == [("validate", 4), ("save", 4, 4, 0.04, {}), ("finish",)]


def test_an_evaluation_may_have_its_state_saved_and_may_end_the_training(stage: Set) -> None:
    run = stage(total=9, evaluate=2, save=5)
    run.keep, run.end = (2,), 6
    assert run.fit() == (6, 6)
    assert [event[1:4] for event in run.of("save")] == [(2, 2, 0.02), (5, 5, None), (6, 6, 0.06)]
    assert run.of("step", "finish")[-1] == ("finish",) and run.now == 6


def test_a_checkpoint_between_validations_has_no_score(stage: Set) -> None:
    run = stage(total=4, evaluate=2, save=1)
    run.fit()
    assert [event[1:4] for event in run.of("save")] == [(1, 1, None), (2, 2, 0.02), (3, 3, None), (4, 4, 0.04)]


def test_zero_means_at_the_end_only(stage: Set) -> None:
    run = stage(total=3)
    run.fit()
    assert [event[:2] for event in run.of("validate", "save", "write")] == [
        ("write", 3),
        ("validate", 3),
        ("write", 3),
        ("save", 3),
    ]


def test_skipped_updates_are_counted_and_left_out_of_the_means(stage: Set) -> None:
    run = stage(total=8, log=4, bad=(2, 3))
    run.fit()
    first, second = (row for _, split, row in run.rows if split == "train")
    assert first["loss"] == (1 + 4) / 4 and first["skipped"] == 2
    assert second["loss"] == (5 + 6 + 7 + 8) / 8 and "skipped" not in second


def test_too_many_in_a_row_end_the_run_before_they_are_saved(stage: Set, config: Experiment) -> None:
    config.max_skipped = 3
    run = stage(total=20, save=6, bad=(2, 3, 5, 6, 7, 8))
    with pytest.raises(Diverged, match=r"for 3 steps in a row, up to step 7: lower --config.optim.lr"):
        run.fit()
    assert [event[1] for event in run.of("save")] == [6]
    assert run.now <= 8


@pytest.mark.parametrize("total", [4, 9])
def test_an_update_is_looked_at_before_it_is_saved(total: int, stage: Set, config: Experiment) -> None:
    config.max_skipped = 1
    run = stage(total=total, save=4, bad=(4,))
    with pytest.raises(Diverged):
        run.fit()
    assert run.of("save") == []


def test_asked_to_stop_it_saves_that_step(stage: Set) -> None:
    run = stage(total=9, save=4)
    run.stop_at = 6
    with pytest.raises(Preempted, match="stopped at step 6 of 9, which is saved"):
        run.fit()
    assert [event[:2] for event in run.of("step", "save", "finish")][-2:] == [("save", 6), ("finish",)]
    assert run.now == 6


def test_asked_to_stop_at_the_last_step_it_saves_before_it_evaluates(stage: Set) -> None:
    run = stage(total=3)
    run.stop_at = 3
    with pytest.raises(Preempted, match="stopped at step 3 of 3, which is saved"):
        run.fit()
    assert [event[1] for event in run.of("save")] == [3] and run.unscored


def test_asked_to_stop_in_an_evaluation_it_saves_and_evaluates_when_it_goes_on(stage: Set, tmp_path: Path) -> None:
    whole, first, second = (stage(total=6, evaluate=2, save=2) for _ in range(3))
    whole.fit()
    first.stop_in_evaluation = True
    with pytest.raises(Preempted, match="stopped at step 2 of 6, which is saved"):
        first.fit()
    assert first.of("save") == [("save", 2, 2, None, first.of("save")[0][-1])] and first.unscored
    assert first.rows == []
    second.folder = tmp_path
    (tmp_path / "2").mkdir()
    second.fit(2, first.of("save")[0][-1], unscored=True)
    assert [row for row in second.rows if row[1] == "validation"] == [r for r in whole.rows if r[1] == "validation"]
    assert json.loads((tmp_path / "2" / "score.json").read_text()) == {"score": 0.02}
    assert second.of("save") == whole.of("save")[1:] and not second.unscored
    third = stage(total=6, evaluate=2, save=2)
    third.folder, third.end = tmp_path, 2
    assert third.fit(2, {}, unscored=True) == (2, 2) and third.of("step", "save") == []


def test_asked_to_stop_while_it_waits_for_a_batch_it_saves_what_was_done(
    stage: Set, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, batch, stalled = stage(total=9), ArraySource.batch, threading.Event()

    def read(source: ArraySource, indices: np.ndarray, keys: Any = None) -> Any:
        if run.now >= 3:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
            stalled.wait(30)
        return batch(source, indices, keys)

    monkeypatch.setattr(ArraySource, "batch", read)
    monkeypatch.setattr(preempt, "_leave", lambda: None)  # which would end this process a second after its end
    began = time.monotonic()
    with pytest.raises(Preempted, match="stopped at step . of 9, which is saved"), stop_requested() as run.stop:
        run.fit()
    assert time.monotonic() - began < 10 and [event[1] for event in run.of("save")] == [run.now] and run.now >= 3
    stalled.set()


def test_an_error_of_the_source_reaches_the_caller(stage: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stage(total=3)

    def broken(indices: np.ndarray, keys: np.ndarray) -> dict[str, np.ndarray]:
        raise ValueError("image 7 is gone")

    monkeypatch.setattr(run.source, "batch", broken)
    with pytest.raises(ValueError, match="image 7 is gone"):
        run.fit()
