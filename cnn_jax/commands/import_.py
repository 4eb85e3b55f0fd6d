"""Make a run folder of published weights, for eval and predict.

python launch.py import resnet50 resnet50.pth
python launch.py import resnet50 hf:timm/resnet50.a1_in1k --workdir=runs/a1
python launch.py import cnn14 Cnn14_mAP=0.431.pth --classes=AUDIOSET.txt
python launch.py import resnet18 mine.safetensors --classes=NAMES.txt --weights=state_dict_ema

MODEL is a variant by its name, as resnet50 or regnet.regnet_y_400mf. FILE holds its weights as torchvision or timm
publish them: .pth, .safetensors or .npz, hf:ORG/REPO on the Hugging Face hub, or package:NAME, an installed package
that brings them along. Size, crop and channel statistics of the images come with the variant. NAMES.txt has the name
of a class on each line, in the order of the classifier; without it 1,000 classes are taken to be those of ImageNet, 90
of a detector those of COCO, 21 of a segmenter those of VOC with the background, and others are numbered. Networks for
sounds become models that hear: what they make of samples before they read it is a part of them. --weights says
which weights of a file that holds several, as model or state_dict_ema.
"""

import sys
import warnings
from pathlib import Path

from absl import flags

from cnn_jax.launch import cli
from cnn_jax.paths import written
from cnn_jax.weights.class_names import USUAL, classes_of


def run(arguments: list[str]) -> int:
    """Reads, checks and stores the weights; nothing is written unless every tensor has its place."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the folder to make (default: runs/MODEL)", flag_values=values)
    flags.DEFINE_string("classes", None, "a text file with the names of the classes, one a line", flag_values=values)
    flags.DEFINE_string("weights", "", "which of several sets in the file, as state_dict_ema", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("import", values, arguments)
    if len(words) != 2:
        raise cli.UsageError("say a model and a file: launch.py import MODEL FILE")
    names = None if values.classes is None else written(values.classes)
    folder = None if values.workdir is None else written(values.workdir)
    _import(words[0], words[1], folder, names, values.weights)
    return 0


def _import(text: str, file: str, folder: Path | None, names: Path | None, part: str) -> None:
    from cnn_jax.inspect import models  # JAX starts here, not for --help
    from cnn_jax.launch.training import parameters
    from cnn_jax.models.variant import Hearing
    from cnn_jax.weights import imported, published

    model, _ = models.find(text)
    variant, _, name = models.variant_of(text, model)
    found = published.read(text, model, file, part)
    images, count = found.images, found.classes
    try:
        classes = _names(names, variant.task, count)
    except ValueError as error:
        raise ValueError(f"'{file}' as weights of {text}: {error}") from None
    if variant.preprocessing is None:
        warnings.warn(
            f"how images are prepared for {text} is not recorded: taken to be as usual for ImageNet", stacklevel=2
        )
    folder = folder or Path("runs", name)
    spec = imported.spec_of(name, variant, found, classes)
    imported.create(folder, found.model, imported.TASKS[variant.task], found.variables, spec)
    print(f"{text}: {parameters(found.variables['params']):,} parameters, {count} classes, named as by {found.scheme}")
    heard = isinstance(images, Hearing)
    print(
        f"sounds: {images}"
        if isinstance(images, Hearing)
        else f"images: {images}; mean {images.mean}, std {images.std}"
    )
    if found.frozen is not None:
        print(f"norms: frozen, with epsilon {found.frozen:g} as in {variant.reference}; norm=... in MODEL says another")
    if names is None:
        known = classes_of(variant.task, count) is not None
        taken = f"are taken to be those of {USUAL[variant.task][0]}" if known else "have numbers for names"
        print(f"the {count:,} classes {taken}; --classes=NAMES.txt says others")
    print(f"written to {folder}/")
    print(cli.as_called(f"python launch.py predict {folder} {'SOUND' if heard else 'IMAGE'}..."))
    data = {"classify": "folder:PATH", "detect": "coco:JSON", "segment": "masks:PATH"}.get(variant.task, "")
    data = data or "'wav(PATH, labels=\"labels.csv\")'"
    if (
        variant.task == "segment" and not isinstance(images, Hearing) and isinstance(images.size, tuple)
    ):  # whose pictures are not all of one size
        data = f"'masks(PATH, size={images.size[0]}, resize=\"letterbox\")'"
    print(cli.as_called(f"python launch.py eval {folder} --data={data}"))


def _names(path: Path | None, task: str, count: int) -> tuple[str, ...]:
    if path is None:
        return classes_of(task, count) or tuple(map(str, range(count)))
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").strip().split("\n")]
    except UnicodeDecodeError:
        raise ValueError(f"'{path}' is no text file of class names") from None
    if len(lines) != count:
        raise ValueError(f"'{path}' has {len(lines)} names, the weights are for {count} classes: give one for each")
    if not all(lines):
        raise ValueError(f"'{path}', line {lines.index('') + 1}: a class without a name")
    twice = [line for number, line in enumerate(lines) if line in lines[:number]]
    if twice:
        raise ValueError(f"'{path}': the name '{twice[0]}' stands for two classes: make the names differ")
    return tuple(lines)
