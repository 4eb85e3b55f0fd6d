"""The laboratory writes its tables and pictures, and a convolution moves with the image."""

import subprocess
import sys
from pathlib import Path

from PIL import Image

SCRIPT = Path(__file__).parents[3] / "experiments" / "studies" / "convolution_lab.py"


def test_all_parts_in_small(tmp_path):
    words = [sys.executable, SCRIPT, "--quick", "--models=lenet.lenet5", "--rounds=1", f"--out={tmp_path}"]
    subprocess.run(words, check=True, capture_output=True)
    rows = [line.split("|")[1:-1] for line in (tmp_path / "shifts.md").read_text().splitlines()]
    errors = {row[0].strip(): [float(cell) for cell in row[1:]] for row in rows[2:]}
    assert set(errors["convolution"]) == {0.0}
    assert errors["max pool"][1] > errors["max blur pool"][1] > 0 == errors["max pool"][2]
    assert "| lenet.lenet5 | stage2 | 16 | 4 |" in (tmp_path / "fields.md").read_text()
    assert "direct: speed, error" in (tmp_path / "algorithms.md").read_text()
    assert Image.open(tmp_path / "kernel.gif").n_frames > 5
    assert all(
        (tmp_path / f"{name}.png").stat().st_size > 5000 for name in ("algorithms", "kernel", "fields", "shifts")
    )


def test_an_unknown_part_is_named():
    done = subprocess.run([sys.executable, SCRIPT, "--parts=fileds"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "error: unknown part 'fileds': known are algorithms, picture, fields, shifts\n"
