"""Name the classes of images (or .npy signals) with a trained run, and draw them annotated.

python launch.py predict RUN INPUT... [--checkpoint=last|best|STEP] [--convert]

An image must have the size and channels that the run was trained on; --convert brings others to them. A run trained on
signals or other float arrays takes .npy files, of one example each, in the units of its training data.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from cnn_jax.launch import cli


def run(arguments: list[str]) -> int:
    """Prints the most probable classes of each input and draws RUN/predictions/NAME.png."""
    values = flags.FlagValues()
    flags.DEFINE_string("checkpoint", "last", "last, best (by validation) or a step", flag_values=values)
    flags.DEFINE_bool("convert", False, "resize, crop and recolour images unlike the run's", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("predict", values, arguments)
    if len(words) < 2:
        raise cli.UsageError("say a run folder and at least one image: launch.py predict RUN INPUT...")
    _predict(Path(words[0]), [Path(word) for word in words[1:]], values.checkpoint, values.convert)
    return 0


def _predict(folder: Path, inputs: list[Path], which: str, convert: bool) -> None:
    from cnn_jax.data.images import Decode  # JAX starts here, not for --help
    from cnn_jax.data.source import ArraySource
    from cnn_jax.launch import imported, run_folder
    from cnn_jax.report.classify import annotate, predicted
    from cnn_jax.train.evaluate import predictions

    trained = run_folder.load(folder, which)
    spec = trained.run.spec
    preprocessing = imported.load_preprocessing(folder)
    resized = imported.resized(preprocessing) if preprocessing else spec.shape[0]
    decode = Decode(resized, spec.shape[-1], interpolation=trained.run.config.data.interpolation)
    examples = np.stack([_read(path, spec, decode if convert else None) for path in inputs])
    source = ArraySource(examples, np.zeros(len(examples), np.int32), spec)
    batch_size = trained.run.config.data.eval_batch_size
    found = predictions(trained.run.engine, trained.variables, source, batch_size)
    for position, (path, ranking) in enumerate(zip(inputs, predicted(found, spec.classes), strict=True)):
        number = 0
        while (picture := folder / "predictions" / f"{path.stem}{f'-{number}' if number else ''}.png").exists():
            number += 1
        annotate(examples[position], found, position, spec.classes, picture)
        print(f"{path}  (drawn in {picture})")
        for name, probability in ranking:
            print(f"  {probability:7.2%}  {name}")


def _read(path: Path, spec: Any, convert: Any) -> np.ndarray:
    """One example in the shape and type that `spec` says; with `convert`, a Decode, cut from an image read so."""
    from cnn_jax.data.images import decode_image, fit_images, native_channels
    from cnn_jax.launch.imported import centre

    if not path.is_file():
        raise FileNotFoundError(f"there is no file '{path}'" + (", it is a folder" if path.is_dir() else ""))
    shape = tuple(spec.shape)
    if spec.dtype != "uint8":
        return _read_array(path, shape)
    data = path.read_bytes()
    try:
        image = decode_image(data, shape[-1] if convert else native_channels(data))
    except ValueError as error:
        raise ValueError(f"'{path}': {error}: give a picture such as PNG or JPEG") from None
    if convert and shape[0] == shape[1]:
        image = centre(fit_images(image[None], convert)[0], shape[0])
    if image.shape != shape:
        hint = "give such an image" + ("" if convert else ", or say --convert")
        raise ValueError(f"'{path}' is {image.shape}, the run was trained on {shape} (height, width, channels): {hint}")
    return image


def _read_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        array = None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"'{path}' is no .npy array: save one with numpy.save")
    if shape not in (array.shape, (*array.shape, 1)):
        raise ValueError(f"'{path}' is {array.shape}, the run was trained on arrays {shape}: give one of that shape")
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ValueError(f"'{path}' must hold finite numbers only")
    return array.reshape(shape).astype(np.float32)
