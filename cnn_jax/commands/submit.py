"""Train an experiment as a job of SLURM, which queues again until the run is complete.

python launch.py submit digits --slurm.time=1:00:00
python launch.py submit digits --slurm.partition=gpu --slurm.nodes=2 --slurm.ntasks=16 --slurm.gpus-per-task=1
python launch.py submit digits --slurm.time=30 --config.duration='90 epochs' --workdir=runs/longer --nosubmit

--slurm.NAME=VALUE is an option of sbatch, as its manual names them: so many --slurm.ntasks are so many processes of one
training, each with its part of every batch. All other words are those of launch.py train.

The file is written beside the run folder, as runs/digits.sbatch, for you to read and to change, and given to sbatch,
unless --nosubmit is said. What the job prints is added to runs/digits.slurm.log. Two minutes before its time is over,
so ask for more than five, or when another job takes its place, the training saves and ends with exit code 75, and the
job queues again; so it does up to --restarts times (default: 3) where a process dies or hangs.
"""

import sys
from pathlib import Path

from absl import flags

from cnn_jax.commands import train
from cnn_jax.launch import cli, overrides, own_run, slurm
from cnn_jax.paths import written

OPTION = "slurm."
OWN = ("submit", "nosubmit", "restarts")  # flags that are not of the training
AGAIN = 3  # restarts, where nothing is said


def run(arguments: list[str]) -> int:
    """Writes the file, and submits it."""
    values = train.flag_values()
    flags.DEFINE_bool("submit", True, "give the file to sbatch", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    options, words = _split(arguments)
    word = overrides.experiment_word(words)
    if word is None:
        raise cli.UsageError("say which experiment: launch.py submit EXPERIMENT --slurm.time=1:00:00")
    values(["submit", *words], known_only=True)
    if values.fresh:
        raise cli.UsageError("--fresh would begin anew each time that the job goes on: choose another --workdir")
    if values.processes > 1:
        raise cli.UsageError(f"--processes: SLURM starts them, say --slurm.ntasks={values.processes}")
    with own_run.opened(word, overrides.given(words), values.workdir) as (_, config, workdir):
        config = overrides.configured("submit", word, words, values, config)
        folder = workdir or Path("runs", config.name) if values.workdir is None else written(values.workdir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    file, log = (folder.with_name(f"{folder.name}.{end}") for end in ("sbatch", "slurm.log"))
    training = overrides.without(OWN, words, values)
    restarts = values.restarts if values["restarts"].present else AGAIN
    file.write_text(slurm.script(training, folder, options, restarts, log, arguments), encoding="utf-8")
    if not values.submit:
        print(f"written to {file}: sbatch {file} submits it")
        return 0
    print(f"job {slurm.submitted(file)}, by {file}: what it prints is added to {log}")
    return 0


def _split(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """The options of sbatch, and the words that are none."""
    options, words = dict[str, str](), list[str]()
    for argument in arguments:
        name, _, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or not name.startswith(OPTION):
            words.append(argument)
            continue
        name = name.removeprefix(OPTION)
        if not name.replace("-", "").isalnum() or any(letter in value for letter in "\n\r"):
            raise cli.UsageError(f"'{argument}' is no option of sbatch: write --slurm.NAME=VALUE, as --slurm.time=60")
        options[name] = value
    return options, words
