"""masks:PATH: what is wrong in masks ends as one line and exit code 2, or is handled, counted and said."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_jax.launch import cli
from cnn_jax.lookup import lookup
from tests.data.masked import (
    CLASSES,
    COLOURS,
    GONE,
    LINES,
    NAMES,
    WITH_7,
    both,
    every,
    exif,
    palette,
    save,
    text,
)
from tests.data.painted import mask_set


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("good")
    mask_set(root, CLASSES)
    (root / "classes.txt").write_text(NAMES)
    return root


@pytest.fixture
def described(
    good: Path, tmp_path: Path, launch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """described(change, settings): what `describe` says of the good set after it was changed."""
    monkeypatch.setattr("cnn_jax.report.data.sheet", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(good, tmp_path / "set")

    def call(change: Callable[[Path], object], settings: str = "") -> Any:
        change(tmp_path / "set")
        return launch("describe", f"masks(set, channels=1{settings and ', '}{settings})")

    return call


# what is done to the good set, settings, what the one line says
REFUSED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "another size": (
        save("masks/b.png", CLASSES[:, :9]),
        "",
        r"masks/b.png has 9 x 8 pixels, its picture 12 x 8: wrong_size='scale' in the source .*'skip' leaves",
    ),
    "two of another size": (
        both(save("masks/b.png", CLASSES[:, :9]), save("masks/c.png", CLASSES.T)),
        "",
        r"masks/b.png has 9 x 8 pixels, its picture 12 x 8 \(2 such masks\)",
    ),
    "a class over the count": (
        save("masks/b.png", WITH_7),
        "",
        r"masks/b.png has the value 7 of no class \(6 pixels in all masks\), the classes are background 0, cat 1, big "
        r"dog 2.*unknown='ignore' in the source$",
    ),
    "a palette of a class over the count": (
        save("masks/b.png", palette(WITH_7)),
        "",
        "masks/b.png has the value 7 of no class",
    ),
    "all ignored": (every(GONE), "", "nothing is left of the all split: 4 pictures have no pixel that counts"),
    "unknown colours": (
        both(text("classes.txt", LINES), every(COLOURS[CLASSES]), save("masks/c.png", COLOURS[CLASSES] + np.uint8(1))),
        "",
        r"masks/c.png has the values 1 1 1, 1 1 91, 201 1 1 of no class \(96 pixels.*background 0 0 0, cat 200 0 0",
    ),
    "a palette with unknown colours": (
        both(
            text("classes.txt", LINES),
            every(palette(CLASSES)),
            save("masks/b.png", palette(CLASSES, COLOURS + np.uint8(3))),
        ),
        "",
        r"masks/b.png has the values 3 3 3, 3 3 93, 203 3 3 of no class",
    ),
    "colours without a table": (
        every(COLOURS[CLASSES]),
        "",
        "masks are in colours, as masks/a.png.*lines of name, red, green and blue .* there are 0, 0 0 90, 200 0 0",
    ),
    "an image without a mask": (
        lambda r: (r / "masks/b.png").unlink(),
        "",
        "images/b.png has no mask: add it, or say missing='skip' in the source",
    ),
    "a mask without an image": (
        lambda r: [(r / f"images/{name}.png").unlink() for name in "bc"],
        "",
        r"masks/b.png has no picture \(2 masks have none\): add it, or say missing='skip'",
    ),
    "no pairs": (
        lambda r: [f.rename(f.with_stem(f"{f.stem}_mask")) for f in (r / "masks").iterdir()],
        "",
        "no picture of images and masks has a mask of its name, as 'a' and 'a_mask': say suffix='_mask' in the source",
    ),
    "other names": (
        lambda r: [f.rename(f.with_stem(f"x{f.stem}")) for f in (r / "masks").iterdir()],
        "",
        "as 'a' and 'xa': names must be the same",
    ),
    "no masks": (lambda r: [f.unlink() for f in (r / "masks").iterdir()], "", "no masks: the folder masks has none"),
    "no pictures": (lambda r: [f.unlink() for f in (r / "images").iterdir()], "", "no pictures: the folder images has"),
    "no folder masks": (
        lambda r: shutil.rmtree(r / "masks"),
        "",
        r"no folders images and masks in 'set'.*\(its folders: images\): folders=\('images', 'masks'\) says",
    ),
    "no folder": (shutil.rmtree, "", "'set' is not a folder: give the one that holds images and masks"),
    "a split without masks": (
        lambda r: [shutil.move(r / "images", r / "train/images"), shutil.move(r / "masks", r / "train/masks")]
        + [shutil.copytree(r / "train/images", r / "test/images")],
        "",
        "the folder test has no partner of images or masks: add it, or say missing='skip'",
    ),
    "two pictures of one name": (
        lambda r: shutil.copy(r / "images/b.png", r / "images/b.jpg"),
        "",
        "images/b.jpg and images/b.png have one name but for the ending",
    ),
    "all unreadable": (
        lambda r: [text(f"masks/{name}.png", "no picture")(r) for name in "abcd"],
        "",
        "not one picture of the all split can be read, as masks/a.png: cannot decode the image",
    ),
    "gaps": (
        both(every(WITH_7), lambda r: (r / "classes.txt").unlink()),
        "",
        r"masks have the values 0, 1, 7, with gaps \(the greatest in masks/a.png\).*class_ids=\(0, 1, 7\)",
    ),
    "from 1 on": (
        both(every(CLASSES + np.uint8(1)), lambda r: (r / "classes.txt").unlink()),
        "",
        r"masks have the values 1, 2, 3, with gaps .*class_ids=\(1, 2, 3\)",
    ),
    "one value": (
        both(every(0 * CLASSES), lambda r: (r / "classes.txt").unlink()),
        "",
        "masks have the value 0 alone, no two classes to tell apart",
    ),
    "numbers of objects": (
        both(every(np.arange(96, dtype=np.uint8).reshape(8, 12)), lambda r: (r / "classes.txt").unlink()),
        "",
        r"masks have 96 values, 0, 1, 2, 3, 4, 5, 6, 7 and 88 more, as masks/a.png.*threshold=1 or threshold=128",
    ),
    "smooth edges": (
        save("masks/b.png", np.arange(96, dtype=np.uint8).reshape(8, 12)),
        "",
        "masks/b.png has the values 3, 4, .* of no class.*threshold=128 where edges of grey masks are smooth",
    ),
    "one class": (text("classes.txt", "cat\n"), "", "masks have 1 classes: 2 to 254 can be told apart"),
    "a name twice": (text("classes.txt", "a\nb\na\n"), "", "two classes are named 'a': give each class a name of its"),
    "a colour for some": (text("classes.txt", "a 1 2 3\nb\nc 1 2 4"), "", "line 2 is 'b', without a colour as other"),
    "half a colour": (text("classes.txt", "a 1 2\nb"), "", "line 1 is 'a 1 2': write a name, or a name and red"),
    "no colour": (text("classes.txt", "a 1 2 3\nb 1 2 256"), "", r"line 2 has the colour \(1, 2, 256\), not red"),
    "a colour twice": (text("classes.txt", "a 1 2 3\nb 1 2 3"), "", "'a' and 'b' have the same colour 1 2 3"),
    "no text": (text("classes.txt", b"\xff\xfe\xff"), "", "classes.txt' is no text in UTF-8"),
    "a long file": (text("classes.txt", b"a\n" * 2**20), "", "classes.txt' has more than 1,048,576 bytes"),
    "other names given": (lambda r: None, "classes=('a', 'b', 'c')", r"and classes.txt differ, as in"),
    "a name as classes": (lambda r: None, "classes='cat'", r"classes must be names, as \('background', 'cell'\)"),
    "too few colours": (lambda r: None, "colours=((0, 0, 0),)", "1 colours are given for 3 classes"),
    "colours that are none": (lambda r: None, "colours=(7, 8, 9)", r"colours\[0\] has the colour 7, not red"),
    "too few ids": (lambda r: None, "class_ids=(0, 1)", "class_ids must be different 3 numbers, one for each class"),
    "threshold of three": (lambda r: None, "threshold=3", "threshold makes two classes of grey masks"),
    "no such choice": (lambda r: None, "missing='drop'", "missing must be 'error' or 'skip', not 'drop'"),
    "crop": (lambda r: None, "resize='crop'", "resize='crop' is not for masks: choose 'letterbox'"),
    "pad into less": (lambda r: None, "size=8, resize='pad'", r"a picture is \(8, 12\), more than size=8: 'pad' needs"),
}  # fmt: skip

# what is done, settings, what is noted, and the setting that makes an error of it
NOTED: dict[str, tuple[Callable[[Path], object], str, str, str]] = {
    "no names": (
        lambda r: (r / "classes.txt").unlink(),
        "",
        "classes have no names and are called background, 1, 2: name them in classes.txt",
        "",
    ),
    "0 and 255": (
        both(every(np.where(CLASSES > 0, 255, 0).astype(np.uint8)), lambda r: (r / "classes.txt").unlink()),
        "",
        "masks have the values 0 and 255 alone: 255 is taken for 'foreground', not for .*: ignore=255 in the source",
        "",
    ),
    "another size, scaled": (
        save("masks/b.png", CLASSES.repeat(2, 0).repeat(2, 1)),
        "wrong_size='scale'",
        r"1 masks have another size than their picture and are brought to it, as masks/b.png has 24 x 16 pixels, its "
        "picture 12 x 8",
        "wrong_size='error'",
    ),
    "another size, skipped": (
        save("masks/b.png", CLASSES[:, :9]),
        "wrong_size='skip'",
        "1 masks have another size than their picture and are left out, as masks/b.png has 9 x 8",
        "wrong_size='error'",
    ),
    "unknown values": (
        save("masks/b.png", WITH_7),
        "unknown='ignore'",
        "1 values of masks are of no class, 7: their 6 pixels count as ignored, as in masks/b.png",
        "unknown='error'",
    ),
    "unknown colours": (
        both(text("classes.txt", LINES), every(COLOURS[CLASSES]), save("masks/c.png", COLOURS[CLASSES] + np.uint8(1))),
        "unknown='ignore'",
        "3 colours of masks are of no class, 1 1 1, 1 1 91, 201 1 1: their 96 pixels count as ignored, as in masks/c",
        "unknown='error'",
    ),
    "one is all ignored": (
        save("masks/b.png", GONE),
        "",
        "1 pictures have no pixel that counts in their mask and are left out, as masks/b.png",
        "",
    ),
    "an image without a mask": (
        lambda r: (r / "masks/b.png").unlink(),
        "missing='skip'",
        "1 pictures have no mask and are left out, as images/b.png",
        "missing='error'",
    ),
    "a mask without an image": (
        lambda r: (r / "images/b.png").unlink(),
        "missing='skip'",
        "1 masks have no picture and are left out, as masks/b.png",
        "missing='error'",
    ),
    "an unreadable mask": (
        text("masks/b.png", "no picture"),
        "",
        "1 of 4 images looked at cannot be decoded and are left out, as masks/b.png: cannot decode .*corrupt='error'",
        "corrupt='error'",
    ),
    "an unreadable image": (
        text("images/b.png", "no picture"),
        "",
        "1 of 4 images looked at cannot be decoded and are left out, as images/b.png: cannot",
        "corrupt='error'",
    ),
    "a truncated mask": (
        lambda r: text("masks/b.png", (r / "masks/a.png").read_bytes()[:60])(r),
        "",
        "1 of 4 images looked at cannot be decoded and are left out, as masks/b.png",
        "corrupt='error'",
    ),
    "a mask of floats": (
        save("masks/b.tif", CLASSES.astype(np.float32)),
        "",
        "1 of 4 images looked at cannot be decoded and are left out, as masks/b.tif: floating-point numbers in a mask",
        "corrupt='error'",
    ),
    "a mask as JPEG": (
        both(
            lambda r: (r / "classes.txt").unlink(),
            save("masks/b.jpg", (80 * CLASSES).repeat(8, 0).repeat(8, 1), quality=100),
        ),
        "threshold=40, wrong_size='scale'",
        "1 masks are JPEG, which changes values: store them as PNG, as masks/b.jpg",
        "",
    ),
    "transparent in places": (
        save("masks/b.png", np.stack([CLASSES, np.where(CLASSES > 0, 255, 0)], -1).astype(np.uint8)),
        "",
        "1 masks are transparent in places: the values below count, as if they were opaque, as masks/b.png",
        "",
    ),
    "sizes that differ": (
        both(save("images/b.png", np.zeros((16, 12), np.uint8)), save("masks/b.png", np.tile(CLASSES, (2, 1)))),
        "",
        "4 pictures differ in size and are brought to 32 x 32 by 'letterbox', as 8 x 12 and 16 x 12: size= and resize=",
        "",
    ),
    "turned, mask as stored": (
        both(exif(6), save("masks/b.png", CLASSES)),
        "size=16",
        "1 pictures are turned by EXIF while their annotation has the size before: their masks are turned too, as i",
        "",
    ),
    "upside down": (
        exif(3),
        "",
        "1 pictures are turned by EXIF, and their size does not tell whether their masks were.*turned='stored'",
        "",
    ),
    "a class without pixels": (
        text("classes.txt", NAMES + "cow"),
        "",
        "1 of 4 classes have no pixel to learn from, as 'cow'",
        "",
    ),
    "a copy in another split": (
        lambda r: [shutil.copytree(r / "images", r / f"{s}/images") for s in ("train", "test")]
        + [shutil.copytree(r / "masks", r / f"{s}/masks") for s in ("train", "test")]
        + [shutil.rmtree(r / name) for name in ("images", "masks")],
        "",
        "1 images are in more than one split, as train/images/a.png and test/images/a.png",
        "",
    ),
    "other files": (text("masks/x.md", ""), "", "1 files whose names do not end as a picture's are left out, as m", ""),
}  # fmt: skip

# what is done, settings: as right as what was there before
ALIKE: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda r: None, ""),
    "a palette": (every(palette(CLASSES)), ""),
    "a palette, of colours": (both(every(palette(CLASSES)), text("classes.txt", LINES)), ""),
    "a palette in another order": (
        both(every(palette(2 - CLASSES, COLOURS[::-1].copy())), text("classes.txt", LINES)),
        "",
    ),
    "a palette of 2 bits": (every(palette(CLASSES), bits=2), ""),
    "grey of 16 bits": (every(CLASSES.astype(np.uint16)), ""),
    "TIFF": (every(CLASSES, "tif"), ""),
    "TIFF of 16 bits": (every(CLASSES.astype(np.uint16), "tif"), ""),
    "grey and alpha": (every(np.stack([CLASSES, 0 * CLASSES + 255], -1).astype(np.uint8)), ""),
    "grey as RGB": (every(np.repeat(CLASSES[..., None], 3, -1)), ""),
    "colours": (both(every(COLOURS[CLASSES]), text("classes.txt", LINES)), ""),
    "colours as csv": (
        both(
            every(COLOURS[CLASSES]),
            text("classes.csv", "name,r,g,b\nbackground,0,0,0\ncat,200,0,0\n# x\nbig dog,0,0,90"),
            lambda r: (r / "classes.txt").unlink(),
        ),
        "",
    ),
    "colours as a setting": (every(COLOURS[CLASSES]), "colours=((0, 0, 0), (200, 0, 0), (0, 0, 90))"),
    "RGBA": (
        both(
            every(np.concatenate([COLOURS[CLASSES], np.full((8, 12, 1), 255, np.uint8)], -1)),
            text("classes.txt", LINES),
        ),
        "",
    ),
    "names as a setting": (lambda r: (r / "classes.txt").unlink(), "classes=('background', 'cat', 'big dog')"),
    "numbers with gaps": (every(np.array([0, 700, 900], np.uint16)[CLASSES]), "class_ids=(0, 700, 900)"),
    "a suffix": (
        lambda r: [f.rename(f.with_stem(f"{f.stem}_mask")) for f in (r / "masks").iterdir()],
        "suffix='_mask'",
    ),
    "other folders": (
        lambda r: [(r / "images").rename(r / "Photos"), (r / "masks").rename(r / "labels")],
        "folders=('photos', 'labels')",
    ),
    "folders below": (
        lambda r: [
            ((r / name / "deep").mkdir(), shutil.move(r / name / "b.png", r / name / "deep/b.png"))
            for name in ("images", "masks")
        ],
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(described, case):
    change, settings, line = REFUSED[case]
    said = described(change, settings)
    assert said.code == cli.BAD_INPUT and said.out == "" and len(said.err.splitlines()) == 1, said
    assert re.search(line, said.err), said.err


@pytest.mark.parametrize("case", NOTED)
def test_noted(described, case):
    change, settings, line, setting = NOTED[case]
    said = described(change, settings)
    assert said.code == 0 and said.err == "", said
    head, *notes = said.out.split("\n\n")[-2].splitlines()
    assert head == "in reading them:" and re.match(f"  {line}", notes[0]), said.out
    if setting:
        said = described(lambda root: None, setting)
        assert said.code == cli.BAD_INPUT and len(said.err.splitlines()) == 1
        name = setting.partition("=")[0]
        assert f"{name}='" in said.err and re.search(r"\b[bc]\.\w+", said.err), said.err


@pytest.mark.parametrize("case", ALIKE)
def test_alike(described, case):
    change, settings = ALIKE[case]
    said = described(change, settings)
    assert said.code == 0 and said.err == "", said
    assert "in reading them" not in said.out, said.out
    source = lookup(f"masks('set', channels=1{settings and ', '}{settings})")()["all"]
    assert source.spec.classes == ("background", "cat", "big dog")
    assert (source.batch(np.arange(4))["class_map"] == CLASSES).all()
