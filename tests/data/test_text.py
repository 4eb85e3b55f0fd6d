"""Texts as numbers: what they are cut into, a vocabulary of train alone, lengths, and tables of texts and classes."""

import json
import shutil
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.data import synonyms
from cnn_jax.data.batches import evaluation_batches, training_batch
from cnn_jax.data.files import example_of
from cnn_jax.data.inputs import read_all
from cnn_jax.data.scoring import scored
from cnn_jax.data.source import opened
from cnn_jax.data.spec import from_json, to_json
from cnn_jax.data.text import ZHANG, bucket, cut, learned, numbers, padded, suitable, written_out
from cnn_jax.lookup import lookup


def test_words_as_kim_has_them() -> None:
    assert cut("It doesn't work, Éva's (all) WON'T!", "word") == [
        *("it", "does", "n't", "work", ",", "éva", "'s", "(", "all", ")", "wo", "n't", "!")
    ]
    assert cut("cafe\u0301", "word") == ["café"]  # two ways to write one letter


def test_zhangs_alphabet_and_order() -> None:
    assert len(ZHANG) == len(set(ZHANG)) == 68
    prepare = learned([], "zhang", 1, (8,))
    (found,) = numbers(["Ab c"], prepare)
    assert found.tolist() == [2 + ZHANG.index("c"), 1, 2 + ZHANG.index("b"), 2 + ZHANG.index("a")]
    assert written_out(padded(found, prepare), prepare) == "ab?c" and prepare.symbols == 69


@pytest.mark.parametrize("unit", ["word", "char", "byte"])
def test_there_and_back(unit: str) -> None:
    text = "naïve words, twice words"
    prepare = learned([text], unit, 1, ())  # type: ignore[arg-type]
    (found,) = numbers([text], prepare)
    example = padded(found, prepare)
    assert example.shape == (16 if unit == "word" else 32,) and example.dtype == np.int32 and (found > 1).all()
    wanted = "naïve words , twice words" if unit == "word" else text
    assert written_out(example, prepare).encode("latin-1" if unit == "byte" else "utf-8").decode() == wanted
    assert found.max() <= prepare.symbols  # rows of a table, of which the first is that of 1


def test_the_most_frequent_come_first_and_rare_ones_are_unknown() -> None:
    prepare = learned(["b a a c", "a b d"], "word", 2, (2, 4))
    assert prepare.vocabulary == ("a", "b") and prepare.symbols == 3
    assert [n.tolist() for n in numbers(["a b zzz", ""], prepare)] == [[2, 3, 1], []]
    assert bucket([0, 2, 3, 9], prepare).tolist() == [0, 0, 1, 1]
    assert padded(np.arange(2, 9, dtype=np.int32), prepare).tolist() == [2, 3, 4, 5]  # cut at the last


def test_lengths_that_suit() -> None:
    assert suitable(np.array([3, 9])) == (16,)
    assert suitable(np.array([20] * 50 + [60] * 50)) == (32, 64)
    assert suitable(np.array([10] * 99 + [4000])) == (16, 1024)[-1:]  # one of a hundred is worth no program
    assert suitable(np.array([10] * 90 + [4000] * 10)) == (16, 1024)


def test_a_record_survives_json_and_a_damaged_one_is_refused(table: Path) -> None:
    spec = opened(lookup(f"csv:{table}"))["train"].spec
    stored = json.loads(json.dumps(to_json(spec)))
    assert from_json(stored) == spec
    for field, value in {"unit": "page", "lengths": [8, 4], "vocabulary": [1], "synonyms": 2, "kind": "film"}.items():
        with pytest.raises(ValueError, match=r"unit|lengths|vocabulary|synonyms|no description of data: KeyError"):
            from_json({**stored, "prepare": {**stored["prepare"], field: value}})


