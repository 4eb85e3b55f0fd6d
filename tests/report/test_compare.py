"""Runs side by side: what is read of their folders, what is said of them, and how it is drawn."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from cnn_jax.evals import classification
from cnn_jax.report import compare, runs, side_by_side

Write = Callable[..., Path]
N = 200
LABELS = np.arange(N) % 3


def logits_of(wrong: int) -> np.ndarray:
    """Those of a classifier of three classes that is wrong in the first `wrong` of N examples."""
    said = np.where(np.arange(N) < wrong, (LABELS + 1) % 3, LABELS)
    return 4 * np.eye(3)[said]


def config(seed: int, **settings: Any) -> dict[str, Any]:
    """As config.json has it; settings: fields of `optim`."""
    return {
        "name": "made",
        "data": {"source": "nowhere"},
        "model": {"build": "cnn_jax.models.lenet.lenet5", "task": "experiment.task"},
        "optim": {"build": "sgd", "lr": 0.1, "schedule": "constant", **settings},
        "augment": "identity",
        "seed": seed,
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(name, wrong, ...): the folder of a finished run, as its files describe it."""

    def make(
        name: str,
        wrong: int = 10,
        *,
        seed: int = 0,
        headline: str = "top1",
        outputs: bool = False,
        steps: int = 6,
        data: str = "a" * 64,
        versions: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Path:
        folder = tmp_path / name
        (folder / "outputs").mkdir(parents=True)
        targets = {"kind": {"role": "label", "shape": [], "dtype": "int32"}}
        about = {"name": "made", "fingerprint": data, "targets": targets, "inputs": {}, "examples": 50}
        share = 1 - wrong / N
        scores = {"loss": 0.5, headline: share, "interval95": {headline: [share - 0.02, share + 0.02]}}
        results = {
            "test": scores,
            "validation": {**scores, "step": steps, "split": "validation"},
            "also": {"sketches": {"loss": 2.0, headline: 0.25, "interval95": {}}},
            "headline": headline,
            "seed": seed,
            "steps": steps,
            "seconds": {"total": 10.0},
            "parameters": 1234,
            "devices": "2 x cpu",
            "best_step": 4,
        }
        for file, value in {
            "config": config(seed, **settings),
            "data": about,
            "versions": {"jax": "0.10.1", "git": "abc", **(versions or {})},
            "results": results,
        }.items():
            (folder / f"{file}.json").write_text(json.dumps(value))
        rows = []
        for step in range(1, steps + 1):
            rows.append({"step": step, "split": "train", "loss": 1 / step, headline: 0.1 * seed + step / 10})
            if step % 2 == 0:
                rows.append({"step": step, "split": "validation", "loss": 2 / step, headline: step / 20})
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps({**row, 'epoch': row['step']})}\n" for row in rows))
        if outputs:
            for array, value in {"logits": logits_of(wrong), "kind": LABELS, "index": np.arange(N)}.items():
                np.save(folder / "outputs" / f"{array}.npy", value)
        return folder

    return make


def groups_of(*folders: Path) -> list[runs.Group]:
    groups, repeated = runs.grouped([runs.read(folder) for folder in folders])
    assert not repeated
    return groups


def said_of(*folders: Path) -> list[str]:
    groups = groups_of(*folders)
    return [" ".join(line.split()) for line in compare.lines(groups, compare.differences(groups))]


def test_two_runs_are_told_apart_in_numbers_and_settings(write: Write) -> None:
    said = said_of(write("plain"), write("slow", 30, lr=0.01, headline="miou"), write("slower", 30, lr=0.001))
    assert said[0] == (
        "run n test top1 test miou test loss validation top1 validation miou validation loss sketches top1 "
        "sketches miou step parameters seconds"
    )
    assert said[1].startswith("plain 1 0.9500 [0.9300, 0.9700] – 0.5000 ")
    assert any(line.startswith("slower -0.1000 the 95 % intervals do not overlap") for line in said)
    assert "slow – not scored by top1 on the same split" in said
    assert [line for line in said if "outputs=true" in line] == [f"top1 compared with plain ({compare.HINT}):"]
    at = said.index("What differs:")
    assert said[at + 1 :] == ["optim.lr", "0.1 (plain)", "0.01 (slow)", "0.001 (slower)"]


