"""Name the classes of images (or .npy signals) with a trained run, and draw them annotated.

python launch.py predict runs/digits picture.png
python launch.py predict runs/digits *.png --checkpoint=best --convert --out=pictures

A run trained on image files reads any image as it read those. One trained on arrays of pixels wants images of their
size and channels; --convert brings others to them. One trained on signals or other float arrays takes .npy files, of
one example each, in the units of its training data. An input that cannot be read is named, and the others go on; the
exit code is then 2.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from absl import flags

from cnn_jax.launch import cli
from cnn_jax.paths import printable, written


def run(arguments: list[str]) -> int:
    """Prints the most probable classes of each input and draws FOLDER/NAME.png."""
    values = flags.FlagValues()
    flags.DEFINE_string("checkpoint", None, cli.CHECKPOINT, flag_values=values)
    flags.DEFINE_bool("convert", False, "resize, crop and recolour images unlike the run's", flag_values=values)
    flags.DEFINE_string("out", None, "where the pictures go (default: RUN/predictions)", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("predict", values, arguments)
    if len(words) < 2:
        raise cli.UsageError("say a run folder and at least one image: launch.py predict RUN INPUT...")
    folder, *inputs = map(written, words)
    out = None if values.out is None else written(values.out)
    _predict(folder, inputs, values.checkpoint, values.convert, out)
    return 0


def _predict(folder: Path, inputs: list[Path], which: str | None, convert: bool, out: Path | None) -> None:
    import jax  # JAX starts here, not for --help

    from cnn_jax import report
    from cnn_jax.data.files import read_example
    from cnn_jax.train import run_folder
    from cnn_jax.train.predictor import load, predict

    # One device: for a few examples a program for several takes longer to compile than it saves.
    predictor = load(folder, which, devices=jax.devices()[:1]).predictor
    spec, reporter = predictor.spec, report.of(predictor.task.report)
    read, unread = [], []
    for path in inputs:
        try:
            read.append((path, *read_example(path, spec, convert=convert)))
        except (OSError, ValueError) as error:
            unread.append(str(error))
    name = next(iter(spec.inputs))
    out = out or run_folder.place(folder, "predictions")
    outputs = predict(predictor, {name: np.stack([example for _, example, _ in read])}) if read else {}
    undrawn: OSError | None = None
    for position, (path, example, placement) in enumerate(read):
        said = {output: array[position] for output, array in outputs.items()}
        print(printable(path))
        for line in reporter.predicted(said, spec, placement):
            print(f"  {line}")
        picture = _unused(out, path)
        try:
            reporter.annotate({name: example}, said, spec, picture)
            print(f"  drawn in {printable(picture)}")
        except OSError as error:
            undrawn = error
    if undrawn:
        warnings.warn(f"not drawn: '{out}' cannot be written ({undrawn.strerror}): say --out=FOLDER", stacklevel=2)
    if len(unread) > 1:
        for line in unread:
            warnings.warn(line, stacklevel=2)
        raise ValueError(f"{len(unread)} of {len(inputs)} inputs could not be read")
    if unread:
        raise ValueError(unread[0])


def _unused(folder: Path, path: Path) -> Path:
    """A name for the picture of `path` that none has yet."""
    stem = path.stem.encode(errors="surrogateescape").decode(errors="replace")
    number = 0
    while (picture := folder / f"{stem}{f'-{number}' if number else ''}.png").exists() or picture.is_symlink():
        number += 1
    return picture
