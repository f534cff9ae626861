"""A training step, and how much of it is not the backbone's forward and backward.

    python -m benchmarks.train_step [--quick] [--backbone NAME] [--in-memory] [--threads N]

The step is that of `facetry train`: photos decoded by the loader (or taken from memory), augmented,
embedded, all heads, loss, backward, clipping, AdamW. The baseline is the backbone alone, forward and
backward, on the same photos in the same mode with the same threads.
"""

import argparse
import functools
import os
import tempfile
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is there
import torch

from benchmarks.challenge import challenge_taxonomy, draw_labels
from benchmarks.measure import Times, alternate, make_parser, percent_cells, share_outside, show
from benchmarks.photos import write_catalogue
from facetry.catalogue.catalogue import open_catalogue
from facetry.images import NUM_DECODERS, Augmentation, Augmenter, Mixer, PhotoStore
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.serialization import build_classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.models.towers.image import Backbone
from facetry.training.config import TrainingConfig
from facetry.training.data import Examples, PhotoInputs, in_batches
from facetry.training.loop import compute_gradients, load, take_step
from facetry.training.run import Run, start
from facetry.training.state import TrainingState
from facetry.training.targets.loss import Criterion


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    batch_size, num_steps, num_rounds = (8, 1, 2) if options.quick else (32, 3, 3)
    with tempfile.TemporaryDirectory() as folder:
        backbone = BackboneConfig(name=options.backbone, weights="none")
        classifier = build_classifier(challenge_taxonomy(), backbone, HeadsConfig(), ImageConfig())
        num_products = batch_size * num_steps
        store = _photos(Path(folder), classifier, num_products, in_memory=options.in_memory)
        run, state = _set_up(classifier, store, batch_size)
        order = in_batches(run.examples.train, batch_size)
        photos = [torch.from_numpy(store.batch(rows)) for rows in order]
        times = alternate(
            {
                "whole step": functools.partial(_steps, run, state),
                "backbone alone": functools.partial(_alone, classifier.backbone, photos),
            },
            num_rounds=num_rounds,
        )
    _report(times, options, batch_size, num_steps)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, quick="8 photos in a batch, fewer rounds")
    parser.add_argument("--backbone", default="ViT-B-32")
    parser.add_argument("--in-memory", action="store_true", help="photos decoded before")
    return parser.parse_args(arguments)


def _photos(folder: Path, classifier: Classifier, num_products: int, *, in_memory: bool) -> PhotoStore:
    products = open_catalogue(write_catalogue(folder / "catalogue", num_products)).products()
    (form,) = classifier.preprocesses
    budget_bytes = 2**40 if in_memory else 0
    store = PhotoStore(products, form, num_workers=NUM_DECODERS, budget_bytes=budget_bytes)
    assert not store.problems
    return store


def _set_up(classifier: Classifier, store: PhotoStore, batch_size: int) -> tuple[Run, TrainingState]:
    """As `facetry train` sets up, with labels drawn at random."""
    categories, labels = draw_labels(classifier.taxonomy, len(store.readable))
    examples = Examples(
        ids=store.readable.tolist(),
        categories=torch.from_numpy(categories),
        labels=torch.from_numpy(labels),
        train=store.readable,
        validation=np.arange(0),
    )
    config = TrainingConfig(batch_size=batch_size)
    device, augmentation = torch.device("cpu"), Augmentation()
    run = Run(
        taxonomy=classifier.taxonomy,
        config=config,
        seed=0,
        examples=examples,
        inputs=PhotoInputs(store, Augmenter(augmentation, 0), Mixer(augmentation, 0), device),
        criterion=Criterion.of(config.loss, classifier.taxonomy, examples.labels, examples.categories),
        device=device,
    )
    return run, start(run, classifier)


def _steps(run: Run, state: TrainingState) -> None:
    """An epoch from a cold start of the loader, so that its first batch hides behind nothing."""
    for _, batch in load(run, state):
        take_step(run, state, batch, compute_gradients(run, state, batch))


def _alone(backbone: Backbone, photos: list[torch.Tensor]) -> None:
    backbone.train()
    for batch in photos:
        backbone.zero_grad(set_to_none=True)
        features = backbone(batch)
        features.backward(torch.full_like(features, 1e-3))


def _report(
    times: dict[str, Times], options: argparse.Namespace, batch_size: int, num_steps: int
) -> None:
    alone, whole = times["backbone alone"], times["whole step"]
    share, cpu_share = share_outside(alone, whole), share_outside(alone.cpu, whole.cpu)
    per_step = {name: each.divided(num_steps) for name, each in times.items()}
    figures = {
        "benchmark": "train_step",
        "backbone": options.backbone,
        "batch_size": batch_size,
        "threads": options.threads,
        "photos": "in memory" if options.in_memory else "decoded",
        **{name.replace(" ", "_"): each.as_dict() for name, each in per_step.items()},
        "share_outside_backbone": share,
        "cpu_share_outside_backbone": cpu_share,
    }
    rows = [(name, *each.cells()) for name, each in per_step.items()]
    rows.append(percent_cells("outside, % of wall time", share))
    rows.append(percent_cells("outside, % of CPU time", cpu_share))
    title = f"{options.backbone}, batch of {batch_size}, photos {figures['photos']}"
    show(title, ["", "median, ms", "range, ms"], rows, figures)


if __name__ == "__main__":
    main()
