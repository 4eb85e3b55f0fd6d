"""Checkpoints: what is saved comes back bit by bit, and what is damaged is noticed, named and not used."""

import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.config import Experiment
from cnn_jax.data.batches import training_batch
from cnn_jax.data.source import ArraySource
from cnn_jax.train import checkpoint
from cnn_jax.train.checkpoint import CheckpointError, Checkpoints
from cnn_jax.train.loop import resume
from cnn_jax.train.run import Run, assemble, fresh
from cnn_jax.train.state import State, create


def state_of(value: float) -> State:
    variables = {"params": {"kernel": jnp.full((3, 4), value)}, "batch_stats": {"mean": jnp.full(4, -value)}}
    return create(variables, optax.adam(0.1), ema=True, loss_scale=True)


def save(folder: Path, scores: dict[int, float | None], keep: int = 10) -> Path:
    """A folder with checkpoints of the given steps and scores; the value of each state is its step."""
    checkpoints = Checkpoints(folder, keep=keep)
    for step, score in scores.items():
        checkpoints.save(step, state_of(step), {"step": step}, score)
    checkpoints.finish()
    checkpoints.close()
    return folder


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("saved") / "checkpoints", {1: 0.5, 2: 0.9, 3: 0.7})


@pytest.fixture
def folder(three: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(three, tmp_path / "checkpoints"))


