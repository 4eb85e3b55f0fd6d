"""reproduce: seeds are trained once, the verdict is said, and a page and a JSON keep every row."""

import json
from pathlib import Path

import pytest

from cnn_jax.launch import cli, experiment_file, training

ROWS = '''

from cnn_jax.launch.paper import Paper, Reproduction

PAPER = Paper("top1", VALUE, margin=0.3, source="<b>Someone</b> 1998", protocol="All the same.")


def reproduction() -> Reproduction:
    """Digits by <i>three</i> steps."""
    made = experiment()
    made.duration, made.data.validation = "3 steps", 0.0
    return Reproduction(made, PAPER, seconds=2, seeds=2, of_seed=lambda seed: {"optim.lr": 1e-3 * 2**seed})


def large() -> Reproduction:
    """What only a large machine runs."""
    return Reproduction(experiment(), PAPER, seconds=9e9, on="a large machine")


def absent() -> Reproduction:
    from cnn_jax.data.folder import folder

    made = experiment()
    made.name, made.data.source = "absent", partial(folder, path="nowhere", size=8)
    return Reproduction(made, PAPER, seconds=1)
'''


@pytest.fixture
def rows(project: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """experiments/tiny.py with three rows, and no other experiment."""
    path = project / "experiments" / "tiny.py"
    path.write_text(path.read_text() + ROWS.replace("VALUE", "0.4"))
    monkeypatch.setattr(experiment_file, "OWN", project / "experiments")
    return path


def test_seeds_are_trained_once_and_the_page_goes_on(rows, launch, monkeypatch):
    said = launch("reproduce", "tiny.reproduction")
    assert said.code == 0 and said.out.count("--- tiny, seed") == 2, said.err
    assert sorted(map(str, Path("runs/tiny").iterdir())) == ["runs/tiny/seed0", "runs/tiny/seed1"]
    monkeypatch.setattr(training, "train", lambda *_: pytest.fail("trained again"))
    again = launch("reproduce", "tiny.reproduction", "--seeds=0,1").out
    assert again and said.out.endswith(again)
    configs = [json.loads(Path(f"runs/tiny/seed{n}/config.json").read_text()) for n in (0, 1)]
    assert [(config["seed"], config["optim"]["lr"]) for config in configs] == [(0, 1e-3), (1, 2e-3)]
    scores = [json.loads(Path(f"runs/tiny/seed{n}/results.json").read_text())["test"]["top1"] for n in (0, 1)]
    assert f"0: {scores[0]:.4f}, 1: {scores[1]:.4f}" in again and "paper     top1 0.4000, margin 0.3; <b>Some" in again
    assert f"ours      top1 {sum(scores) / 2:.4f}, 95 % interval" in again and "versions  python 3" in again

    for path in Path("runs/tiny").glob("*/results.json"):
        cost = {"step_flops": 1000, "memory": 5e8, "joules": None}
        path.write_text(json.dumps({**json.loads(path.read_text()), "cost": cost}))
    said = launch("reproduce", "--all", "--norun")
    assert said.code == 0 and said.out.splitlines()[-2].startswith("2 published scores: 1 not run, 1 ")
    found = json.loads(Path("runs/reproduced.json").read_text())["rows"]
    assert [row["row"] for row in found] == ["tiny.absent", "tiny"]  # by cost, without what a large machine runs
    assert found[1]["scores"] == {"0": scores[0], "1": scores[1]} and found[1]["cost"]["parameters"] > 0
    assert (found[1]["cost"]["flops"], found[1]["cost"]["memory"], found[1]["cost"]["joules"]) == (3000, 5e8, None)
    page = Path("runs/reproduced.html").read_text()
    assert "&lt;b&gt;Someone" in page and "<b>Someone" not in page and "<i>three" not in page

    rows.write_text(rows.read_text().replace("margin=0.3", "margin=0.00001").replace('"3 steps"', '"4 steps"'))
    said = launch("reproduce", "tiny.reproduction")
    assert (said.code, said.err) == (cli.BAD_INPUT, f"error: {OTHER}\n") and "none: 'runs/tiny/seed0'" in said.out
    assert "rows could not be run" not in said.err


OTHER = (
    "'runs/tiny/seed0' holds a run with another configuration (duration: 3 steps -> 4 steps): move it away, or choose "
    "another --out"
)


def test_a_row_that_fails_is_said_and_the_next_one_is_run(rows, launch, monkeypatch):
    trained = list[int]()
    monkeypatch.setattr(training, "train", lambda config, *_: trained.append(config.seed) or fail())
    said = launch("reproduce", "--all")
    assert said.code == cli.BAD_INPUT and trained == [0, 0]  # of each row the first seed
    assert said.err.splitlines() == [
        "warning: tiny.absent: out of luck",
        "warning: tiny: out of luck",
        "error: 2 of 2 rows could not be run, as tiny.absent",
    ]
    assert [row["error"] for row in json.loads(Path("runs/reproduced.json").read_text())["rows"]] == ["out of luck"] * 2
    monkeypatch.setattr(training, "train", lambda *_: fail(75))
    assert launch("reproduce", "--all").code == 75  # what a signal ends goes no further


def test_a_row_without_the_score_that_its_paper_has_does_not_end_the_others(rows, launch):
    rows.write_text(rows.read_text().replace('"top1"', '"top9"', 1))
    said = launch("reproduce", "--all")
    assert (
        said.code == cli.BAD_INPUT
        and said.err.splitlines()[-1] == "error: 2 of 2 rows could not be run, as tiny.absent"
    )
    assert "warning: tiny: 'runs/tiny/seed0' has no score 'top9' of the test split: did you mean 'top5'?" in said.err
    found = json.loads(Path("runs/reproduced.json").read_text())["rows"][1]
    assert found["scores"] == {} and found["verdict"] is None and "has no score 'top9'" in found["error"]


def fail(code: int = 2) -> None:
    error = ValueError("out of luck")
    error.exit_code = code  # type: ignore[attr-defined]
    raise error


def test_rows_are_listed_and_bad_words_are_one_line(rows, launch):
    said = launch("reproduce", "--list").out.splitlines()
    assert [line.split()[0] for line in said[1:4]] == ["tiny.absent", "tiny", "tiny.large"]
    assert "Digits by <i>three</i> steps." in said[2] and "h on a large machine" in said[3]
    assert said[-1].startswith("All that two cores can run takes 7 s")
    (rows.parent / "plain.py").write_text("def experiment():\n    pass\n")
    for words, text in (
        ([], "say one row or file"),
        (["tiny", "--all"], "say one row or file"),
        (["--seeds=1:1", "tiny"], "--seeds=1:1: write different numbers"),
        (["tiny.absend"], "has no function absend() that returns a Reproduction: did you mean 'absent'?"),
        (["tinny"], "there is no experiment 'tinny', and no such folder: did you mean 'tiny'?"),
        (["plain"], "'experiments/plain.py' states no published score"),
    ):
        said = launch("reproduce", *words)
        assert said.code == cli.BAD_INPUT and said.err.count("\n") == 1 and text in said.err, said.err
    rows.write_text(rows.read_text().replace("margin=0.3", "margin=0.0"))
    said = launch("reproduce", "--list")
    assert said.err.count("a margin, seconds and two seeds or more are needed") == 3
