"""Splits of texts in memory: what every source of texts returns, however it came by them."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn_jax.data.keyed import Keys
from cnn_jax.data.source import Example, Splits, test_part
from cnn_jax.data.spec import Field, Role, Spec
from cnn_jax.data.splits import checked, digest, without_training
from cnn_jax.data.synonyms import synonyms_of
from cnn_jax.data.text import UNKNOWN, TextPrepare, Unit, bucket, learned, numbers, padded
from cnn_jax.paths import printable

TEXT = "text"  # the name of the one input
Targets = Mapping[str, np.ndarray]  # {field: [N, ...]}


@dataclass(eq=False)
class TextSource:
    """Texts [N] and their targets {field: [N, ...]}; `spec.prepare` says how they are read."""

    texts: Sequence[str]
    targets: Targets
    spec: Spec

    def __post_init__(self) -> None:
        self.prepare = prepare_of(self.spec)
        self.tokens = numbers(self.texts, self.prepare)
        self.kinds = bucket([len(tokens) for tokens in self.tokens], self.prepare)

    def __len__(self) -> int:
        return len(self.texts)

    def batch(self, indices: np.ndarray, keys: Keys | None = None) -> Example:
        """Examples of several lengths are padded to the longest of them."""
        places = np.asarray(indices)
        length = self.prepare.lengths[self.kinds[places].max(initial=0)]
        one = replace(self.prepare, lengths=(length,))
        tokens = [self.tokens[place] for place in places.tolist()]
        if keys is not None and self.prepare.draws:
            words, share = synonyms_of(self.prepare.vocabulary), self.prepare.synonyms
            tokens = [words.drawn(row, key, share) for row, key in zip(tokens, keys.tolist(), strict=True)]
        rows = [padded(row, one) for row in tokens]
        made = np.stack(rows) if rows else np.zeros((0, length), np.int32)
        return {TEXT: made, **{name: array[places] for name, array in self.targets.items()}}

    def buckets(self) -> NDArray[np.int64] | None:
        return self.kinds if len(self.prepare.lengths) > 1 else None

    def files(self, indices: np.ndarray) -> list[str]:
        """The texts themselves, each on one line: what people look for, where others have a file."""
        return [printable(" ".join(self.texts[place].split())) for place in np.asarray(indices).tolist()]

    def strata(self) -> np.ndarray | None:
        """The classes, where examples have one each."""
        names = [name for name, field in self.spec.targets.items() if field.role == "label"]
        return self.targets[names[0]] if len(names) == 1 else None

    def read_as(self, spec: Spec) -> "TextSource":
        """The same texts, as a model of the data `spec` reads them."""
        return TextSource(self.texts, self.targets, replace(self.spec, prepare=spec.prepare, inputs=spec.inputs))


def prepare_of(spec: Spec) -> TextPrepare:
    """How the texts of `spec` are read. Raises ValueError for data of another kind."""
    if not isinstance(spec.prepare, TextPrepare):
        raise ValueError(f"'{spec.name}' is no set of texts")
    return spec.prepare


def text_example(text: str, spec: Spec, what: str) -> NDArray[np.int32]:
    """One text as an example [L] of the data `spec`; `what` it is called in messages.

    A warning says where it is cut, or where the model knows nothing of it. Raises ValueError for a text that is empty
    or holds bytes that are no UTF-8.
    """
    prepare = prepare_of(spec)
    if flaw := flaw_of(text):
        raise ValueError(f"{what} {flaw}")
    (tokens,) = numbers([text], prepare)
    if (tokens == UNKNOWN).all():
        warnings.warn(
            f"the model knows no {prepare.unit} of {what}: it says what it says of any such text", stacklevel=2
        )
    if len(tokens) > prepare.lengths[-1]:
        warnings.warn(f"of {what} the first {prepare.lengths[-1]} of {len(tokens)} tokens are read", stacklevel=2)
    return padded(tokens, prepare)


def flaw_of(text: str) -> str:
    """Why a model cannot be asked about a text, "" where it can; bytes that are no UTF-8 are surrogates in it."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return "has bytes that are no UTF-8: give it in that encoding"
    return "" if text.strip() else "is empty: give a text"