ROWS = [("a good film", "yes"), ("a bad film", "no"), ("so good", "yes"), ("so bad , so long", "no")] * 5


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twenty rows; a word that is in the first text of the test split alone."""
    path = tmp_path / "texts.csv"
    rows = [f'"{text} {"again" * (number == 0)}",{label}' for number, (text, label) in enumerate(ROWS)]
    path.write_text("\n".join(["Text,label", *rows]))
    return path


def test_the_vocabulary_is_of_train_alone(table: Path) -> None:
    folder = table.parent / "set"
    folder.mkdir()
    (folder / "train.tsv").write_text("text\tlabel\n" + "\n".join(f"{t}\t{label}" for t, label in ROWS[:8]))
    (folder / "test.tsv").write_text("text\tlabel\nan unseen word\tmaybe\nso good\tyes\nqwert\tno\n")
    with pytest.warns(UserWarning) as said:
        splits = opened(lookup(f"csv:{folder}"))
    spec = splits["train"].spec
    assert set(spec.prepare.vocabulary) == {"a", "good", "bad", "film", "so", ",", "long"}  # type: ignore[attr-defined]
    assert spec.classes == ("maybe", "no", "yes")
    messages = "\n".join(str(one.message) for one in said)
    for wanted in (
        "1 of 3 classes have no training example, as 'maybe'",
        "1 texts are in more than one split, as 'so good'",
        "2 of 3 texts of test have no word that is known, as 'an unseen word'",
    ):
        assert wanted in messages
    whole = opened(lookup(f"csv:{table}"))
    in_train = [text for text in whole["train"].source.files(np.arange(20)) if "again" in text]  # type: ignore[attr-defined]
    known = "again" in whole["train"].spec.prepare.vocabulary  # type: ignore[attr-defined]
    places = whole["test"].indices.tolist()  # type: ignore[attr-defined]
    assert in_train and known == (0 not in places)


def test_batches_have_one_length_and_every_text_once(table: Path) -> None:
    source = opened(partial(lookup("csv"), path=str(table), lengths=(4, 8)))["train"]
    assert source.spec.shapes == ((4,), (8,)) and source.spec.input.shape == (8,)
    widths = {training_batch(source, 0, step, 4)["text"].shape[1] for step in range(8)}
    assert widths == {4, 8}
    seen = [index for batch in evaluation_batches(source, 4) for index in batch["index"] if index >= 0]
    assert sorted(seen) == list(range(len(source)))
    batch = source.batch(np.arange(len(source)))  # of both lengths
    assert batch["text"].shape == (len(source), 8)


BAD = {
    "texts.csv' has no column 'texte': did you mean 'Text'?": {"text": "texte"},
    "has no column of a usual name for the label, but 'text', 'two': say label=": {"content": "text,two\na,b"},
    "encoding = 'klingon' is not known": {"encoding": "klingon"},
    "is empty: give a table": {"content": ""},
    "has only one class, 'yes'": {"content": "text,label\na,yes\nb,yes"},
    "delimiter must be one character": {"delimiter": "::"},
    "is neither a file nor a folder": {"path": "nowhere.csv"},
    "lengths must be numbers of tokens": {"lengths": (8, 4)},
    "least = 0 must be at least 1": {"least": 0},
    "synonyms are of words": {"synonyms": 0.5, "unit": "char"},
}


@pytest.mark.parametrize("said", BAD)
def test_what_is_wrong_is_one_line(said: str, table: Path) -> None:
    settings = dict(BAD[said])
    if (content := settings.pop("content", None)) is not None:
        table.write_text(content)  # type: ignore[arg-type]
    with pytest.raises(ValueError) as error:
        opened(partial(lookup("csv"), **{"path": str(table), **settings}))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_odd_rows_are_no_examples_and_cells_may_have_lines(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text('\ufefftext,label\n"one, two",a\nthree,b,c\n,a\nfour,\nfive\n"six\nseven",b\neight,a\n')
    with pytest.warns(UserWarning, match="2 of 7 rows have not 2 cells, as line 3"):
        splits = opened(lookup(f"csv:{path}"))
    labels = np.concatenate([source.batch(np.arange(len(source)))["label"] for source in splits.values()])
    assert sorted(labels.tolist()) == [-1, 0, 0, 1]


def test_columns_by_number_and_several_classes(tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    path.write_text("\n".join(f'"{1 + i % 2}|3","title {i}","body"' for i in range(10)) + '\n"","none","x"')
    splits = opened(partial(lookup("csv"), path=str(path), text=(2, 3), label=1, separator="|"))
    spec = splits["train"].spec
    assert spec.classes == ("1", "2", "3") and spec.targets["labels"].role == "labels"
    every = np.concatenate([source.batch(np.arange(len(source)))["labels"] for source in splits.values()])
    assert sorted(every.sum(1).tolist()) == [0] + [2] * 10
    assert splits["train"].source.files([0]) == ["title 0 body"]  # type: ignore[attr-defined]
    for split, label in (("train", "1|3"), ("test", "2|3")):
        (tmp_path / f"{split}.csv").write_text(f"text,labels\na text,1|3\nanother,{label}\n")
    path.unlink()
    split = lookup("csv")(path=str(tmp_path), text="text", label="labels", separator="|")["train"].spec.notes
    assert any(note.endswith("1 of 3 classes have no training example, as '2', 1 of which test has") for note in split)


def test_a_text_is_read_as_in_training_and_what_is_odd_is_said(table: Path) -> None:
    source = opened(lookup(f"csv:{table}"))["train"]
    spec = source.spec
    wanted = source.batch(np.array([3]))["text"][0]
    (text,) = source.source.files(source.indices[[3]])  # type: ignore[attr-defined]
    file = table.with_name("one.txt")
    file.write_text(text)
    for value in (text, file):
        np.testing.assert_array_equal(example_of(value, spec)[0], wanted)
    with pytest.warns(UserWarning, match="knows no word of 'qwert'"):
        assert set(example_of("qwert", spec)[0].tolist()) == {0, 1}
    with pytest.warns(UserWarning, match="the first 16 of 40 tokens are read"):
        example_of("good " * 40, spec)
    for value, said in ((" ", "is empty"), ("d\udce9j", "no UTF-8"), (Path("nowhere.txt"), "there is no file")):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            example_of(value, spec)
    lines = table.with_name("lines.txt")
    lines.write_text("so good\n\nso bad\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = read_all(["a film", f"@{lines}", str(file)], spec)
    assert [str(item.path) for item in found] == ["a film", "so good", ".", "so bad", str(file)]
    assert [bool(item.problem) for item in found] == [False, False, True, False, False]


def test_another_table_is_scored_in_the_numbers_of_the_run(table: Path, tmp_path: Path) -> None:
    spec = opened(lookup(f"csv:{table}"))["train"].spec
    other = tmp_path / "other.csv"
    other.write_text("text,label\nnever seen long ago,yes\nso bad,no\n")
    found = scored(lookup(f"csv:{other}"), "test", spec)
    (known,) = numbers(["so bad"], spec.prepare)  # type: ignore[arg-type]
    row = found.batch(np.array([1]))
    assert row["text"][0, :2].tolist() == known.tolist() and spec.classes[row["label"][0]] == "no"
    assert (found.batch(np.array([0]))["text"][0] == 1).sum() == 3


def line(words: str, kind: str = "n", file: int = 4, gloss: str = "g") -> str:
    listed = words.split()
    return f"00001740 {file:02d} {kind} {len(listed):02x} {' '.join(f'{w} 0' for w in listed)} 000 | {gloss}  "


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A WordNet of four nouns and a verb, in $CNN_JAX_DATA."""
    folder = tmp_path / "data" / "wordnet"
    folder.mkdir(parents=True)
    nouns = [line("entity", file=3), *(line(f"dog{n} hound", file=5, gloss=f"an animal {n}") for n in range(4))]
    nouns += [line("act", gloss=f"something done {n}") for n in range(4)] + [line("deed", gloss="an animal 1")]
    (folder / "data.noun").write_text("  1 the licence\n" + "\n".join(nouns) + "\n")
    (folder / "data.verb").write_text(line("good well_done fine(p)", "v"))
    for kind in ("adj", "adv"):
        (folder / f"data.{kind}").write_text("")
    monkeypatch.setenv("CNN_JAX_DATA", str(folder.parent))
    synonyms._synsets.cache_clear()
    synonyms.synonyms_of.cache_clear()
    return folder.parent


