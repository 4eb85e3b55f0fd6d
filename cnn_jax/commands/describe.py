"""Say what a model is, or what data hold: layers and costs, or classes, objects and their sizes.

python launch.py describe resnet50
python launch.py describe 'resnet18(act=jax.nn.gelu)' --input=64,64,3 --classes=10 --batch=32
python launch.py describe folder:photos
python launch.py describe coco:annotations.json
python launch.py describe masks:cells
python launch.py describe 'voc(VOC2007, size=320)' --out=looked_at

A model is written as in --config.model.build=: resnet18, or 'resnet18(act=jax.nn.gelu, stem=fitting_stem)'. The command
launch.py list models shows the published ones; where input and classes are not given, they are those of the
publication. Nothing is computed or compiled: the model is only traced.

Data are written as in --config.data.source=: folder:PATH, coco:PATH. What they hold is counted before any training, a
sheet of samples is drawn as a model would see them, and what was left out, changed or guessed in reading them is said.
Of classes of pixels a plan for training is said, too: crops, levels of a U-Net, batches, as nnU-Net chooses them.
"""

import re
import sys
from pathlib import Path

from absl import flags

from cnn_jax.devices import without_collection
from cnn_jax.launch import cli
from cnn_jax.lookup import Function, lookup
from cnn_jax.parts import of_kind
from cnn_jax.paths import written

OF_MODELS = ("input", "classes", "batch")  # flags


def run(arguments: list[str]) -> int:
    """Prints the description."""
    values = flags.FlagValues()
    flags.DEFINE_list("input", None, "shape of one example: 224,224,3 for images, 40,1 for signals", flag_values=values)
    flags.DEFINE_integer("classes", None, "number of classes", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("batch", 1, "examples at once", lower_bound=1, flag_values=values)
    flags.DEFINE_string("out", None, "folder for the samples of data, in place of described/NAME", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("describe", values, arguments)
    if len(words) != 1:
        raise cli.UsageError(
            "say one model or source of data: launch.py describe MODEL (launch.py list models shows the published ones)"
        )
    if source := _source(words[0]):
        if given := [name for name in OF_MODELS if values[name].present]:
            raise cli.UsageError(f"--{given[0]} is for models, '{words[0]}' are data")
        _describe_data(source, values.out)
        return 0
    if values.out is not None:
        raise cli.UsageError(f"--out is for the samples of data, '{words[0]}' are none")
    shape = None if values.input is None else _shape(values.input)
    with without_collection():
        from cnn_jax.inspect.description import description  # JAX starts here, not for --help

        print(description(words[0], shape, values.classes, values.batch))
    return 0


def _source(text: str) -> Function | None:
    """The source of data that a text describes, None where it describes none."""
    try:
        function = lookup(text)
    except ValueError:
        if Path(text or "nothing").is_dir():
            hint = f"say folder:{text}, or coco:, voc: or yolo: where it has annotations, masks: where it has masks"
            raise cli.UsageError(f"'{text}' is a folder: {hint}") from None
        if ":" in text:  # of models none is written so
            raise
        return None
    return function if getattr(function, "func", function) in of_kind("sources").values() else None


def _describe_data(source: Function, out: str | None) -> None:
    from cnn_jax.data.source import made, note_absent_classes
    from cnn_jax.report.data import description, sheet

    splits = made(source)
    if "train" in splits:
        note_absent_classes(splits, "train", warn=False)  # it is printed with the other notes
    print(description(splits))
    name = next(iter(splits.values())).spec.name
    folder = Path("described", re.sub(r"[^\w.-]+", "_", name)) if out is None else written(out)
    sheet(splits, folder / "samples.png")
    print(f"\nsamples are drawn in {folder / 'samples.png'}")


def _shape(words: list[str]) -> tuple[int, ...]:
    if len(words) not in (2, 3) or not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise cli.UsageError(f"--input={','.join(words)}: write the shape of one example, as --input=224,224,3")
    return tuple(int(word) for word in words)
