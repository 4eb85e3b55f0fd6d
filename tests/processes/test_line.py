"""What processes say to one another, with threads in their place: sockets are all that they share."""

import gc
import io
import pickle
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from cnn_jax import processes
from cnn_jax.evals.classification import evaluator
from cnn_jax.launch import joined
from cnn_jax.processes import connection, line, roll_call
from cnn_jax.processes.line import GONE, LOST, Ended, Line
from cnn_jax.processes.roll_call import Place, meet

FACTS = {"code": "abc", "jax": "0.10"}


@pytest.fixture
def address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each returns or raises, all in threads of their own."""
    found: list[Any] = [None] * len(works)

    def run(number: int) -> None:
        try:
            found[number] = works[number]()
        except ValueError as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


Heard = dict[int, list[Ended]]


class Group:
    """Processes that have met, and what each hears of an end."""

    def __init__(self, address: str, total: int) -> None:
        self.heard: Heard = {rank: [] for rank in range(total)}
        self.told = {rank: threading.Event() for rank in range(total)}
        met = at_once(*(lambda rank=rank: self._meet(Place(rank, total, address), rank) for rank in range(total)))
        self.lines: list[Line] = [found.line for found in met]
        assert len({found.port for found in met}) == 1

    def _meet(self, place: Place, rank: int) -> Any:
        def ended(end: Ended) -> None:
            self.heard[rank].append(end)
            self.told[rank].set()

        return meet(place, FACTS, 10, ended)

    def each(self, work: Callable[[Line], Any]) -> list[Any]:
        return at_once(*(lambda one=one: work(one) for one in self.lines))

    def all_hear(self, *ranks: int) -> list[Ended]:
        assert all(self.told[rank].wait(10) for rank in ranks), self.heard
        return [self.heard[rank][0] for rank in ranks]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, seconds in (
        (connection, "BEAT", 0.02),
        (line, "SILENT", 0.4),
        (line, "BEHIND", 0.2),
        (line, "TICK", 0.02),
    ):
        monkeypatch.setattr(module, name, seconds)


@pytest.fixture
def group(quick: None, address: str) -> Iterator[Group]:
    made = Group(address, 3)
    yield made
    for one in made.lines:
        one.over = True
    for one in made.lines[1:]:
        one.send.__self__.close()  # type: ignore[attr-defined]  # process 0 closes its ends then


def test_values_come_together_and_all_end_alike(group: Group) -> None:
    def work(one: Line) -> Any:
        found = one.gather("a", str(one.rank).encode() * 3_000_000)
        said = one.share("b", b"from the first" if one.rank == 0 else None)
        one.barrier("c")
        one.close()
        return [len(part) for part in found], said

    assert group.each(work) == [([3_000_000] * 3, b"from the first"), ([], b"from the first"), ([], b"from the first")]
    assert not any(group.heard.values())


def test_all_stop_at_the_same_point_whichever_is_asked(group: Group) -> None:
    barrier = threading.Barrier(3)  # as in a step, no one is far ahead

    def work(one: Line) -> int:
        while not one.point(steady=True):
            if one.points == 5 + one.rank:
                one.ask_to_stop()
            try:
                barrier.wait(0.05 if one.rank else 0.04)
            except threading.BrokenBarrierError:
                barrier.reset()
            assert one.points < 1000
        return one.points

    found = group.each(work)
    assert len(set(found)) == 1 and found[0] >= 5, found


def test_one_that_dies_is_named_to_all_others(group: Group) -> None:
    group.lines[1].send.__self__.close()  # type: ignore[attr-defined]
    assert group.all_hear(0, 2) == [Ended(1, LOST, GONE.format(1))] * 2


def test_a_death_is_known_before_what_fails_for_it_gives_up_asking(group: Group) -> None:
    """That it cannot be written to the one that is gone holds nothing up (joined.NEWS; it once took two seconds)."""
    group.lines[1].send.__self__.close()  # type: ignore[attr-defined]
    assert group.lines[0].heard_of_an_end(joined.NEWS / 2) == Ended(1, LOST, GONE.format(1))
    began = time.monotonic()
    group.all_hear(0, 2)
    assert time.monotonic() - began < 1


def test_one_that_fails_says_why(group: Group) -> None:
    group.lines[2].end(3, "it diverged")
    assert group.all_hear(0, 1) == [Ended(2, 3, "it diverged")] * 2
    assert group.heard[2] == []
    group.lines[1].end(2, "a consequence")
    assert [len(heard) for heard in group.heard.values()] == [1, 1, 0]


def test_process_0_is_named_where_it_dies_or_fails(group: Group) -> None:
    group.lines[0].end(2, "no such file")
    assert group.all_hear(1, 2) == [Ended(0, 2, "no such file")] * 2


def test_one_that_falls_behind_in_a_step_is_named(group: Group) -> None:
    for one in (group.lines[0], group.lines[2]):
        one.point(steady=True)
        one.point(steady=True)
    group.lines[1].point(steady=True)
    (said,) = group.all_hear(0)
    assert said.rank == 1 and said.code == LOST and said.words.startswith("process 1 hangs: the others have waited")
    assert group.all_hear(2) == [said]


def test_one_that_does_not_answer_is_named(quick: None, address: str) -> None:
    """As one that was stopped: its connection stays."""
    heard: list[Ended] = []
    told = threading.Event()

    def stopped() -> socket.socket:
        while True:
            try:
                sock = socket.create_connection(("127.0.0.1", int(address.split(":")[1])))
                break
            except OSError:
                time.sleep(0.01)
        connection.write(sock, {"kind": "hello", "rank": 1, "count": 2, "token": "", "facts": FACTS})
        connection.read(sock)
        return sock

    def ended(end: Ended) -> None:
        heard.append(end)
        told.set()

    first, sock = at_once(lambda: meet(Place(0, 2, address), FACTS, 10, ended), stopped)
    assert told.wait(10) and heard[0].rank == 1 and "process 1 has not answered for" in heard[0].words
    first.line.over = True
    sock.close()


def test_who_does_not_come_or_differs_is_said_by_all(address: str) -> None:
    def come(rank: int, total: int = 3, seconds: float = 0.3, **facts: str) -> Callable[[], Any]:
        return lambda: meet(Place(rank, total, address), {**FACTS, **facts}, seconds, lambda end: None)

    (said,) = at_once(come(1))
    assert str(said).startswith(f"process 1 of 3 could not reach process 0 at {address} for 0 s (Connection refused): ")
    said, other = at_once(come(0, seconds=2), come(1, seconds=20))
    assert str(said).startswith(f"process 2 of 3 did not come to {address} within 2 s: ") and str(other) == str(said)
    said, other = at_once(come(0, 2, 5), come(1, 2, 5, jax="0.11"))
    assert str(said) == "process 1 has another jax (0.11) than process 0 (0.10): start all with the same"
    assert str(other) == str(said)
    said, other = at_once(come(0, 2, 5), come(2, 3, 5))
    assert str(said) == str(other) == "process 2 of 3 has come to process 0 of 2: start all anew"
    assert roll_call.WAIT == "CNN_JAX_WAIT"
    del said, other  # the errors hold the frames, and those whatever was left open
    with warnings.catch_warnings(record=True) as left_open:
        warnings.simplefilter("always")
        gc.collect()
    assert not [said for said in left_open if issubclass(said.category, ResourceWarning)]


def test_totals_go_from_process_to_process_and_code_does_not() -> None:
    totals = evaluator(("a", "b")).start()
    found = processes._Reader(io.BytesIO(pickle.dumps((totals, np.zeros(2)), protocol=5))).load()
    assert type(found[0]) is type(totals)
    np.testing.assert_array_equal(found[0].terms, totals.terms)
    for bad in (print, Exception("x"), threading.Thread):
        with pytest.raises(ValueError, match="cannot go from one process to another"):
            processes._Reader(io.BytesIO(pickle.dumps(bad))).load()


def test_a_folder_that_is_not_shared_is_said(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    second = Line(1, 2, lambda end: None)
    monkeypatch.setattr(second, "share", lambda name, value=None: b'"token"')
    monkeypatch.setattr(processes, "_line", second)
    monkeypatch.setattr(processes, "SEEN", 0.01)
    (tmp_path / ".lock").write_text("token")
    with processes.holding(lambda: pytest.fail("it is for process 0"), tmp_path / ".lock"):
        pass
    (tmp_path / ".lock").write_text("another")
    with pytest.raises(
        ValueError, match="of process 1 is not that of process 0: choose a --workdir on a disk that all"
    ):
        with processes.holding(lambda: pytest.fail("it is for process 0"), tmp_path / ".lock"):
            pass
