"""Drum kits by their folds, and SoundFonts by their families, made up in small."""

from pathlib import Path

import numpy as np
import pytest

from cnn_jax.data import drums as kits
from cnn_jax.data import instruments as notes
from cnn_jax.data import spoken_languages as spoken
from cnn_jax.data.drums import CLASSES, FOLDS, drums, label_of
from cnn_jax.data.instruments import FAMILIES, instruments
from cnn_jax.data.soundfont import read
from cnn_jax.data.spoken_languages import LANGUAGES, spoken_languages
from tests.data.sounds import soundfont, tone, write

NAMES = list(CLASSES)


def kit(folder: Path, parts: dict[str, list[str]], hertz: float) -> None:
    """A kit of {instrument: recordings}."""
    instruments = []
    for number, (name, files) in enumerate(parts.items()):
        layers = "".join(f"<layer><filename>{file}</filename></layer>" for file in files)
        instruments.append(f"<instrument><name>{name}</name>{layers}</instrument>")
        for file in files:
            write(folder / file, tone(hertz + 10 * number, 0.05))
    body = f"<drumkit_info xmlns='http://h'><instrumentList>{''.join(instruments)}</instrumentList></drumkit_info>"
    (folder / "drumkit.xml").write_text(body)


def test_instruments_are_called_many_things() -> None:
    for name, wanted in {
        "BassDrum": "kick", "c3 - bass drum 1": "kick", "Kick (Tama 22 inch)": "kick", "Snare Rimshot": "snare",
        "Closed HH": "hihat", "Side OHH": "hihat", "Hi Hat Opened": "hihat", "Hi-Hat Pedal (Paiste)": "hihat",
        "Hat Op Phaser": "hihat", "tomhi2": "tom", "Floor Tom": "tom", "Ride Bell": "ride", "Crash Left": "crash",
        "Splash": "crash", "Cymbal": "crash",
    }.items():  # fmt: skip
        assert NAMES[label_of(name)] == wanted, name  # type: ignore[index]
    assert {label_of(name) for name in ("Crash/Ride (Paiste)", "Stick", "Cajon Thump", "Conga", "Zap 1")} == {None}


def test_folds_leave_whole_kits_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNN_JAX_DATA", str(tmp_path))
    monkeypatch.setattr(kits, "DEBIAN", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="not all of its kits are installed: apt-get install hydrogen-drumkits"):
        drums()
    every = [name for fold in FOLDS for name in fold]
    assert len(set(every)) == len(every) == 14
    for number, name in enumerate(every):
        parts = {"Kick": ["k.wav"], "Snare": ["s.wav"], "Stick": ["t.wav"]}
        kit(tmp_path / "drumkits" / name, parts | ({"Crash/Ride": ["cr.wav"]} if number else {}), 200 + 100 * number)
    (tmp_path / "drumkits" / every[1] / "k.wav").write_bytes((tmp_path / "drumkits" / every[0] / "k.wav").read_bytes())
    for fold, names in enumerate(FOLDS, 1):
        splits = drums(fold=fold, rate=8000, seconds=0.1)
        files = {
            split: {Path(f).parent.name for f in source.files(np.arange(len(source)))}
            for split, source in splits.items()
        }
        assert files["test"] == set(names) and not files["test"] & files["train"]
        assert sum(map(len, splits.values())) == 27  # one recording is in two kits
    said = " ".join(splits["train"].spec.notes)
    assert "left out 27 of 55 recordings, of instruments called by none or by two" in said
    assert "left out 1 recordings that are in two kits alike" in said
    with pytest.raises(ValueError, match="fold must be 1 to 5, not 6"):
        drums(fold=6)
    (tmp_path / "drumkits" / every[0] / "k.wav").unlink()
    with pytest.raises(ValueError, match=r"names a recording 'k\.wav' that is not in it"):
        drums()


