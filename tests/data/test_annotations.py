"""What is wrong in annotations ends as one line and exit code 2, or is handled, counted and said; nothing is silent."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnn_jax.launch import cli
from tests.data.painted import coco_json, painted

BOX = (2, 1, 8, 7)  # of every picture, as x0 y0 x1 y1
NAMES = ["a.png", "b.png", "c.png", "d.png"]
OBJECT = "<object><name>{}</name>{}<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>8</xmax><ymax>7</ymax></bndbox></object>"
XML = "<annotation><filename>{}</filename><size><width>12</width><height>8</height></size>{}</annotation>"


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same four pictures with one box each in all formats, coco.json, voc/ and yolo/."""
    root = tmp_path_factory.mktemp("good")
    for name in NAMES:
        for folder in ("", "voc/JPEGImages", "yolo/images"):
            painted(root / folder / name, (8, 12), [BOX])
    coco_json(
        root / "coco.json", dict.fromkeys(NAMES, (8, 12)), [(n, (1, 7)[n % 2], (2, 1, 6, 6)) for n in (1, 2, 3, 4)]
    )
    (root / "voc/Annotations").mkdir()
    (root / "yolo/labels").mkdir()
    for number, name in enumerate(NAMES):
        text = XML.format(name, OBJECT.format(("cat", "dog")[number % 2], ""))
        (root / "voc/Annotations" / name).with_suffix(".xml").write_text(text)
        (root / "yolo/labels" / name).with_suffix(".txt").write_text(f"{number % 2} {5 / 12} 0.5 0.5 0.75\n")
    (root / "yolo/data.yaml").write_text("names: [cat, dog]\n")
    return root


