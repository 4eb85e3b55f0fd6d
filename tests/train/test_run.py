"""What is said when the parts of a run are put together."""

import warnings

import pytest

from cnn_jax.models.resnet import resnet18
from cnn_jax.train.run import assemble, check_stem


def test_a_stem_that_does_not_fit_the_images_is_noticed(config, source):
    fits = assemble(config, source.spec, len(source))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_stem(fits)
    config.model.build = resnet18
    with pytest.warns(UserWarning, match="shrinks 8x8 to 1x1, 4-fold at its very beginning; use stem=fitting_stem"):
        check_stem(fits._replace(config=config))
