"""Show what of an input counted for a model's answer: maps by one or more methods, and what they are worth.

python launch.py explain runs/photos new.jpg                        # for the class that the model is surest of
python launch.py explain runs/photos new.jpg --target=1 --methods=grad_cam,deep_lift
python launch.py explain runs/photos holiday/ --reference=blur      # every image in a folder and below
python launch.py explain runs/photos --benchmark --methods=gradient # methods against one another, measured
python launch.py explain runs/photos --timeline                     # what each checkpoint had learnt, as a page
python launch.py explain runs/reviews 'a lovely film' @more.txt     # which words counted, coloured
python launch.py explain runs/reviews --words                       # which words count most for each class
python launch.py explain runs/drums hit.wav                         # which tones counted, and when
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

Of a text the score is a function of the vectors of its words (or characters), and a map says what each of them counts;
the reference is the vector of padding, or with --reference=unknown that of an unknown word. Methods that hide put it in
the place of one word at a time. Of a slope, as the gradient is, the sizes are added up. Of a sound whose model makes
spectra the score is a function of these; the reference is as quiet as the quietest of them (--reference=quiet), or
their mean. Of a sound longer than what the model hears the window is explained that is surest of the class.

--words explains --examples texts of a split by one method, deep_lift unless --methods names another, each for the class
that the model says, and lists for each class the words with the largest mean, with how often they occur.

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
import sys
from pathlib import Path
from typing import Any

from absl import flags

from cnn_jax.commands.predict import Unread, mirrored
from cnn_jax.devices import without_collection
from cnn_jax.launch import cli
from cnn_jax.paths import printable, written

LIST = "list"
EXAMPLES, TEXTS = 64, 1000


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
    flags.DEFINE_string("reference", None, "what the input is compared with (default: see above)", flag_values=values)
    flags.DEFINE_float("memory", 1.0, "GiB for versions of an input that are computed at once", flag_values=values)
    flags.DEFINE_integer("seed", 0, "of methods that draw noise or masks", lower_bound=0, flag_values=values)
    flags.DEFINE_bool("benchmark", False, "rank methods on a split of the run's data", flag_values=values)
    flags.DEFINE_bool("timeline", False, "filters, maps and CKA over the checkpoints", flag_values=values)
    flags.DEFINE_bool("words", False, "of a model of texts: which words count most for each class", flag_values=values)
    flags.DEFINE_string("split", "test", "of --benchmark, --timeline and --words", flag_values=values)
    examples = f"of --benchmark (default: {EXAMPLES}) or --words ({TEXTS}), evenly chosen"
    flags.DEFINE_integer("examples", None, examples, lower_bound=1, flag_values=values)
    flags.DEFINE_integer("least", 3, "of --words: how often a word must occur", lower_bound=1, flag_values=values)
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
    if values.benchmark or values.timeline or values.words:
        if len(words) != 1:
            raise cli.UsageError("--benchmark, --timeline and --words take one run folder and no inputs")
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
            count=values.examples or EXAMPLES,
            second=second,
            randomised=None if values.randomised is None else written(values.randomised),
            layer=values.layer or "",
            seed=values.seed,
            out=out,
        )
    if values.timeline:
        explanations.history(folder, split=values.split, out=out)
    if values.words:
        names = values.methods or ["deep_lift"]
        if len(names) != 1 or names == ["all"]:
            raise cli.UsageError("--words counts by one method: name one, as --methods=deep_lift")
        explanations.words(
            folder,
            values.checkpoint,
            names[0],
            split=values.split,
            count=values.examples or TEXTS,
            least=values.least,
            seed=values.seed,
            out=out,
        )


def _explain(folder: Path, words: list[str], values: Any) -> None:
    from cnn_jax.explain.methods import DEFAULT, METHODS, OF_WORDS, chosen  # JAX starts here, not for --help
    from cnn_jax.explain.references import REFERENCES
    from cnn_jax.lookup import did_you_mean

    names = list(METHODS) if values.methods == ["all"] else values.methods
    methods = chosen(names or [])
    known = list(dict.fromkeys(name for names in REFERENCES.values() for name in names))
    if values.reference is not None and values.reference not in known:
        raise cli.UsageError(f"--reference={values.reference}: {did_you_mean(values.reference, known)}")
    import jax

    from cnn_jax.data.inputs import DRAWN, EXPLAINED, read_all
    from cnn_jax.explain.explanation import Explainer, Wishes
    from cnn_jax.launch import explained, explanations
    from cnn_jax.train import run_folder
    from cnn_jax.train.predictor import load, said_of

    with without_collection():
        opened = load(folder, values.checkpoint, devices=jax.devices()[:1])
    predictor, verdicts = opened.predictor, explanations.verdicts_of(folder, opened.step)
    methods = methods or chosen(list(OF_WORDS if predictor.spec.input.role == "tokens" else DEFAULT))
    wishes = Wishes(
        values.target,
        values.layer,
        values.reference or "",
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
        with said_of(folder):
            asked = explained.given(predictor, item, values.target)
            found = explainer(asked.inputs, methods, asked.wanted)
        spelled = explained.read(item, predictor.spec)
        name = mirrored(item.path) if isinstance(item.path, Path) else Path(explained.named(item.path) + DRAWN)
        place = (out / name).with_name(name.name.removesuffix(DRAWN) + EXPLAINED)
        files = explained.write(place, item, asked, found, spelled, {"seed": values.seed})
        said = [found.target, asked.said, *explained.lines(found, spelled, asked.seconds), f"written to {files}"]
        print("\n  ".join([printable(item.path), *filter(None, said)]))
    unread.end()
