"""A recipe for a folder of one's own pictures with masks: a U-Net by the plan of `data/planning.py`."""

import jax.numpy as jnp

from cnn_jax.data.planning import Plan, plan, reasons
from cnn_jax.launch.own_masks import FoundMasks
from cnn_jax.launch.pretrained import Network, title
from cnn_jax.launch.recipe import (
    ACCELERATOR,
    AROUND,
    EVALUATIONS,
    READ,
    SECONDS,
    Machine,
    Recipe,
    Topic,
    length_fields,
    macs,
    minutes,
    splits_topic,
)
from cnn_jax.lookup import lookup

SPEED = 40e9  # multiply-adds a second and core, of training a U-Net with everything around it
LEAST_VALIDATION = 4  # pictures, below which a validation split says too little; each has thousands of pixels
FEW, SHARES = 200, (0.2, 0.1)  # training pictures, and the share of validation below and from there on
STEPS = (100, 3000)  # of a training, at least and at most


def choose(found: FoundMasks, machine: Machine, network: Network | None = None, build: str = "") -> Recipe:
    """The recipe for pictures like `found`, with the weights of `network`, or from scratch where it is None.

    A network that is no segmenter is the backbone of a U-Net. build: the model that somebody asks for, as on the
    command line.
    """
    seen = found.seen._replace(channels=network.channels) if network else found.seen
    made = plan(seen)
    why = reasons(made, seen)
    cut = found.several or any(side < of for side, of in zip(made.crop, found.size, strict=True))
    scratch = f"unet(features={made.features}, levels={made.levels})"
    levels = f"levels are {why['levels']}"
    build = build or (_with_weights(network, len(seen.classes)) if network else scratch)
    share, training, held_out = _validation(found)
    each = macs(build, len(seen.classes), (*made.crop, seen.channels))
    steps, seconds = _steps(found, machine, made, each, training, held_out)
    return Recipe(
        f"{title(build)} {f'with the weights of {network.weights}' if network else 'from scratch'}",
        minutes(seconds, machine),
        [
            _pictures(found, made, seen.channels, why["values"]),
            splits_topic(
                "validation" in found.counts,
                share,
                held_out,
                f"{found.scored:,} pictures are the test split" if found.scored else "",
            ),
            Topic(
                "network",
                {"model.build": build} | ({"transfer.weights": network.weights} if network else {}),
                f"{title(build)}: {levels if build == scratch else 'as it is asked for'}",
            ),
            Topic(
                "prediction",
                {"model.task": _task(made)},
                f"{why['prediction']}; trained by cross-entropy and Dice, which counts each class alike, however rare",
            ),
            Topic(
                "learning",
                {
                    "optim.build": "adamw",
                    "optim.lr": "0.001" if network else "0.003",
                    "optim.weight_decay": "0.05",
                    "optim.schedule": "cosine",
                    "optim.warmup": "10%",
                    "optim.clip": "1.0",
                },
                "a low rate that falls to 0, for the weights"
                if network
                else "a high rate that falls to 0, as all begins at random",
            ),
            Topic(
                "augmentation",
                {"augment": _augmentation(made, cut)},
                (f"crops of {why['crop']}; {why['foreground']}; " if cut else "") + "mirrored, scaled by 0.8 to 1.25",
            ),
            _length(steps, seconds, share, made, machine, why["batch"]),
        ],
    )


def _with_weights(network: Network, classes: int) -> str:
    if hasattr(lookup(network.build)(classes=classes, dtype=jnp.float32), "loss_weights"):
        return network.build
    return f"cnn_jax.models.backbone_unet.BackboneUNet(backbone={network.build})"


def _pictures(found: FoundMasks, made: Plan, channels: int, why: str) -> Topic:
    grey = found.grey and channels == 1
    extra = ["channels=1"] * grey + [f"percentiles={made.percentiles}"] * bool(made.percentiles)
    source = found.source if found.asked else ", ".join([found.source.removesuffix(")"), *extra]) + ")"
    size = " x ".join(map(str, found.size))
    said = ", grey, as all looked at are" if grey else ", grey read as colour, for the weights" if found.grey else ""
    return Topic("pictures", {"data.source": source}, f"examples of {size} pixels{said}; values: {why}")


def _validation(found: FoundMasks) -> tuple[float, int, int]:
    """(data.validation, pictures left for training, pictures of the validation split)."""
    total = found.seen.examples
    if own := found.counts.get("validation", 0):
        return 0.1, total, own
    share = SHARES[total >= FEW]
    held_out = sum(min(round(count * share), count - 1) for count in found.groups)
    return (share, total - held_out, held_out) if held_out >= LEAST_VALIDATION else (0.0, total, 0)


def _task(made: Plan) -> str:
    return f"segment(loss=total(cross_entropy, dice){'' if made.whole else f', window={made.crop}'})"


def _augmentation(made: Plan, cut: bool) -> str:
    crop = f"crop(size={made.crop}, foreground={made.foreground:.2g})"
    return f"compose({', '.join([crop] * cut + ['flip', 'scale'])})"


def _steps(
    found: FoundMasks, machine: Machine, made: Plan, each: float, training: int, held_out: int
) -> tuple[int, float]:
    """Steps of training, and the seconds that all takes. each: multiply-adds of a crop."""
    cores = ACCELERATOR if machine.accelerator else machine.cores
    speed, pixels = SPEED * cores, made.crop[0] * made.crop[1]
    picture = each * max(found.size[0] * found.size[1] / pixels, 1.0)
    reading = (training + held_out + found.scored) * found.size[0] * found.size[1] / (READ * 1e6 * machine.cores)
    around = AROUND * max(1.0, 2 / machine.cores) + reading
    around += (EVALUATIONS * held_out + found.scored) * picture / speed
    step = 3 * each * made.batch_size / speed
    steps = round(min(max((SECONDS - around) / step, STEPS[0]), STEPS[1]), -1)
    return int(steps), around + steps * step


def _length(steps: int, seconds: float, share: float, made: Plan, machine: Machine, batch: str) -> Topic:
    fields, early = length_fields(f"{steps} steps", made.batch_size, made.batch_size, share)
    return Topic("length", fields, f"{steps:,} steps of {batch}; {minutes(seconds, machine)}{early}")
