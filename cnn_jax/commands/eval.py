"""Score a trained run on a split, or on other data of the same classes.

python launch.py eval RUN [--split=test] [--checkpoint=last|best|STEP] [--data=SOURCE]
"""

import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from cnn_jax.launch import cli

SPLITS = ["train", "validation", "test"]


def run(arguments: list[str]) -> int:
    """Prints the scores and writes them, with figures, to RUN/evaluations/NAME/."""
    values = flags.FlagValues()
    flags.DEFINE_enum("split", "test", SPLITS, "which split to score", flag_values=values)
    flags.DEFINE_string("checkpoint", "last", "last, best (by validation) or a step", flag_values=values)
    flags.DEFINE_string("data", None, "another source, as folder:PATH", flag_values=values)
    if cli.wants_help(arguments):
        print(cli.help_text(sys.modules[__name__], values))
        return 0
    words = cli.parse("eval", values, arguments)
    if len(words) != 1:
        raise cli.UsageError("say one run folder: launch.py eval RUN")
    _evaluate(Path(words[0]), values.split, values.checkpoint, values.data)
    return 0


def _evaluate(folder: Path, split: str, which: str, data: str | None) -> None:
    from cnn_jax.launch import imported, run_folder  # JAX starts here, not for --help
    from cnn_jax.launch.training import plain, score
    from cnn_jax.report import log
    from cnn_jax.report.classify import figures
    from cnn_jax.train.run import open_split

    trained = run_folder.load(folder, which)
    config, spec = trained.run.config, trained.run.spec
    config.data.source = data or config.data.source
    if config.data.source == imported.SOURCE:
        raise cli.UsageError(f"'{folder}' was imported, not trained: say on which data, as --data=folder:PATH")
    source = open_split(config, split)  # type: ignore[arg-type]
    if preprocessing := imported.load_preprocessing(folder):
        source = imported.Cropped(source, preprocessing.size)
    if source.spec.classes != spec.classes:
        raise ValueError(
            f"'{config.data.source}' has other classes than the run was trained on "
            f"({_class_differences(spec.classes, source.spec.classes)}): use data of the same classes"
        )
    if source.spec.shape != spec.shape:
        raise ValueError(
            f"'{config.data.source}' has examples {source.spec.shape}, the run was trained on {spec.shape}: "
            "use data of that shape"
        )
    if not data and source.spec.fingerprint != spec.fingerprint:
        warnings.warn(f"the data '{spec.name}' has changed since the run was trained", stacklevel=2)
    scores, found = score(trained.run, trained.variables, source)
    name = f"{split}-step{trained.step}" + (f"-{source.spec.name}" if data else "")
    name = re.sub(r"[^\w.-]+", "_", name)  # 'folder:PATH' is no file name
    target = folder / "evaluations" / name
    target.mkdir(parents=True, exist_ok=True)
    figures(target, log.read(folder) if (folder / log.FILE).is_file() else [], found, source)
    run_folder.write_json(
        target / "scores.json", {"split": split, "step": trained.step, "data": config.data.source, **scores}
    )
    print(f"{len(found.labels)} examples, {split} split of {source.spec.name}, checkpoint of step {trained.step}")
    for metric, value in plain(scores).items():
        low, high = scores["interval95"][metric]
        print(f"  {metric:6} {value:.4f}   95 % interval {low:.4f} to {high:.4f}")
    print("  accuracy by class:")
    for label, row in scores["per_class"].items():
        accuracy = "no examples" if row["accuracy"] is None else f"{row['accuracy']:.4f} of {row['support']}"
        print(f"    {label:20} {accuracy}")
    print(f"written to {target}/")


def _class_differences(expected: Sequence[str], found: Sequence[str]) -> str:
    missing, unknown = [n for n in expected if n not in found], [n for n in found if n not in expected]
    parts = [f"{word}: {', '.join(names)}" for word, names in (("missing", missing), ("unknown", unknown)) if names]
    return "; ".join(parts) or "in another order"
