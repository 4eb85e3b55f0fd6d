"""Run folders of version 0.1, in which data meant one image and one label: read as what they would be today.

A source was a word, its settings were fields of the configuration, and the description of the data had a shape where
it now has fields.
"""

import functools
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn_jax import config as configuration
from cnn_jax.data.images import DEEP
from cnn_jax.data.prepare import ImagePrepare
from cnn_jax.data.source import Splits, View
from cnn_jax.data.spec import Field, Spec, to_json
from cnn_jax.lookup import describe, lookup

Json = dict[str, Any]

MOVED = ("image_size", "channels", "corrupt", "interpolation", "eval_batch_size")  # fields that `data` has no more
MOVED_EVERY = "evaluate_every"  # a field of every configuration of 0.1, and of none since
SETTINGS = ("size", "channels", "corrupt", "interpolation")  # of a source, as far as it takes them


def is_earlier(data: Mapping[str, Any]) -> bool:
    """Whether data.json is of version 0.1."""
    return "shape" in data and "inputs" not in data


def upgraded(config: Json, data: Json, folder: Path) -> tuple[Json, Json]:
    """config.json and data.json in today's form, with the defaults of fields that an older version did not have.

    Raises ValueError for what cannot be read any more, naming the version that made it.
    """
    try:
        # A resume writes data.json anew first, and may be killed before config.json follows.
        both = is_earlier(data)
        data = _data(config, data) if both else data
        config = _config(config, folder) if both or MOVED_EVERY in config else config
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"'{folder}' is no run of cnn_jax 0.1, or damaged: {error}") from None
    return configuration.completed(config), data


def upgraded_sums(unlogged: Mapping[str, Any]) -> dict[str, list[float]]:
    """The sums kept with a checkpoint as {name: [sum, count]}; version 0.1 had one count for all."""
    if not isinstance(unlogged, dict):
        raise ValueError(f"the sums kept with a checkpoint are {repr(unlogged)[:100]}")
    count = unlogged.get("count")
    if isinstance(count, int | float):
        sums = {name: [total, count] for name, total in unlogged.items() if name not in ("count", "skipped")}
        return sums | ({"skipped": [unlogged["skipped"]] * 2} if "skipped" in unlogged else {})
    return dict(unlogged)


def check_resumable(folder: Path, data: Mapping[str, Any], splits: Splits) -> None:
    """Raises ValueError where a run of version 0.1 would go on with another validation split than it began with."""
    if is_earlier(data) and isinstance(splits.get("validation"), View):
        raise ValueError(
            f"the run in '{folder}' was begun by cnn_jax 0.1, which carved its validation split in another way: "
            "finish it with that version, set data.validation to 0, or start anew with --fresh"
        )


def _config(config: Json, folder: Path) -> Json:
    old = config["data"]
    if old["source"] == "imported":
        raise ValueError(f"'{folder}' holds weights that were imported by cnn_jax 0.1: import them again")
    evaluate = {"every": config[MOVED_EVERY], "batch_size": old["eval_batch_size"]}
    kept = {name: value for name, value in config.items() if name != MOVED_EVERY}
    data = {name: value for name, value in old.items() if name not in MOVED}
    return {**kept, "data": {**data, "source": describe(_source(old))}, "evaluate": evaluate}


def _source(old: Json) -> Any:
    """The source with those of the old settings that it takes and that are not its own defaults."""
    source, wanted = lookup(old["source"]), {**old, "size": old["image_size"] or None}
    known = inspect.signature(source).parameters
    settings = {
        name: wanted[name]
        for name in SETTINGS
        if name in known and wanted[name] and wanted[name] != known[name].default
    }
    if getattr(source, "__name__", "") == "openclipart":
        settings.pop("interpolation", None)  # which it did not take
    keywords = {**getattr(source, "keywords", {}), **settings}
    function = getattr(source, "func", source)
    return functools.partial(function, **keywords) if keywords else function


def _data(config: Json, data: Json) -> Json:
    old, shape = config["data"], tuple(data["shape"])
    drawings, files = old["source"] == "openclipart", old["source"].startswith(("folder:", "tfds:"))
    image = len(shape) > 2
    prepare = ImagePrepare(
        size=shape[:2] if image and (old["image_size"] or drawings) else None,
        resize="letterbox" if drawings else "crop",
        interpolation="bilinear" if drawings else old["interpolation"],
        channels=shape[-1] if files or drawings else old["channels"] or None,
        white=DEEP,
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
    )
    name = "image" if image else "signal"
    spec = Spec(
        inputs={name: Field(name, shape, data["dtype"])},  # type: ignore[arg-type]
        targets={"label": Field("label", (), "int32")},
        prepare=prepare,
        classes=tuple(data["classes"]),
        **{key: data[key] for key in ("name", "licence", "citation", "fingerprint")},
    )
    return {"examples": data["examples"], **to_json(spec)}
