"""Shows how training gets on: a bar on a terminal, below lines that stay; in a log file a plain line now and then."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

Show = Callable[[int, Mapping[str, Any]], None]
Say = Callable[..., None]


class Progress(NamedTuple):
    """What a training tells whoever looks on.

    show: (step, metrics), after each step; metrics ({"loss": 0.7}) may be empty between logs.
    say: (words, marked=False) -> a line that stays; a terminal shows it bold where it is marked.
    """

    show: Show
    say: Say


BAR_SECONDS = 0.2
LINE_SECONDS = 10.0
ECHO = 4  # columns that ^C takes, pressed twice
DROPPED = ("epoch ", "loss ")  # of a line that stays, where it is too long for a terminal
WINDOW = 30  # draws: the rate is that of the last 6 seconds of a bar, or of 5 minutes of lines


@contextmanager
def progress(
    total_steps: int,
    start_step: int,
    steps_per_epoch: float,
    batch_size: int,
    units: str = "examples",
    console: Console | None = None,
) -> Iterator[Progress]:
    """Yields `show(step, metrics)` and `say(words)`.

    On a terminal `show` draws a bar, otherwise it prints a line every 10 s: step, epoch, the latest metrics, how many
    `units` (as "images") a second, and the time left. That rate is by the clock, over recent steps, from the first
    call on: the compilation before that does not count, pauses to evaluate do. A call with nothing to draw takes about
    a microsecond and does not look into the metrics (a JAX array in them is waited for only when it is drawn).
    """
    console = console or Console()
    terminal = console.is_interactive and console.file.isatty()

    def bar(step: int, words: Sequence[str]) -> Group:
        # Two lines, whatever happens: a third one could not be taken back. So nothing wraps, and the bar leaves room
        # for the ^C that a terminal writes at its end.
        line = Text("  ".join(_fitting(words, console.width)), no_wrap=True, overflow="ellipsis")
        return Group(line, ProgressBar(total=total_steps, completed=step, width=max(console.width - ECHO, 1)))

    def draw(step: int, words: Sequence[str]) -> None:
        if live:
            live.update(bar(step, words), refresh=True)
        else:  # not through the console, which would break the line at the width of a terminal that is not there
            print("  ".join(words), file=console.file, flush=True)

    def say(words: Sequence[str], *, marked: bool = False) -> None:
        if live:
            line = "  ".join(_without(DROPPED, words, console.width))
            live.console.print(Text(line, "bold" if marked else ""), no_wrap=True, overflow="ellipsis")
        else:
            print("  ".join(words), file=console.file, flush=True)

    # Drawn by the caller, not by a thread of rich: nothing here competes with the input pipeline.
    first = bar(start_step, [f"step {start_step}/{total_steps}", "compiling the first step ..."])
    with Live(first, console=console, auto_refresh=False) if terminal else nullcontext() as live:
        seconds = BAR_SECONDS if terminal else LINE_SECONDS
        with _watch(draw, seconds, total_steps, steps_per_epoch, batch_size, units) as show:
            yield Progress(show, say)


@contextmanager
def _watch(
    draw: Callable[[int, Sequence[str]], None],
    seconds: float,
    total_steps: int,
    steps_per_epoch: float,
    batch_size: int,
    units: str,
) -> Iterator[Show]:
    """Yields the `show` that calls `draw(step, words)` at once, then every `seconds`, and at the end for the rest."""
    drawn: deque[tuple[float, int]] = deque(maxlen=WINDOW)
    metrics: dict[str, Any] = {}
    waiting: tuple[float, int] | None = None  # when and which step was shown but not drawn yet
    due = 0.0

    def draw_now(shown: tuple[float, int]) -> None:
        nonlocal due, waiting
        drawn.append(shown)
        now, step = shown
        due, waiting = now + seconds, None
        draw(step, _words(step, total_steps, step / steps_per_epoch, metrics, _rate(drawn), batch_size, units))

    def show(step: int, new: Mapping[str, Any]) -> None:
        nonlocal waiting
        metrics.update(new)
        waiting = time.monotonic(), step
        if waiting[0] >= due:
            draw_now(waiting)

    try:
        yield show
    finally:
        if waiting:
            draw_now(waiting)


def _rate(drawn: deque[tuple[float, int]]) -> float:
    """Steps per second between the oldest and the newest draw, 0 if that cannot be said yet."""
    (then, first), (now, last) = drawn[0], drawn[-1]
    return (last - first) / (now - then) if now > then else 0.0


def _fitting(words: Sequence[str], width: int) -> list[str]:
    """The words that fit into a line: the rate goes first, then the epoch, then the metrics from the last one on."""
    words = list(words)
    while len(words) > 2 and _length(words) > width:
        rates = [word for word in words if word.endswith("/s")]
        epochs = [word for word in words if word.startswith("epoch ")]
        words.remove((rates or epochs or words[1:-1])[-1])
    return words


def _without(prefixes: Sequence[str], words: Sequence[str], width: int) -> list[str]:
    """The words without those that begin so, one prefix after another, until they fit into a line."""
    words = list(words)
    for prefix in prefixes:
        if _length(words) > width:
            words = [word for word in words if not word.startswith(prefix)]
    return words


def _length(words: Sequence[str]) -> int:
    return sum(map(len, words)) + 2 * (len(words) - 1)


def _words(
    step: int,
    total_steps: int,
    epoch: float,
    metrics: Mapping[str, Any],
    steps_rate: float,
    batch_size: int,
    units: str,
) -> list[str]:
    words = [f"step {step}/{total_steps}", f"epoch {epoch:.2f}"]
    words += [f"{name} {float(value):.4g}" for name, value in metrics.items()]
    if steps_rate > 0:
        rate, left = steps_rate * batch_size, timedelta(seconds=round((total_steps - step) / steps_rate))
        words += [f"{rate:,.0f} {units}/s" if rate >= 10 else f"{rate:.2f} {units}/s", f"{left} left"]
    return words
