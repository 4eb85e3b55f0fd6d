"""What is trained: an experiment, a run, or a folder of one's own pictures, for which an experiment is made.

A folder with the folders images and masks is for segmentation, one of class folders for classification.
"""

import re
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from cnn_jax import config as configuration
from cnn_jax.config import Experiment
from cnn_jax.devices import cores
from cnn_jax.launch import experiment_file
from cnn_jax.lookup import EXPERIMENT
from cnn_jax.paths import printable, written
from cnn_jax.train import run_folder

OWN = ("cnn_jax.data.folder", "cnn_jax.data.masks")  # the sources of folders


def name_of(folder: str) -> str:
    """The name of the run of a folder of pictures: its own, as far as a run may be called so.

    Raises ValueError, with what to do, for a folder of a run, of several, or of imported weights, which holds none.
    """
    place, shown = written(folder), printable(folder)
    if (place / run_folder.PREDICTOR).exists():
        raise ValueError(f"'{shown}' holds imported weights: begin with them, as --config.transfer.weights={shown}")
    if any((place / name).exists() for name in (run_folder.CONFIG, run_folder.LOCK)):
        raise ValueError(
            f"'{shown}' is a run folder{'' if (place / run_folder.CONFIG).exists() else ' without config.json'}: to go "
            f"on with its run give the command that began it, with --workdir={shown}"
        )
    if runs := sorted(place.glob(f"*/{run_folder.CONFIG}")):
        raise ValueError(
            f"'{shown}' holds runs: name one, as {printable(str(runs[0].parent))}, or give the command that began them"
        )
    return re.sub(r"[^\w.-]+", "-", place.resolve().name).strip("-.") or "pictures"


@contextmanager
def opened(
    word: str, given: Mapping[str, str], workdir: str | Path | None, *, fresh: bool = False, seed: int | None = None
) -> Iterator[tuple[Path, Experiment, Path | None]]:
    """The experiment file and the experiment that a word means, and the run's folder where the word says it.

    For a folder of pictures they are those of the run that is there, or a recipe, whose file lasts as long as the
    context; what is chosen is printed. given: see `write`. seed: of the first run, where there are several in folders
    of `workdir`.
    """
    if not experiment_file.is_pictures(word):
        yield *experiment_file.load(word), experiment_file.run_of(word)
        return
    own_name = name_of(word)
    name = given.get("name") or own_name
    place = written(f"runs/{name}" if workdir is None else workdir)
    if not fresh and (before := begun(word, place)):
        print(f"by the recipe of the run that is there: {before[0]}", flush=True)
        yield *before, place
        return
    kept = (place if seed is None else place / f"seed{seed}") / run_folder.SOURCE
    with tempfile.TemporaryDirectory() as below:
        path, lines = write(word, name, given, Path(below))
        for line in [*lines, f"  {'kept':12}  as {printable(kept)}: copy it to change it"]:
            print(_wrapped(line), flush=True)
        yield *experiment_file.load(str(path)), place


def _wrapped(line: str) -> str:
    """A line of a recipe as it is, or on a terminal within its width, what follows below the reason."""
    if not sys.stdout.isatty():
        return line
    return textwrap.fill(line, shutil.get_terminal_size().columns, subsequent_indent=" " * 16)


def begun(folder: str, workdir: Path) -> tuple[Path, Experiment] | None:
    """The experiment file and the configuration of the run in `workdir`, or of the first of its seeds.

    None where there is none yet, or another experiment's. The file is not run: that the pictures may have moved to
    `folder` is all that can differ from what config.json says.
    """
    for run in (workdir, *sorted(workdir.glob("seed*"))):
        try:
            values = configuration.completed(run_folder.read_json(run / run_folder.CONFIG))
            if f"{EXPERIMENT}." in str(values) or not (run / run_folder.SOURCE).is_file():
                continue
            config = configuration.from_json(values)
        except (FileNotFoundError, ValueError):  # nothing there, or damaged, which the training will say
            continue
        source = config.data.source
        if isinstance(source, partial) and source.func.__module__ in OWN:
            config.data.source = partial(source.func, **{**source.keywords, "path": folder})
            return run / run_folder.SOURCE, config
    return None


def write(folder: str, name: str, given: Mapping[str, str], into: Path) -> tuple[Path, list[str]]:
    """Chooses a recipe for the pictures in `folder`, writes it into `into`, and says it in lines.

    given: the fields that the command line sets, as text; weights and model decide what else is chosen.
    Raises ValueError or FileNotFoundError, in one line, for a folder without pictures in class folders or with masks,
    or weights of an unknown network.
    """
    import jax

    from cnn_jax.data.pairs import has_pairs
    from cnn_jax.launch import cli, own_data, own_masks, pretrained, recipe, recipe_file, segmentation_recipe

    weights, build = given.get("transfer.weights"), given.get("model.build", "")
    machine = recipe.Machine(cores(), jax.default_backend() != "cpu")
    found: own_masks.FoundMasks | own_data.Found
    if has_pairs(written(folder)):
        found = own_masks.look(folder, given.get("data.source", ""))
        made = segmentation_recipe.choose(found, machine, pretrained.named(weights) if weights else None, build)
    else:
        found, without = own_data.look(folder), pretrained.why_none(weights, build)
        known = pretrained.named(weights, build) if weights else None
        network = pretrained.installed(build) if weights is None else known
        made = recipe.choose(found, machine, network, build, without)
    path = into / run_folder.SOURCE
    path.write_text(cli.as_called(recipe_file.text(made, name, folder)), encoding="utf-8", errors="surrogateescape")
    lines = [f"a recipe for {printable(folder)}: {found}, {made.what}"]
    reasons = [(topic.name, topic.why) for topic in made.topics]
    chosen = {field: value for topic in made.topics for field, value in topic.fields.items()}
    if flags := ", ".join(_in_place(given, chosen)):
        reasons.append(("flags", flags))
    return path, [*lines, *(f"  {topic:12}  {printable(why)}" for topic, why in reasons)]


def _in_place(given: Mapping[str, str], chosen: Mapping[str, str]) -> Iterator[str]:
    """What flags change in a recipe, which config.json of the run will have and its experiment.py not."""
    for field, value in given.items():
        if field != "name" and value != chosen.get(field):
            yield f"{field}={value}" + (f" in place of {chosen[field]}" if field in chosen else "")
