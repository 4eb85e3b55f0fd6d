"""COCO's JSON out and in again."""

import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from cnn_jax.data.annotated import Name
from cnn_jax.data.coco import coco
from cnn_jax.evals.coco_json import Ids, detections_json, ids_of, read, truth_json, write
from cnn_jax.evals.found import CROWD, Image, reader
from tests.evals import detection_sets as sets

CLASSES = 5


def images(seed: int) -> list[Image]:
    outputs, batch = sets.drawn(seed, images=10)
    return list(reader(sets.spec(9, CLASSES))(outputs, batch))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_coco_json_gives_the_same_images_again(seed: int, shifted: bool) -> None:
    some = images(seed)
    if shifted:  # as boxes are that were brought back from a resized picture
        shrunk = [(one.boxes / 3).astype(np.float32).astype(float) for one in some]
        some = [one._replace(boxes=boxes) for one, boxes in zip(some, shrunk, strict=True)]
    names = [f"class {k}" for k in range(CLASSES)]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), some, names)
        again, classes = read(Path(folder))
    assert classes == names and len(again) == len(some)
    for one, other in zip(some, again, strict=True):
        for name in Image._fields:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_coco_json_is_what_pycocotools_reads() -> None:
    some = images(0)
    truth, found = truth_json(some, [f"class {k}" for k in range(CLASSES)], ["a.jpg"] * 10), detections_json(some)
    whole = COCO()
    whole.dataset = truth
    whole.createIndex()
    assert len(whole.loadRes(found).anns) == sum(len(one.scores) for one in some)
    assert 0 not in whole.anns and 0 not in whole.imgs and 0 not in whole.cats and len(whole.imgs) == 10
    assert whole.imgs[1] == {"id": 1, "file_name": "a.jpg", "height": sets.SIZE, "width": sets.SIZE}


def test_ids_are_those_of_the_annotations_where_they_are_told_apart() -> None:
    def ids(*keys: int | str) -> dict:
        return dict(ids_of({place: Name("a name", key, "a.jpg") for place, key in enumerate(keys)}).images)

    assert ids(7, 3) == {0: 7, 1: 3} and ids("a", "b") == {0: "a", 1: "b"}
    assert ids(7, 7) == ids(7, "a") == dict(ids_of({0: "plain.jpg"}).images) == {}
    image = images(0)[0]
    assert Ids({image.place: 7}, (4, 9)).image(image) == 7 and Ids({}, (4, 9)).category(1) == 9
    assert Ids().image(image) == image.place + 1 and Ids().category(1) == 2


def test_the_source_coco_reads_what_was_written(tmp_path: Path) -> None:
    some = [image for image in images(1) if len(image.areas)]
    names = [f"class {k}" for k in range(CLASSES)]
    files = [f"{number}.png" for number in range(len(some))]
    for file in files:
        PIL.Image.new("RGB", (sets.SIZE, sets.SIZE)).save(tmp_path / file)
    write(tmp_path, some, names, files)
    source = coco(str(tmp_path / "truth.json"), images=str(tmp_path), size=sets.SIZE)["all"]
    fields = {field.role: name for name, field in source.spec.fields.items()}
    batch = source.batch(np.arange(len(some)))
    for row, image in enumerate(some):
        real = batch[fields["box_labels"]][row] >= 0
        np.testing.assert_array_equal(batch[fields["boxes"]][row][real], image.true_boxes)
        np.testing.assert_array_equal(batch[fields["box_areas"]][row][real], image.areas)
        crowds = batch[fields["box_ignored"]][row][real] == CROWD
        np.testing.assert_array_equal(crowds, image.ignored == CROWD)