def largest_file(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def opened(folder: Path) -> list[str]:
    """Opens the folder as a run does, and returns the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Checkpoints(folder, keep=10).close()
    return [str(w.message) for w in caught if "checkpoint of step" in str(w.message)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_state_and_about_come_back_bit_by_bit(folder: Path) -> None:
    expected = state_of(2)
    found = checkpoint.restore(folder, 2, jax.eval_shape(lambda: expected))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    assert checkpoint.read_about(folder, 2) == {"step": 2, "score": 0.9}
    assert opened(folder) == [] and checkpoint.steps(folder) == [3, 2, 1]


def test_what_comes_first_is_done_before_the_seal(tmp_path: Path) -> None:
    """Rows of the log are on the disk when a checkpoint counts; where they cannot be, it does not count."""
    sealed: list[bool] = []
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1)
    checkpoints.save(1, state_of(1), {}, None, lambda: sealed.append((checkpoints.folder / "1.sha256").exists()))
    checkpoints.finish()
    assert sealed == [False] and checkpoint.newest_good(checkpoints.folder) == 1

    def full() -> None:
        raise OSError(28, "No space left on device")

    checkpoints.save(2, state_of(2), {}, None, full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        checkpoints.finish()
    checkpoints.close()
    assert checkpoint.newest_good(checkpoints.folder) == 1


def test_the_seal_is_what_sha256sum_checks(folder: Path) -> None:
    check = ["sha256sum", "--check", "--strict", "--quiet", "3.sha256"]
    assert subprocess.run(check, cwd=folder).returncode == 0
    flip_byte(folder / "3")
    assert subprocess.run(check, cwd=folder, capture_output=True).returncode == 1


def flip_byte(step: Path) -> None:
    data = bytearray(largest_file(step).read_bytes())
    data[len(data) // 2] ^= 1
    largest_file(step).write_bytes(data)


def truncate(step: Path) -> None:
    file = largest_file(step)
    file.write_bytes(file.read_bytes()[:-1])


def delete_a_file(step: Path) -> None:
    largest_file(step).unlink()


def break_the_seal(step: Path) -> None:
    seal = step.with_name(f"{step.name}.sha256")
    seal.write_text(seal.read_text()[:-10])


def empty_the_seal(step: Path) -> None:
    step.with_name(f"{step.name}.sha256").write_text("")


def lose_the_seal(step: Path) -> None:
    step.with_name(f"{step.name}.sha256").unlink()


def lose_everything_inside(step: Path) -> None:
    shutil.rmtree(step)
    step.mkdir()


DAMAGES = [flip_byte, truncate, delete_a_file, break_the_seal, empty_the_seal, lose_the_seal, lose_everything_inside]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_for_the_newest_good_one(
    damage: Callable[[Path], None], folder: Path
) -> None:
    damage(folder / "3")
    before = files(folder / "3")
    assert checkpoint.newest_good(folder) == 2
    (warning,) = opened(folder)
    why = "was never finished" if damage is lose_the_seal else "is damaged"
    assert warning == f"the checkpoint of step 3 {why}: renamed to bad-3, going on from step 2"
    assert files(folder / "bad-3") == before  # nothing is deleted
    assert checkpoint.steps(folder) == [2, 1] and opened(folder) == []


def test_what_others_leave_in_the_folder_is_no_damage(folder: Path) -> None:
    (folder / "3" / ".DS_Store").write_bytes(b"\xff")
    (folder / "3" / "state" / "stray").write_text("")
    (folder / "notes.sha256").write_text("mine")
    (folder / "3.sha256.bak").write_text("")
    assert opened(folder) == [] and checkpoint.newest_good(folder) == 3
    save(folder, {4: None})
    assert checkpoint.newest_good(folder) == 4 and (folder / "notes.sha256").read_text() == "mine"


@pytest.mark.parametrize("junk", [b"", b"{", b"\xff", b"[1]", b'{"score": "high"}', b'{"score": NaN}'])
def test_damage_of_what_is_said_about_an_older_one_stops_nothing(junk: bytes, folder: Path) -> None:
    (folder / "2" / "about" / "metadata").write_bytes(junk)
    (folder / "2" / "metrics").mkdir()  # which an earlier version of this project wrote too
    (folder / "2" / "metrics" / "metrics").write_bytes(junk)
    assert opened(folder) == [] and checkpoint.best(folder) == 3
    save(folder, {4: 0.1}, keep=1)
    assert checkpoint.steps(folder) == [4, 3] and checkpoint.best(folder) == 3


@pytest.mark.parametrize("junk", [False, True])
@pytest.mark.parametrize("step", [0, 12])
def test_a_stray_step_folder_is_set_aside(step: int, junk: bool, folder: Path) -> None:
    (folder / str(step)).mkdir()
    if junk:
        (folder / str(step) / "notes.txt").write_text("not a checkpoint")
    (warning,) = opened(folder)
    assert warning.startswith(f"the checkpoint of step {step} was never finished: renamed to bad-{step}")
    assert checkpoint.newest_good(folder) == 3 and (folder / f"bad-{step}").is_dir()
    save(folder, {4: None})  # Orbax would refuse to save below a folder named 12
    assert checkpoint.newest_good(folder) == 4


@pytest.mark.parametrize("name", ["3.orbax-checkpoint-tmp", "notes", "007", "-5", "bad-3"])
def test_other_folders_do_not_disturb(name: str, folder: Path) -> None:
    (folder / name).mkdir()
    assert opened(folder) == [] and checkpoint.newest_good(folder) == 3
    save(folder, {4: None})
    assert checkpoint.newest_good(folder) == 4


def test_with_all_checkpoints_bad_the_run_starts_anew(folder: Path, config: Experiment, source: ArraySource) -> None:
    for step in (1, 2, 3):
        flip_byte(folder / str(step))
    found = opened(folder)
    assert len(found) == 3 and all("starting from the beginning" in warning for warning in found)
    assert checkpoint.newest_good(folder) is None and checkpoint.best(folder) is None
    assert {path.name for path in folder.iterdir()} == {"bad-1", "bad-2", "bad-3"}
    run = assemble(config, source.spec, len(source))
    state, start, about = resume(run, folder)
    assert (start, about, int(state.step)) == (0, {}, 0)


def test_a_second_bad_checkpoint_of_a_step_gets_another_name(folder: Path) -> None:
    for _ in range(2):
        lose_the_seal(folder / "3")
        opened(folder)
        save(folder, {3: None})
    assert {path.name for path in folder.glob("bad-*")} == {"bad-3", "bad-3-again"}


def test_the_latest_are_kept_and_the_best_however_old(tmp_path: Path) -> None:
    folder = save(tmp_path, {1: 0.1, 2: 0.9, 3: 0.3, 4: None, 5: 0.2, 6: None}, keep=2)
    assert checkpoint.steps(folder) == [6, 5, 2] and checkpoint.best(folder) == 2
    save(folder, {7: 0.8, 8: 0.1}, keep=2)  # another process knows of the best one too
    assert checkpoint.steps(folder) == [8, 7, 2] and checkpoint.best(folder) == 2
    save(folder, {9: 0.95}, keep=2)
    assert checkpoint.steps(folder) == [9, 8] and checkpoint.best(folder) == 9
    assert sorted(path.name for path in folder.glob("*.sha256")) == ["8.sha256", "9.sha256"]


def test_best_is_of_the_good_ones_and_without_scores_the_latest(folder: Path, tmp_path: Path) -> None:
    assert checkpoint.best(folder) == 2
    flip_byte(folder / "2")
    assert checkpoint.best(folder) == 3
    assert checkpoint.best(save(tmp_path / "unscored", {1: None, 2: None})) == 2
    assert checkpoint.best(tmp_path / "nothing") is None


def test_a_step_that_is_not_written_is_an_error(folder: Path) -> None:
    checkpoints = Checkpoints(folder, keep=10)
    with pytest.raises(
        CheckpointError, match=r"^the checkpoint of step 2 could not be written .*; the newest good one is of step 3$"
    ):
        checkpoints.save(2, state_of(2), {}, None)
    checkpoints.close()


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), ValueError("RESOURCE_EXHAUSTED: disk\nat")]
)
@pytest.mark.parametrize("method", ["save", "wait_until_finished"])
def test_a_failure_of_orbax_is_one_line(
    method: str, failure: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(folder, keep=10)

    def fail(*args: object, **kwargs: object) -> None:
        raise failure

    monkeypatch.setattr(checkpoints._writer, method, fail)
    with pytest.raises(
        CheckpointError, match=r"^the checkpoint of step 4 could not be written \(.*\); the newest good"
    ):
        checkpoints.save(4, state_of(4), {}, None)
        checkpoints.finish()
    monkeypatch.undo()
    checkpoints.close()
    assert checkpoint.newest_good(folder) == 3


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Sealing waits for this event."""
    go_on, seal = threading.Event(), checkpoint._seal

    def wait(folder: Path, step: int) -> None:
        assert go_on.wait(60)
        seal(folder, step)

    monkeypatch.setattr(checkpoint, "_seal", wait)
    yield go_on
    go_on.set()


def test_the_loop_does_not_wait_for_the_seal(tmp_path: Path, held: threading.Event) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(1, state_of(1), {}, None)
    while not (tmp_path / "1").is_dir():
        checkpoints.poll()
    assert checkpoint.newest_good(tmp_path) is None
    held.set()
    checkpoints.finish()
    assert checkpoint.newest_good(tmp_path) == 1
    checkpoints.close()


def test_poll_says_what_went_wrong_in_the_background(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_seal", fail)
    checkpoints = Checkpoints(folder, keep=10)
    checkpoints.save(4, state_of(4), {}, None)
    with pytest.raises(CheckpointError, match="step 4 could not be written .*No space.*good one is of step 3$"):
        while True:
            checkpoints.poll()
    checkpoints.finish()  # said once
    checkpoints.close()


def test_the_one_before_stays_until_the_next_is_sealed(tmp_path: Path, held: threading.Event) -> None:
    held.set()
    folder = save(tmp_path / "run", {1: None}, keep=1)
    held.clear()
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(2, state_of(2), {}, None)
    while not (folder / "2").is_dir():
        time.sleep(0.001)
    killed = Path(shutil.copytree(folder, tmp_path / "killed"))
    held.set()
    checkpoints.finish()
    checkpoints.close()
    assert checkpoint.steps(folder) == [2] and checkpoint.newest_good(folder) == 2
    (warning,) = opened(killed)
    assert "step 2 was never finished" in warning and checkpoint.newest_good(killed) == 1


def test_a_kill_while_one_is_removed_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path: (path / "about" / "metadata").unlink())
        save(tmp_path, {1: None, 2: None}, keep=1)
    (tmp_path / "1.sha256").write_text("of what is gone")
    (tmp_path / "3.orbax-checkpoint-tmp").mkdir()
    assert {path.name for path in tmp_path.iterdir()} > {"removed-1", "2"}
    assert opened(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {"2", "2.sha256"}


def trained(run: Run, source: ArraySource, state: State, start: int, count: int) -> State:
    for step in range(start, start + count):
        state, _ = run.engine.step(state, run.engine.place_batch(training_batch(source, 0, step, 16)))
    return state


def run_with(config: Experiment, source: ArraySource, parallel: str, devices: int) -> Run:
    config.compute.parallel, config.compute.devices = parallel, devices
    return assemble(config, source.spec, len(source))


@pytest.mark.parametrize("parallel", ["jit", "fsdp", "pmap"])
def test_steps_that_follow_at_once_do_not_reach_what_is_saved(
    parallel: str, config: Experiment, source: ArraySource, tmp_path: Path
) -> None:
    config.optim.ema = 0.9
    run = run_with(config, source, parallel, 8)
    state = trained(run, source, fresh(run), 0, 3)
    expected = jax.tree.map(lambda a: np.array(a, copy=True), run.engine.whole(state))
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(3, run.engine.whole(state), {}, None)
    trained(run, source, state, 3, 5)
    checkpoints.finish()
    checkpoints.close()
    # Into every other way to hold it.
    for other, devices in (("jit", 1), ("jit", 8), ("fsdp", 4), ("pmap", 2)):
        engine = run_with(config, source, other, devices).engine
        state = engine.place(checkpoint.restore(tmp_path, 3, engine.target))
        jax.tree.map(np.testing.assert_array_equal, engine.whole(state), expected)
