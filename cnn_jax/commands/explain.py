"""Show what of an input counted for a model's answer: maps by one or more methods, and what they are worth.

python launch.py explain runs/photos new.jpg                        # for the class that the model is surest of
python launch.py explain runs/photos new.jpg --target=1 --methods=grad_cam,deep_lift
python launch.py explain runs/photos holiday/ --reference=blur      # every image in a folder and below
python launch.py explain runs/photos --benchmark --methods=gradient # methods against one another, measured
python launch.py explain runs/photos --timeline                     # what each checkpoint had learnt, as a page
python launch.py explain --methods=list                             # all methods, and what they are held against

--target is the name or number of a class. Of a detector it is a box by its place in the order of scores, from 1, or a
class, whose surest box it is; person:left is the left edge of that box in place of its score. Of a segmenter it is a
class, whose predicted pixels are the region.

What is explained is a number: the logit of a class, the score or a coordinate of a box, the mean logit over the pixels
of a class. A map says for each position what it counted for that number. Under each map stands what was measured on it:
by how much the map misses what it should add up to, or its sum over the score; the layer; how many positions share
their value; and whether all speaks against the target. A picture that convinces need not be true.

Methods compare the input with a reference, by default what is 0 to the model, the mean colour of its training data. A
method sees nothing where the two are alike: --reference=black has no attribution for black pixels.

--benchmark tests the methods, by default all, on --examples of a split of the run's own data: deletion, insertion,
pixel flipping, ROAD, infidelity, faithfulness, sensitivity, and where the data says where objects lie the pointing
game, energy inside and rank accuracy; each against random maps, edges and the middle, with intervals. With --second, a
run of the same experiment from another seed, it also tests sanity: whether maps change when the weights are random
numbers. With --randomised, a run of it on data.source=shuffled_labels, they must also change when the network has
learned random labels. The verdicts are kept in the run's folder and printed below every map from then on.

For photos/a.jpg there are written, below --out, photos/a.jpg.explained.png with the maps over what the model read, .npz
with the arrays, and .json with the numbers. Inputs are read as `predict` reads them.
"""

import itertools
import json
import sys
import warnings
from pathlib import Path
from typing import Any

from absl import flags

from cnn_jax.commands.predict import Unread, mirrored
from cnn_jax.devices import without_collection
from cnn_jax.launch import cli
from cnn_jax.paths import printable, written

LIST = "list"