@pytest.fixture
def described(
    good: Path, tmp_path: Path, launch: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """described(kind, change, settings): what `describe` says of the good set after it was changed."""
    import shutil

    monkeypatch.setattr("cnn_jax.report.data.sheet", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(good, tmp_path / "set")

    def call(kind: str, change: Callable[[Path], object], settings: str = "") -> Any:
        change(tmp_path / "set")
        word = {"coco": "set/coco.json", "voc": "set/voc", "yolo": "set/yolo"}[kind]
        return launch("describe", f"{kind}({word}, size=24{settings and ', '}{settings})")

    return call


def content(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """A change of the content of coco.json."""

    def changed(root: Path) -> None:
        found = json.loads((root / "coco.json").read_text())
        change(found)
        (root / "coco.json").write_text(json.dumps(found))

    return changed


def box(*values: object) -> Callable[[Path], object]:
    """Another box, x y w h, of annotation 2."""
    return content(lambda c: c["annotations"][1].update(bbox=list(values)))


def of(key: str, number: int = 1, **changes: object) -> Callable[[Path], object]:
    """Other values in an entry of one of the lists."""
    return content(lambda c: c[key][number].update(changes))


def text(name: str, written: str | bytes) -> Callable[[Path], object]:
    """A file with other content."""
    return lambda root: (root / name).write_bytes(written.encode() if isinstance(written, str) else written)


def xml(old: str, new: str) -> Callable[[Path], object]:
    """Other words in the second XML file."""

    def changed(root: Path) -> None:
        file = root / "voc/Annotations/b.xml"
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    return changed


def exif(turn: int, size: tuple[int, int] = (8, 12), said: tuple[int, int] | None = None) -> Callable[[Path], object]:
    """The second picture is stored in a size, with an EXIF orientation; the annotation says a size."""

    def changed(root: Path) -> None:
        for folder in ("", "voc/JPEGImages", "yolo/images"):
            painted(root / folder / "b.png", size, [BOX], turn)
        if said:
            of("images", height=said[0], width=said[1])(root)

    return changed


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>'
YAML_BOMB = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{f'*a{n},' * 9}]\n" for n in range(30)) + "names: *a30"
LEAK = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><filename>&a;</filename></annotation>'
WHERE = r"coco.json: annotation 2"
OF = r"annotation 2 of image 2, coco.json"

# (format, what is done to the good set, what the one line says)
REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "malformed JSON": ("coco", text("coco.json", '{"images": ['), r"coco.json' is no JSON \(Expecting value: line 1"),
    "not UTF-8": ("coco", text("coco.json", b'{"\xff\xfe\xff": 1}'), r"coco.json' is no JSON \("),
    "a list": ("coco", text("coco.json", "[1, 2]"), "has no list 'images' of pictures"),
    "deep nesting": ("coco", text("coco.json", "[" * 200_000), "coco.json' is nested too deeply"),
    "a long number": ("coco", text("coco.json", f'{{"images": {"9" * 10_000}}}'), "coco.json' is no JSON"),
    "no images": ("coco", content(lambda c: c.update(images=[])), "coco.json has no images"),
    "images are text": ("coco", content(lambda c: c.update(images=["a"])), "entry 0 of 'images' is 'a', not an object"),
    "captions": (
        "coco",
        content(lambda c: [a.pop("bbox") for a in c["annotations"]]),
        "annotation 1 has the bbox null",
    ),
    "a box of texts": ("coco", box("1", "2", "3", "4"), rf"{WHERE} has the bbox \[.*not four numbers"),
    "a box of three": ("coco", box(1, 2, 3), rf"{WHERE} has the bbox \[1, 2, 3\], not four numbers"),
    "a box of huge numbers": ("coco", box(1, 2, 3, 10**400), rf"{WHERE} has the bbox"),
    "unknown category": (
        "coco",
        of("annotations", category_id=99),
        f"{WHERE} has the category_id 99, which is none of",
    ),
    "category of a list": ("coco", of("annotations", category_id=[]), rf"{WHERE} has the category_id \[\], neither"),
    "no categories": ("coco", content(lambda c: c.update(categories=[])), "coco.json has no categories"),
    "category id twice": ("coco", of("categories", id=1), "two categories have the id 1"),
    "category name twice": ("coco", of("categories", name="cat"), "categories 1 and 7 have the same name 'cat'"),
    "category without name": ("coco", of("categories", name=None), "category 7 has the name null"),
    "image id twice": ("coco", of("images", id=1), "two images have the id 1"),
    "image without id": ("coco", content(lambda c: c["images"][1].pop("id")), "an image has the id null"),
    "leads out": (
        "coco",
        of("images", file_name="../../etc/passwd"),
        "image 2 has the file_name '../../etc/passwd', wh",
    ),
    "leads out on Windows": (
        "coco",
        of("images", file_name="..\\a.png"),
        "image 2 has the file_name '..\\\\a.png', wh",
    ),
    "absolute": ("coco", of("images", file_name="/etc/passwd"), "image 2 has the file_name '/etc/passwd', which leads"),
    "a name of numbers": ("coco", of("images", file_name=7), "image 2 has the file_name 7, not a text"),
    "no objects": ("coco", content(lambda c: c.update(annotations=[])), "there are no objects in 4 pictures"),
    "only crowds": (
        "coco",
        content(lambda c: [a.update(iscrowd=1) for a in c["annotations"]]),
        "there are no objects but ignored ones in 4 pictures",
    ),
    "no pictures": (
        "coco",
        lambda r: [(r / n).unlink() for n in NAMES],
        "none of its 4 images is beside it, as 'a.png'",
    ),
    "a long name": (
        "coco",
        of("images", file_name="x" * 5000),
        "image 2 has the file_name 'x{60}…', not a text of at m",
    ),
    "another size": (
        "coco",
        of("images", width=24, height=16),
        r"image 2 \(b.png\) has 12 x 8 pixels, its annotation says 24 x 16: wrong_size='scale' in the source",
    ),
    "malformed XML": ("voc", text("voc/Annotations/b.xml", "<annotation>"), "b.xml' is no XML"),
    "XML of another kind": ("voc", text("voc/Annotations/b.xml", "<html/>"), "b.xml' is XML of <html>"),
    "an entity bomb": ("voc", text("voc/Annotations/b.xml", BOMB), "b.xml' has a document type"),
    "an entity of a file": ("voc", text("voc/Annotations/b.xml", LEAK), "b.xml' has a document type"),
    "deep XML": ("voc", text("voc/Annotations/b.xml", "<a>" * 100_000), "b.xml' is nested too deeply"),
    "no name": ("voc", xml("<name>dog</name>", ""), "b.xml': object 1 has no name"),
    "no bndbox": ("voc", xml("bndbox", "box"), r"b.xml': object 1 \(dog\) has no bndbox"),
    "no xmax": ("voc", xml("xmax", "xend"), r"b.xml': object 1 \(dog\) has no xmax"),
    "a text for xmin": ("voc", xml("<xmin>3", "<xmin>left"), r"b.xml': object 1 \(dog\) has 'left' for xmin"),
    "no annotations": ("voc", lambda r: [f.unlink() for f in (r / "voc/Annotations").iterdir()], "has no annotations"),
    "pixels": ("yolo", text("yolo/labels/b.txt", "1 5 4 6 6"), "b.txt', line 1 has 6: centre and size must be shares"),
    "an outline": ("yolo", text("yolo/labels/b.txt", "\n1 0 0 1 0 1 1"), "b.txt', line 2 has 7 words, not five"),
    "four words": ("yolo", text("yolo/labels/b.txt", "1 .5 .5 .5"), "b.txt', line 1 has 4 words, not five"),
    "a word": ("yolo", text("yolo/labels/b.txt", "dog .5 .5 .5 .5"), "b.txt', line 1 is 'dog .5 .5 .5 .5', not five"),
    "class beyond": (
        "yolo",
        text("yolo/labels/b.txt", "2 .5 .5 .5 .5"),
        "b.txt', line 1 has the class 2, there are 2 fr",
    ),
    "half a class": ("yolo", text("yolo/labels/b.txt", "0.5 .5 .5 .5 .5"), "b.txt', line 1 has the class 0.5"),
    "class names twice": ("yolo", text("yolo/data.yaml", "names: [cat, cat]"), "two classes are named 'cat'"),
    "gaps in names": ("yolo", text("yolo/data.yaml", "names: {0: cat, 2: dog}"), "not numbered from 0 to 1"),
    "no names": ("yolo", lambda r: (r / "yolo/data.yaml").unlink(), "has no names of classes"),
    "malformed YAML": ("yolo", text("yolo/data.yaml", "names: [cat"), "data.yaml' is no YAML"),
    "a YAML bomb": ("yolo", text("yolo/data.yaml", YAML_BOMB), "'names' is no list of names"),
    "YAML of objects": ("yolo", text("yolo/data.yaml", "names: !!python/object/apply:os.getcwd []"), "is no YAML"),
    "a folder that is not there": (
        "yolo",
        text("yolo/data.yaml", "names: [a, b]\ntrain: ../../etc"),
        "'../../etc', which",
    ),
    "no labels": (
        "yolo",
        lambda r: [f.unlink() for f in (r / "yolo/labels").iterdir()],
        "not one of 4 pictures has its",
    ),
}

# (format, what is done, what is noted, and the setting that makes an error of it)
NOTED: dict[str, tuple[str, Callable[[Path], object], str, str]] = {
    "outside": (
        "coco",
        box(20, 0, 4, 4),
        rf"1 boxes lie outside of their picture and are left out, as {OF} \(20, 0, 24, 4\): faulty='error'",
        "faulty",
    ),
    "inverted": ("coco", box(8, 1, -6, 6), rf"1 boxes are inverted and are left out, as {OF} \(8, 1, 2, 7\)", "faulty"),
    "empty": ("coco", box(8, 1, 0, 6), rf"1 boxes are empty and are left out, as {OF}", "faulty"),
    "nan": ("coco", box(8, 1, float("nan"), 6), rf"1 boxes are not finite and are left out, as {OF}", "faulty"),
    "infinite": ("coco", box(8, 1, 1e999, 6), rf"1 boxes are not finite and are left out, as {OF}", "faulty"),
    "partly outside": (
        "coco",
        box(8, 1, 6, 6),
        rf"1 boxes reach out of their picture and are cut to it, as {OF} \(8, 1, 14, 7\)",
        "",
    ),
    "unknown image": (
        "coco",
        of("annotations", image_id=9),
        f"1 boxes of images that are not listed are left out, as {WHERE}, image 9",
        "",
    ),
    "ids of texts": ("coco", of("annotations", image_id="2"), "1 boxes have digits in quotes for the id", ""),
    "annotation id twice": ("coco", of("annotations", id=1), "1 annotations have the id of another: all are read", ""),
    "no area": (
        "coco",
        of("annotations", area=None),
        f"1 boxes have no area: it is taken to be their width x height, as {WHERE}",
        "",
    ),
    "a class without objects": (
        "coco",
        content(lambda c: c["categories"].append({"id": 90, "name": "cow"})),
        "1 of 3 classes have no object to learn from, as 'cow'",
        "",
    ),
    "missing image": (
        "coco",
        lambda r: (r / "b.png").unlink(),
        r"1 of 4 images looked at cannot be decoded and are left out, as image 2 \(b.png\): there is no such file",
        "corrupt",
    ),
    "damaged image": (
        "coco",
        text("b.png", "no picture"),
        r"1 of 4 images looked at cannot be decoded and are left out, as image 2 \(b.png\): cannot",
        "corrupt",
    ),
    "listed again": (
        "coco",
        of("images", file_name="a.png"),
        "1 pictures of the all split are listed again, as a.png",
        "",
    ),
    "turned, size before": (
        "coco",
        exif(6),
        r"1 pictures are turned by EXIF while their annotation has the size before: .*image 2",
        "",
    ),
    "turned, square": (
        "coco",
        exif(6, (9, 9), (9, 9)),
        "1 pictures are turned by EXIF, and their size does not tell.*turned='stored' in the source",
        "",
    ),
    "upside down": ("coco", exif(3), "1 pictures are turned by EXIF, and their size does not tell", ""),
    "no size": (
        "coco",
        lambda r: (exif(6)(r), of("images", width=None, height=0)(r)),
        "1 pictures are turned by EXIF, and their size d",
        "",
    ),
    "VOC from 0": (
        "voc",
        xml("<xmin>3", "<xmin>0"),
        "1 boxes begin before pixel 1, from which VOC counts, as object 1 of Annotations/b.xml: origin=0",
        "",
    ),
    "VOC inverted": (
        "voc",
        xml("<xmin>3", "<xmin>10"),
        "1 boxes are inverted and are left out, as object 1 of Annotations/b.xml",
        "faulty",
    ),
    "VOC nan": (
        "voc",
        xml("<xmin>3", "<xmin>nan"),
        "1 boxes are not finite and are left out, as object 1 of Annotations/b.xml",
        "faulty",
    ),
    "no file of that name": (
        "voc",
        lambda r: (r / "voc/JPEGImages/b.png").unlink(),
        "1 of 4 images looked at cannot be decoded and are left out, as JPEGImages/b.png: there is no such file",
        "corrupt",
    ),
    "YOLO beyond 1": (
        "yolo",
        text("yolo/labels/b.txt", "1 .9 .5 .6 .5"),
        "1 boxes reach out of their picture and are cut to it, as box 1 of labels/b.txt",
        "",
    ),
    "YOLO negative": (
        "yolo",
        text("yolo/labels/b.txt", "1 .5 .5 -.6 .5"),
        "1 boxes are inverted and are left out, as box 1 of labels/b.txt",
        "faulty",
    ),
    "YOLO outside": (
        "yolo",
        text("yolo/labels/b.txt", "1 1.5 .5 .2 .5"),
        "1 boxes lie outside of their picture and are left out, as box 1 of labels/b.txt",
        "faulty",
    ),
    "YOLO empty": (
        "yolo",
        text("yolo/labels/b.txt", "1 .5 .5 1e-9 .5"),
        "1 boxes are empty and are left out, as box 1 of labels/b.txt",
        "faulty",
    ),
    "YOLO nan": (
        "yolo",
        text("yolo/labels/b.txt", "1 nan .5 .2 .5"),
        "1 boxes are not finite and are left out, as box 1 of labels/b.txt",
        "faulty",
    ),
    "no text file": (
        "yolo",
        lambda r: (r / "yolo/labels/b.txt").unlink(),
        "1 pictures have no text file and are taken to have no objects, as images/b.png",
        "",
    ),
    "no picture": (
        "yolo",
        text("yolo/labels/e.txt", ""),
        "1 text files without a picture are left out, as labels/e.txt",
        "",
    ),
    "YOLO turned": ("yolo", exif(8), "1 pictures are turned by EXIF, and their size does not tell", ""),
}

# (format, what is done): as right as what was there before
ALIKE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "nothing": ("coco", lambda r: None),
    "category id 0": (
        "coco",
        content(
            lambda c: (
                c["categories"][0].update(id=0),
                [a.update(category_id=0) for a in c["annotations"] if a["category_id"] == 1],
            )
        ),
    ),
    "annotation id 0": ("coco", of("annotations", id=0)),
    "ids of words": (
        "coco",
        content(lambda c: (c["images"][1].update(id="b"), c["annotations"][1].update(image_id="b"))),
    ),
    "ids as fractions": ("coco", of("annotations", image_id=2.0)),
    "slashes of Windows": (
        "coco",
        lambda r: (painted(r / "deep/b.png", (8, 12), [BOX]), of("images", file_name="deep\\b.png")(r)),
    ),
    "rounding": ("coco", box(2 - 1e-9, 1, 6, 6)),
    "nothing of VOC": ("voc", lambda r: None),
    "a name elsewhere": ("voc", xml("b.png", "C:\\photos\\b.png")),
    "a name that leads out": ("voc", xml("b.png", "../../../etc/passwd")),
    "no file name": ("voc", xml("<filename>b.png</filename>", "")),
    "no size of VOC": ("voc", xml("<width>12</width>", "<width>0</width>")),
    "nothing of YOLO": ("yolo", lambda r: None),
    "classes.txt": ("yolo", lambda r: (text("yolo/classes.txt", "cat\ndog\n")(r), (r / "yolo/data.yaml").unlink())),
    "numbered names": ("yolo", text("yolo/data.yaml", "names: {0: cat, 1: dog}\ntrain: [1]")),
    "a class as a fraction": ("yolo", text("yolo/labels/b.txt", f"1.0 {5 / 12} 0.5 0.5 0.75")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(described, deeds, tmp_path, case):
    kind, change, line = REFUSED[case]
    with deeds() as done:
        said = described(kind, change)
    assert said.code == cli.BAD_INPUT and said.out == "" and len(said.err.splitlines()) == 1, said
    assert re.search(line, said.err), said.err
    assert "/etc/passwd" not in done.read and not done.outside(tmp_path)


@pytest.mark.parametrize("case", NOTED)
def test_noted(described, case):
    kind, change, line, setting = NOTED[case]
    said = described(kind, change)
    assert said.code == 0 and said.err == "", said
    head, *notes = said.out.split("\n\n")[-2].splitlines()
    assert head == "in reading them:" and len(notes) == 1 and re.match(f"  {line}", notes[0]), said.out
    if setting:
        said = described(kind, lambda root: None, f"{setting}='error'")
        assert said.code == cli.BAD_INPUT and len(said.err.splitlines()) == 1
        assert f"{setting}='skip'" in said.err and re.search(r"image 2|b\.\w+", said.err), said.err


@pytest.mark.parametrize("case", ALIKE)
def test_alike(described, case):
    kind, change = ALIKE[case]
    said = described(kind, change)
    assert said.code == 0 and said.err == "", said
    assert re.search(r"\ncat +\d +\d +0\ndog +\d +\d +0\n", said.out) and "\n4 objects" in said.out, said.out
    assert "in reading them" not in said.out, said.out
