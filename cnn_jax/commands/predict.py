"""Name the classes of images (or texts, or .npy signals), find the objects in them, or segment them; and draw that.

python launch.py predict runs/photos new.jpg                    # classes and probabilities, and a picture with them
python launch.py predict runs/photos holiday/ --csv=found.csv   # every image in a folder and below, as a table
python launch.py predict runs/photos 'scans/**/*.png' --top=1   # what a pattern matches
python launch.py predict runs/photos @names.txt --json=-        # files listed in a file, one a line; @- reads stdin
python launch.py predict runs/reviews 'a lovely film' @more.txt # of a model of texts: texts, and lines of a file
python launch.py predict runs/objects street.jpg --least=0.1    # of a detector: objects with a score of .1 or more
python launch.py predict runs/cells scans/ --json=cells.json    # of a segmenter: a mask of each, too

A run trained on image files reads any image as it read those. One trained on arrays of pixels wants images of their
size and channels; --convert brings others to them. One trained on signals or other float arrays takes .npy files, of
one example each, in the units of its training data. One trained on texts takes the texts: each word that names no file,
the whole of a file, as a mail, and each line of @FILE; in place of pictures the words are said that counted most for
and against the most probable class, by one gradient times their vectors (`explain` measures more). One trained on
sounds reads any sound file: of one that is longer than its examples it says the mean over windows that cover all, and
draws the whole. However many inputs there are, a few are in memory at a time. One that cannot be read is named, and the
others go on; the exit code is then 2.

A classifier says the five most probable classes, a detector all objects with a score of 0.3 or more, with their boxes
(left, top, right, bottom) in pixels of the image, a segmenter the classes that occur, with their pixels and their share
of the image: --top and --least say how many, and from which score or share on. Tables have all of them, whatever their
score, unless --least is given. JSON is a list of {"file", "height", "width" (of an image), "mask" (of a segmenter),
"predictions": [...]}, also of images without objects, of which CSV has no line.

Pictures show the original with what was said of it. That of photos/a.jpg is photos/a.jpg.predicted.png below --out, and
replaces the one that was drawn of it before; an input that is not below the current folder keeps its whole path.

A segmenter also writes the mask of every input, whatever --draw, --top, --csv and --json say: for photos/a.jpg that is
photos/a.jpg.predicted.mask.png, an indexed PNG of the size of the original, upright as its EXIF orientation says. Its
values are the numbers of the classes, the "label" of the tables, and 255 where the model saw nothing, as outside a
centre crop; its palette has the colours of the pictures. One of single objects, as cells, writes a grey PNG of 16 bits,
whose values are the "object" of the tables, 1 for the surest and 0 for none; tables also have the corners of each,
"x,y x,y ...".
"""

import itertools
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from cnn_jax.devices import without_collection
from cnn_jax.launch import cli
from cnn_jax.paths import printable, written

DRAW = 20  # pictures at most, unless --draw says otherwise


class Wishes(NamedTuple):
    """What the flags say."""

    checkpoint: str | None
    convert: bool
    out: Path | None
    top: int | None
    least: float | None
    draw: int | None
    csv: str | None
    json: str | None