def test_any_task_has_its_own_headline(write: Write) -> None:
    a, b = write("a", headline="miou"), write("b", 12, headline="miou", lr=0.2)
    assert any(line.startswith("b -0.0100 the 95 % intervals overlap") for line in said_of(a, b))
    results = json.loads((b / "results.json").read_text())
    del results["headline"]  # as of version 0.2
    (b / "results.json").write_text(json.dumps(results))
    assert runs.read(b).headline == "miou"


def test_what_was_kept_of_each_example_makes_a_paired_interval(write: Write) -> None:
    a, b = write("a", 10, outputs=True), write("b", 16, outputs=True, lr=0.2)
    (line,) = [line for line in said_of(a, b) if line.startswith("b -")]
    assert line.startswith("b -0.0300 paired 95 % interval -0.0") and line.endswith(f"over {N} examples")
    one, other = runs.read(a), runs.read(b)
    found = compare.paired(one, other, "test", "top1")
    assert found is not None and found.low < -0.03 < found.high < 0
    # Six examples decide: it is the interval of a share of 6 in 200, though those of the two scores overlap by far.
    alone = classification.evaluator("abc", label="kind")
    sixes = np.where((np.arange(N) >= 10) & (np.arange(N) < 16), (LABELS + 1) % 3, LABELS)
    totals = alone.add(alone.start(), {"logits": 4 * np.eye(3)[sixes]}, {"kind": LABELS, "index": np.arange(N)})
    score = alone.finish(totals).numbers["top1"]
    assert (found.low, found.high) == pytest.approx((score.low - 1, score.high - 1))  # type: ignore[operator]


@pytest.mark.parametrize("damage", ["other scores", "other examples", "gone", "pickle", "cut"])
def test_outputs_that_do_not_fit_are_not_paired(write: Write, damage: str) -> None:
    a, b = write("a", outputs=True), write("b", 16, outputs=True, lr=0.2)
    file = b / "outputs" / "logits.npy"
    if damage == "other scores":
        np.save(file, logits_of(17))
    elif damage == "other examples":
        np.save(b / "outputs" / "index.npy", np.arange(N) + 1)
    elif damage == "gone":
        file.unlink()
    elif damage == "pickle":
        np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    else:
        file.write_bytes(file.read_bytes()[:1000])
    assert any("intervals overlap" in line for line in said_of(a, b))


def test_runs_that_differ_in_their_seeds_are_one(write: Write) -> None:
    wide = [write(f"wide/seed{seed}", 10 + 2 * seed, seed=seed, lr=0.3) for seed in range(3)]
    plain = [write(f"plain{seed}", 20, seed=seed) for seed in (0, 5)]
    single = write("single", lr=0.7)
    said = said_of(*wide, *plain, single)
    assert said[1].startswith("wide 3 0.9400 [0.9152, 0.9648] 0.5000 [0.5000, 0.5000] ")
    assert said[2].startswith("plain0, plain5 2 0.9000 [0.9000, 0.9000] ")
    assert said[4].endswith("over n seeds and its 95 % interval (Student's t); 95 % interval over the examples of the "
                            "split, of one run")  # fmt: skip
    assert "plain0, plain5 -0.0400 95 % interval -0.0648 to -0.0152 over 2 and 3 seeds (Welch)" in said
    assert "single +0.0100 of 1 and 3 seeds: of one seed there is no spread" in said
    at = said.index("seed")
    assert said[at + 1 : at + 4] == ["0, 1, 2 (wide)", "0, 5 (plain0, plain5)", "0 (single)"]
    (alone,) = groups_of(*wide)
    assert alone.label == "wide"


