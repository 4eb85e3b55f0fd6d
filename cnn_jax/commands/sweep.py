"""Try settings of an experiment, each over several seeds, and choose by the validation split.

python launch.py sweep digits --config.optim.lr=0.001,0.003 --seeds=0:3     # a grid: 2 x 3 runs
python launch.py sweep digits --config.optim.lr='log 1e-4..1e-1' --method=random --trials=20 --workdir=sweeps/rate
python launch.py sweep digits --config.optim.lr=0.001,0.003 --seeds=0:3 --final   # then reads the test split
python launch.py sweep sweeps/digits                                        # goes on with the sweep in a folder
python launch.py report sweeps/digits                                       # differences, curves, what differs

A field is given several values with commas between them (those within brackets or quotes belong to a value), or a
range: 1e-4..1e-1 evenly, 'log 1e-4..1e-1' evenly in its logarithm, 2..8 of whole numbers. A field with one value has it
in all runs. --method=grid tries all combinations; random draws --trials=N, always the same; tpe (pip install
'cnn_jax[sweep]') lets Optuna propose them by the scores of those before, the first ten by chance.

The folder (default: sweeps/NAME) is all that there is of a sweep: its runs are ordinary run folders, runs/VALUES/seedN,
beside each what it printed. The same command, or the folder's name, goes on after any interruption: what is finished is
never trained again, what was begun goes on from its checkpoint. More --trials and --seeds may be added; whatever else
differs is refused. Each run is a process of its own, --jobs of them at a time, between which cores and GPUs are shared
out. One that fails is said at once, with the line that ended it; the same command tries it again, unless it diverged.
--on_failure=stop saves and ends the others.

--rungs=10%,30% is asynchronous successive halving (ASHA): after 10 % of the training one of --eta=3 configurations
goes on to 30 %, of those again one to the end. Others stay where they are, saved.

No run reads the test split. What decides is evaluate.best_by on the validation split after the last step, its mean over
the seeds; where an experiment keeps no validation split, the sweep keeps a tenth of the training split. --final scores
the best on the test split, once, and writes final.json.

The exit code is 0 where nothing has failed, else that of the first run that has.
"""

import sys
import warnings
from pathlib import Path

from absl import flags

from cnn_jax.config import DURATION, Experiment
from cnn_jax.launch import cli, experiment_file, fields
from cnn_jax.paths import written
from cnn_jax.sweep import folder as folders
from cnn_jax.sweep import space
from cnn_jax.sweep.folder import Sweep

CONFIG = "--config."
OWN = {  # fields that a sweep sets itself
    "seed": "say --seeds=0,1,2",
    "evaluate.test": "no run of a sweep reads the test split; --final scores the best on it",
    "extended": "it says where a run was made longer",
}
ONE = ("name", "evaluate.best_by")  # fields that all runs share
NO_TRIALS = "--trials is for --method=random and tpe: a grid has as many as its values make"
KILLED = 128  # and the signal: the exit code for one that was killed, as a shell says it
HELD_OUT = "0.1"  # of the training split, where the experiment keeps nothing for validation


