"""Sounds as examples: one rate, one channel, one length; folders and lists of them; and what is wrong with some."""

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.data.files import kind_of, read_example
from cnn_jax.data.scoring import scored
from cnn_jax.data.sound import (
    CorruptSound,
    Sound,
    SoundPrepare,
    brought_to,
    decode_sound,
    fit_sound,
    windows,
)
from cnn_jax.data.source import in_memory, opened
from cnn_jax.data.spec import from_json, to_json
from cnn_jax.data.wav import wav
from tests.data.sounds import tone, tones, write

PREPARE = SoundPrepare(rate=8000, seconds=0.25)


def peak(samples: np.ndarray, rate: int) -> float:
    """The frequency of the loudest tone."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


def test_resampling_keeps_a_tone_and_lets_none_fold_back() -> None:
    kept = brought_to(Sound(tone(1000, 0.5, 44100)[:, None], 44100), 8000)
    assert (
        len(kept) == 4000 and peak(kept, 8000) == 1000 and np.abs(kept[500:-500]).max() == pytest.approx(0.5, abs=0.01)
    )
    gone = brought_to(Sound(tone(15000, 0.5, 44100)[:, None], 44100), 8000)  # would be heard at 1 kHz
    assert np.abs(gone[200:-200]).max() < 0.005
    two = np.stack([tone(300), np.zeros(2400, np.float32)], 1)
    np.testing.assert_array_equal(brought_to(Sound(two, 8000), 8000), tone(300) / 2)


def test_an_example_is_the_beginning_and_windows_cover_all() -> None:
    long, short = np.arange(5000, dtype=np.float32), np.ones(30, np.float32)
    assert fit_sound(short, PREPARE).shape == (2000, 1) and fit_sound(short, PREPARE).sum() == 30
    np.testing.assert_array_equal(fit_sound(long, PREPARE)[:, 0], long[:2000])
    found = windows(long, PREPARE)[..., 0]
    assert found.shape == (4, 2000) and (np.diff(found[:, 0]) <= 1000).all()
    np.testing.assert_array_equal(found[0], long[:2000])
    np.testing.assert_array_equal(found[-1], long[-2000:])
    drawn = SoundPrepare(rate=8000, seconds=0.25, random=True)
    starts = {int(fit_sound(long, drawn, key)[0, 0]) for key in range(50)}
    assert len(starts) > 30 and max(starts) <= 3000 and fit_sound(long, drawn)[0, 0] == 0 and drawn.draws
    with pytest.raises(ValueError, match="rate must be"):
        SoundPrepare(rate=0)
    with pytest.raises(ValueError, match="seconds must make 1 to"):
        SoundPrepare(seconds=1e9)


def test_folders_are_read_alike_by_training_scoring_and_prediction(tmp_path: Path) -> None:
    tones(tmp_path / "train")
    tones(tmp_path / "test", 2)
    write(tmp_path / "train/low/long.flac", np.tile(tone(310)[:, None], (4, 2)), 16000)
    (tmp_path / "train/low/notes.txt").write_text("")
    source = partial(wav, path=str(tmp_path), rate=8000, seconds=0.25)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        splits = opened(source)
    said = [str(warning.message).split(": ", 2)[-1] for warning in caught]
    assert [line for line in said if "left out 1 files whose names do not end as a sound's" in line]
    assert [line for line in said if line.startswith("1 of 17 sounds have another rate and are resampled to 8000 Hz")]
    assert [line for line in said if line.startswith("1 of 17 sounds have several channels and are mixed to one, as")]
    assert [line for line in said if line.startswith("17 of 17 sounds are longer than 0.25 s, of which the beginning")]
    spec = splits["train"].spec
    assert spec.classes == ("high", "low") and spec.input.shape == (2000, 1) and spec.units == "sounds"
    assert from_json(to_json(spec)) == spec and spec.prepare.mean == ()
    assert in_memory(splits["train"]).batch(np.arange(13))["label"].tolist() == [0] * 6 + [1] * 7
    batch = splits["test"].batch(np.arange(4))
    file = Path(splits["test"].files(np.array([3]))[0])
    example, placement = read_example(file, spec)
    assert placement is None and example.shape == (2, 2000, 1)  # of .3 s: two windows
    np.testing.assert_array_equal(example[0], batch["sound"][3])
    again = scored(partial(wav, path=str(tmp_path)), "test", spec)  # with the rate and the length of the model
    np.testing.assert_array_equal(again.batch(np.arange(4))["sound"], batch["sound"])
    assert kind_of(spec).what == "sounds"


def test_lists_say_several_classes(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / f"clips/{number}.wav", tone(200 * (number + 1), 0.25))
    table = tmp_path / "labels.csv"
    rows = [
        "filename,tags,split",
        "clips/0.wav,dog;cat,train",
        "clips/1,cat,train",
        "clips/2.wav,,val",
        "clips/3.wav,dog,test",
    ]
    table.write_text("\n".join(rows))
    splits = wav(str(tmp_path), rate=8000, seconds=0.25, labels="labels.csv")
    assert list(splits) == ["train", "validation", "test"] and splits["train"].spec.classes == ("cat", "dog")
    assert splits["train"].batch(np.arange(2))["labels"].tolist() == [[1, 1], [1, 0]]
    assert splits["validation"].batch(np.arange(1))["labels"].tolist() == [[0, 0]]
    assert not any("no training example" in note for note in splits["train"].spec.notes)
    table.write_text("\n".join([*rows[:4], "clips/3.wav,dog;bat,test"]))
    unseen = wav(str(tmp_path), rate=8000, seconds=0.25, labels="labels.csv")["train"].spec.notes
    assert any(
        note.endswith("1 of 3 classes have no training example, as 'bat', 1 of which test has") for note in unseen
    )
    table.write_text("file,label\nclips/0.wav,dog\nclips/1.wav,cat\n")  # one each: a class
    single = wav(str(tmp_path), rate=8000, seconds=0.25, labels="labels.csv")["all"]
    assert single.batch(np.arange(2))["label"].tolist() == [1, 0]
    for rows, message in (
        ("file,label,split\nclips/0.wav,dog,often\n", "line 2: the split 'often' is none of"),
        ("file,label\n", "has no rows"),
    ):
        table.write_text(rows)
        with pytest.raises(ValueError, match=message):
            wav(str(tmp_path), labels="labels.csv")
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        wav(str(tmp_path), labels="other.csv")


def test_what_cannot_be_heard_is_left_out_and_counted(tmp_path: Path) -> None:
    tones(tmp_path / "x", 3)
    (tmp_path / "x/low/a.wav").write_bytes(b"RIFF....")
    write(tmp_path / "x/low/b.wav", np.zeros(0, np.float32))
    write(tmp_path / "x/high/c.wav", np.append(tone(500), np.float32(np.nan)))
    write(tmp_path / "x/high/d.wav", np.zeros(100, np.float32))
    source = wav(str(tmp_path / "x"), rate=8000, seconds=0.25)["all"]
    assert len(source) == 7
    notes = " ".join(source.spec.notes)
    assert (
        "3 of 10 sounds looked at cannot be decoded and are left out, as" in notes
        and "c.wav: 1 of its samples are nan" in notes
    )
    assert "1 of 7 sounds are silent, as" in notes and "d.wav" in notes
    with pytest.raises(ValueError, match=r"\.wav: "):
        wav(str(tmp_path / "x"), rate=8000, seconds=0.25, corrupt="error")
    for name, message in (("a", "cannot decode the sound"), ("b", "it has no samples")):
        with pytest.raises(ValueError, match=rf"'.*{name}\.wav': {message}.*: give a sound such as WAV"):
            read_example(tmp_path / f"x/low/{name}.wav", source.spec)
    with pytest.raises(CorruptSound, match="cannot decode"):
        decode_sound(b"")
    (tmp_path / "y/one").mkdir(parents=True)
    (tmp_path / "y/two").mkdir()
    with pytest.raises(ValueError, match=r"class folder .*y/one has no sounds, as 1\.wav"):
        wav(str(tmp_path / "y"))
