"""eval: the scores of a finished run, of any of its checkpoints and on other data."""

import csv
import io
import json
import shutil

import numpy as np
import pytest

from cnn_jax.data.digits import digits

pytestmark = pytest.mark.usefixtures("no_pictures")


def scores(folder):
    return json.loads((folder / "scores.json").read_text())


def test_the_last_checkpoint_scores_what_the_training_run_reported(run, launch):
    said = launch("eval", run)
    assert said.code == 0 and said.err.count("\n") == 1
    assert said.err.startswith(f"warning: '{run}/experiment.py' is run, because config.json names functions of it")
    assert "899 images, test split of digits, checkpoint of step 6" in said.out
    found, expected = scores(run / "evaluations" / "test-step6"), json.loads((run / "results.json").read_text())["test"]
    assert found["split"] == "test" and found["step"] == 6 and found["data"] == "digits"
    for name in ("top1", "nll", "ece"):  # on eight devices, where it was trained on one
        assert found[name] == pytest.approx(expected[name], rel=1e-5)
        assert f"  {name:5} {expected[name]:.4f}   95 % interval {expected['interval95'][name][0]:.4f}" in said.out
    tables = [dict(np.load(file)) for file in (run / "tables/test.npz", run / "evaluations/test-step6/tables.npz")]
    for name, table in tables[0].items():
        np.testing.assert_allclose(tables[1][name], table, rtol=1e-5) if table.dtype.kind == "f" else None
        np.testing.assert_array_equal(tables[1][name], table) if table.dtype.kind != "f" else None
    recall, support = (tables[0][name][7] for name in ("recall", "support"))
    assert f"7                    {recall:.4f} of {support}" in said.out


def test_a_step_the_best_and_another_split(run, launch):
    assert "checkpoint of step 4" in launch("eval", run, "--checkpoint=4").out
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["split"] == "validation"]
    best = max(rows, key=lambda row: (row["top1"], row["step"]))
    said = launch("eval", run, "--checkpoint=best", "--split=validation")
    assert f"90 images, validation split of digits, checkpoint of step {best['step']}" in said.out
    assert scores(run / "evaluations" / f"validation-step{best['step']}")["nll"] == pytest.approx(best["nll"], rel=1e-5)


def test_other_data_of_the_same_classes(run, tmp_path, launch):
    test = digits()["test"].arrays
    arrays = {f"{split}_{k}s": test[k][:200] for split in ("train", "test") for k in ("image", "label")}
    np.savez(tmp_path / "other.npz", **arrays)
    said = launch("eval", run, f"--data=npz:{tmp_path / 'other.npz'}", "--split=test")
    assert said.code == 0 and "200 images, test split of npz:" in said.out
    (folder,) = (run / "evaluations").iterdir()
    assert folder.name.startswith("test-step6-npz_") and scores(folder)["data"] == f"npz:{tmp_path / 'other.npz'}"
    logits, labels = (np.load(run / "outputs" / f"{name}.npy")[:200] for name in ("logits", "label"))
    top1 = (logits.argmax(-1) == labels).mean()
    assert scores(folder)["top1"] == pytest.approx(top1)


def test_data_that_changed_since_is_said(run, launch):
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**data, "fingerprint": "0" * 64}))
    said = launch("eval", run)
    assert said.code == 0 and "warning: the data 'digits' has changed" in said.err


def test_a_damaged_checkpoint_is_passed_over(run, launch):
    (run / "metrics.jsonl").write_bytes(bytes(range(256)) * 2)  # which the curves need and no score does
    (file, *_) = sorted(path for path in (run / "checkpoints" / "6" / "state" / "d").iterdir())
    file.write_bytes(b"\0" + file.read_bytes()[1:])
    said = launch("eval", run)
    assert "checkpoint of step 4" in said.out and scores(run / "evaluations" / "test-step4")
    assert said.code == 0 and "no curves are drawn: line 1 of " in said.err


def test_a_moved_run_folder_is_all_it_takes(run, tmp_path, monkeypatch, launch):
    shutil.move(run, tmp_path / "elsewhere")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert launch("eval", "../elsewhere").code == 0


def test_a_folder_that_cannot_be_written_costs_no_score(run, launch, tmp_path):
    (run / "evaluations").write_text("in the way")
    said = launch("eval", run)
    assert said.code == 0 and "top1" in said.out and "written to" not in said.out
    assert "nothing is written to" in said.err and "--out=FOLDER" in said.err
    said = launch("eval", run, f"--out={tmp_path / 'elsewhere'}")
    assert said.code == 0 and json.loads((tmp_path / "elsewhere" / "scores.json").read_text())["split"] == "test"


def test_everything_is_scored_where_no_split_is_asked_for(run, tmp_path, launch):
    data = digits()["test"].arrays
    parts = {"train": slice(0, 30), "val": slice(30, 50), "test": slice(50, 90)}
    arrays = {f"{split}_{k}s": data[k][part] for split, part in parts.items() for k in ("image", "label")}
    np.savez(tmp_path / "other.npz", **arrays)
    said = launch("eval", run, f"--data=npz:{tmp_path / 'other.npz'}", f"--out={tmp_path / 'out'}")
    assert said.code == 0 and "90 images, all of npz:" in said.out
    logits, labels = (np.load(run / "outputs" / f"{name}.npy")[:90] for name in ("logits", "label"))
    assert scores(tmp_path / "out")["top1"] == pytest.approx((logits.argmax(-1) == labels).mean())
    said = launch("eval", run, "--split=all")
    assert "1797 images (808 of them of the training split), all of digits, checkpoint of step 6" in said.out
    assert scores(run / "evaluations" / "all-step6")["split"] == "all"


def test_a_table_of_every_example(run, tmp_path, launch, write_images, monkeypatch):
    said = launch("eval", run, f"--csv={tmp_path / 'said.csv'}")
    assert said.code == 0 and "top1" in said.out
    rows = list(csv.DictReader((tmp_path / "said.csv").open()))
    logits, labels = (np.load(run / "outputs" / f"{name}.npy") for name in ("logits", "label"))
    assert [row["index"] for row in rows] == [str(k) for k in range(899)]
    assert [(row["true"], row["class"]) for row in rows] == [
        (str(true), str(said)) for true, said in zip(labels, logits.argmax(-1), strict=True)
    ]
    write_images(tmp_path / "sorted" / "test", tuple("9876543210"), count=2)
    write_images(tmp_path / "sorted" / "val", tuple("9876543210"), count=1)
    monkeypatch.chdir(tmp_path)
    said = launch("eval", run, "--data=folder(sorted, channels=1)", "--csv=-")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert said.code == 0 and len(rows) == 30
    assert all(row["file"].split("/")[2] == row["true"] for row in rows)  # by the names of their folders
    assert {row["file"].split("/")[1] for row in rows} == {"test", "val"}
