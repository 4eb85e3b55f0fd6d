"""Runs the trainings of a sweep, some at a time, until there is nothing left to do or it is asked to stop."""

import subprocess
import sys
import time
from pathlib import Path
from typing import IO, NamedTuple

from cnn_jax.evals.evaluator import digits
from cnn_jax.launch import child, cli, fields
from cnn_jax.sweep import folder as folders
from cnn_jax.sweep import process, tpe
from cnn_jax.sweep.board import Board, Job
from cnn_jax.sweep.folder import FAILED, LOCK, LOG, TPE, Standing, Sweep
from cnn_jax.train import run_folder
from cnn_jax.train.preempt import Preempted

PAUSE = 0.1  # seconds between looks at what has ended
STOPS = 3  # times that a run may be stopped from outside, and go on, before that is a failure


class Running(NamedTuple):
    """A training under way."""

    job: Job
    process: subprocess.Popen[bytes]
    lock: IO[str]


def drive(folder: Path, sweep: Sweep, jobs: int, *, go_on: bool) -> Board:
    """Trains what the sweep in `folder` wants, `jobs` at a time, and returns how far all is.

    go_on: whether it does so where a run has failed; else those under way stop, saved.

    Raises ValueError where another process does so already, Preempted where a signal asks to stop.
    """
    with (folder / ".lock").open("a", encoding="utf-8") as lock, child.signals() as asked:
        if not run_folder.held(lock):
            raise ValueError(f"another process runs the sweep in '{folder}': wait for it")
        board = Board(folder, sweep)
        if (before := _count(board))[0]:
            print(f"{before[0]} of {before[1]} runs are finished", flush=True)
        _Driver(board, jobs, asked, go_on=go_on).run()
        finished, total = _count(board)
        if asked:
            raise Preempted(
                f"stopped: {finished} of {total} runs are finished, and all that was done is saved: run the same "
                "command again to go on"
            )
        return board


class _Driver:
    """The trainings under way, by slot; and the runs that a process of an earlier start trains still."""

    def __init__(self, board: Board, jobs: int, asked: list[int], *, go_on: bool) -> None:
        self.board, self.jobs, self.asked, self.go_on = board, jobs, asked, go_on
        self.running: dict[int, Running] = {}
        self.others: list[Job] = []
        self.stops: dict[str, int] = {}
        self.failed = self.told = False

    def run(self) -> None:
        """Starts, waits and says, until nothing is under way and nothing is to be started."""
        self._journal()
        try:
            while True:
                while not self._stopping() and len(self.running) + len(self.others) < self.jobs:
                    job = self.board.next()
                    if job is None:
                        break
                    self._start(job)
                if not self.running and (self._stopping() or not self.others):
                    return
                if self._stopping() and not self.told:
                    self.told = True
                    for one in self.running.values():
                        one.process.terminate()
                time.sleep(PAUSE)
                self._look()
        except KeyboardInterrupt:  # a second signal
            for one in self.running.values():
                one.process.kill()
            raise
        finally:
            for one in self.running.values():  # where an error ends the sweep, they save
                one.process.terminate()

    def _stopping(self) -> bool:
        return bool(self.asked) or (self.failed and not self.go_on)

    def _start(self, job: Job) -> None:
        board = self.board
        run = folders.run_of(board.folder, job.trial, job.seed)
        board.record(job.trial)
        board.busy.add((job.trial.name, job.seed))
        lock = process.claimed(folders.beside(run, LOCK))
        if lock is None:
            print(f"{job.words} is still being trained since an earlier start: it is waited for", flush=True)
            self.others.append(job)
            return
        if len(board.look(job.trial, job.seed).scores) > job.rung:  # by a process of an earlier start, just now
            lock.close()
            self._ended(job, None)
            return
        folders.beside(run, FAILED).unlink(missing_ok=True)
        board.look(job.trial, job.seed)
        slot = next(number for number in range(self.jobs) if number not in self.running)
        started = process.started(
            words(board.folder, board.sweep, job), folders.beside(run, LOG), lock, child.share(slot, self.jobs)
        )
        self.running[slot] = Running(job, started, lock)

    def _look(self) -> None:
        """Takes note of what has ended."""
        for slot, one in list(self.running.items()):
            code = one.process.poll()
            if code is not None:
                del self.running[slot]
                one.lock.close()
                self._ended(one.job, code)
        for job in list(self.others):
            run = folders.run_of(self.board.folder, job.trial, job.seed)
            if lock := process.claimed(folders.beside(run, LOCK)):
                lock.close()
                self.others.remove(job)
                self._ended(job, None)

    def _ended(self, job: Job, code: int | None) -> None:
        """A training has ended, with an exit code where this process began it."""
        board = self.board
        key = job.trial.name, job.seed
        board.busy.discard(key)
        found = board.look(job.trial, job.seed)
        if len(found.scores) > job.rung:
            print(self._progress(job, found), flush=True)
            self._journal()
        elif code is None or self._stopping():
            pass  # it goes on, here or at the next start
        elif code == cli.STOPPED and self.stops.get(job.words, 0) < STOPS:
            self.stops[job.words] = self.stops.get(job.words, 0) + 1
            print(f"{job.words} was stopped, saved: it goes on", flush=True)
        else:
            run = folders.run_of(board.folder, job.trial, job.seed)
            said = folders.beside(run, LOG)
            line = process.last_line(said)
            run_folder.write_json(folders.beside(run, FAILED), {"code": code, "line": line})
            board.runs[key] = found._replace(failed=line, code=code)
            self.failed = True
            print(f"failed: {job.words}: {line} ({process.ended(code)}; {said} has more)", file=sys.stderr, flush=True)
            self._journal()

    def _progress(self, job: Job, found: Standing) -> str:
        finished, total = _count(self.board)
        count = f"[{finished:{len(str(total))}}/{total}]" if not self.board.sweep.rungs else f"[{finished} finished]"
        top = len(self.board.sweep.rungs)
        reached = len(found.scores) - 1
        where = f", {found.seconds:,.0f} s" if reached == top else f", rung {reached + 1} of {top}, step {found.step:,}"
        chosen = found.criterion
        score = f"{chosen.name} {digits(chosen.sign * found.scores[reached])}" if chosen else ""
        return f"{count} {job.words}: {folders.VALIDATION} {score}{where}"

    def _journal(self) -> None:
        board = self.board
        if board.sweep.method == TPE:
            tried = [tpe.Tried(trial.values, board.of(trial)) for trial in board.trials]
            tpe.write_journal(board.folder / tpe.JOURNAL, board.sweep.name, board.sweep.axes, tried)


def words(folder: Path, sweep: Sweep, job: Job) -> list[str]:
    """The words of `launch.py` by which a run is trained."""
    given = {**sweep.fixed, **{name: fields.text_of(value) for name, value in job.trial.values.items()}}
    own = {"seed": str(job.seed), "evaluate.test": "never"}
    until = [f"--until={sweep.rungs[job.rung]}"] if job.rung < len(sweep.rungs) else []
    settings = [f"--config.{name}={text}" for name, text in {**given, **own}.items()]
    run = folders.run_of(folder, job.trial, job.seed)
    return ["train", str(folder / run_folder.SOURCE), f"--workdir={run}", *settings, *until]


def _count(board: Board) -> tuple[int, int]:
    """How many runs are finished, and how many there are."""
    configurations = max(len(board.trials), board.sweep.trials)
    return sum(bool(run.seconds) for run in board.runs.values()), configurations * len(board.sweep.seeds)