def test_glosses_of_wordnet(own_data: Path) -> None:
    splits = opened(lookup("wordnet"))
    assert sum(map(len, splits.values())) == 7  # of nine nouns and a root: one gloss is of two classes
    spec = splits["train"].spec
    assert len(spec.classes) == 25 and spec.prepare.lengths == (16,)  # type: ignore[attr-defined]
    (own_data / "wordnet" / "data.noun").write_text("nothing")
    with pytest.raises(ValueError, match="line 1, is no noun of WordNet"):
        opened(lookup("wordnet"))


def test_training_reads_synonyms_and_evaluation_does_not(own_data: Path, table: Path) -> None:
    table.write_text(table.read_text() + "\nfine,yes\nfine,no\n")
    source = opened(partial(lookup("csv"), path=str(table), synonyms=1.0))["train"]
    vocabulary = source.spec.prepare.vocabulary  # type: ignore[attr-defined]
    good, fine = (2 + vocabulary.index(word) for word in ("good", "fine"))
    rows = np.arange(len(source))
    plain, drawn = source.batch(rows)["text"], source.batch(rows, np.arange(len(rows), dtype=np.uint64))["text"]
    swapped = np.where(plain == good, fine, np.where(plain == fine, good, plain))
    np.testing.assert_array_equal(drawn, swapped)
    assert (plain == good).any()
    shutil.rmtree(own_data)
    synonyms._synsets.cache_clear()
    synonyms.synonyms_of.cache_clear()
    if synonyms.found(system=("/usr/share/wordnet/data.noun",)) is None:
        with pytest.raises(FileNotFoundError, match="synonyms are those of WordNet"):
            opened(partial(lookup("csv"), path=str(table), synonyms=0.5))