def run(arguments: list[str]) -> int:
    """Prints what the model says of each input, or writes it into tables, and draws it."""
    values = flags.FlagValues()
    flags.DEFINE_string("checkpoint", None, cli.CHECKPOINT, flag_values=values)
    flags.DEFINE_bool("convert", False, "resize, crop and recolour images unlike the run's", flag_values=values)
    flags.DEFINE_string("out", None, "where pictures and masks go (default: RUN/predictions)", flag_values=values)
    top = "classes or objects that are said of each input at most (default: 5 of a classifier, else all)"
    flags.DEFINE_integer("top", None, top, lower_bound=1, flag_values=values)
    least = "score, or share of the image, from which on they are (default: 0.3 for objects, else 0; 0 in tables)"
    flags.DEFINE_float("least", None, least, lower_bound=0, upper_bound=1, flag_values=values)
    drawn = f"inputs that are drawn, or texts whose words are said, at most (default: {DRAW}, with --csv or --json 0)"
    flags.DEFINE_integer("draw", None, drawn, lower_bound=0, flag_values=values)
    table = "in place of printing, a {} file to write, or - for the standard output"
    flags.DEFINE_string("csv", None, table.format("CSV"), flag_values=values)
    flags.DEFINE_string("json", None, table.format("JSON"), flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("predict", values, arguments)
    if len(words) < 2:
        raise cli.UsageError("say a run folder and at least one image: launch.py predict RUN INPUT...")
    if values.csv == values.json == "-":
        raise cli.UsageError("--csv=- and --json=- would be mixed: write one of them to a file")
    out = None if values.out is None else written(values.out)
    wishes = Wishes(
        values.checkpoint, values.convert, out, values.top, values.least, values.draw, values.csv, values.json
    )
    _predict(written(words[0]), words[1:], wishes)
    return 0


def _predict(folder: Path, words: list[str], wishes: Wishes) -> None:
    import jax  # JAX starts here, not for --help

    from cnn_jax import report
    from cnn_jax.report.tables import csv_table, json_table
    from cnn_jax.train.predictor import load

    with without_collection():
        # One device: for a few examples a program for several takes longer to compile than it saves.
        predictor = load(folder, wishes.checkpoint, devices=jax.devices()[:1]).predictor
        answers = _answers(predictor, words, wishes.convert)
        first = list(itertools.islice(answers, 1))
        reporter = report.of(predictor.task.report)
    tables = [(csv_table, wishes.csv), (json_table, wishes.json)]
    top = wishes.top or reporter.TOP
    least = reporter.LEAST if wishes.least is None else wishes.least
    found, hidden = 0, 0  # rows in all, and those of a lower score
    with ExitStack() as stack:
        writers = [(table, stack.enter_context(table(target))) for table, target in tables if target is not None]
        beside, unread = _Beside(folder, wishes, predictor, reporter), Unread()
        for item, outputs in itertools.chain(first, answers):
            unread.count += 1
            if outputs is None:
                unread.add(item.problem)
                continue
            result = reporter.result(outputs, predictor.spec, item.placement)
            files = {what: printable(path) for what, path in beside.files(item, result).items()}
            every, shown = (reporter.best(result, top, score) for score in (wishes.least or 0.0, least))
            called = "text" if predictor.spec.input.role == "tokens" else "file"
            for table, write in writers:
                size = table is json_table and item.placement is not None
                pixels = dict(zip(("height", "width"), item.placement.original, strict=True)) if size else {}
                write({called: printable(item.path), **pixels, **files}, reporter.rows(every))
            lines = [reporter.words(row) for row in reporter.rows(shown)]
            lines = lines or [f"nothing with a score of {least:g} or more"]
            lines += [f"{what} in {path}" for what, path in files.items()]
            if drawn := beside.draw(item, shown, outputs):
                lines.append(drawn)
            if not writers:
                print("\n  ".join([printable(item.path), *lines]))
                whole = len(reporter.rows(reporter.best(result, top, 0.0)))
                found, hidden = found + whole, hidden + whole - len(reporter.rows(shown))
        if hidden:
            print(f"{hidden:,} of {found:,} have scores below {least:g} and are not shown: --least=0 shows them")
        beside.end()
    if writers and "-" not in (wishes.csv, wishes.json):
        named = " and ".join(filter(None, (wishes.csv, wishes.json)))
        print(f"{unread.count - unread.problems:,} {predictor.spec.units}, written to {printable(named)}")
    unread.end()


def _answers(predictor: Any, words: list[str], convert: bool) -> Iterator[tuple[Any, dict[str, Any] | None]]:
    """Each input that `words` mean, with what the model says of it; None for one that could not be read."""
    from cnn_jax.data.inputs import BATCH, read_all
    from cnn_jax.train.predictor import said_of_each

    for part in read_all(words, predictor.spec, convert=convert):
        examples = [(item.example, item.placement) for item in part if item.example is not None]
        outputs = iter(said_of_each(predictor, predictor.task.predict, examples, BATCH))
        for item in part:
            yield item, None if item.example is None else next(outputs)


class Unread:
    """The inputs that could not be read. Each is warned of; where it is the only one, it is the error."""

    def __init__(self) -> None:
        self.count, self.problems, self._first = 0, 0, ""

    def add(self, problem: str) -> None:
        self.problems += 1
        if self.problems == 1:
            self._first = problem
            return
        for line in (self._first, problem) if self.problems == 2 else (problem,):
            warnings.warn(line, stacklevel=2)

    def end(self) -> None:
        """Raises ValueError where there was one."""
        if self.problems > 1:
            raise ValueError(f"{self.problems} of {self.count} inputs could not be read")
        if self.problems:
            raise ValueError(self._first)


class _Beside:
    """What is written beside rows: pictures of the first inputs, and the files of all, where a report has such."""

    def __init__(self, folder: Path, wishes: Wishes, predictor: Any, reporter: Any) -> None:
        from cnn_jax.report import Filed
        from cnn_jax.train import run_folder

        tables = wishes.csv is not None or wishes.json is not None
        self.weigh = _weigher(predictor) if predictor.spec.input.role == "tokens" and not tables else None
        self.most = wishes.draw if wishes.draw is not None else 0 if tables else DRAW
        self.told = wishes.draw is not None or tables  # whether it is known how many are drawn
        self.filed = reporter if isinstance(reporter, Filed) else None
        self.spec, self.reporter = predictor.spec, reporter
        writes = self.filed or (self.most and self.spec.input.role != "tokens")
        self.out = wishes.out or (run_folder.place(folder, "predictions") if writes else folder)
        self.asked, self.failed = 0, ""

    def files(self, item: Any, result: Any) -> dict[str, Path]:
        """The files of an input. Unlike a picture, one that cannot be written is an error: it is what was asked for."""
        try:
            return self.filed.files(result, self.out / mirrored(item.path)) if self.filed else {}
        except OSError as error:
            what = f"{error.strerror or error}: say --out=FOLDER"
            raise OSError(error.errno, what, error.filename or str(self.out)) from None

    def draw(self, item: Any, result: Any, outputs: Any) -> str:
        """Says where the picture is, or of a text which words counted most; "" where nothing was drawn."""
        from cnn_jax.report.sound import looked_at

        self.asked += 1
        if self.asked > self.most:
            return ""
        if self.spec.input.role == "tokens":
            return self.weigh(item, outputs) if self.weigh else ""
        picture = self.out / mirrored(item.path)
        try:
            shown, size = looked_at(item.path, item.example, self.spec, self.reporter.LONGEST)
            self.reporter.annotate(shown, size, result, picture)
        except (OSError, ValueError) as error:
            self.failed = getattr(error, "strerror", None) or str(error)
            return ""
        return f"drawn in {printable(picture)}"

    def end(self) -> None:
        """Says what was not drawn."""
        if self.failed:
            warnings.warn(f"not drawn: '{self.out}' cannot be written ({self.failed}): say --out=FOLDER", stacklevel=2)
        if self.asked > self.most and not self.told:
            what = "are drawn" if self.weigh is None else "have their words said"
            print(f"the first {self.most} of {self.asked:,} {what}: --draw=N draws more")


def _weigher(predictor: Any) -> Callable[[Any, Any], str] | None:
    """(item, outputs) -> which words counted most for the class that a text is most probably of."""
    from cnn_jax.explain.words import weigher
    from cnn_jax.launch import explained
    from cnn_jax.report.words import strongest

    weigh, spec = weigher(predictor), predictor.spec

    def said(item: Any, outputs: Any) -> str:
        label = int(outputs["logits"].argmax())
        counts, spelled = weigh(item.example, label), explained.read(item, spec)
        if counts is None or spelled is None:
            return ""
        return f"{printable(spec.classes[label])}: {strongest(spelled.words, spelled.of_words(counts))}"

    return said


def mirrored(path: Path) -> Path:
    """Where the picture of the input `path` lies within a folder of them: no two inputs have the same place."""
    from cnn_jax.data.inputs import DRAWN

    whole = Path(os.path.abspath(path))
    here = Path.cwd()
    words = whole.relative_to(here).parts if whole.is_relative_to(here) else whole.parts[1:]
    *folders, name = map(printable, words)
    return Path(*folders, f"{name}{DRAWN}")
