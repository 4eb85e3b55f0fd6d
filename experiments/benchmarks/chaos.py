"""Ends a small training in every way that a machine ends one, and looks whether it goes on as if nothing had been.

    python experiments/benchmarks/chaos.py --rounds=20 --seed=0

Each round begins with a copy of nothing or of a half-trained run, lets one thing happen to it, runs the same command
again until it is complete, and compares variables (by the digest of the last state), log and results with those of a
run that was left alone. Rounds are drawn from the seed. Exit code 1 where one differs, or says more than a line.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags, logging

from cnn_jax.launch import script
from cnn_jax.launch.script import Failed
from cnn_jax.report import log

ROUNDS = flags.DEFINE_integer("rounds", 20, "how many", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "what is drawn", lower_bound=0)

ROOT = Path(__file__).parents[2]
STEPS = 60
COMMAND = [sys.executable, str(ROOT / "launch.py"), "train", str(ROOT / "experiments" / "digits.py")]
SETTINGS = {
    "duration": f"{STEPS} steps",
    "save_every": "5 steps",
    "log_every": "4 steps",
    "evaluate.every": "10 steps",
    "data.validation": "0.2",
    "model.build": "small_cnn(features=(8, 16), hidden=16, dropout=0.2)",
    "data.batch_size": "32",
    "evaluate.patience": "5",
    "optim.schedule": "constant",  # so that a run that was made longer is the one that was so long from the beginning
    "optim.warmup": "4 steps",
}
MEASURED = ("time", "seconds", "examples_per_second")
DESKTOP = (".DS_Store", "Thumbs.db", "notes.txt", "old.sha256")


class Ended(NamedTuple):
    """How a command ended, and what it said on stderr."""

    code: int
    err: str


class Training(NamedTuple):
    """One run in its folder, and what decides its fate."""

    folder: Path
    draw: random.Random

    def start(self, *words: str, limit: int | None = None) -> subprocess.Popen[str]:
        """The command; no file that it writes may have more than `limit` bytes."""
        # Writing beyond the limit is an error then, as on a full disk, and not a signal.
        limited = ["bash", "-c", "trap '' XFSZ; ulimit -f $0; exec \"$@\"", str(limit // 1024)] if limit else []
        flags_of_run = [f"--config.{name}={value}" for name, value in SETTINGS.items()]

        return subprocess.Popen(
            [*limited, *COMMAND, f"--workdir={self.folder}", *flags_of_run, *words],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def run(self, *words: str, limit: int | None = None) -> Ended:
        return ended(self.start(*words, limit=limit))

    def until_saved(self, process: subprocess.Popen[str], count: int) -> None:
        """Waits until so many checkpoints are sealed that were not before, or the process has ended."""
        known = self.sealed()
        while process.poll() is None and len(self.sealed() - known) < count:
            time.sleep(0.005)

    def sealed(self) -> set[str]:
        return {path.name for path in self.folder.glob("checkpoints/*.sha256")}

    def newest(self) -> Path:
        steps = [path for path in self.folder.glob("checkpoints/*") if path.is_dir() and path.name.isdecimal()]
        return max(steps, key=lambda path: int(path.name))


def ended(process: subprocess.Popen[str]) -> Ended:
    _, err = process.communicate(timeout=120)
    return Ended(process.returncode, err)


def expect(found: Ended, *codes: int) -> None:
    """Raises AssertionError for another exit code, or an error of more than one line."""
    errors = [line for line in found.err.splitlines() if not line.startswith("warning: ")]
    if found.code not in codes or len(errors) > 1 or any("Traceback" in line for line in errors):
        raise AssertionError(f"exit code {found.code}, not {' or '.join(map(str, codes))}: {found.err[-600:]}")


def stopped(training: Training, number: signal.Signals, *codes: int) -> None:
    process = training.start()
    while process.poll() is None and not (training.folder / ".lock").exists():
        time.sleep(0.005)  # before that Python itself is starting, and ends as any program does
    training.until_saved(process, training.draw.randrange(4))
    time.sleep(training.draw.uniform(0, 0.3))
    process.send_signal(number)
    began = time.monotonic()
    expect(ended(process), 0, *codes)
    if time.monotonic() - began > 10:
        raise AssertionError("it took more than 10 s to end")


def killed(training: Training) -> None:
    process = training.start()
    time.sleep(training.draw.uniform(0.2, 6))
    process.kill()
    process.communicate()


def killed_while_saving(training: Training) -> None:
    process = training.start()
    training.until_saved(process, training.draw.randrange(1, 4))
    while process.poll() is None and not list(training.folder.glob("checkpoints/*tmp*")):
        time.sleep(0.0005)
    time.sleep(training.draw.choice([0, 0.002, 0.01, 0.03]))
    process.kill()
    process.communicate()


def killed_three_times(training: Training) -> None:
    for _ in range(3):
        killed_while_saving(training)


def paused(training: Training) -> None:
    process = training.start()
    training.until_saved(process, 1)
    for number in (signal.SIGSTOP, signal.SIGCONT):
        process.send_signal(number)
        time.sleep(0.5)
    expect(ended(process), 0)


def full_disk(training: Training) -> None:
    expect(training.run(limit=training.draw.choice([2048, 8192, 20480, 40960])), 0, 2, 74)


def half(training: Training) -> None:
    """A run that was stopped in its middle."""
    process = training.start()
    training.until_saved(process, training.draw.randrange(2, 5))
    process.send_signal(signal.SIGTERM)
    expect(ended(process), 0, 75)


def moved(training: Training) -> None:
    half(training)
    elsewhere = training.folder.with_name("moved folder")
    training.folder.rename(elsewhere)
    expect(training._replace(folder=elsewhere).run(), 0)
    elsewhere.rename(training.folder)


def second_process(training: Training) -> None:
    process = training.start()
    training.until_saved(process, 1)
    if process.poll() is None:
        expect(training.run(), 0, 2)
    expect(ended(process), 0)


def clock_jump(training: Training) -> None:
    """All files seem to be of the far past or of the future."""
    half(training)
    then = training.draw.choice([1.0, time.time() + 1e8])
    for path in training.folder.rglob("*"):
        os.utime(path, (then, then))


def damaged(training: Training) -> None:
    half(training)
    step = training.newest()
    files = [path for path in step.rglob("*") if path.is_file()]
    victim, how = training.draw.choice(files), training.draw.randrange(6)
    data = bytearray(victim.read_bytes())
    if how == 0 and data:
        data[training.draw.randrange(len(data))] ^= 1
        victim.write_bytes(data)
    elif how == 1:
        victim.write_bytes(data[: len(data) // 2])
    elif how == 2:
        victim.unlink()
    elif how == 3:
        step.with_name(f"{step.name}.sha256").unlink()
    elif how == 4:
        step.with_name(f"{step.name}.sha256").write_text("", encoding="utf-8")
    else:
        shutil.rmtree(step)
        step.mkdir()


def files_of_desktops(training: Training) -> None:
    half(training)
    for folder in [training.folder, *(path for path in training.folder.rglob("*") if path.is_dir())]:
        for name in training.draw.sample(DESKTOP, 2):
            (folder / name).write_bytes(b"\x00\xff junk")


def no_configuration(training: Training) -> None:
    half(training)
    name, how = training.draw.choice(["config.json", "data.json", "versions.json"]), training.draw.randrange(2)
    (training.folder / name).unlink() if how else (training.folder / name).write_text("{", encoding="utf-8")
    if name != "versions.json":
        expect(training.run("--config.optim.lr=0.001"), 2)


def made_longer(training: Training) -> None:
    """First a shorter run, which ends or is killed; then the longer one, which is killed, too."""
    process = training.start(f"--config.duration={training.draw.choice([20, 40])} steps")
    if training.draw.randrange(2):
        training.until_saved(process, training.draw.randrange(1, 4))
        process.kill()
    process.communicate()
    killed_while_saving(training)


def results_cut(training: Training) -> None:
    expect(training.run(), 0)
    path = training.folder / "results.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(training.draw.choice(["", "{}", text[: len(text) // 2]]), encoding="utf-8")


FATES: dict[str, Callable[[Training], None]] = {
    "killed at random": killed,
    "killed while saving": killed_while_saving,
    "killed three times": killed_three_times,
    "SIGTERM": lambda training: stopped(training, signal.SIGTERM, 75),
    "SIGINT": lambda training: stopped(training, signal.SIGINT, 75, 130),
    "SIGHUP": lambda training: stopped(training, signal.SIGHUP, 75),
    "paused": paused,
    "full disk": full_disk,
    "moved": moved,
    "second process": second_process,
    "clock jump": clock_jump,
    "newest checkpoint damaged": damaged,
    "files of desktops": files_of_desktops,
    "configuration gone": no_configuration,
    "results cut": results_cut,
    "made longer": made_longer,
}


def plain(value: Any) -> Any:
    """JSON without what is measured."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items() if name not in MEASURED}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def facts(folder: Path) -> dict[str, Any]:
    """What two runs must agree on, bit for bit."""
    from cnn_jax.train import checkpoint
    from cnn_jax.train.predictor import stored_variables

    stored, scored = stored_variables(folder, "last"), stored_variables(folder)
    return {
        "step": stored.step,
        "variables": {name: array.tobytes() for name, array in stored.variables.items()},
        "log": plain(log.read(folder)),
        "results": plain(json.loads((folder / "results.json").read_text(encoding="utf-8"))),
        "best": checkpoint.best(folder / "checkpoints"),
        "scored": {name: array.tobytes() for name, array in scored.variables.items()},
    }