def test_families_of_a_soundfont(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNN_JAX_DATA", str(tmp_path))
    monkeypatch.setattr(notes, "DEBIAN", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="apt-get install fluid-soundfont-gm"):
        instruments()
    names = {
        f"{family[:9]} {note}": (8 * number + note % 8, 0) for number, family in FAMILIES.items() for note in range(8)
    }
    file = soundfont(tmp_path / "FluidR3_GM.sf2", names | {"kit": (0, 128), "synth": (88, 0)})
    found = {sample.name: sample for sample in read(file)}
    assert found["organ 3"].programs == {19} and found["kit"].programs == set() and found["organ 3"].rate == 8000
    assert np.abs(found["piano 0"].samples).max() > 16000
    splits = instruments(rate=8000, seconds=0.2)
    assert {split: len(source) for split, source in splits.items()} == {"train": 62, "test": 18}
    assert "left out 2 of 82 samples" in " ".join(splits["train"].spec.notes)
    batch = splits["test"].batch(np.arange(18))
    assert batch["sound"].shape == (18, 1600, 1) and np.abs(batch["sound"]).max() <= 1
    assert splits["test"].files(np.array([0]))[0].endswith(" of FluidR3_GM.sf2")
    apart = instruments(rate=8000, seconds=0.2, held_out="instruments")  # all notes of a family are one here
    families = [{file.split()[0] for file in part.files(np.arange(len(part)))} for part in apart.values()]
    assert not families[0] & families[1]
    soundfont(tmp_path / "TimGM6mb.sf2", {"a": (0, 0), "b": (20, 0)})
    other = instruments(rate=8000, seconds=0.2, font="timgm6mb")
    assert list(other) == ["test"] and other["test"].batch(np.arange(2))["label"].tolist() == [0, 2]
    assert other["test"].spec.classes == splits["train"].spec.classes
    data = file.read_bytes()
    for damaged in (data[:200], data[:-30], b"RIFF" + data[4:8] + b"WAVE", data.replace(b"shdr", b"xhdr")):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"FluidR3_GM\.sf2' is no SoundFont 2 file, or a damaged one"):
            instruments()
    with pytest.raises(ValueError, match="font must be one of fluid, timgm6mb"):
        instruments(font="other")  # type: ignore[arg-type]


def test_languages_are_those_of_the_files_and_things_stay_on_one_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNN_JAX_DATA", str(tmp_path))
    with monkeypatch.context() as bare:
        bare.setattr(spoken, "found", lambda **_: None)
        with pytest.raises(FileNotFoundError, match="apt-get install ktuberling-data"):
            spoken_languages(source="ktuberling")
    things = [f"animals/thing{letter}" for letter in "abcdefghijkl"]
    for number, code in enumerate(LANGUAGES):
        for place, thing in enumerate(things):
            write(tmp_path / "tuxpaint" / f"{thing}_desc_{code}.ogg", tone(200 + 50 * number + 5 * place, 0.05))
        write(tmp_path / "ktuberling" / "sounds" / code / "eye.wav", tone(900 + number, 0.05))
    write(tmp_path / "tuxpaint" / "animals" / "thinga_desc_de.ogg", tone(100, 0.05))  # another language
    splits = spoken_languages(rate=8000, seconds=0.05)
    assert splits["train"].spec.classes == tuple(LANGUAGES.values())
    names = {split: [Path(f).name for f in source.files(np.arange(len(source)))] for split, source in splits.items()}
    said = {split: {name.split("_")[0] for name in found} for split, found in names.items()}
    assert len(said["train"]) + len(said["test"]) == 12 and not said["train"] & said["test"]
    assert sum(map(len, names.values())) == 12 * len(LANGUAGES)
    assert "measures the speaker" in " ".join(splits["train"].spec.notes)
    (other,) = spoken_languages(rate=8000, seconds=0.05, source="ktuberling").values()
    np.testing.assert_array_equal(other.batch(np.arange(6))["label"], np.arange(6))
