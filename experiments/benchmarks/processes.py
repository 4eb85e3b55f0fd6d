"""Trains in several processes and lets things happen to one of them; looks whether all end as they should.

    python experiments/benchmarks/processes.py                # all, some minutes on two cores
    python experiments/benchmarks/processes.py --only=stopped,killed

Each case says what happened, how long the end took, and the last line on stderr. Exit code 1 where a case goes wrong.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ends import Ended, children, ended, until

from cnn_jax.launch import script
from cnn_jax.launch.script import Failed
from cnn_jax.report import log

ONLY = flags.DEFINE_list("only", [""], "the cases whose names have one of these in them")

ROOT, FATED = Path(__file__).parents[2], Path(__file__).with_name("fated.py")
CLOSE = 1e-5
LIMIT = 60  # seconds in which all have to end, when one has died or hangs


class Command(NamedTuple):
    """A training in `folder`; devices: of each process."""

    workplace: Path
    folder: Path
    processes: int = 2
    devices: int = 1
    words: tuple[str, ...] = ()

    def start(self, **environment: str) -> subprocess.Popen[str]:
        several = [f"--processes={self.processes}"] if self.processes > 1 else []
        own = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={self.devices}", "JAX_PLATFORMS": "cpu"}
        return subprocess.Popen(
            [sys.executable, ROOT / "launch.py", "train", self.experiment, f"--workdir={self.folder}", *several]
            + [*self.words],
            cwd=self.workplace,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", **own, **environment},
        )

    @property
    def experiment(self) -> str:
        return str(self.workplace / "fated.py")

    def run(self, **environment: str) -> Ended:
        return ended(self.start(**environment))

    def facts(self) -> dict[str, Any]:
        """Losses by step and split, and final scores."""
        rows = {f"{row['split']} {row['step']}": row["loss"] for row in log.read(self.folder)}
        test = json.loads((self.folder / "results.json").read_text(encoding="utf-8"))["test"]
        return {**rows, **{name: value for name, value in test.items() if isinstance(value, float)}}


def compare(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """How far two runs are from one another."""
    if found.keys() != expected.keys():
        raise AssertionError(f"other rows: {sorted(found.keys() ^ expected.keys())[:5]}")
    far = {name: abs(found[name] - value) / max(abs(value), 1e-12) for name, value in expected.items()}
    worst = max(far, key=lambda name: far[name])
    if far[worst] > CLOSE:
        raise AssertionError(f"{worst} is {found[worst]}, not {expected[worst]}")
    return f"{len(far)} losses and scores differ by {far[worst]:.1e} at most"


Case = Callable[[Path, dict[str, Any]], str]


def equal(processes: int, devices: int, *words: str) -> Case:
    def case(workplace: Path, expected: dict[str, Any]) -> str:
        command = Command(workplace, workplace / "run", processes, devices, words)
        _done(command.run())
        return compare(command.facts(), expected)

    return case


def _done(found: Ended) -> None:
    if found.code != 0:
        raise AssertionError(f"exit code {found.code}: {found.err[-5:]}")


def toy(name: str) -> Case:
    def case(workplace: Path, expected: dict[str, Any]) -> str:
        shutil.copy(ROOT / "tests" / "toys" / f"{name}.py", workplace / "fated.py")
        one = Command(workplace, workplace / "one", 1, 2)
        two = Command(workplace, workplace / "two", 2, 1)
        _done(one.run())
        _done(two.run())
        return compare(two.facts(), one.facts())

    return case


def elastic(*ways: tuple[int, int, str]) -> Case:
    """The run goes on in another way, of processes, devices of each, and a flag, after each tenth step."""

    def case(workplace: Path, expected: dict[str, Any]) -> str:
        for number, (processes, devices, word) in enumerate(ways, start=1):
            command = Command(workplace, workplace / "run", processes, devices, (word,) if word else ())
            process = command.start(READING="0.3")
            if number < len(ways):
                until(process, (command.folder / f"checkpoints/{10 * number}.sha256").exists)
                process.send_signal(signal.SIGTERM)
            found = ended(process)
            if found.code != (75 if number < len(ways) else 0):
                raise AssertionError(f"way {number} ended with {found.code}: {found.err[-5:]}")
        return compare(command.facts(), expected)

    return case


def happens(what: Callable[[list[int]], None], codes: Sequence[int], says: str, **environment: str) -> Case:
    """Something happens to processes after step 20, and the same command ends the run."""

    def case(workplace: Path, expected: dict[str, Any]) -> str:
        command = Command(workplace, workplace / "run")
        process = command.start(**environment)
        until(process, lambda: (command.folder / "checkpoints/20.sha256").exists())
        what(children(process))
        found = ended(process)
        found.expect(*codes, says=says, within=LIMIT)
        _done(command.run())
        return f"{found.seconds:.1f} s: {found.err[-1]}; then {compare(command.facts(), expected)}"

    return case


def stopped_early(workplace: Path, expected: dict[str, Any]) -> str:
    """While the first step is compiled, of whose programs none is kept."""
    command = Command(workplace, workplace / "run")
    process = command.start(CNN_JAX_CACHE="off")
    until(process, lambda: (command.folder / "config.json").exists())
    os.kill(children(process)[1], signal.SIGTERM)
    found = ended(process)
    found.expect(75, says="stopped", within=LIMIT)
    _done(command.run())
    return f"{found.seconds:.1f} s: {found.err[-1]}; then {compare(command.facts(), expected)}"


def stopped_evaluating(workplace: Path, expected: dict[str, Any]) -> str:
    command = Command(workplace, workplace / "run")
    process = command.start(ADDING="0.5")
    until(process, lambda: any(row["step"] == 20 for row in rows_of(command.folder)))
    time.sleep(2)
    os.kill(children(process)[1], signal.SIGTERM)
    found = ended(process)
    found.expect(75, says="stopped at step 20 of 60, which is saved", within=LIMIT)
    _done(command.run())
    return f"{found.seconds:.1f} s: {found.err[-1]}; then {compare(command.facts(), expected)}"


def rows_of(folder: Path) -> list[dict[str, Any]]:
    try:
        return log.read(folder)
    except (FileNotFoundError, ValueError):
        return []


def restarted(workplace: Path, expected: dict[str, Any]) -> str:
    command = Command(workplace, workplace / "run", words=("--restarts=2",))
    process = command.start(READING="0.1")
    for step in (20, 40):
        until(process, lambda step=step: (command.folder / f"checkpoints/{step}.sha256").exists())
        os.kill(children(process)[step == 20], signal.SIGKILL)
        time.sleep(1)
    found = ended(process)
    if found.code != 0 or sum("start again" in line for line in found.err) != 2:
        raise AssertionError(f"exit code {found.code}: {found.err}")
    return f"twice started again; then {compare(command.facts(), expected)}"


def by_hand(*changes: dict[str, Any], says: str) -> Case:
    """Processes that are started by hand, each with something of its own, must all say one line."""

    def case(workplace: Path, expected: dict[str, Any]) -> str:
        started = [
            Command(workplace, workplace / "run", 1, 1, change.get("words", ())).start(
                CNN_JAX_PROCESS=change["place"], CNN_JAX_WAIT="20", **change.get("environment", {})
            )
            for change in changes
        ]
        for process in started:
            ended(process).expect(2, says=says, within=LIMIT)
        return says

    return case


def _kill(rank: int, number: signal.Signals) -> Callable[[list[int]], None]:
    return lambda pids: os.kill(pids[rank], number)


FSDP = "--config.compute.parallel=fsdp"
SLOW = {"READING": "0.1"}
AT = "127.0.0.1:5871"
CASES: dict[str, Case] = {
    "2 processes": equal(2, 1),
    "4 processes of 2 devices": equal(4, 2),
    "2 processes of 2 devices, fsdp": equal(2, 2, FSDP),
    **{f"toy {name}": toy(name) for name in ("dense", "boxes", "tags", "views")},
    "stopped by process 0": happens(_kill(0, signal.SIGTERM), [75], "stopped at step", **SLOW),
    "stopped by process 1": happens(_kill(1, signal.SIGTERM), [75], "stopped at step", **SLOW),
    "stopped while evaluating": stopped_evaluating,
    "stopped while compiling": stopped_early,
    "process 0 killed": happens(_kill(0, signal.SIGKILL), [76], "process 0 was killed by SIGKILL", **SLOW),
    "process 1 killed": happens(_kill(1, signal.SIGKILL), [76], "process 1 was killed by SIGKILL", **SLOW),
    "process 0 stopped for ever": happens(_kill(0, signal.SIGSTOP), [76], "process 0 has not answered", **SLOW),
    "process 1 stopped for ever": happens(_kill(1, signal.SIGSTOP), [76], "process 1 has not answered", **SLOW),
    "process 1 fails": happens(
        lambda _: None, [2], "process 1: error: batch 25 cannot be read", FATE="raises", FATE_RANK="1", **SLOW
    ),
    "started again": restarted,
    "elastic": elastic((1, 8, ""), (1, 4, ""), (1, 1, ""), (2, 2, FSDP), (1, 2, ""), (2, 1, "")),
    "another configuration": by_hand(
        {"place": f"0/2@{AT}"},
        {"place": f"1/2@{AT}", "words": ("--config.optim.lr=0.1",)},
        says=r"process 1 has another configuration than process 0 \(optim.lr: 0.05 -> 0.1\)",
    ),
    "no process 0": by_hand({"place": f"1/2@{AT}"}, says="process 1 of 2 could not reach process 0 at 127.0.0.1:5871"),
    "no process 1": by_hand({"place": f"0/2@{AT}"}, says="process 1 of 2 did not come to 127.0.0.1:5871 within 20 s"),
    "a batch that does not divide": by_hand(
        {"place": f"0/2@{AT}", "words": ("--config.data.batch_size=33",)},
        {"place": f"1/2@{AT}", "words": ("--config.data.batch_size=33",)},
        says="data.batch_size = 33 does not divide over 2 processes: use a multiple of 2, as 34",
    ),
}


def chosen() -> Iterator[tuple[str, Case]]:
    for name, case in CASES.items():
        if any(word in name for word in ONLY.value):
            yield name, case


def main() -> None:
    bad = 0
    with tempfile.TemporaryDirectory(prefix="processes-") as place:
        shutil.copy(FATED, place)
        undisturbed = Command(Path(place), Path(place) / "undisturbed", 1, 2)
        _done(undisturbed.run())
        expected = undisturbed.facts()
        for number, (name, case) in enumerate(chosen()):
            workplace = Path(place) / f"case{number}"
            workplace.mkdir()
            shutil.copy(FATED, workplace)
            began = time.monotonic()
            try:
                said = case(workplace, expected)
            except AssertionError as error:
                bad, said = bad + 1, f"WRONG: {error}"
            print(f"{name:32} {time.monotonic() - began:5.0f} s  {said}", flush=True)
    if bad:
        raise Failed(f"{bad} cases went wrong")


if __name__ == "__main__":
    script.run(main)
