"""Score a trained run on a split, or on other data of the same classes.

python launch.py eval runs/digits                           # the test split
python launch.py eval runs/digits --split=validation --checkpoint=best
python launch.py eval runs/photos --data=folder:PATH        # other images of the same classes
"""

import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from cnn_jax.launch import cli
from cnn_jax.paths import written

SPLITS = ["train", "validation", "test"]


def run(arguments: list[str]) -> int:
    """Prints the scores and writes them, with figures, to RUN/evaluations/NAME/, or to --out."""
    values = flags.FlagValues()
    flags.DEFINE_enum("split", "test", SPLITS, "which split to score", flag_values=values)
    flags.DEFINE_string("checkpoint", None, cli.CHECKPOINT, flag_values=values)
    flags.DEFINE_string("data", None, "another source, as folder:PATH", flag_values=values)
    flags.DEFINE_bool("outputs", False, "also keep what the model says of each example", flag_values=values)
    flags.DEFINE_string("out", None, "folder to write to, in place of RUN/evaluations/NAME", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("eval", values, arguments)
    if len(words) != 1:
        raise cli.UsageError("say one run folder: launch.py eval RUN")
    _evaluate(written(words[0]), values.split, values.checkpoint, values.data, values.outputs, values.out)
    return 0


def _evaluate(folder: Path, split: str, which: str | None, data: str | None, outputs: bool, out: str | None) -> None:
    from cnn_jax import report  # JAX starts here, not for --help
    from cnn_jax.data.scoring import aligned, scored
    from cnn_jax.data.source import in_memory, opened, split_of
    from cnn_jax.evals.evaluator import to_json
    from cnn_jax.lookup import lookup
    from cnn_jax.train import run_folder
    from cnn_jax.train.evaluate import evaluate, evaluate_also, writer
    from cnn_jax.train.predictor import load

    predictor, step, config, settings = load(folder, which)
    spec = predictor.spec
    if config is None and data is None:
        raise cli.UsageError(f"'{folder}' was imported, not trained: say on which data, as --data=folder:PATH")
    if data is not None:
        splits, source = {}, scored(lookup(data), split, spec)
    else:
        splits = opened(config.data.source, validation=config.data.validation)  # type: ignore[union-attr]
        source = aligned(in_memory(split_of(splits, split)), spec)
    if data is None and source.spec.fingerprint != spec.fingerprint:
        warnings.warn(f"the data '{spec.name}' has changed since the run was trained", stacklevel=2)
    name = f"{split}-step{step}" + (f"-{source.spec.name}" if data else "")
    # 'folder:PATH' is no file name
    own = ("evaluations", re.sub(r"[^\w.-]+", "_", name))
    target = run_folder.place(folder, *own) if out is None else written(out)
    keep = writer(target / run_folder.OUTPUTS, source) if outputs else None
    found = evaluate(predictor, source, settings.batch_size, keep)
    reporter = report.of(predictor.task.report)
    print(f"{len(source)} {spec.units}, {split} split of {source.spec.name}, checkpoint of step {step}")
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
    except OSError as error:
        warnings.warn(f"nothing is written to '{target}' ({error.strerror}): say --out=FOLDER", stacklevel=2)
    else:
        print(f"written to {target}/")


def _rows(folder: Path) -> list[dict[str, Any]]:
    """The log of the run, for its curves; what is damaged costs no score."""
    from cnn_jax.report import log

    try:
        return log.read(folder) if (folder / log.FILE).is_file() else []
    except ValueError as error:
        warnings.warn(f"no curves are drawn: {error}", stacklevel=2)
        return []


def _print(numbers: Mapping[str, Any]) -> None:
    width = max(map(len, numbers))
    for name, score in numbers.items():
        interval = "" if score.low is None else f"   95 % interval {score.low:.4f} to {score.high:.4f}"
        print(f"  {name:{width}} {score.value:.4f}{interval}")