def text_splits(
    name: str,
    texts: Mapping[str, Sequence[str]],
    targets: Mapping[str, Targets],
    *,
    roles: Mapping[str, Role],
    classes: Sequence[str],
    unit: Unit,
    least: int,
    lengths: Sequence[int],
    synonyms: float = 0.0,
    licence: str,
    citation: str,
    notes: Sequence[str] = (),
) -> Splits:
    """Splits of texts {split: [N]} with targets {split: {field: [N, ...]}}, of which "all" may be the only one.

    The vocabulary and the lengths are those of the training split: of what `opened` leaves in train where that is "all"
    (a validation split that is carved later is a part of train for this). A text without a token is left out, as it
    says nothing; texts that are in two splits, words that are not known and texts that are cut are counted.

    Args:
      roles: of the targets. unit, least, lengths: as `text.learned` takes them; synonyms: see `TextPrepare`.

    Raises ValueError, in one line, for a split without texts, or what `checked` or `TextPrepare` refuse.
    """
    kept: dict[str, _Part] = {}
    said = list(notes)
    if least < 1:
        raise ValueError(f"{name}: least = {least} must be at least 1")
    for split, found in texts.items():
        kept[split], empty = _without_empty(_Part(found, targets[split]))
        if not kept[split].texts:
            raise ValueError(f"{name}: the {split} split has no texts")
        if empty:
            where = "" if split == "all" else f" of {split}"
            what = f"{len(empty)} of {len(found)} texts{where} are empty and are left out"
            said.append(f"{what}, as number {empty[0] + 1}")
    first = "train" if "train" in kept else next(iter(kept))
    arrays = kept[first].targets
    fields = {field: Field(role, arrays[field].shape[1:], str(arrays[field].dtype)) for field, role in roles.items()}
    spec = Spec(
        name=name,
        classes=tuple(classes),
        inputs={TEXT: Field("tokens", (1,), "int32")},
        targets=fields,
        prepare=TextPrepare(unit=unit),
        licence=licence,
        citation=citation,
        fingerprint=_digest(kept),
    )
    checked(spec)
    seen = kept[first].texts
    if first == "all":
        seen = [seen[i] for i in test_part(TextSource(seen, arrays, spec))[0].tolist()]
    prepare = replace(learned(seen, unit, least, lengths), synonyms=synonyms)
    if prepare.draws:
        synonyms_of(prepare.vocabulary)  # says at once where there are none
    inputs = {TEXT: Field("tokens", prepare.lengths[-1:], "int32")}
    spec = replace(spec, prepare=prepare, inputs=inputs)
    splits = {split: TextSource(*part, spec) for split, part in kept.items()}
    for field in (field for field, role in roles.items() if role == "labels"):
        said += without_training({split: part.targets[field] for split, part in kept.items()}, classes)
    said += [*_twice(kept), *_odd(splits)]
    spec = replace(spec, notes=tuple(f"{name}: {note}" for note in said))
    for source in splits.values():
        source.spec = spec
    return dict(splits)


class _Part(NamedTuple):
    """Texts [N] and their targets {field: [N, ...]}."""

    texts: Sequence[str]
    targets: Targets


def _without_empty(part: _Part) -> tuple[_Part, list[int]]:
    """The part without empty texts, and where these were."""
    full = np.array([bool(text.strip()) for text in part.texts], bool)
    texts = [text for text, has in zip(part.texts, full, strict=True) if has]
    return _Part(texts, {name: array[full] for name, array in part.targets.items()}), np.flatnonzero(~full).tolist()


def _digest(kept: Mapping[str, _Part]) -> str:
    arrays: list[np.ndarray] = []
    for _, part in sorted(kept.items()):
        joined = "\0".join(part.texts).encode("utf-8", "surrogatepass")
        arrays += [np.frombuffer(joined, np.uint8), *part.targets.values()]
    return digest(*arrays)


def _twice(kept: Mapping[str, _Part]) -> list[str]:
    """What is said of texts that are in more than one split."""
    where: dict[str, set[str]] = {}
    for split, part in kept.items():
        for text in part.texts:
            where.setdefault(" ".join(text.split()).lower(), set()).add(split)
    both = [text for text, splits in where.items() if len(splits) > 1]
    if not both:
        return []
    return [f"{len(both)} texts are in more than one split, as '{printable(both[0])[:60]}': remove the copies"]


def _odd(splits: Mapping[str, TextSource]) -> list[str]:
    """What is said of texts that are cut, and of those of which no word is known."""
    source = splits.get("train") or next(iter(splits.values()))
    longest, said = source.prepare.lengths[-1], []
    sizes = np.concatenate([[len(tokens) for tokens in split.tokens] for split in splits.values()])
    if cut := int((sizes > longest).sum()):
        what = f"{cut} of {len(sizes)} texts have more than {longest} tokens, up to {sizes.max()}, and are cut there"
        said.append(f"{what}: lengths=(..., {sizes.max()}) reads them whole")
    for split, found in splits.items():
        strange = [i for i, tokens in enumerate(found.tokens) if len(tokens) and (tokens == UNKNOWN).all()]
        if strange:
            what = f"{len(strange)} of {len(found)} texts of {split} have no {found.prepare.unit} that is known"
            said.append(f"{what}, as '{printable(found.texts[strange[0]])[:60]}'")
    return said
