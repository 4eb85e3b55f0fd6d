"""Scores of a whole split do not depend on how it is cut into batches, nor on the devices."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from threadpoolctl import threadpool_info

from cnn_jax.batch import Batch
from cnn_jax.config import Experiment
from cnn_jax.data.keyed import Keys
from cnn_jax.data.source import ArraySource, Example
from cnn_jax.data.spec import VALID
from cnn_jax.evals.also import Evaluation
from cnn_jax.evals.evaluator import Score, Scores
from cnn_jax.train.evaluate import evaluate, evaluate_also, writer
from cnn_jax.train.predictor import Predictor, computed_in_turn, predict
from cnn_jax.train.predictor import scored as loss_and_outputs
from cnn_jax.train.run import assemble, fresh
from cnn_jax.train.state import State, Tree


def made(config: Experiment, source: ArraySource, parallel: str, devices: int) -> Predictor:
    """A predictor whose weights and running statistics are not those of a fresh model, which says the same of all."""
    config.compute.parallel, config.compute.devices = parallel, devices
    run = assemble(config, source.spec, len(source))

    def moved(state: State) -> State:
        noise = np.random.default_rng(1)

        def shaken(tree: Tree, low: float, high: float) -> Tree:
            return jax.tree.map(lambda a: a + jnp.asarray(noise.uniform(low, high, a.shape), a.dtype), tree)

        return state.replace(params=shaken(state.params, -0.3, 0.3), model_state=shaken(state.model_state, 0.1, 1))

    config.compute.parallel, config.compute.devices = "jit", 1
    alone = assemble(config, source.spec, len(source))
    state = jax.tree.map(np.asarray, moved(fresh(alone)))
    variables = run.engine.variables(run.engine.place(state))
    return Predictor(run.spec, run.model, run.task, variables, run.compiled, run.engine.devices)


def scored(predictor: Predictor, source: ArraySource, size: int) -> tuple[Scores, Example]:
    """The scores, and what was said of each example beside its targets."""
    rows: list[Example] = []
    scores = evaluate(predictor, source, size, lambda outputs, batch: rows.append({**outputs, **batch}))
    return scores, {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def test_scores_are_the_same_for_any_batch_size_and_any_devices(config: Experiment, source: ArraySource) -> None:
    expected, whole = scored(made(config, source, "jit", 1), source, 80)
    assert 0 < expected.numbers["top1"].value < 1 and np.ptp(whole["logits"][:, 0]) > 0.01
    for name, score in expected.numbers.items():
        assert score.low is None or score.low - 1e-9 <= score.value <= score.high + 1e-9, name
    ways = [("jit", 1, (7, 1000)), ("jit", 8, (1, 33)), ("fsdp", 4, (12,)), ("pmap", 2, (79,))]
    for parallel, devices, sizes in ways:
        predictor = made(config, source, parallel, devices)
        for size in sizes:
            scores, found = scored(predictor, source, size)
            np.testing.assert_array_equal(found["index"], np.arange(80))
            np.testing.assert_array_equal(found["label"], source.arrays["label"])
            np.testing.assert_allclose(found["logits"], whole["logits"], rtol=1e-5, atol=1e-5)
            assert scores.numbers.keys() == expected.numbers.keys()
            np.testing.assert_array_equal(scores.tables["confusion"], expected.tables["confusion"])
            for name, score in scores.numbers.items():
                close = 0 if name.startswith("top") else 1e-5
                wanted = expected.numbers[name]
                assert score.value == pytest.approx(wanted.value, rel=close), (name, parallel, size)
                if score.low is not None:
                    assert (score.low, score.high) == pytest.approx((wanted.low, wanted.high), rel=close)


@dataclasses.dataclass(eq=False)
class PartlyCorrupt(ArraySource):
    """Every fifth image cannot be decoded."""

    def batch(self, indices: np.ndarray, keys: Keys | None = None) -> Example:
        good = indices % 5 != 0
        batch = super().batch(indices)
        return {
            **batch,
            "image": np.where(good[:, None, None, None], batch["image"], 0),
            "valid": good.astype(np.float32),
        }


def test_a_batch_is_scored_while_the_next_one_is_under_way() -> None:
    begun: list[int] = []

    def forward(batch: Example) -> np.ndarray:
        begun.append(int(batch["n"][0]))
        return 10 * batch["n"]

    turns = computed_in_turn(forward, ({"n": np.array([n])} for n in range(3)))
    assert [(batch["n"][0], said[0], len(begun)) for batch, said in turns] == [(0, 0, 2), (1, 10, 3), (2, 20, 3)]
    assert not list(computed_in_turn(forward, []))


def test_numpy_computes_in_one_thread_while_the_model_does(config: Experiment, source: ArraySource) -> None:
    """Its own threads would take the cores that the next batch is computed on."""

    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if "numpy" in library["filepath"]]

    before, within = threads(), list[list[int]]()
    evaluate(made(config, source, "jit", 1), source, 40, lambda *_: within.append(threads()))
    assert all(count == 1 for counts in within for count in counts) and len(within) == 2
    assert threads() == before


def test_loss_and_predictions_take_one_forward_pass(config: Experiment, source: ArraySource) -> None:
    predictor = made(config, source, "jit", 1)
    batch = Batch({**source.batch(np.arange(4)), VALID: np.ones(4, np.float32)}, source.spec.fields)  # type: ignore[dict-item]

    def convolutions(function: Callable[[Tree, Batch], Any]) -> int:
        return str(jax.make_jaxpr(function)(predictor.variables, batch)).count("= convolution[")

    assert convolutions(loss_and_outputs(predictor.task)) == convolutions(predictor.task.predict) > 0


def test_images_that_cannot_be_decoded_are_left_out(config: Experiment, source: ArraySource) -> None:
    predictor = made(config, source, "jit", 2)
    corrupt = PartlyCorrupt(source.arrays, source.spec)
    scores, found = scored(predictor, corrupt, 12)
    _, whole = scored(predictor, source, 12)
    good = np.arange(80) % 5 != 0
    np.testing.assert_array_equal(found["index"], np.flatnonzero(good))
    np.testing.assert_array_equal(found["label"], source.arrays["label"][good])
    np.testing.assert_array_equal(found["logits"], whole["logits"][good])
    assert scores.tables["confusion"].sum() == good.sum()
    of_the_good, _ = scored(predictor, ArraySource({n: a[good] for n, a in source.arrays.items()}, source.spec), 12)
    for name in ("loss", "nll", "top1"):
        assert scores.numbers[name].value == pytest.approx(of_the_good.numbers[name].value, rel=1e-6)


def test_the_loss_is_the_tasks_own_without_dropout(config: Experiment, source: ArraySource) -> None:
    """Over padded batches on two devices: the mean over all 80 examples of -log of the probability of the label."""
    predictor = made(config, source, "jit", 2)
    scores, found = scored(predictor, source, 24)
    logits = found["logits"].astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -logs[np.arange(80), found["label"]].mean()
    assert scores.numbers["loss"].value == pytest.approx(expected, rel=1e-5)


def test_outputs_are_streamed_to_files_that_equal_the_predictions(
    config: Experiment, source: ArraySource, tmp_path: Path
) -> None:
    predictor = made(config, source, "jit", 2)
    evaluate(predictor, source, 12, writer(tmp_path / "outputs", source))
    kept = {path.stem: np.load(path) for path in (tmp_path / "outputs").iterdir()}
    assert kept.keys() == {"logits", "label", "index"}  # not the images, which are there already
    assert not (tmp_path / "outputs" / "files.txt").exists()
    corrupt = PartlyCorrupt(source.arrays, source.spec, [f"{i}.png" for i in range(len(source))])
    evaluate(predictor, corrupt, 12, writer(tmp_path / "corrupt", corrupt))
    found = np.load(tmp_path / "corrupt" / "index.npy")
    names = (tmp_path / "corrupt" / "files.txt").read_text().splitlines()
    assert names == [f"{i}.png" for i in found if i >= 0] and len(names) < len(source)
    good = np.flatnonzero(np.arange(80) % 5)
    assert np.load(tmp_path / "corrupt" / "index.npy").tolist() == [*good, *[-1] * 16]
    np.testing.assert_array_equal(np.load(tmp_path / "corrupt" / "logits.npy")[:64], kept["logits"][good])
    np.testing.assert_array_equal(kept["index"], np.arange(80))
    np.testing.assert_array_equal(kept["label"], source.arrays["label"])
    said = predict(predictor, {"image": source.arrays["image"]}, batch_size=12)
    np.testing.assert_array_equal(kept["logits"], said["logits"])


def test_a_prediction_depends_on_neither_the_batch_nor_its_padding(config: Experiment, source: ArraySource) -> None:
    predictor = made(config, source, "jit", 2)
    images = source.arrays["image"]
    whole = predict(predictor, {"image": images}, batch_size=10)["logits"]
    assert whole.shape == (80, 4)
    np.testing.assert_array_equal(predict(predictor, {"image": images[:13]}, batch_size=10)["logits"], whole[:13])
    np.testing.assert_allclose(predict(predictor, {"image": images[:1]})["logits"], whole[:1], rtol=1e-5, atol=1e-5)


def test_another_evaluation_may_predict_in_its_own_way(config: Experiment, source: ArraySource) -> None:
    """The brightness of each image by the device, its mean over the split by the host; no loss is said."""
    predictor = made(config, source, "jit", 2)
    calls = []

    def brightness(variables: State, batch: Batch) -> dict[str, jax.Array]:
        calls.append(1)
        return {"bright": batch.scaled()["image"].mean((1, 2, 3))}

    bright = predictor.task.evaluator._replace(
        start=list,
        add=lambda totals, outputs, batch: [*totals, *outputs["bright"]],
        finish=lambda totals: Scores({"bright": Score(float(np.mean(totals)))}, {}),
    )
    for _ in range(2):
        scores = evaluate_also(predictor, Evaluation("light", source, bright, brightness), 12)
    assert scores.numbers.keys() == {"bright"}
    assert scores.numbers["bright"].value == pytest.approx(source.arrays["image"].mean() / 255, rel=1e-5)
    assert len(calls) == 1  # traced and compiled once, however often it is asked