def run(arguments: list[str]) -> int:
    """Writes a figure, arrays and numbers for each input."""
    values = flags.FlagValues()
    flags.DEFINE_string("checkpoint", None, cli.CHECKPOINT, flag_values=values)
    flags.DEFINE_bool("convert", False, "resize, crop and recolour images unlike the run's", flag_values=values)
    flags.DEFINE_list("methods", None, "names of methods, 'all', or 'list' to see them", flag_values=values)
    flags.DEFINE_string(
        "target", None, "class, box or region that is explained (default: the surest)", flag_values=values
    )
    flags.DEFINE_string("layer", None, "feature map for the CAMs (default: the last with extent)", flag_values=values)
    flags.DEFINE_string("reference", "mean", "what the input is compared with", flag_values=values)
    flags.DEFINE_float("memory", 1.0, "GiB for versions of an input that are computed at once", flag_values=values)
    flags.DEFINE_integer("seed", 0, "of methods that draw noise or masks", lower_bound=0, flag_values=values)
    flags.DEFINE_bool("benchmark", False, "rank methods on a split of the run's data", flag_values=values)
    flags.DEFINE_bool("timeline", False, "filters, maps and CKA over the checkpoints", flag_values=values)
    flags.DEFINE_string("split", "test", "of --benchmark and --timeline", flag_values=values)
    flags.DEFINE_integer("examples", 64, "of --benchmark, evenly chosen", lower_bound=1, flag_values=values)
    flags.DEFINE_string("second", None, "a run from another seed, for the sanity test", flag_values=values)
    flags.DEFINE_string("randomised", None, "a run on random labels, for it too", flag_values=values)
    flags.DEFINE_string("out", None, "where files go (default: RUN/explanations)", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("explain", values, arguments)
    if values.methods == [LIST]:
        if words:
            raise cli.UsageError("--methods=list shows the methods and takes no run")
        print(_listed())
        return 0
    if values.second is not None and not values.benchmark:
        raise cli.UsageError("--second is for --benchmark, which tests the sanity of methods with it")
    if values.randomised is not None and values.second is None:
        raise cli.UsageError(
            "--randomised needs --second: how alike two trainings are is what its maps are held against"
        )
    if values.benchmark or values.timeline:
        if len(words) != 1:
            raise cli.UsageError("--benchmark and --timeline take one run folder and no inputs")
        _explain_run(written(words[0]), values)
        return 0
    if len(words) < 2:
        raise cli.UsageError("say a run folder and at least one input: launch.py explain RUN INPUT...")
    if not values.memory > 0:
        raise cli.UsageError(f"--memory={values.memory:g}: give a number of GiB above 0")
    for word in words:
        written(word)  # an empty one is refused before anything is read
    _explain(written(words[0]), words[1:], values)
    return 0


def _listed() -> str:
    from cnn_jax.explain.methods import DEFAULT, METHODS

    lines = [f"  {name:26}{method.what:44}held against {method.held}" for name, method in METHODS.items()]
    return "\n".join([f"{len(METHODS)} methods, of which these are the default: {', '.join(DEFAULT)}", *lines])


def _explain_run(folder: Path, values: Any) -> None:
    """What is asked of the run as a whole."""
    from cnn_jax.explain.methods import METHODS, chosen  # JAX starts here, not for --help
    from cnn_jax.launch import explanations
    from cnn_jax.train import run_folder

    names = list(METHODS) if values.methods in (None, ["all"]) else values.methods
    methods = chosen(names)
    out = written(values.out) if values.out is not None else run_folder.place(folder, explanations.FOLDER)
    if values.benchmark:
        second = None if values.second is None else written(values.second)
        explanations.compare(
            folder,
            values.checkpoint,
            methods,
            asked=bool(values.methods),
            split=values.split,
            count=values.examples,
            second=second,
            randomised=None if values.randomised is None else written(values.randomised),
            layer=values.layer or "",
            seed=values.seed,
            out=out,
        )
    if values.timeline:
        explanations.history(folder, split=values.split, out=out)


def _explain(folder: Path, words: list[str], values: Any) -> None:
    from cnn_jax.explain.methods import DEFAULT, METHODS, chosen  # JAX starts here, not for --help
    from cnn_jax.explain.targets import REFERENCES
    from cnn_jax.lookup import did_you_mean

    names = list(METHODS) if values.methods == ["all"] else values.methods or list(DEFAULT)
    methods = chosen(names)
    if values.reference not in REFERENCES:
        raise cli.UsageError(f"--reference={values.reference}: {did_you_mean(values.reference, REFERENCES)}")
    import jax

    from cnn_jax.data.inputs import read_all
    from cnn_jax.explain.explanation import Explainer, Wishes
    from cnn_jax.launch import explanations
    from cnn_jax.train import run_folder
    from cnn_jax.train.predictor import load, said_of

    with without_collection():
        opened = load(folder, values.checkpoint, devices=jax.devices()[:1])
    predictor, verdicts = opened.predictor, explanations.verdicts_of(folder, opened.step)
    wishes = Wishes(
        values.target,
        values.layer,
        values.reference,
        round(values.memory * 2**30),
        values.seed,
        bool(values.methods),
        verdicts,
    )
    explainer = Explainer(predictor, wishes)
    out = written(values.out) if values.out is not None else run_folder.place(folder, explanations.FOLDER)
    unread = Unread()
    for item in itertools.chain.from_iterable(read_all(words, predictor.spec, convert=values.convert)):
        unread.count += 1
        if item.example is None:
            unread.add(item.problem)
            continue
        item = _one(predictor.spec, item)
        with said_of(folder):
            explained = explainer(batch_of_one(predictor.spec, item), methods)
        files = _write(out, item, explained, methods, {"reference": values.reference, "seed": values.seed})
        print("\n  ".join([printable(item.path), explained.target, *_said(explained), f"written to {files}"]))
    unread.end()


def batch_of_one(spec: Any, item: Any) -> dict[str, Any]:
    """One example as a batch of one, with where a picture lies in it if the model is told."""
    from cnn_jax.data.placement import Placement, as_vector

    arrays = {next(iter(spec.inputs)): item.example[None]}
    for name, field in spec.inputs.items():
        if field.role == "placement":
            arrays[name] = as_vector(item.placement or Placement(*[item.example.shape[:2]] * 2))[None]
    return arrays


def _one(spec: Any, item: Any) -> Any:
    """The input as one example: of a sound that is read in windows, the first."""
    if item.example.ndim == len(spec.input.shape):
        return item
    what = f"of '{printable(item.path)}' the first {spec.prepare.seconds:g} s are explained"
    warnings.warn(f"{what}: cut out the part that you ask about", stacklevel=2)
    return item._replace(example=item.example[0])


def _said(explained: Any) -> list[str]:
    width = max(map(len, explained.maps))
    return [f"{name:{width}}  {'; '.join(one.lines)}" for name, one in explained.maps.items()]


def _write(out: Path, item: Any, explained: Any, methods: Any, settings: dict[str, Any]) -> str:
    """The files of one input; returns their common name, as a person reads it."""
    import numpy as np

    from cnn_jax.data.inputs import DRAWN, EXPLAINED
    from cnn_jax.report import attribution

    place = out / mirrored(item.path)
    base = place.with_name(place.name.removesuffix(DRAWN) + EXPLAINED)
    panels = [
        attribution.Panel(name, one.places, methods[name].signed, one.lines) for name, one in explained.maps.items()
    ]
    about = explained.chosen
    picture = base.with_name(base.name + ".png")
    attribution.draw(item.example, explained.target, panels, picture, about.get("box"), about.get("region"))
    maps = {name: one.map for name, one in explained.maps.items()}
    np.savez_compressed(base.with_name(base.name + ".npz"), input=explained.x, **maps)
    numbers = {
        "file": printable(item.path), "target": explained.target, "score": explained.score,
        "score_of_reference": explained.of_reference, "layer": explained.layer, **settings,
        "methods": {name: {**one.numbers, "said": one.lines} for name, one in explained.maps.items()},
    }  # fmt: skip
    base.with_name(base.name + ".json").write_text(json.dumps(_finite(numbers), indent=1), encoding="utf-8")
    return printable(f"{base}.png, .npz and .json")


def _finite(value: Any) -> Any:
    from cnn_jax.report.tables import plain

    return {name: _finite(inner) for name, inner in value.items()} if isinstance(value, dict) else plain(value)