def one_round(number: int, name: str, expected: dict[str, Any], workplace: Path) -> str:
    """Lets it happen; returns what is wrong, '' for nothing."""
    folder = workplace / f"round{number}" / "run"
    training = Training(folder, random.Random(SEED.value * 10_000 + number))
    try:
        FATES[name](training)
        for _ in range(3):
            if (found := training.run()).code == 0:
                break
        expect(found, 0)
        found_facts = facts(folder)
        wrong = [part for part, value in expected.items() if found_facts[part] != value]
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return " ".join(str(error).split())
    shutil.rmtree(folder.parent)
    return f"{', '.join(wrong)} differ" if wrong else ""


def main() -> None:
    draw = random.Random(SEED.value)
    names: list[str] = []
    while len(names) < ROUNDS.value:  # each once before any is drawn again
        names += draw.sample(list(FATES), len(FATES))
    with tempfile.TemporaryDirectory(prefix="chaos-") as place:
        workplace = Path(place)
        undisturbed = Training(workplace / "undisturbed", draw)
        expect(undisturbed.run(), 0)
        expected = facts(undisturbed.folder)
        logging.set_verbosity(logging.ERROR)  # of Orbax, which says what of a checkpoint it does not find
        bad = 0
        for number, name in enumerate(names[: ROUNDS.value]):
            began = time.monotonic()
            wrong = one_round(number, name, expected, workplace)
            bad += bool(wrong)
            print(
                f"{number:3} {name:26} {time.monotonic() - began:5.1f} s  {wrong or 'as if nothing had been'}",
                flush=True,
            )
    print(f"{ROUNDS.value - bad} of {ROUNDS.value} rounds end as the run that was left alone")
    if bad:
        raise Failed(f"{bad} rounds went wrong")


if __name__ == "__main__":
    script.run(main)
