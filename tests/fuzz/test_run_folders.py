"""Whatever stands in the files of a run folder, reading them ends in a right answer or in one line."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnn_jax import config as configuration
from cnn_jax.launch import cli, training
from cnn_jax.report import log
from cnn_jax.train import checkpoint, earlier, energy, loop, predictor, run_folder

STORED = Path(__file__).parents[1] / "train" / "files" / "run-0.1"

quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [-1, 0, 2**31, 2**63, 2**70, 10**400, "NaN", "cnn_jax.data.digits.digits", "5 epochs", "1e999", "9" * 400]
    )
    | st.floats()
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in places(one, (*path, key)))]


@st.composite
def changed(draw: Callable[[Any], Any], value: Any) -> Any:
    """`value` with something else in one or two places, or something missing."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(places(value)))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                return draw(VALUES)
            continue
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        if isinstance(holder, dict) and draw(st.integers(0, 3)) == 0:
            del holder[path[-1]]
        else:
            holder[path[-1]] = draw(VALUES)
    return value


def answers(work: Callable[[], Any]) -> Any:
    """What `work` returns, or None for an error that the command line tells in a line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return work()
        except Exception as error:
            if cli.exit_code(error) != 2:
                raise
            assert str(error).strip()
            return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What describes a run of experiments/digits.py, whose configuration names no code of its own."""
    folder = tmp_path_factory.mktemp("run")
    from cnn_jax.data.digits import digits
    from cnn_jax.data.spec import to_json

    experiment = cli_experiment()
    run_folder.write_json(folder / "config.json", configuration.to_json(experiment))
    run_folder.write_json(folder / "data.json", {"examples": 898, **to_json(digits()["train"].spec)})
    return folder


def cli_experiment() -> configuration.Experiment:
    from cnn_jax.launch.experiment_file import load

    return load(str(Path(__file__).parents[2] / "experiments" / "digits.py"))[1]


def written(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_text(json.dumps(value))


CONFIG = configuration.to_json(cli_experiment())


@quick
@given(values=changed(CONFIG))
def test_config(values: Any, folder: Path) -> None:
    written(folder, "config.json", values)
    found = answers(lambda: predictor.read_config(folder))
    if found is not None:
        configuration.check(found)
    answers(lambda: run_folder.refuse_other_run(folder, CONFIG))
    written(folder, "config.json", CONFIG)


@quick
@given(data=st.data())
def test_data(data: st.DataObject, folder: Path) -> None:
    before = json.loads((folder / "data.json").read_text())
    written(folder, "data.json", data.draw(changed(before)))
    spec = answers(lambda: predictor.read_spec(folder))
    if spec is not None:
        assert all(isinstance(name, str) for name in spec.classes) and spec.input.shape
    written(folder, "data.json", before)


@quick
@given(data=st.data())
def test_run_of_version_0_1(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    config, described = (json.loads((STORED / name).read_text()) for name in ("config.json", "data.json"))
    changed_one = data.draw(
        st.tuples(changed(config), st.just(described)) | st.tuples(st.just(config), changed(described))
    )
    answers(lambda: earlier.upgraded(*changed_one, STORED))


RESULTS = {
    "seed": 0,
    "steps": 8,
    "test": {"top1": 0.5, "interval95": {"top1": [0.4, 0.6]}},
    "validation": None,
    "seconds": {"total": 1.0, "train": 0.5},
}


@quick
@given(values=changed(RESULTS))
def test_results(values: Any, folder: Path) -> None:
    written(folder, "results.json", values)
    found = answers(lambda: training._results(folder / "results.json", 0, 8))
    assert found is None or all(isinstance(value, int | float) for value in found.values())


ROWS = [
    {"step": 4, "split": "train", "loss": 1.0, "epoch": 0.5, "learning_rate": 0.1, "time": 1e9},
    {"step": 8, "split": "validation", "loss": 1.0, "top1": 0.5, "epoch": 1.0, "time": 1e9},
    {"step": 9, "split": "train", "loss": "NaN", "epoch": 1.5, "learning_rate": 0.1, "time": 1e9},
]


@quick
@given(rows=changed(ROWS))
def test_rows(rows: Any, folder: Path) -> None:
    lines = [json.dumps(row) for row in rows] if isinstance(rows, list) else [json.dumps(rows)]
    (folder / log.FILE).write_text("\n".join(lines) + "\n")
    found = answers(lambda: log.read(folder))
    if found is not None:
        answers(lambda: log.MetricLog(folder, 8, unscored=True).close())
        assert all(isinstance(row["step"], int) and isinstance(row["split"], str) for row in found)


ABOUT = {
    "config": CONFIG,
    "versions": {},
    "data": "0" * 64,
    "seconds": {"total": 1.0},
    "joules": 5.0,
    "unlogged": {"loss": [1.0, 2.0]},
    "score": 0.5,
}


@quick
@given(values=changed(ABOUT))
def test_what_a_checkpoint_says(values: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "read_about", lambda *_: values if isinstance(values, dict) else None)
        patch.setattr(checkpoint, "newest_good", lambda *_: 3)
        found = answers(lambda: loop.kept_with(folder, 3))
        if found is not None:
            clock = training.Clock(found["seconds"], 0.0, lambda: energy.Energy(1.0, ""))
            assert all(isinstance(value, float) for value in clock.seconds().values())
            assert energy.going_on(clock.taken, found.get(energy.KEPT))().joules >= 1
        (folder / "config.json").unlink()
        answers(lambda: run_folder.refuse_other_run(folder, CONFIG))
        written(folder, "config.json", CONFIG)
        answers(lambda: checkpoint._best(folder, [3, 2]))


@quick
@given(values=changed({"model": "cnn_jax.models.lenet.lenet5", "task": "cnn_jax.tasks.classify.classify"}))
def test_predictor(values: Any, folder: Path) -> None:
    imported = folder / "imported"
    imported.mkdir(exist_ok=True)
    shutil.copyfile(folder / "data.json", imported / "data.json")
    written(imported, "predictor.json", values)
    with pytest.MonkeyPatch.context() as patch:
        stored = predictor.Stored(predictor.read_spec(imported), {}, 0, imported)
        patch.setattr(predictor, "stored_variables", lambda *_: stored)
        answers(lambda: predictor.load(imported))
