"""Score a trained run on a split, or on other data of the same classes.

python launch.py eval runs/photos                           # the test split, as the training did at its end
python launch.py eval runs/photos --split=validation --checkpoint=best
python launch.py eval runs/photos --split=all --csv=said.csv       # every image: its file, its class, what was said
python launch.py eval runs/photos --data=folder:later              # all images of another folder
python launch.py eval runs/photos --data=folder:later --split=test # those in later/test alone

Other data are read as the run's own were, and need the same classes, in any order. The figures of a classifier have the
most confident mistakes with their files, and mistakes.csv lists them; those of a detector have the pictures that it
sees best and its worst errors of each kind, the objects beside what was found; those of a segmenter the images that it
does worst and best, their true maps beside what was said. --coco adds detections.json and truth.json in COCO's format,
with the ids of the annotations where they have some: pycocotools finds the same figures in them.
"""

import re
import sys
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from absl import flags

from cnn_jax.launch import cli
from cnn_jax.paths import written

SPLITS = ["train", "validation", "test", "all"]


def run(arguments: list[str]) -> int:
    """Prints the scores and writes them, with figures, to RUN/evaluations/NAME/, or to --out."""
    values = flags.FlagValues()
    which = "what to score (default: test, with --data all that there is)"
    flags.DEFINE_enum("split", None, SPLITS, which, flag_values=values)
    flags.DEFINE_string("checkpoint", None, cli.CHECKPOINT, flag_values=values)
    flags.DEFINE_string("data", None, "another source, as folder:PATH", flag_values=values)
    flags.DEFINE_bool("outputs", False, "also keep what the model says of each example", flag_values=values)
    flags.DEFINE_bool("coco", False, "also write objects and detections as COCO's JSON", flag_values=values)
    flags.DEFINE_string(
        "csv", None, "a file to write what is said of each example to, - prints it alone", flag_values=values
    )
    flags.DEFINE_string("out", None, "folder to write to, in place of RUN/evaluations/NAME", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("eval", values, arguments)
    if len(words) != 1:
        raise cli.UsageError("say one run folder: launch.py eval RUN")
    if values.coco and values.csv == "-":
        raise cli.UsageError("--csv=- prints the table and writes nothing else: for --coco write it to a file")
    split = values.split or ("all" if values.data else "test")
    kept = (values.outputs, values.coco, values.csv)
    _evaluate(written(words[0]), split, values.checkpoint, values.data, *kept, values.out)
    return 0


def _evaluate(
    folder: Path,
    split: str,
    which: str | None,
    data: str | None,
    outputs: bool,
    coco: bool,
    table: str | None,
    out: str | None,
) -> None:
    from cnn_jax import report  # JAX starts here, not for --help
    from cnn_jax.data.scoring import ALL, aligned, scored, together
    from cnn_jax.data.source import in_memory, opened, split_of
    from cnn_jax.evals.evaluator import to_json
    from cnn_jax.evals.found import reader
    from cnn_jax.report.tables import csv_table
    from cnn_jax.train import run_folder
    from cnn_jax.train.evaluate import evaluate, evaluate_also, writer
    from cnn_jax.train.predictor import load

    predictor, step, config, settings = load(folder, which)
    spec = predictor.spec
    if config is None and data is None:
        raise cli.UsageError(f"'{folder}' was imported, not trained: say on which data, as --data=folder:PATH")
    if coco and not any(field.role == "boxes" for field in spec.targets.values()):
        raise cli.UsageError(f"--coco is for detectors, '{folder}' finds no boxes")
    if data is not None:
        splits, source = {}, scored(named_source(data), split, spec)
    else:
        splits = opened(config.data.source, validation=config.data.validation)  # type: ignore[union-attr]
        source = aligned(in_memory(together(splits) if split == ALL else split_of(splits, split)), spec)
    if data is None and source.spec.fingerprint != spec.fingerprint:
        warnings.warn(f"the data '{spec.name}' has changed since the run was trained", stacklevel=2)
    name = f"{split}-step{step}" + (f"-{source.spec.name}" if data else "")
    # 'folder:PATH' is no file name
    own = ("evaluations", re.sub(r"[^\w.-]+", "_", name))
    target = run_folder.place(folder, *own) if out is None else written(out)
    reporter = report.of(predictor.task.report)
    with ExitStack() as stack:
        keeping = [writer(target / run_folder.OUTPUTS, source)] if outputs else []
        if table is not None:
            write = stack.enter_context(csv_table(table, ranked=False))
            keeping.append(_each(write, reporter, source))

        images = list[Any]()
        if coco:
            read = reader(source.spec)
            keeping.append(lambda outputs, batch: images.extend(read(outputs, batch)))

        def keep(outputs: dict[str, Any], batch: dict[str, Any]) -> None:
            for one in keeping:
                one(outputs, batch)

        found = evaluate(predictor, source, settings.batch_size, keep)
    if table == "-":
        return
    trained = f" ({len(splits['train']):,} of them of the training split)" if split == ALL and "train" in splits else ""
    what = "all" if split == ALL else f"{split} split"
    print(f"{len(source)} {spec.units}{trained}, {what} of {source.spec.name}, checkpoint of step {step}")
    _print(found.numbers)
    print("".join(f"  {line}\n" for line in reporter.lines(found, spec)), end="")
    for one in () if data or config is None else config.evaluate.also(predictor.task, spec, splits):
        print(f"{one.name}: {len(one.source)} {spec.units} of {one.source.spec.name}")
        _print(evaluate_also(predictor, one, settings.batch_size).numbers)
    try:  # last: a folder that cannot be written costs no score
        target.mkdir(parents=True, exist_ok=True)
        reporter.figures(target, _rows(folder), found, source)
        run_folder.write_tables(target / "tables.npz", found, spec)
        numbers = {"split": split, "step": step, "data": source.spec.name, **to_json(found)}
        run_folder.write_json(target / "scores.json", numbers)
        if coco:
            _write_coco(target, images, source)
    except OSError as error:
        warnings.warn(f"nothing is written to '{target}' ({error.strerror}): say --out=FOLDER", stacklevel=2)
    else:
        print(f"written to {target}/{f' and {table}' if table else ''}")


def _write_coco(target: Path, images: list[Any], source: Any) -> None:
    import numpy as np

    from cnn_jax.data.source import file_names
    from cnn_jax.evals import coco_json
    from cnn_jax.evals.found import IGNORED

    images.sort(key=lambda image: image.place)
    places = [image.place for image in images]
    names = file_names(source, np.array(places))
    ids = coco_json.ids_of(dict(zip(places, names or (), strict=False)), source.spec.class_ids)
    coco_json.write(target, images, source.spec.classes, names, ids)
    own = {"images": ids.images, "categories": ids.classes}
    for what in (what for what, known in own.items() if not known):
        warnings.warn(f"{what} are numbered from 1 in COCO's JSON, as they have no ids of their own", stacklevel=2)
    if ignored := sum(int((image.ignored == IGNORED).sum()) for image in images):
        what = f"{ignored:,} objects are ignored in the scores, which pycocotools does with crowds alone"
        warnings.warn(f"{what}: it counts them", stacklevel=2)


def named_source(data: str) -> Any:
    from cnn_jax.lookup import lookup

    try:
        return lookup(data)
    except ValueError:
        if Path(data or "nothing").is_dir():
            raise cli.UsageError(f"--data={data} is a folder: for the images in it say --data=folder:{data}") from None
        raise


def _each(write: Any, reporter: Any, source: Any) -> Any:
    """Writes lines of a table for each example: its file or position, its class and what is said of it first.

    Where examples have no class of their own, all that is said of each has a line, as its boxes.
    """
    from cnn_jax.data.placement import placed
    from cnn_jax.data.source import file_names
    from cnn_jax.data.spec import INDEX

    spec = source.spec
    labels = [name for name, field in spec.targets.items() if field.role == "label"]
    where = next((name for name, field in spec.inputs.items() if field.role == "placement"), None)
    rows = slice(1 if labels else None)

    def keep(outputs: dict[str, Any], batch: dict[str, Any]) -> None:
        names = file_names(source, batch[INDEX])
        for place, index in enumerate(batch[INDEX].tolist()):
            example = {"index": index} if names is None else {"file": names[place]}
            for name in labels:
                number = batch[name][place]
                example["true"] = spec.classes[number] if number >= 0 else ""
            said = {output: array[place] for output, array in outputs.items()}
            lies = None if where is None else placed(batch[where][place], spec.input.shape[:2])
            write(example, reporter.rows(reporter.result(said, spec, lies))[rows])

    return keep


def _rows(folder: Path) -> list[dict[str, Any]]:
    """The log of the run, for its curves; what is damaged costs no score."""
    from cnn_jax.report import log

    try:
        return log.read(folder) if (folder / log.FILE).is_file() else []
    except ValueError as error:
        warnings.warn(f"no curves are drawn: {error}", stacklevel=2)
        return []


def _print(numbers: Mapping[str, Any]) -> None:
    from cnn_jax.evals.evaluator import digits

    width = max(map(len, numbers))
    for name, score in numbers.items():
        interval = "" if score.low is None else f"   95 % interval {score.low:.4f} to {score.high:.4f}"
        print(f"  {name:{width}} {digits(score.value)}{interval}")
