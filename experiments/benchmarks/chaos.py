"""Ends a small training in every way that a machine ends one, and looks whether it goes on as if nothing had been.

    python experiments/benchmarks/chaos.py                          # 50 rounds, some ten minutes on two cores
    python experiments/benchmarks/chaos.py --rounds=20 --seed=7 --only=killed,disk

Each round begins with nothing or a half-trained run, lets one thing happen to it, runs the same command again until it
is complete, and compares variables (by the digest of the last state), log and results, bit for bit, with those of a run
that was left alone. Some batches of all of them hold nan, so that their updates are skipped. Rounds are drawn from the
seed, each fault once before any comes again. Exit code 1 where one differs, or ends in another way than is documented.
"""

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags, logging
from ends import Ended, children, ended, until

from cnn_jax.launch import script
from cnn_jax.launch.script import Failed
from cnn_jax.report import log

ROUNDS = flags.DEFINE_integer("rounds", 50, "how many", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "what is drawn", lower_bound=0)
ONLY = flags.DEFINE_list("only", [""], "the faults whose names have one of these in them")

ROOT, FATED = Path(__file__).parents[2], Path(__file__).with_name("fated.py")
MEASURED = ("time", "seconds", "examples_per_second", "cost")
DESKTOP = (".DS_Store", "Thumbs.db", "notes.txt", "old.sha256")


