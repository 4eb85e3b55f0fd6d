"""A recipe for a folder of one's own pictures: the choices of an experiment, each with its reason.

`choose` is a function of what was found, of the machine and of the network whose weights there are. It measures
nothing, so one folder has one recipe on one kind of machine; `recipe_file` writes it down as an experiment.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from cnn_jax.inspect.anatomy import layers
from cnn_jax.inspect.program import trace
from cnn_jax.inspect.stages import CLASSIFIER, depths
from cnn_jax.launch import pretrained
from cnn_jax.launch.own_data import Found
from cnn_jax.launch.pretrained import Network
from cnn_jax.lookup import lookup
from cnn_jax.weights.probe import MOST

# Of the five minutes that a training may take with nothing compiled before, what it is planned to take: the machine may
# have other work. On two cores, of which compiling, evaluations' and figures' first calls take AROUND.
SECONDS, AROUND = 240.0, 75.0
# Multiply-adds a second and core, of a training with everything around it: of EfficientNet-Lite0, which is slow by this
# count, as networks of depthwise convolutions are, and of FastNet.
SPEED_PRETRAINED, SPEED_SCRATCH = 18e9, 60e9
ACCELERATOR = 100.0  # cores that an accelerator is taken for
READ = 20.0  # megapixels of files that a core reads in a second
SIDES = (224, 192, 160, 128)  # of pictures for a pretrained network, which was made for no smaller ones
SIDES_SCRATCH = (96, 64, 48)  # where there are no weights
TINY = 48  # pixels, below which pictures are no photographs, or have lost what was learned from these
FROZEN = 0.6  # of the multiply-adds, at least, that the layers take which do not learn, on a CPU
LEAST_VALIDATION = 20  # pictures, below which a validation split says too little
UNEVEN = 3.0  # times as many pictures in the largest class as in the smallest, from which on classes are weighted
HEAVIEST = 10.0  # times as much as an example of the most frequent class one of a rare class counts, at most
EVALUATIONS, PATIENCE = 10, 4


class Machine(NamedTuple):
    """cores that may be used, and whether there is an accelerator beside them."""

    cores: int
    accelerator: bool = False


class Topic(NamedTuple):
    """Choices that belong together: {field: value as on the command line}, and the reason for them."""

    name: str
    fields: dict[str, str]
    why: str


class Recipe(NamedTuple):
    """what: is trained. time: that it is planned to take. topics: of the choices, in the order of the fields."""

    what: str
    time: str
    topics: list[Topic]


class Length(NamedTuple):
    """side: of the pictures. epochs: over them. seconds: that all takes."""

    side: int
    epochs: float
    seconds: float


def choose(
    found: Found, machine: Machine, network: Network | None, build: str = "", without: str = pretrained.NONE
) -> Recipe:
    """The recipe for pictures like `found`, with the weights of `network`, or from scratch where it is None.

    build: the model that somebody asks for, as on the command line. without: why there is no network.
    """
    if network and (network.asked or found.side >= TINY):
        return _pretrained(found, machine, network)
    if network or found.side < TINY:
        why = f"pictures below {TINY} pixels are seen whole by a small network"
    else:
        why = without
    return _scratch(found, machine, why, build)


def class_weights(counts: Sequence[int]) -> tuple[float, ...]:
    """The inverse frequency of each class, at most HEAVIEST times the least, with mean 1 over the examples."""
    inverse = [1 / count for count in counts]
    capped = [min(value, HEAVIEST * min(inverse)) for value in inverse]
    mean = sum(value * count for value, count in zip(capped, counts, strict=True)) / sum(counts)
    return tuple(float(f"{value / mean:.4g}") for value in capped)


def _pretrained(found: Found, machine: Machine, network: Network) -> Recipe:
    share, training, held_out = _validation(found)
    largest = next((side for side in reversed(SIDES) if side >= found.side), SIDES[0])
    sides = [side for side in SIDES if side <= largest] if network.asked is False else [network.side or largest]
    frozen, work, cost = _cost(network, found.classes, sides[0], frozen=not machine.accelerator)
    costs = [(side, work * (side / sides[0]) ** 2, cost * (side / sides[0]) ** 2) for side in sides]
    length = _length(
        found, machine, SPEED_PRETRAINED, costs, training, held_out, wanted=min(max(12.0, 2000 / training), 40.0)
    )
    name = pretrained.title(network.build)
    origin = "of ImageNet" if not network.asked else f"of {network.weights}"
    learning = {
        "transfer.head": "probe",
        **({"transfer.frozen": frozen} if frozen else {}),
        "transfer.frozen_norm": "True",
        "transfer.layer_decay": "0.8",
        "optim.build": "adamw",
        "optim.lr": "0.0002",
        "optim.weight_decay": "0.01",
        "optim.schedule": "cosine",
        "optim.warmup": "10%",
    }
    still = f"; the layers up to {frozen}, {FROZEN:.0%} of the work or more, stay as they are" if frozen else ""
    return Recipe(
        f"{name} with the weights {origin}, a linear probe and then fine-tuning",
        minutes(length.seconds, machine),
        [
            _pictures(found, (length.side, length.side), network.channels, length.side < sides[0]),
            _splits(found, share, held_out),
            Topic(
                "network",
                {"model.build": network.build, "transfer.weights": network.weights},
                f"{name}: its weights {origin} know more of pictures than {sum(found.training):,} can teach",
            ),
            Topic(
                "learning",
                learning,
                "the last layer begins as a linear probe, then the layers learn at a low rate, lower in earlier ones, "
                f"with the statistics of the weights{still}",
            ),
            _classes(found),
            _augmentation(found, small=False),
            _duration(length, training, share, 32, machine, by_likelihood=True),
        ],
    )


def _scratch(found: Found, machine: Machine, why: str, build: str) -> Recipe:
    share, training, held_out = _validation(found)
    tiny, channels = found.side < TINY, 1 if found.grey else 3
    sides = (
        [max(found.side, 8)] if tiny else [side for side in SIDES_SCRATCH if side <= max(found.side, SIDES_SCRATCH[-1])]
    )
    shape = found.equal if tiny and found.equal and min(found.equal) >= 8 else (sides[0], sides[0])
    widths = (64, 128, 256) if min(shape) >= 64 else (64, 128) if min(shape) >= 16 else (64,)
    build = build or (f"fast_net(features={widths})" if widths != (64, 128) else "fast_net")
    work = macs(build, found.classes, (*shape, channels))
    costs = [(side, work * (side / sides[0]) ** 2, 3 * work * (side / sides[0]) ** 2) for side in sides]
    wanted = min(max(12.0, 60000 / training), 60.0)
    length = _length(found, machine, SPEED_SCRATCH, costs, training, held_out, wanted=wanted)
    batch = next((size for size in (128, 64, 32, 16) if training >= 20 * size), 8)
    learning = {
        "optim.build": "adamw",
        "optim.lr": "0.003",
        "optim.weight_decay": "0.05",
        "optim.schedule": "cosine",
        "optim.warmup": "10%",
    }
    return Recipe(
        f"{pretrained.title(build)} from scratch",
        minutes(length.seconds, machine),
        [
            _pictures(found, shape if tiny else (length.side, length.side), channels, length.side < sides[0]),
            _splits(found, share, held_out),
            Topic("network", {"model.build": build}, f"{pretrained.title(build)} from scratch: {why}"),
            Topic("learning", learning, "a high rate that falls to 0, as all begins at random"),
            _classes(found),
            _augmentation(found, small=tiny),
            _duration(length, training, share, batch, machine),
        ],
    )


def _validation(found: Found) -> tuple[float, int, int]:
    """(data.validation, pictures left for training, pictures of the validation split)."""
    counts = found.training
    own = sum(found.counts.get("validation", {}).values())
    if own:
        return 0.1, sum(counts), own
    share = 0.2 if sum(counts) < 2000 else 0.1
    held_out = sum(min(round(count * share), count - 1) for count in counts)
    return (share, sum(counts) - held_out, held_out) if held_out >= LEAST_VALIDATION else (0.0, sum(counts), 0)


def _length(
    found: Found,
    machine: Machine,
    speed: float,
    costs: Sequence[tuple[int, float, float]],
    training: int,
    held_out: int,
    wanted: float,
) -> Length:
    """The largest side at which `wanted` epochs fit into the time, else the smallest and what fits there.

    costs: (side, multiply-adds of evaluating a picture, and of learning from it), from the largest side on.
    """
    cores = ACCELERATOR if machine.accelerator else machine.cores
    reading = (training + held_out + found.scored) * found.megapixels / (READ * machine.cores)
    fixed = AROUND * max(1.0, 2 / machine.cores) + reading
    for side, evaluated, learned in costs:
        looks = EVALUATIONS * held_out + min(training, MOST) + found.scored
        around, epoch = fixed + looks * evaluated / (speed * cores), training * learned / (speed * cores)
        epochs = min(wanted, (SECONDS - around) / epoch)
        if epochs >= wanted or side == costs[-1][0]:
            break
    epochs = round(epochs) if epochs >= 10 else max(math.floor(10 * epochs) / 10, 0.5)
    return Length(side, epochs, around + epochs * epoch)


def macs(build: str, classes: int, shape: tuple[int, ...]) -> float:
    """Multiply-adds of a model, as on the command line, for an image [H, W, C]."""
    program = trace(lookup(build)(classes=classes, dtype=jnp.float32), shape)
    return float(sum(layer.macs for layer in layers(program)))


def _cost(network: Network, classes: int, side: int, *, frozen: bool) -> tuple[str, float, float]:
    """(transfer.frozen, multiply-adds of evaluating a picture and of learning from it): what learns costs three times.

    frozen: whether the first layers that take FROZEN of the multiply-adds stay as they are.
    """
    module, shape = lookup(network.build)(classes=classes, dtype=jnp.float32), (side, side, network.channels)
    stages, spent = depths(module, shape), dict[str, float]()
    for layer in layers(trace(module, shape)):
        stage = next((name for path, name in stages.items() if path.startswith(f"params/{layer.path}/")), CLASSIFIER)
        spent[stage] = spent.get(stage, 0.0) + layer.macs
    total, still = sum(spent.values()), 0.0
    for stage in stages.values() if frozen else ():
        if stage in spent:
            still += spent.pop(stage)
            if still >= FROZEN * total:
                return stage, total, 3 * total - 2 * still
    return "", total, 3 * total


def _pictures(found: Found, size: tuple[int, int], channels: int, smaller: bool) -> Topic:
    square, settings = size[0] == size[1], dict[str, str]()
    settings["size"] = str(size[0]) if square else str(size)
    if found.equal == size:
        why = [f"{size[0]} x {size[1]} pixels as they are"]
    else:
        near = f"fewer than their {found.side}, for the time" if smaller else f"for sides of about {found.side}"
        why = [f"{size[0]} x {size[1]} pixels, {near}"]
        if found.long >= 0.25:
            settings["resize"] = "'letterbox'"
            why.append(
                f"each whole with white beside it, as a square from the centre would cut a third off {found.long:.0%}"
            )
        else:
            why.append("the largest square from the centre of each")
    if channels != 3:
        settings["channels"] = str(channels)
        why.append("grey, as all looked at are")
    elif found.grey:
        why.append("grey read as colour, for the weights")
    source = f"folder({', '.join([repr(found.path), *(f'{name}={value}' for name, value in settings.items())])})"
    return Topic("pictures", {"data.source": source}, ", ".join(why))


def _splits(found: Found, share: float, held_out: int) -> Topic:
    test = f"{found.scored:,} are the test split" if "all" in found.counts else "test is a folder"
    tested = "all" in found.counts or "test" in found.counts
    return splits_topic("validation" in found.counts, share, held_out, test if tested else "")


def splits_topic(own: bool, share: float, held_out: int, test: str) -> Topic:
    """The splits of a training.

    Args:
      own: whether there is a folder of the validation split.
      share, held_out: data.validation, and how many pictures that is.
      test: what the test split is, "" where there is none.
    """
    fields = {"data.validation": f"{share:g}"}
    if own:
        validation = "validation is a folder"
    elif held_out:
        validation = f"{held_out:,} of the others the validation split, by which the best state is chosen"
    else:
        validation = "too few to spare some for validation: the last state counts"
    if not test and own:
        test = "without a folder test the validation split is scored at the end"
    elif not test:
        fields["evaluate.test"] = "never"
        test = f"without a folder test {'the validation split alone' if held_out else 'nothing'} is scored"
    return Topic("splits", fields, f"{test}, {validation}")


def _classes(found: Found) -> Topic:
    counts = found.training
    ratio = max(counts) / min(counts)
    if ratio < UNEVEN:
        return Topic(
            "classes", {"model.task": "classify(label_smoothing=0.1)"}, "all count alike: they are even enough"
        )
    weights = class_weights(counts)
    cap = f", at most {HEAVIEST:g} times the least" * (ratio > HEAVIEST)
    return Topic(
        "classes",
        {"model.task": f"classify(label_smoothing=0.1, class_weights={weights})"},
        f"a picture counts {min(weights):.2g} to {max(weights):.2g}, the inverse of its class's frequency{cap}: the "
        f"largest has {ratio:.1f} times as many pictures as the smallest",
    )


def _augmentation(found: Found, *, small: bool) -> Topic:
    if small and found.grey:
        pixels = max(1, found.side // 14)
        return Topic(
            "augmentation",
            {"augment": f"compose(shift(pixels={pixels}))"},
            f"moved by up to {_pixels(pixels)}; not mirrored, as small grey pictures are often signs or digits",
        )
    if small:
        pixels = max(1, found.side // 8)
        return Topic(
            "augmentation",
            {"augment": f"compose(flip, shift(pixels={pixels}))"},
            f"mirrored, moved by up to {_pixels(pixels)}",
        )
    return Topic(
        "augmentation",
        {"augment": "compose(flip, random_resized_crop(area=(0.4, 1.0)))"},
        "mirrored, a random box of each",
    )


def _pixels(count: int) -> str:
    return f"{count} pixel{'s' * (count > 1)}"


def _duration(
    length: Length, training: int, share: float, batch: int, machine: Machine, *, by_likelihood: bool = False
) -> Topic:
    batch = min(batch, 2 ** int(math.log2(max(training, 8))))
    epochs = f"{length.epochs:g} epochs"
    fields, early = length_fields(epochs, batch, 64, share)
    if share and by_likelihood:
        fields["evaluate.best_by"] = "-nll"
        early += ", by nll, as the accuracy on few pictures changes by chance"
    return Topic("length", fields, f"{epochs}, {minutes(length.seconds, machine)}{early}")


def length_fields(duration: str, batch: int, evaluated: int, share: float) -> tuple[dict[str, str], str]:
    """The fields of a training's length, and what is said of its early end, which it has with a validation split.

    Args:
      batch, evaluated: pictures of a batch in training, and in evaluations.
      share: data.validation.
    """
    fields = {
        "duration": duration,
        "data.batch_size": str(batch),
        "evaluate.every": f"{100 // EVALUATIONS}%",
        "evaluate.batch_size": str(evaluated),
        "save_every": "0 steps",
    }
    if not share:
        return fields, ""
    fields["evaluate.patience"] = str(PATIENCE)
    return fields, f"; it ends earlier where {PATIENCE} evaluations bring nothing better"


def minutes(seconds: float, machine: Machine) -> str:
    """How long something is planned to take, in words."""
    where = "an accelerator" if machine.accelerator else f"{machine.cores} cores" if machine.cores > 1 else "one core"
    return f"planned to take {max(seconds / 60, 0.5):.1f} minutes on {where}"
