"""Print a training as a JobSet of Kubernetes, which is started again until the run is complete.

python launch.py manifest digits --image=registry.example.org/cnn_jax --claim=runs   # for kubectl apply -f -
python launch.py manifest digits --image=cnn_jax --claim=runs --pods=4 --gpus=8 --config.data.batch_size=4096

Each of --pods is one process of the training, with its part of every batch. The image has this project installed. The
PersistentVolumeClaim --claim, to which all pods can write at once, is the folder /runs, in which the run is digits/.
All other words are those of launch.py train. The cluster needs the JobSet controller (https://jobset.sigs.k8s.io).

A pod that has to go saves within two minutes. Where one is lost, all are started again, up to --restarts times, and go
on; wrong input, a training that diverged and a disk that cannot be written end the JobSet.
"""

import re
import sys
import warnings

import yaml
from absl import flags

from cnn_jax.commands import train
from cnn_jax.launch import cli, experiment_file, jobset, overrides, own_run

OWN = ("image", "claim", "pods", "gpus", "restarts")  # flags that are not of the training
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?")  # and with what follows it a DNS label
RESTARTS = 20  # where nothing is said: moving a pod takes one


def run(arguments: list[str]) -> int:
    """Prints it."""
    values = train.flag_values()
    flags.DEFINE_string("image", None, "of the containers, with this project in it", flag_values=values)
    flags.DEFINE_string("claim", None, "a PersistentVolumeClaim for the runs", flag_values=values)
    flags.DEFINE_integer("pods", 1, "so many processes", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("gpus", 0, "of each pod", lower_bound=0, flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    word = overrides.experiment_word(arguments)
    if word is None:
        raise cli.UsageError("say which experiment: launch.py manifest EXPERIMENT --image=IMAGE --claim=CLAIM")
    values(["manifest", *arguments], known_only=True)
    for name in ("image", "claim"):
        if not values[name].value:
            raise cli.UsageError(f"say --{name}: launch.py manifest --help says of what")
    if values.fresh or values.processes > 1 or values.workdir is not None:
        raise cli.UsageError("--fresh, --processes and --workdir are not for pods: they go on in /runs, one by --pods")
    with own_run.opened(word, overrides.given(arguments), None) as (_, config, _):
        if not experiment_file.comes_along(word):
            warnings.warn(f"'{word}' does not come along with the project: the image must have it there", stacklevel=2)
        config = overrides.configured("manifest", word, arguments, values, config)
    name = re.sub(r"[^a-z0-9]+", "-", config.name.lower()).strip("-")
    if not NAME.fullmatch(name):
        raise cli.UsageError(f"'{name}' can be no name in Kubernetes: say another, as --config.name=short")
    if values.pods > 1 and config.data.batch_size % values.pods:
        raise cli.UsageError(f"data.batch_size = {config.data.batch_size} does not divide over --pods={values.pods}")
    restarts = values.restarts if values["restarts"].present else RESTARTS
    found = jobset.manifest(
        name,
        values.image,
        [*overrides.without(OWN, arguments, values), f"--workdir=/{jobset.RUNS}/{config.name}"],
        values.pods,
        gpus=values.gpus,
        claim=values.claim,
        restarts=restarts,
    )
    print(yaml.safe_dump(found, sort_keys=False), end="")
    return 0
