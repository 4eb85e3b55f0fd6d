"""What is said when the parts of a run are put together."""

import dataclasses
import warnings
from functools import partial

import jax
import pytest

from cnn_jax.augment.crop import crop
from cnn_jax.augment.mix import mixup
from cnn_jax.models.resnet import resnet18
from cnn_jax.models.small_cnn import small_cnn
from cnn_jax.train.checks import check_augment, check_stem
from cnn_jax.train.predictor import make_model
from cnn_jax.train.run import assemble


def test_a_stem_that_does_not_fit_the_images_is_noticed(config, source):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_stem(make_model(config.model, config.compute.precision, source.spec), source.spec)
    config.model.build = resnet18
    with pytest.warns(UserWarning, match="shrinks 8x8 to 1x1, 4-fold at its very beginning; use stem=fitting_stem"):
        check_stem(make_model(config.model, config.compute.precision, source.spec), source.spec)


def smaller(keys, batch, *, by):
    return batch | {"image": batch["image"][:, by:]}


def only_the_image(keys, batch):
    return {"image": batch["image"]}


def test_what_is_no_augmentation_of_the_data_is_refused_before_the_first_step(config, source, monkeypatch):
    task = assemble(config, source.spec, len(source)).task
    check_augment(mixup, source.spec, 16, task)
    monkeypatch.setattr("cnn_jax.train.checks.describe", lambda function: "mine")  # these have no name to record
    for augment, says in (
        (
            partial(smaller, by=1),
            "augment = mine does not return a batch of the shapes that its fields say: look at 'image'",
        ),
        (
            partial(crop, size=(4, 7)),  # the model has a matrix of all pixels
            r"^augment = mine makes inputs of the shape \(4, 7, 1\), which model and task cannot take: [^\n]*$",
        ),
        (only_the_image, r"augment = mine returns dict, not a Batch: write `return batch \| "),
        (lambda keys: keys, "augment = mine is no augmentation: "),
    ):
        with pytest.raises(ValueError, match=says):
            check_augment(augment, source.spec, 16, task)


def test_a_loss_over_the_whole_batch_is_not_cut_into_parts(config, source):
    task = config.model.task
    config.model.task = lambda model, spec: task(model, spec)._replace(whole_batch=True)
    assemble(config, source.spec, len(source))
    config.optim.accumulate = 2
    with pytest.raises(ValueError, match="^optim.accumulate = 2 cuts the batch .*: set it to 1$"):
        assemble(config, source.spec, len(source))


def test_the_step_and_its_shapes_are_made_without_drawing_a_weight(config, source):
    """Building a run of a large model costs neither its memory nor its initialisation."""
    config.model = dataclasses.replace(
        config.model, build=partial(small_cnn, features=(8, 16), hidden=2**20, dropout=0.0)
    )
    run = assemble(config, source.spec, len(source))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(run.engine.target))
