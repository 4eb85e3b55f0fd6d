"""Train an experiment's seeds and say whether a published score is reached: paper and ours, interval, verdict, cost.

python launch.py reproduce --list                                  # every published score that there is, and its time
python launch.py reproduce digits                                  # a row of the table
python launch.py reproduce fashion_mnist_table                     # all rows of a file
python launch.py reproduce mnist1d_studies.shuffled --seeds=0:20   # one of them, twenty seeds
python launch.py reproduce --all                                   # everything two cores can run, the cheapest first
python launch.py reproduce --all --norun                           # the page of what has been run so far

A row is a function of an experiment's file that states the published score, and the margin within which it counts as
reached (cnn_jax/launch/paper.py). The verdict is that of an equivalence test: reproduced, where the 95 % interval of
the mean over seeds lies within paper ± margin; better or not reproduced, where it lies wholly beyond; else undecided,
with the number of seeds that would decide it.

Seeds are trained in the folders of train FILE.ROW --seeds, runs/NAME/seedN. Those that are finished are not trained
again, so the same command goes on where it was stopped, and more seeds can be added. Without --seeds those count that
the row states, and all others that are finished. --all goes on to the next row where one fails, and keeps
reproduced.html, which opens anywhere without a network, and reproduced.json up to date as it goes.
"""

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from cnn_jax.inspect.table import table
from cnn_jax.launch import cli, fields
from cnn_jax.paths import printable, written

if TYPE_CHECKING:
    from cnn_jax.launch.reproduction import Row

PAGE, JSON = "reproduced.html", "reproduced.json"


def run(arguments: list[str]) -> int:
    """Trains what is not finished, prints the rows and, of all of them, writes the page."""
    values = flags.FlagValues()
    flags.DEFINE_bool("all", False, "every row that two cores can run", flag_values=values)
    flags.DEFINE_bool("list", False, "show the rows, their papers and times, and train nothing", flag_values=values)
    flags.DEFINE_string(
        "seeds", None, "seeds, as 0,1,2 or 0:10 (default: as many as the row states)", flag_values=values
    )
    flags.DEFINE_string("out", "runs", "folder of the experiments' folders, the page and its JSON", flag_values=values)
    flags.DEFINE_bool("run", True, "train what is not finished; --norun shows what there is", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("reproduce", values, arguments)
    if bool(words) == (values.all or values.list) or len(words) > 1:
        raise cli.UsageError(
            "say one row or file, as launch.py reproduce digits, or --all, or --list to see what there is"
        )
    seeds = None if values.seeds is None else fields.seeds(values.seeds)
    from cnn_jax.launch import reproduction  # JAX starts here, not for --help

    rows, lines = (reproduction.rows_of(words[0]), []) if words else reproduction.every_row()
    for line in lines:
        warnings.warn(line, stacklevel=2)
    if values.list:
        _show(rows)
        return 0
    _reproduce([row for row in rows if row.made.here or words], written(values.out), seeds, values.run, page=values.all)
    return 0


def _show(rows: list["Row"]) -> None:
    from cnn_jax.report.page.markup import duration

    heads = ("row", "score", "paper", "margin", "seeds", "a seed takes", "what it is")
    lines = [
        (
            row.word,
            row.made.paper.score,
            f"{row.made.paper.value:g}",
            f"{row.made.paper.margin:g}",
            row.made.seeds,
            duration(row.made.seconds) + ("" if row.made.here else f" on {row.made.on}"),
            row.title,
        )
        for row in rows
    ]
    print(table(heads, lines))
    total = duration(sum(row.cost for row in rows if row.made.here))
    print(cli.as_called(f"\nAll that two cores can run takes {total}: python launch.py reproduce --all"))


def _reproduce(rows: list["Row"], out: Path, seeds: list[int] | None, train: bool, *, page: bool) -> None:
    from cnn_jax.report import reproduced

    found, failed = list[dict[str, Any]](), list[tuple[str, Exception]]()
    for row in rows:
        result, error = _row(row, out, seeds, train)
        found.append(result)
        print("\n".join(reproduced.lines(result)), end="\n\n", flush=True)
        if error is not None:
            failed.append((row.word, error))
            if len(rows) > 1:
                warnings.warn(f"{row.word}: {error}", stacklevel=2)
        if page:
            _write(found, failed, out)
    if page or len(rows) > 1:
        print(reproduced.counted(found))
    if page:
        print(f"page in {printable(out / PAGE)}, the same as JSON in {printable(out / JSON)}")
    if failed and len(rows) == 1:
        raise failed[0][1]
    if failed:
        raise ValueError(f"{len(failed)} of {len(rows)} rows could not be run, as {failed[0][0]}")


def _row(row: "Row", out: Path, seeds: list[int] | None, train: bool) -> tuple[dict[str, Any], Exception | None]:
    """The outcome of a row, and what went wrong where something did that the user is told in a line.

    What a signal or a full disk ends goes further up.
    """
    from cnn_jax.launch import reproduction
    from cnn_jax.launch.training import train as trained
    from cnn_jax.report import runs

    done = list[runs.Run]()
    try:
        for seed in reproduction.opened(row, out, seeds):
            run = seed.done
            if run is None and train:
                print(f"--- {row.word}, seed {seed.seed} ---", flush=True)
                trained(seed.config, seed.folder, row.path)
                run = runs.read(seed.folder)
            if run is not None:
                reproduction.score(run, row.made.paper.score)  # one without it goes into no outcome
                done.append(run)
        return reproduction.outcome(row, done), None
    except Exception as error:
        code = cli.exit_code(error)
        if code is None or code >= cli.NOT_WRITTEN:
            raise
        return reproduction.outcome(row, done, str(error)), error


def _write(found: list[dict[str, Any]], failed: list[tuple[str, Exception]], out: Path) -> None:
    from cnn_jax.report.page import reproduced
    from cnn_jax.train import checkpoint, run_folder

    out.mkdir(parents=True, exist_ok=True)
    run_folder.write_json(out / JSON, {"rows": found})
    page = reproduced.page(found, [f"{word}: {error}" for word, error in failed])
    checkpoint.write_atomically(out / PAGE, page)