def test_runs_with_the_same_seed_are_told_apart_by_versions_and_scores_or_left_out(write: Write) -> None:
    old, new, again, other = write("old", versions={"git": "x"}), write("new"), write("again"), write("other", 11)
    groups, repeated = runs.grouped([runs.read(folder) for folder in (old, new, again, other)])
    assert [group.label for group in groups] == ["old", "new", "other"]
    assert repeated == [f"'{again}' is left out: it repeats '{new}', with the same scores"]
    assert runs.differing(groups) == {"version of git": {"x": ["old"], "abc": ["new", "other"]}}
    assert said_of(new, other)[-1] == "Nothing differs in configuration, data, devices and versions."


def test_a_seed_without_the_score_leaves_the_others(write: Write) -> None:
    first, *_ = folders = [write(f"both/{seed}", seed=seed) for seed in (0, 1)] + [write("single", lr=0.2)]
    results = json.loads((first / "results.json").read_text())
    (first / "results.json").write_text(json.dumps({**results, "test": None}))
    said = said_of(*folders)
    assert said[1].startswith("both 2 0.9500 (n=1) ") and "single +0.0000 of 1 and 1 seeds: of one" in "\n".join(said)


def test_runs_of_other_data_are_not_subtracted(write: Write) -> None:
    said = said_of(write("a"), write("b", data="b" * 64))
    assert any("of other data" in line for line in said) and f"made, fingerprint {'b' * 12} (b)" in said


def test_one_run_is_its_own_summary(write: Write, tmp_path: Path, drawn: list[Figure]) -> None:
    group = groups_of(write("only"))
    said = compare.lines(group, [])
    assert said[0] == "only: made, 1,234 parameters, 6 steps, 10 s on 2 x cpu, seed 0"
    assert (
        said[1:4:2] == ["test, step 6:", "  top1         0.9500 [0.9300, 0.9700]"]
        and "best checkpoint by validation: of step 4" in said[-1]
    )
    side_by_side.draw(group, tmp_path / "one.png")
    assert [ax.get_ylabel() for ax in drawn[0].axes] == ["loss", "top1"]


def test_a_run_that_stopped_early_is_said_to_be_scored_at_its_best_step(
    write: Write, tmp_path: Path, drawn: list[Figure]
) -> None:
    early, late = write("early"), write("late", lr=0.2)
    results = json.loads((early / "results.json").read_text())
    (early / "results.json").write_text(json.dumps({**results, "step": 4}))
    said = said_of(early, late)
    assert " 4 1,234 10" in said[1] and " 6 1,234 10" in said[2]
    assert said[3].startswith("last step, or with evaluate.patience the best by validation, which favours")
    side_by_side.draw(groups_of(early, late), tmp_path / "both.png")
    assert drawn[0].axes[-1].get_title("left").startswith("test top1, last or best step; bars")


