"""A few steps in a profiler: the trace that it leaves, and the table of where the time goes."""

import gzip
import json
from pathlib import Path

import pytest

from cnn_jax.config import Experiment
from cnn_jax.data.batches import training_batch
from cnn_jax.data.source import ArraySource
from cnn_jax.inspect import timeline
from cnn_jax.inspect.compiled import Operation, operations
from cnn_jax.inspect.timeline import Origin
from cnn_jax.train import profiling
from cnn_jax.train.run import assemble, fresh


def test_steps_are_recorded_and_summed_up(
    config: Experiment, source: ArraySource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = assemble(config, source.spec, len(source))
    state = fresh(run)

    def train(asked: int, steps: int) -> str:
        nonlocal state
        with profiling.recording(run, tmp_path, asked) as seen:
            for step in range(steps):
                batch = seen.engine.place_batch(training_batch(source, 0, step, 16))
                state, fetch = seen.engine.step(state, batch)
                assert fetch()["loss"][1] == 16
        return capsys.readouterr().out

    assert train(0, 1) == "" and not (tmp_path / "profile").exists()
    said = train(2, 6)
    assert said == (tmp_path / "profile" / "table.txt").read_text()
    assert said.startswith("profile of 2 steps of 16, ") and f"profile in {tmp_path / 'profile'}" in said
    parts, largest = ([line.split() for line in block.splitlines()] for block in said.split("\n\n")[1:3])
    # Of each part so much that they add up to a step.
    assert {"forward", "backward", "optimizer"} <= {words[0] for words in parts}
    assert sum(float(words[-1].rstrip("%")) for words in parts[1:]) == pytest.approx(100, abs=1)
    # Which operations take longest is another thing each time; the layers of the network are among them.
    assert {"forward", "backward"} & {words[0] for words in largest if words[1:2] in (["conv1"], ["conv2"])}
    (viewed,) = (tmp_path / "profile").glob("plugins/profile/*/*.trace.json.gz")
    names = {event.get("name") for event in json.loads(gzip.decompress(viewed.read_bytes()))["traceEvents"]}
    assert "train" in names and len(names & operations(run.engine.lowered(16).compile().as_text() or "").keys()) > 20

    with pytest.warns(UserWarning, match="of 9 steps to profile there were 1"):
        assert "profile of 1 steps" in train(9, 3)
    with pytest.warns(UserWarning, match="of 9 steps to profile there were 0"):
        assert train(9, 1) == ""


def test_what_is_within_an_operation_is_not_counted_twice() -> None:
    events = [(0.0, 10.0, "while"), (1.0, 4.0, "call"), (2.0, 3.0, "add"), (4.0, 6.0, "dot"), (12.0, 13.0, "add")]
    assert timeline._alone(iter(events)) == [("while", 5.0), ("call", 2.0), ("add", 1.0), ("dot", 2.0), ("add", 1.0)]


@pytest.mark.parametrize(
    ("kind", "scope", "expected"),
    [
        (
            "fusion",
            "jit(packed)/jvp(Net)/stage1/conv/conv_general_dilated",
            ("forward", "stage1/conv", "conv_general_dilated"),
        ),
        (
            "dot",
            "jit(packed)/shard_map/transpose(jvp(Net))/head/while/body/dot_general",
            ("backward", "head", "dot_general"),
        ),
        ("fusion", "jit(packed)/jvp(checkpoint)/rematted_computation/norm/mul", ("backward", "norm", "mul")),
        ("all-reduce", "jit(packed)/shard_map/jvp(Net)/norm/transpose(psum)", ("collectives", "norm", "psum")),
        ("fusion", "jit(packed)/shard_map/optimizer/mul", ("optimizer", "", "mul")),
        ("copy", "", ("rest of the step", "", "copy")),
    ],
)
def test_an_operation_is_told_by_its_scope(kind: str, scope: str, expected: tuple[str, str, str]) -> None:
    assert timeline.origin(Operation("x.1", kind, scope), ("augment", "optimizer")) == Origin(*expected)