def run(arguments: list[str]) -> int:
    """Goes through the sweep, and prints the table of what came of it."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the sweep's folder (default: sweeps/NAME)", flag_values=values)
    flags.DEFINE_string("seeds", None, "of each configuration, as 0,1,2 or 0:3", flag_values=values)
    flags.DEFINE_enum("method", "grid", ["grid", "random", "tpe"], "what is tried", flag_values=values)
    flags.DEFINE_integer("trials", 0, "how many configurations, but for a grid", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("jobs", 1, "how many runs at a time", lower_bound=1, flag_values=values)
    flags.DEFINE_enum("on_failure", "continue", ["continue", "stop"], "after a run has failed", flag_values=values)
    flags.DEFINE_string("rungs", "", "when some go on, as 10%,30% or '3 epochs,9 epochs'", flag_values=values)
    flags.DEFINE_integer("eta", 3, "one of so many goes on from a rung", lower_bound=2, flag_values=values)
    flags.DEFINE_bool("final", False, "then score the best on the test split, once", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        print(cli.as_called(fields.help_of(None)))
        return 0
    fields.check_names(arguments)
    given = _given([word for word in arguments if _is_field(word)])
    left = cli.parse("sweep", values, [word for word in arguments if not _is_field(word)])
    if len(left) != 1:
        raise cli.UsageError("say one experiment, or one folder of a sweep: launch.py sweep EXPERIMENT")
    return _sweep(left[0], given, values)


def _is_field(word: str) -> bool:
    return word.startswith("-") and word.lstrip("-").startswith(("config.", "noconfig."))


def _given(words: list[str]) -> dict[str, str]:
    """{field: text} of the words --config.FIELD=TEXT."""
    found = dict[str, str]()
    for word in words:
        name, equals, text = word.partition("=")
        name = f"--{name.lstrip('-')}".removeprefix(CONFIG)
        if not equals or name.startswith("--"):
            raise cli.UsageError(f"{word}: write it as {CONFIG}FIELD=VALUE")
        if name in OWN:
            raise cli.UsageError(f"{word}: {OWN[name]}")
        if name in found:
            raise cli.UsageError(f"{CONFIG}{name} is given twice: write its values with commas between them")
        found[name] = text
    return found


def _sweep(word: str, given: dict[str, str], values: flags.FlagValues) -> int:
    import jax

    from cnn_jax.sweep import drive, outcome, tpe
    from cnn_jax.train import run_folder

    jax.config.update("jax_platforms", "cpu")  # a sweep itself computes nothing: GPUs are for its runs
    if folders.is_sweep(written(word)):
        folder = written(word)
        sweep, path = _again(folder, given, values), folder / run_folder.SOURCE
        if not path.is_file() or folders.digest_of(path) != sweep.digest:
            raise ValueError(f"'{path}' is not what it was when the sweep began: bring it back")
        _, config = experiment_file.load(str(path))
    else:
        if experiment_file.is_pictures(word) or experiment_file.run_of(word):
            raise cli.UsageError(
                f"'{word}' is no experiment's file: launch.py train keeps one in each run folder, as "
                f"{Path(word) if experiment_file.run_of(word) else Path('runs', 'NAME')}/{run_folder.SOURCE}"
            )
        path, config = experiment_file.load(word)
        sweep = _wanted(path, config, given, values)
        folder = written(values.workdir or f"sweeps/{config.name}")
        sweep = folders.merged(folder, sweep, path)
    if sweep.method == folders.TPE:
        tpe.optuna()
    config = folders.configured(config, sweep)
    known = folders.trials(folder, sweep)
    folders.check(config, sweep, known)
    folders.write(folder, sweep, path)
    count, n = max(len(known), sweep.trials), len(sweep.seeds)
    print(f"sweep of {sweep.name} in {folder}: {count} configurations x {n} seeds, {values.jobs} at a time", flush=True)
    board = drive.drive(folder, sweep, values.jobs, go_on=values.on_failure == "continue")
    print("\n".join(outcome.lines(board)), flush=True)
    code = next((run.code if run.code > 0 else KILLED - run.code for run in board.runs.values() if run.failed), 0)
    if values.final and code and values.on_failure == "stop":
        warnings.warn("the test split is not read: the sweep has not come to its end", stacklevel=2)
    elif values.final:
        print("\n".join(outcome.final(board)))
    return code


def _again(folder: Path, given: dict[str, str], values: flags.FlagValues) -> Sweep:
    """The sweep in a folder, with more trials and seeds where these are given."""
    settled = [f"--{name}" for name in ("workdir", "method", "rungs", "eta") if values[name].present]
    if others := [*settled, *(f"{CONFIG}{name}" for name in given)]:
        raise cli.UsageError(f"'{folder}' is a sweep, which goes on as it began: leave {others[0]} out")
    sweep = folders.read(folder)
    seeds = fields.seeds(values.seeds) if values.seeds is not None else ()
    if values.trials and sweep.method == folders.GRID:
        raise cli.UsageError(NO_TRIALS)
    return sweep._replace(trials=max(sweep.trials, values.trials), seeds=tuple(dict.fromkeys((*sweep.seeds, *seeds))))


def _wanted(path: Path, config: Experiment, given: dict[str, str], values: flags.FlagValues) -> Sweep:
    """The sweep that a command asks for."""
    fixed, swept = dict[str, str](), dict[str, str]()
    for name, text in given.items():
        axis = space.axis(name, text)
        several = isinstance(axis, space.Range) or len(axis) > 1
        if several and name in ONE:
            raise cli.UsageError(f"{CONFIG}{name}={text}: it is one for all runs")
        (swept if several else fixed)[name] = text.strip() if not several else ",".join(space.split(text))
    if not config.data.validation and "data.validation" not in given:
        fixed["data.validation"] = HELD_OUT
        print(f"{float(HELD_OUT):.0%} of the training split are kept for validation ({CONFIG}data.validation)")
    seeds = (config.seed,) if values.seeds is None else tuple(fields.seeds(values.seeds))
    if not swept and len(seeds) == 1:
        raise cli.UsageError(
            f"nothing is swept: give a field several values, as {CONFIG}optim.lr=0.001,0.003, or {space.RANGES}"
        )
    if values.method == folders.GRID and values.trials:
        raise cli.UsageError(NO_TRIALS)
    if values.method != folders.GRID and not (swept and values.trials):
        raise cli.UsageError(f"--method={values.method}: say how many configurations, as --trials=20, and of what")
    rungs = tuple(_rungs(values.rungs)) if values.rungs else ()
    digest = folders.digest_of(path)
    return Sweep(config.name, digest, fixed, swept, values.method, values.trials, seeds, rungs, values.eta)


def _rungs(text: str) -> list[str]:
    """Durations of one unit, each longer than the one before."""
    rungs = space.split(text)
    found = [DURATION.match(rung) for rung in rungs]
    units = {match[2].rstrip("s") for match in found if match}
    amounts = [float(match[1]) for match in found if match]
    rising = all(low < high for low, high in zip([0.0, *amounts], amounts, strict=False))
    if not all(found) or len(units) > 1 or not rising or (units == {"%"} and amounts[-1] >= 100):
        raise cli.UsageError(f"--rungs={text}: write rising shares or durations of one unit, as 10%,30% or '3 epochs'")
    return rungs
