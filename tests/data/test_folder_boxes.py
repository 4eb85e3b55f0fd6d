"""A folder that is read for training: random boxes of its pictures, what is kept of them, and what waits for what."""

import os
import shutil
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import decoded
from cnn_jax.data import source as source_module
from cnn_jax.data.batches import begun, evaluation_batches, in_turn, prefetch, training_batch
from cnn_jax.data.prepare import fit
from cnn_jax.data.source import ArraySource, View, file_names, in_memory, opened, origin
from cnn_jax.data.spec import INDEX, VALID
from cnn_jax.lookup import lookup
from tests.data.pictures import flat
from tests.data.reading import read
from tests.data.test_batches import wait

pytestmark = pytest.mark.usefixtures("no_warnings")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    root = tmp_path_factory.mktemp("noisy")
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for number in range(8):
            pixels = np.random.default_rng((number, name == "cat")).integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.{('png', 'jpg')[number % 2]}")
    return root


def test_training_sees_random_boxes_and_evaluation_the_whole(noisy):
    source = read(f"folder:{noisy}", "train", size=(9, 7), random_area=(0.1, 0.5))
    assert not isinstance(source, ArraySource)  # decoded at each visit

    def visits(batch_size, steps, seed=3):
        batches = [training_batch(source, seed, step, batch_size) for step in range(steps)]
        return [(int(i), x.tobytes()) for b in batches for i, x in zip(b[INDEX], b["image"], strict=True)]

    stream = visits(4, 9)
    assert stream == visits(12, 3) == visits(4, 9)  # whatever the batch size
    assert stream[20:] == [
        (int(i), x.tobytes())
        for step in range(5, 9)
        for i, x in zip(*[training_batch(source, 3, step, 4)[name] for name in (INDEX, "image")], strict=True)
    ]
    assert len(set(stream)) == 36  # other epochs, other boxes
    assert not set(stream) & set(visits(4, 9, seed=4))
    plain = read(f"folder:{noisy}", "train", size=(9, 7))
    shown = [batch["image"][batch[VALID] > 0] for batch in evaluation_batches(source, 5)]
    np.testing.assert_array_equal(np.concatenate(shown), plain.arrays["image"])
    assert source.spec.prepare.mean == plain.spec.prepare.mean  # of what evaluation sees


def test_a_box_is_cut_from_the_original_at_full_size(noisy):
    source = read(f"folder:{noisy}", "test", size=(9, 7), random_area=(0.1, 0.5))
    key = 12345
    made = source.batch(np.array([0, 2]), np.array([key, key], np.uint64))["image"]
    files = sorted(sum((sorted(noisy.glob(f"{name}/*")) for name in ("cat", "dog")), []))
    originals = [np.asarray(Image.open(file).convert("RGB")) for file in files if file.suffix == ".png"]
    cut = {fit(original, source.spec.prepare, key)[0].tobytes() for original in originals}
    jpeg = {fit(np.asarray(Image.open(f)), source.spec.prepare, key)[0].tobytes() for f in files if f.suffix == ".jpg"}
    assert {example.tobytes() for example in made} <= cut | jpeg


def test_a_file_that_is_slow_to_come_holds_up_no_other(noisy, tmp_path):
    shutil.copytree(noisy, tmp_path / "slow")
    place = f"folder:{tmp_path / 'slow'}"
    expected = [training_batch(read(place, "train", size=4, random_area=(0.1, 0.5)), 0, step, 3) for step in range(3)]
    source = read(place, "train", size=4, random_area=(0.1, 0.5))
    (first,) = file_names(source, expected[0][INDEX][:1])
    data = Path(first).read_bytes()
    Path(first).unlink()
    os.mkfifo(first)  # opening it waits for somebody who writes
    base, done = origin(source)[0], []
    plain = base.read

    def noted(index, key):
        example = plain(index, key)
        done.append(index)
        return example

    base.read = noted
    found = []
    batches = prefetch(in_turn(begun(source, 0, step, 3) for step in range(3)))
    taken = threading.Thread(target=lambda: found.extend(batches))
    taken.start()
    try:
        wait(lambda: len(done) == 5)  # all others of this batch and of the next
    finally:
        Path(first).write_bytes(data)
    taken.join()
    for batch, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(batch["image"], other["image"])


def test_decoded_pictures_are_kept_for_other_boxes_up_to_a_limit(noisy, tmp_path, monkeypatch):
    shutil.copytree(noisy, tmp_path / "set")
    monkeypatch.setattr(decoded, "HELD", 100)

    def opened_again(size):
        return read(f"folder:{tmp_path / 'set'}", "train", size=size, random_area=(0.1, 0.5))

    def epochs(source):
        return [training_batch(source, 0, step, len(source))["image"] for step in range(3)]

    monkeypatch.setattr(decoded, "PICTURES", 0)
    expected = epochs(opened_again(9))
    monkeypatch.setattr(decoded, "PICTURES", 5 * 40 * 50 * 3)
    np.testing.assert_array_equal(epochs(opened_again(9)), expected)
    monkeypatch.undo()
    all_kept, large = opened_again(9), opened_again(4)
    np.testing.assert_array_equal(training_batch(all_kept, 0, 0, len(all_kept))["image"], expected[0])
    training_batch(large, 0, 0, len(large))
    shutil.rmtree(tmp_path / "set")
    np.testing.assert_array_equal(training_batch(all_kept, 0, 1, len(all_kept))["image"], expected[1])
    # Of pictures so large that some boxes are cut from a smaller copy, none is kept.
    with pytest.warns(UserWarning, match="cannot be decoded"):
        assert not training_batch(large, 0, 1, len(large))[VALID].any()


def test_a_set_is_streamed_and_memory_does_not_grow_over_epochs(tmp_path, monkeypatch):
    monkeypatch.setattr(decoded, "HELD", 100)
    flat(tmp_path, 25)
    source = read(f"folder:{tmp_path}", "train", size=96, random_area=(0.1, 0.5))
    whole, peaks = len(source) * 96 * 96 * 3, []
    tracemalloc.start()
    try:
        for epoch in range(3):
            tracemalloc.reset_peak()
            steps = range(epoch * len(source), (epoch + 1) * len(source))
            for _ in in_turn(begun(source, 0, step, 1) for step in steps):
                pass
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert max(peaks) < whole / 3 and max(peaks[1:]) < peaks[0] + whole / 10


def test_a_share_of_a_carved_split_fits_in_memory_too(noisy):
    splits = opened(lookup(f"folder:{noisy}"), validation=0.3)
    part = source_module.fraction(splits["train"], 0.5)
    held = in_memory(part)
    assert isinstance(part.source, View) and isinstance(held, ArraySource)
    np.testing.assert_array_equal(held.arrays["image"], part.batch(np.arange(len(part)))["image"])
