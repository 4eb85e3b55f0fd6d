"""Look inside a network: its filters, what its units stand for, which examples it takes for alike, and why.

python launch.py look runs/photos                                  # filters and maps, pictures and examples of units
python launch.py look runs/photos --show=dissection,concepts,cka   # others; --show=list says which there are
python launch.py look runs/photos --show=examples --layer=stage2 --units=3,17
python launch.py look runs/photos --show=pictures --layer=logits --units=cat,dog
python launch.py look runs/photos new.jpg --show=dream,neighbours,influence
python launch.py look runs/photos --show=tcav --concepts=striped/,dotted/ --target=zebra
python launch.py look runs/photos --show=cka --second=runs/other   # between the layers of two networks
python launch.py look imported/lite0 --data=folder:photos          # imported weights have no data of their own

Each view is a page that opens offline, NAME.html below --out, with NAME.csv where there are numbers. A unit is one
channel of a feature map; --layer=logits means the classes. Every page begins with what was looked at and measured on
it, beside what chance, random examples or the data give.

Without inputs those views that show some take the first examples of the split, or, as influence, which names the
training examples behind an answer, the mistakes of which the network was surest. A concept of tcav is a folder of
examples that have something in common; it is held against those of --random, by default those of the split.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

from absl import flags

from cnn_jax.commands.eval import named_source
from cnn_jax.launch import cli
from cnn_jax.paths import written

LIST = "list"


def run(arguments: list[str]) -> int:
    """Writes a page for each view."""
    values = flags.FlagValues()
    flags.DEFINE_list("show", None, "names of views, or 'list' to see them", flag_values=values)
    flags.DEFINE_string("checkpoint", None, cli.CHECKPOINT, flag_values=values)
    flags.DEFINE_string("layer", None, "by default the last with extent, or what suits the view", flag_values=values)
    flags.DEFINE_list("units", [], "numbers of units, or classes (default: evenly chosen)", flag_values=values)
    flags.DEFINE_string("split", "test", "of the data", flag_values=values)
    flags.DEFINE_integer("examples", 256, "of the split, evenly chosen", lower_bound=1, flag_values=values)
    flags.DEFINE_string("data", None, "another source, as --config.data.source= takes it", flag_values=values)
    flags.DEFINE_bool("convert", False, "resize, crop and recolour images unlike the run's", flag_values=values)
    flags.DEFINE_list("concepts", [], "folders that show a concept each, for tcav", flag_values=values)
    flags.DEFINE_string("random", None, "a folder of random examples, for tcav", flag_values=values)
    flags.DEFINE_string("target", None, "class for tcav (default: each)", flag_values=values)
    flags.DEFINE_string("second", None, "another network, for cka", flag_values=values)
    flags.DEFINE_integer("seed", 0, "of what is drawn", lower_bound=0, flag_values=values)
    flags.DEFINE_string("out", None, "where pages go (default: RUN/inside)", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("look", values, arguments)
    if values.show == [LIST]:
        if words:
            raise cli.UsageError("--show=list shows the views and takes no run")
        print(_listed())
        return 0
    if not words:
        raise cli.UsageError("say a run folder: launch.py look RUN [INPUT...]")
    for word in words:
        written(word)  # an empty one is refused before anything is read
    _look(written(words[0]), words[1:], values)
    return 0


def _listed() -> str:
    from cnn_jax.launch.inside.views import DEFAULT, VIEWS

    lines = [f"  {name:12}{view.what}{'' if view.data else ' (needs no data)'}" for name, view in VIEWS.items()]
    return "\n".join([f"{len(VIEWS)} views, of which these are the default: {', '.join(DEFAULT)}", *lines])


def _look(folder: Path, words: list[str], values: Any) -> None:
    from cnn_jax.launch.inside.looked import Asked, look  # JAX starts here, not for --help
    from cnn_jax.launch.inside.views import DEFAULT, chosen
    from cnn_jax.train import run_folder
    from cnn_jax.train.predictor import read_spec

    views = chosen(values.show or list(DEFAULT))
    spec, imported = read_spec(folder), (folder / run_folder.PREDICTOR).is_file()
    if spec.input.role == "tokens":
        raise ValueError("the model reads words, of which there are no pictures: look shows images and signals")
    if imported and values.data is None and not values.show:
        left = [name for name, view in views.items() if view.data]
        warnings.warn(f"no {', '.join(left)}: an import has no data of its own, say --data=folder:PATH", stacklevel=2)
        views = {name: view for name, view in views.items() if not view.data}
    if values.data is not None:
        named_source(values.data)
    asked = Asked(
        layer=values.layer or "",
        units=tuple(values.units),
        split=values.split,
        examples=values.examples,
        data=values.data,
        target=values.target,
        second=None if values.second is None else written(values.second),
        inputs=[one for word in words for one in _examples([word], spec, values.convert)],
        concepts=[(Path(word).name, _together([word], spec, values.convert)) for word in values.concepts],
        random=None if values.random is None else _together([values.random], spec, values.convert),
        seed=values.seed,
    )
    out = written(values.out) if values.out is not None else run_folder.place(folder, "inside")
    look(folder, values.checkpoint, {name: view.run for name, view in views.items()}, asked, out)


def _examples(words: list[str], spec: Any, convert: bool) -> list[tuple[str, dict[str, Any]]]:
    """(name, example as a batch of one) of each input. Raises ValueError for the first that cannot be read."""
    import itertools

    from cnn_jax.data.inputs import read_all
    from cnn_jax.launch.explained import batch_of_one
    from cnn_jax.paths import printable

    found = []
    for item in itertools.chain.from_iterable(read_all(words, spec, convert=convert)):
        if item.example is None:
            raise ValueError(item.problem)
        found.append((printable(item.path), batch_of_one(spec, item)))
    return found


def _together(words: list[str], spec: Any, convert: bool) -> dict[str, Any]:
    """Those inputs as one batch."""
    from cnn_jax.launch.inside.looked import joined

    return joined([example for _, example in _examples(words, spec, convert)])
