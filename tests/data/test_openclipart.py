"""The rules by which drawings are left out, kept together and split, on a made-up folder."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import openclipart
from cnn_jax.data.openclipart import CLASSES, _family
from cnn_jax.data.source import opened
from cnn_jax.lookup import lookup
from tests.data.reading import image, labels, read

SPLITS = ("train", "validation", "test")


def draw(path: Path, seed: int, size: tuple[int, int] = (80, 60)) -> None:
    """Soft coloured spots, so that no two seeds look alike."""
    spots = np.random.default_rng(seed).integers(256, size=(9, 9, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(spots).resize(size, Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """40 drawings a class, half of them in a folder below it."""
    root = tmp_path / "openclipart"
    for label, name in enumerate(CLASSES):
        for number in range(40):
            letters = "".join("abcdefghij"[int(digit)] for digit in f"{number:02}")
            draw(root / name / ("below" * (number % 2)) / f"{name}_{letters}_01.png", 100 * label + number)
    monkeypatch.setenv("CNN_JAX_DATA", str(tmp_path))
    forget()
    return root


def forget() -> None:
    openclipart._read.cache_clear()


def stems() -> dict[str, set[str]]:
    forget()
    return {split: {path.stem for path, _ in found} for split, found in openclipart.files().items()}


def test_splits_and_classes(folder: Path) -> None:
    sources = [read("openclipart", split, size=32) for split in SPLITS]
    assert sum(map(len, sources)) == 240 and len(sources[0]) > len(sources[2]) > 0
    assert sources[0].spec.classes == CLASSES and sources[0].spec.input.shape == (32, 32, 3)
    assert openclipart.available() is None
    files = openclipart.files(32)
    for split, source in zip(SPLITS, sources, strict=True):
        assert labels(source).tolist() == [label for _, label in files[split]]
        assert [path.relative_to(folder).parts[0] for path, _ in files[split]] == [CLASSES[i] for i in labels(source)]
    assert read("openclipart", "train").spec.input.shape == (96, 96, 3)


def test_variants_and_look_alikes_stay_together_and_move_nothing_else(folder: Path) -> None:
    before = stems()
    for number in range(12):
        letters = "abcdefghijkl"[number] * 3
        draw(folder / "food" / f"{letters}_01.png", 1000 + number)
        draw(folder / "people" / f"{letters}_2b_bw.png", 2000 + number)  # another picture of that name
        draw(folder / "tools" / f"like{letters}.png", 1000 + number, (200, 150))  # the same picture, larger
    after = stems()
    for number in range(12):
        letters = "abcdefghijkl"[number] * 3
        family = {f"{letters}_01", f"{letters}_2b_bw", f"like{letters}"}
        assert [split for split in SPLITS if family <= after[split]] != [], family
    assert all(before[split] <= after[split] for split in SPLITS)


def test_copies_are_read_once_or_left_out_between_classes(folder: Path) -> None:
    before = stems()
    content = (folder / "food" / "food_aa_01.png").read_bytes()
    (folder / "food" / "zzz_copy.png").write_bytes(content)
    assert stems() == before
    (folder / "animals" / "zzz_copy.png").write_bytes(content)
    after = stems()
    assert set().union(*before.values()) - set().union(*after.values()) == {"food_aa_01"}


def test_drawings_are_padded_with_white_and_transparency_is_white(folder: Path) -> None:
    drawing = Image.new("RGBA", (64, 32), (0, 0, 255, 255))
    drawing.paste((0, 0, 0, 0), (0, 0, 32, 32))
    path = folder / "food" / "half.png"
    drawing.save(path)
    forget()
    (split, place), *_ = [
        (split, i) for split, found in openclipart.files(64).items() for i, (p, _) in enumerate(found) if p == path
    ]
    forget()
    half = image(read("openclipart", split, size=64), place)
    assert (half[:16] == 255).all() and (half[48:] == 255).all() and (half[:, :32] == 255).all()
    assert (half[16:48, 32:] == [0, 0, 255]).all()


@pytest.mark.parametrize(
    ("stem", "family"),
    [("apple_01", "apple"), ("apple-2b_bw", "apple"), ("black_king", "black_king"), ("007", "007"), ("bw", "bw")],
)
def test_families(stem: str, family: str) -> None:
    assert _family(stem) == family


def test_what_is_wrong_is_said(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="openclipart takes no text after a colon"):
        lookup("openclipart:large")
    (folder / "food" / "broken.png").write_bytes((folder / "food" / "food_aa_01.png").read_bytes()[:200])
    forget()
    with pytest.raises(ValueError, match=r"broken.png': cannot decode"):
        opened(lookup("openclipart"))
    monkeypatch.setattr(openclipart, "DEBIAN", tmp_path / "nothing")
    monkeypatch.delenv("CNN_JAX_DATA")
    assert openclipart.available() == openclipart.INSTALL
    with pytest.raises(FileNotFoundError, match="apt-get install openclipart-png"):
        opened(lookup("openclipart"))
