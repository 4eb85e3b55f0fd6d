"""explain: a figure, arrays and numbers for each input, and one line where there is nothing to explain."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data.digits import digits
from cnn_jax.explain.methods import METHODS


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    """The first test image, as a file."""
    Image.fromarray(digits()["test"].arrays["image"][0, ..., 0]).save(tmp_path / "digit.png")
    return tmp_path / "digit.png"


def test_an_input_has_a_figure_arrays_and_numbers(run, digit, tmp_path, launch):
    names = "deep_lift,lrp_epsilon,integrated_gradients"
    said = launch("explain", run, digit, f"--methods={names}", "--target=3", f"--out={tmp_path / 'out'}")
    assert said.code == 0, said.err
    (picture,) = (tmp_path / "out").rglob("*.png")
    assert picture.name == "digit.png.explained.png" and min(Image.open(picture).size) > 200
    arrays = np.load(picture.with_suffix(".npz"))
    assert {*arrays} == {"input", *names.split(",")} and arrays["deep_lift"].shape == (8, 8, 1)
    about = json.loads(picture.with_suffix(".json").read_text())
    assert about["target"].startswith("the logit of '3'") and about["reference"] == "mean"
    change = about["score"] - about["score_of_reference"]
    for name in ("deep_lift", "integrated_gradients"):
        numbers = about["methods"][name]
        assert arrays[name].sum() == pytest.approx(change, abs=abs(change) * numbers["gap"] + 1e-4)
        assert numbers["gap"] < (1e-4 if name == "deep_lift" else 0.01)
    assert arrays["lrp_epsilon"].sum() == pytest.approx(about["methods"]["lrp_epsilon"]["ratio"] * about["score"], 1e-3)
    for words in ("adds up to the change from mean but for", "sum / score", "sanity: not tested on this model"):
        assert words in said.out
    # a picture that was drawn is no input
    again = launch("explain", run, picture.parent, "--methods=gradient", "--target=3")
    assert again.code == 2 and "there are no images" in again.err and "explain has drawn" in again.err


def test_a_model_without_feature_maps_has_no_cams_and_says_so(run, digit, launch):
    said = launch("explain", run, digit, "--methods=grad_cam")
    assert said.code == 2 and "no feature map with extent" in said.err.splitlines()[-1]
    said = launch("explain", run, digit, "--methods=grad_cam", "--layer=poled")
    assert said.code == 2 and "no layer 'poled': did you mean 'pooled'?" in said.err
    said = launch("explain", run, digit, "--methods=grad_cam", "--layer=pooled")
    assert said.code == 2 and "one position" in said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--methods=grad_kam"], "no method 'grad_kam': did you mean 'grad_cam'?"),
        (["--methods=gradient", "--target=eleven"], "no class 'eleven' to explain"),
        (["--methods=gradient", "--target=3:left"], "no class '3:left'|'left' is a coordinate of a box"),
        (["--reference=blak"], "--reference=blak: did you mean 'black'?"),
        (["--memory=0"], "--memory=0: give a number of GiB above 0"),
        (["--methods=list"], "--methods=list shows the methods and takes no run"),
    ],
)
def test_bad_words_are_one_line(run, digit, launch, words, said):
    import re

    found = launch("explain", run, digit, *words)
    assert found.code == 2 and not found.out
    assert re.search(said, [line for line in found.err.splitlines() if line.startswith("error")][0])


def test_memory_is_bounded_and_said(run, digit, launch):
    said = launch("explain", run, digit, "--methods=smooth_grad", "--memory=1e-9")
    assert said.code == 0 and "they are computed one at a time" in said.err


def test_the_methods_are_listed(launch):
    said = launch("explain", "--methods=list")
    assert said.code == 0 and said.out.startswith(f"{len(METHODS)} methods") and len(METHODS) >= 25
    assert all(name in said.out and method.held in said.out for name, method in METHODS.items())