class Training(NamedTuple):
    """One run in its folder, of so many processes, and what decides its fate."""

    folder: Path
    draw: random.Random
    processes: int = 1

    def start(self, *words: str, limit: int | None = None, **environment: str) -> subprocess.Popen[str]:
        """The command; no file that it writes may have more than `limit` bytes."""
        # Writing beyond the limit is an error then, as on a full disk, and not a signal.
        limited = ["bash", "-c", "trap '' XFSZ; ulimit -f $0; exec \"$@\"", str(limit // 1024)] if limit else []
        several = [f"--processes={self.processes}"] if self.processes > 1 else []
        own = {"XLA_FLAGS": "--xla_force_host_platform_device_count=1", "JAX_PLATFORMS": "cpu"} if several else {}
        return subprocess.Popen(
            [*limited, sys.executable, ROOT / "launch.py", "train", FATED]
            + [f"--workdir={self.folder}", *several, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **own, **environment},
        )

    def run(self, *words: str, limit: int | None = None, **environment: str) -> Ended:
        return ended(self.start(*words, limit=limit, **environment))

    def until_saved(self, process: subprocess.Popen[str], count: int) -> None:
        """Waits until so many checkpoints are sealed that were not before, or the process has ended."""
        known = self.sealed()
        until(process, lambda: len(self.sealed() - known) >= count)

    def sealed(self) -> set[str]:
        return {path.name for path in self.folder.glob("checkpoints/*.sha256")}

    def newest(self) -> Path:
        steps = [path for path in self.folder.glob("checkpoints/*") if path.is_dir() and path.name.isdecimal()]
        return max(steps, key=lambda path: int(path.name))


def stopped(training: Training, number: signal.Signals, *codes: int) -> None:
    process = training.start()
    until(
        process, (training.folder / ".lock").exists
    )  # before, Python itself is starting, and ends as any program does
    training.until_saved(process, training.draw.randrange(4))
    time.sleep(training.draw.uniform(0, 0.3))
    process.send_signal(number)
    ended(process).expect(0, *codes, within=10)


def killed(training: Training) -> None:
    process = training.start()
    time.sleep(training.draw.uniform(0.2, 6))
    process.kill()
    process.communicate()


def killed_while_saving(training: Training) -> None:
    process = training.start()
    training.until_saved(process, training.draw.randrange(1, 4))
    until(process, lambda: bool(list(training.folder.glob("checkpoints/*tmp*"))))
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
    ended(process).expect(0)


def files_too_large(training: Training) -> None:
    training.run(limit=training.draw.choice([2048, 8192, 20480, 40960])).expect(0, 2, 74)


def half(training: Training) -> None:
    """A run that was stopped in its middle."""
    process = training.start()
    training.until_saved(process, training.draw.randrange(2, 5))
    process.send_signal(signal.SIGTERM)
    ended(process).expect(0, 75)


def moved(training: Training) -> None:
    half(training)
    elsewhere = training.folder.with_name("moved folder")
    training.folder.rename(elsewhere)
    training._replace(folder=elsewhere).run().expect(0)
    elsewhere.rename(training.folder)


def second_start(training: Training) -> None:
    process = training.start()
    training.until_saved(process, 1)
    if process.poll() is None:
        training.run().expect(0, 2)
    ended(process).expect(0)


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
        training.run("--config.optim.lr=0.001").expect(2)


def made_longer(training: Training) -> None:
    """First a shorter run, which ends or is killed; then the longer one, which is killed, too."""
    process = training.start(f"--config.duration={training.draw.choice([20, 40])} steps")
    if training.draw.randrange(2):
        training.until_saved(process, training.draw.randrange(1, 4))
        process.kill()
    process.communicate()
    killed_while_saving(training)


def results_cut(training: Training) -> None:
    training.run().expect(0)
    path = training.folder / "results.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(training.draw.choice(["", "{}", text[: len(text) // 2]]), encoding="utf-8")


def torn_log(training: Training) -> None:
    """The end of the log is cut off, somewhere behind the row of the newest checkpoint."""
    killed_while_saving(training)
    path = training.folder / log.FILE
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    step = int(training.newest().name) if training.sealed() else 0
    known = sum(len(line) for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= step)
    rest = b"".join(lines)[known:] or b'{"step": 99, "split": "tr'
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(lines)[:known] + rest[: training.draw.randrange(len(rest))])


def reader_dies(training: Training) -> None:
    """The thread that reads fails, or ends without a word."""
    how, code = training.draw.choice([("fails", 74), ("ends", 2)])
    training.run(FATE=how).expect(code)


def at_once(training: Training) -> None:
    """Two starts in one folder."""
    both = [training.start() for _ in range(2)]
    codes = sorted(ended(process).code for process in both)
    if codes not in ([0, 2], [0, 0]):  # one may come when the other has ended
        raise AssertionError(f"exit codes {codes}")


def full_disk(training: Training) -> None:
    """On a small disk of its own, which is larger the next time."""
    disk = training.folder.parent

    def mount(how: str) -> None:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", how, "chaos", disk], capture_output=True, text=True)
        if done.returncode:
            raise Skipped(f"no disk can be mounted here: {done.stderr.strip()}")

    disk.mkdir(parents=True, exist_ok=True)
    mount(f"size={training.draw.choice([64, 256, 512, 768])}k")
    training.run().expect(0, 2, 74)
    mount("remount,size=256m")


def one_of_them(training: Training, number: signal.Signals, code: int) -> None:
    """Something happens to one of the processes."""
    process = training.start()
    training.until_saved(process, training.draw.randrange(1, 4))
    if pids := children(process):
        os.kill(training.draw.choice(pids), number)
    ended(process).expect(0, code)


def all_of_them(training: Training) -> None:
    process = training.start()
    training.until_saved(process, training.draw.randrange(1, 4))
    pids = [process.pid, *children(process)]
    for pid in training.draw.sample(pids, len(pids)):
        os.kill(pid, signal.SIGKILL)
    process.communicate()


FATES: dict[str, Callable[[Training], None]] = {
    "killed at random": killed,
    "killed while saving": killed_while_saving,
    "killed three times": killed_three_times,
    "SIGTERM": lambda training: stopped(training, signal.SIGTERM, 75),
    "SIGINT": lambda training: stopped(training, signal.SIGINT, 75, 130),
    "SIGHUP": lambda training: stopped(training, signal.SIGHUP, 75),
    "SIGSTOP and SIGCONT": paused,
    "full disk": full_disk,
    "files too large": files_too_large,
    "moved": moved,
    "second start": second_start,
    "two starts at once": at_once,
    "clock jump": clock_jump,
    "newest checkpoint damaged": damaged,
    "log torn": torn_log,
    "reader dies": reader_dies,
    "files of desktops": files_of_desktops,
    "configuration gone": no_configuration,
    "results cut": results_cut,
    "made longer": made_longer,
    "one of two killed": lambda training: one_of_them(training, signal.SIGKILL, 76),
    "one of two stopped": lambda training: one_of_them(training, signal.SIGSTOP, 76),
    "one of two asked to stop": lambda training: one_of_them(training, signal.SIGTERM, 75),
    "all of two killed": all_of_them,
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


class Skipped(Exception):
    """A fault that cannot be brought about here."""


@functools.cache
def undisturbed(workplace: Path, processes: int) -> dict[str, Any]:
    """The facts of a run that was left alone."""
    training = Training(workplace / f"undisturbed{processes}" / "run", random.Random(), processes)
    training.run().expect(0)
    found = facts(training.folder)
    if not any(row.get("skipped") for row in found["log"]):
        raise AssertionError("no batch held nan")
    return found


def one_round(number: int, name: str, workplace: Path) -> str:
    """Lets it happen; returns what is wrong, '' for nothing. Raises Skipped."""
    folder = workplace / f"round{number}" / "run"
    processes = 2 if "of two" in name else 1
    training = Training(folder, random.Random(SEED.value * 10_000 + number), processes)
    expected = undisturbed(workplace, processes)
    try:
        FATES[name](training)
        for _ in range(3):
            if (found := training.run()).code == 0:
                break
        found.expect(0)
        found_facts = facts(folder)
        wrong = [part for part, value in expected.items() if found_facts[part] != value]
    except AssertionError as error:
        return " ".join(str(error).split())
    finally:
        subprocess.run(["umount", "--lazy", folder.parent], capture_output=True)
    shutil.rmtree(folder.parent, ignore_errors=True)
    return f"{', '.join(wrong)} differ" if wrong else ""


def main() -> None:
    draw = random.Random(SEED.value)
    chosen = [name for name in FATES if any(word in name for word in ONLY.value)]
    names: list[str] = []
    while len(names) < ROUNDS.value:  # each once before any is drawn again
        names += draw.sample(chosen, len(chosen))
    outcomes = Counter[str]()
    with tempfile.TemporaryDirectory(prefix="chaos-") as place:
        workplace = Path(place)
        logging.set_verbosity(logging.ERROR)  # of Orbax, which says what of a checkpoint it does not find
        for number, name in enumerate(names[: ROUNDS.value]):
            began = time.monotonic()
            try:
                wrong = one_round(number, name, workplace)
                outcome = "lost" if wrong else "survived"
            except Skipped as reason:
                wrong, outcome = str(reason), "left out"
            outcomes[outcome] += 1
            seconds = f"{time.monotonic() - began:5.1f} s"
            print(f"{number:3} {name:26} {seconds}  {wrong or 'as if nothing had been'}", flush=True)
    injected, survived, lost = ROUNDS.value - outcomes["left out"], outcomes["survived"], outcomes["lost"]
    print(f"{injected} faults injected, {survived} survived, {lost} lost")
    if lost:
        raise Failed(f"{lost} rounds went wrong")


if __name__ == "__main__":
    script.run(main)
