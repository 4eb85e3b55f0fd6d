"""Name the classes of images (or .npy signals) with a trained run, and draw them annotated.

python launch.py predict RUN INPUT... [--checkpoint=last|best|STEP] [--convert]

A run trained on image files reads any image as it read those. One trained on arrays of pixels wants images of their
size and channels; --convert brings others to them. One trained on signals or other float arrays takes .npy files, of
one example each, in the units of its training data.
"""

import sys
from pathlib import Path

import numpy as np
from absl import flags

from cnn_jax.launch import cli


def run(arguments: list[str]) -> int:
    """Prints the most probable classes of each input and draws RUN/predictions/NAME.png."""
    values = flags.FlagValues()
    flags.DEFINE_string("checkpoint", "last", "last, best (by validation) or a step", flag_values=values)
    flags.DEFINE_bool("convert", False, "resize, crop and recolour images unlike the run's", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("predict", values, arguments)
    if len(words) < 2:
        raise cli.UsageError("say a run folder and at least one image: launch.py predict RUN INPUT...")
    _predict(Path(words[0]), [Path(word) for word in words[1:]], values.checkpoint, values.convert)
    return 0


def _predict(folder: Path, inputs: list[Path], which: str, convert: bool) -> None:
    import jax  # JAX starts here, not for --help

    from cnn_jax import report
    from cnn_jax.data.files import read_example
    from cnn_jax.train.predictor import load, predict

    # One device: for a few examples a program for several takes longer to compile than it saves.
    predictor = load(folder, which, devices=jax.devices()[:1]).predictor
    spec, reporter = predictor.spec, report.of(predictor.task.report)
    read = [read_example(path, spec, convert=convert) for path in inputs]
    name = next(iter(spec.inputs))
    outputs = predict(predictor, {name: np.stack([example for example, _ in read])})
    for position, (path, (example, placement)) in enumerate(zip(inputs, read, strict=True)):
        number = 0
        while (picture := folder / "predictions" / f"{path.stem}{f'-{number}' if number else ''}.png").exists():
            number += 1
        said = {name: array[position] for name, array in outputs.items()}
        reporter.annotate({name: example}, said, spec, picture)
        print(f"{path}  (drawn in {picture})")
        for line in reporter.predicted(said, spec, placement):
            print(f"  {line}")
