"""Compare finished runs: scores and how sure their differences are, settings that differ, curves, on one page.

python launch.py report runs/digits                         # one run: its scores and curves
python launch.py report runs/plain runs/wide runs/slow      # differences are to the first
python launch.py report runs --csv=runs.csv                 # all runs in a folder

RUN is a run folder, or a folder that holds some. Runs that differ only in their seeds, as those of train --seeds, are
shown as their mean with its 95 % interval. Runs that kept their outputs (--config.evaluate.outputs=true) are compared
example by example. All that there is to be seen goes into one page, report.html in the folder that holds the runs (of
one run: in its figures/), which opens anywhere without a network: scores, which is best by validation, curves, what
differs, what each run has cost, and its pictures. --out=FILE.png draws curves and scores alone, as for a paper. What is
not finished, has diverged or cannot be read is said and left out; where it was named itself, the exit code is 2.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from cnn_jax.launch import cli
from cnn_jax.paths import printable, written

if TYPE_CHECKING:
    from cnn_jax.report.compare import Difference
    from cnn_jax.report.runs import Group

NAME = "report.html"
DRAWN = (".png", ".pdf", ".svg")
DRAWN_BEFORE = "report.png"  # by earlier versions, in the place of the page


def run(arguments: list[str]) -> int:
    """Prints the comparison and writes its page."""
    values = flags.FlagValues()
    flags.DEFINE_string(
        "out", None, "the page, FILE.html, or a figure, as FILE.png, FILE.pdf or FILE.svg", flag_values=values
    )
    flags.DEFINE_string("csv", None, "a file for a table with a row for each run", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("report", values, arguments)
    if not words:
        raise cli.UsageError("say at least one run: launch.py report RUN [RUN...]")
    if values.out is not None and not values.out.endswith((".html", *DRAWN)):
        raise cli.UsageError(f"--out={values.out}: write a file that ends in .html, .png, .pdf or .svg")
    out = None if values.out is None else written(values.out)
    table = None if values.csv is None else written(values.csv)
    _report([written(word) for word in words], out, table)
    return 0


def _report(named: list[Path], out: Path | None, table: Path | None) -> None:
    from cnn_jax.report import compare, runs  # these take their time: not for --help
    from cnn_jax.train import run_folder

    refused, left = list[str](), list[str]()
    folders: dict[Path, Path] = {}
    beside = (NAME, DRAWN_BEFORE, run_folder.SUMMARY)  # what stands beside runs, as runs/* names it, too
    for folder in named:
        if folder.name in beside and folder.is_file():
            continue
        try:
            folders |= {path.resolve(): path for path in runs.find(folder)}
        except (OSError, ValueError) as error:
            refused.append(str(error))
    found = []
    for folder in folders.values():
        try:
            found.append(runs.read(folder))
        except (OSError, ValueError) as error:
            (refused if folder in named else left).append(str(error))
    if found:
        groups, repeated = runs.grouped(found)
        left += repeated
    for line in left:
        warnings.warn(line, stacklevel=2)
    if found:
        differences = compare.differences(groups)
        print("\n".join(compare.lines(groups, differences)))
        if table is not None:
            compare.write_csv(groups, table)
            print(f"table in {printable(table)}")
        path = out or _place([one.folder for one in found])
        try:
            _write(groups, differences, [*refused, *left], path)
        except OSError as error:
            if out is not None:
                raise
            words = f"'{path}' cannot be written ({error.strerror}): say --out=FILE.html"
            warnings.warn(words, stacklevel=2)
    if len(refused) == 1:
        raise ValueError(refused[0])
    for line in refused:
        warnings.warn(line, stacklevel=2)
    if refused or not found:
        raise ValueError(
            f"{len(refused)} of {len(named)} could not be compared" if refused else "there is no finished run"
        )


def _write(groups: list["Group"], differences: list["Difference"], left_out: list[str], path: Path) -> None:
    """Writes the page, or the figure where the file's name says so."""
    if path.suffix in DRAWN:
        from cnn_jax.report import side_by_side  # and with it matplotlib

        if len(groups) > side_by_side.MOST:
            more = len(groups) - side_by_side.MOST
            warnings.warn(f"{more} of {len(groups)} are not drawn: name at most {side_by_side.MOST}", stacklevel=3)
        side_by_side.draw(groups, path)
        print(f"drawn in {printable(path)}")
        return
    from cnn_jax.report.page import document
    from cnn_jax.train import checkpoint

    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_atomically(path, document.page(groups, differences, left_out, path.parent))
    print(f"page in {printable(path)}")


def _place(folders: list[Path]) -> Path:
    """Where the page goes by default: into the one run's figures, or the folder that holds the runs."""
    from cnn_jax.train import run_folder

    if len(folders) == 1:
        return run_folder.place(folders[0], run_folder.FIGURES) / NAME
    holding = Path(os.path.commonpath([os.path.abspath(folder) for folder in folders]))
    here = Path.cwd()
    return run_folder.place(holding.relative_to(here) if holding.is_relative_to(here) else holding, NAME)