def test_a_loss_that_is_far_off_leaves_the_others_readable(
    write: Write, tmp_path: Path, drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = groups_of(write("near"), write("far", lr=0.2))
    for far, scale in ((1e9, "linear"), (0.5, "log")):
        monkeypatch.setattr(side_by_side, "FAR", far)
        side_by_side.draw(groups, tmp_path / "both.png")
        assert [(ax.get_ylabel(), ax.get_yscale()) for ax in drawn[-1].axes[:4]] == [
            ("loss", scale), ("loss", scale), ("top1", "linear"), ("top1", "linear")
        ]  # fmt: skip


def test_twelve_are_drawn_apart(write: Write, tmp_path: Path, drawn: list[Figure]) -> None:
    seeds = [write(f"seeds/{seed}", seed=seed, lr=9.0) for seed in range(2)]
    others = [write(f"r{number}", 10 + number, lr=10.0 + number, steps=6 + 2 * (number % 2)) for number in range(11)]
    groups = groups_of(*seeds, *others)
    side_by_side.draw(groups, tmp_path / "new" / "all.png")
    assert (tmp_path / "new" / "all.png").read_bytes().startswith(b"\x89PNG")
    (figure,) = drawn
    *curves, finals = figure.axes
    assert [ax.get_title(loc="left") for ax in curves] == ["train", "validation"] * 2
    looks = [(line.get_color(), line.get_linestyle()) for line in curves[0].lines[:12]]
    assert len(set(looks)) == 12
    np.testing.assert_allclose(curves[0].lines[0].get_ydata(), 1 / np.arange(1, 7))  # the mean of two equal ones
    labels = [text.get_text() for text in figure.legends[0].texts]
    assert labels[:2] == ["seeds (n=2)", "r0"] and [text.get_text() for text in finals.get_yticklabels()] == labels


def test_a_table_of_all_runs(write: Write, tmp_path: Path) -> None:
    groups = groups_of(*(write(f"wide/{seed}", seed=seed, lr=0.3) for seed in range(2)), write("plain"))
    compare.write_csv(groups, tmp_path / "all.csv")
    head, *rows = [line.split(",") for line in (tmp_path / "all.csv").read_text().splitlines()]
    assert head[:6] == ["group", "folder", "seed", "test top1", "test top1 low", "test top1 high"]
    assert [(row[0], row[2], row[-1]) for row in rows] == [
        ("wide", "0", "0.3"),
        ("wide", "1", "0.3"),
        ("plain", "0", "0.1"),
    ]
    assert head[-1] == "optim.lr" and rows[0][3:6] == ["0.95", "0.9299999999999999", "0.97"]
    assert [rows[0][head.index(name)] for name in ("step", "parameters", "steps", "seconds total")] == (
        ["6", "1234", "6", "10.0"]
    )


def test_no_text_of_a_run_is_a_formula_of_a_table(write: Write, tmp_path: Path) -> None:
    folders = [write("=1+1"), write("b", schedule="@SUM(A1)", lr=-0.5), write("c", schedule="-1e-3")]
    compare.write_csv(groups_of(*folders), tmp_path / "all.csv")
    head, *rows = list(csv.reader((tmp_path / "all.csv").read_text().splitlines()))
    assert [row[0] for row in rows] == ["'=1+1", "b", "c"]
    assert [row[head.index("optim.schedule")] for row in rows] == ["constant", "'@SUM(A1)", "-1e-3"]
    assert [row[head.index("optim.lr")] for row in rows] == ["0.1", "-0.5", "0.1"]


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("results.json", None, "is not finished (step 6 is the last in its log): launch.py train goes on with it"),
        ("config.json", None, "has no config.json"),
        ("results.json", "{", "is damaged: "),
        ("results.json", "{}", "is damaged: 'test'"),
        ("results.json", {"seed": 3}, "is damaged: its results are those of another seed"),
        ("results.json", {"test": {"top1": None, "interval95": {}}}, "has diverged: its top1 is no finite number"),
        ("results.json", {"test": {"top1": None, "loss": 1.0}}, "has no top1: nothing in its test split is"),
        ("results.json", {"test": {"top1": "x"}}, "is damaged: 'top1'"),
        ("results.json", {"test": None, "validation": None}, "' is scored on no split"),
        ("results.json", {"parameters": "many"}, "is damaged: a number is none"),
        ("results.json", {"test": {"top1": 1, "interval95": {"top1": [1, 2, 3]}}}, "is damaged: "),
        ("results.json", {"test": {"top1": 1, "interval95": {"top1": [1]}}}, "is damaged: "),
        ("data.json", {"fingerprint": 3}, "is damaged: a name is no text"),
        ("config.json", {"optim": 3}, "is damaged: 3 stands where fields are wanted"),
    ],
)
def test_what_cannot_be_compared_is_said(write: Write, file: str, text: Any, says: str) -> None:
    path = write("run") / file
    if text is None:
        path.unlink()
    else:
        path.write_text(text if isinstance(text, str) else json.dumps({**json.loads(path.read_text()), **text}))
    with pytest.raises(ValueError) as caught:
        runs.read(path.parent)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_that_ended_by_diverging_is_said_to_have(write: Write) -> None:
    folder = write("run")
    (folder / "results.json").unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 9, "split": "train", "skipped": 10}) + "\n")
    with pytest.raises(ValueError, match="has diverged, by step 9"):
        runs.read(folder)


def test_a_damaged_log_costs_the_curves_alone(write: Write) -> None:
    folder = write("run")
    (folder / "metrics.jsonl").write_text("x\n{}\n")
    with pytest.warns(UserWarning, match="no curves of .*: line 1 of"):
        assert runs.read(folder).rows == []
