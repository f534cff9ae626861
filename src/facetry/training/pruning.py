"""A tower made smaller before training, once: what went is written beside the training's state.

Shapes: B products, S side in pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facetry.files import write_text
from facetry.images import NUM_DECODERS, load
from facetry.models.backbones import Backbone
from facetry.models.config import PruneConfig
from facetry.models.device import pick_device
from facetry.models.prune import NUM_PHOTOS, choose_pruning, prune
from facetry.models.slim import Pruning
from facetry.product import Product
from facetry.progress import Reporter

PRUNING = "pruning.json"
"""Where a training keeps what it chose, so that it goes on with the same tower."""


def prune_for(
    backbone: Backbone,
    config: PruneConfig,
    products: Sequence[Product],
    folder: Path,
    reporter: Reporter,
) -> None:
    """Prune `backbone` as was chosen before in `folder`; else choose, by photos of some of `products`.

    Raises:
        BackboneError: a tower without parts of a kind that is to be pruned.
    """
    file = folder / PRUNING
    if file.is_file():
        prune(backbone, Pruning.model_validate_json(file.read_bytes()))
        return
    photos = _some_photos(products, backbone)
    if not len(photos):
        return  # training says that there is nothing to learn from
    before = _millions(backbone)
    pruning = choose_pruning(backbone.to(pick_device()), config, photos.to(pick_device()))
    prune(backbone, pruning)
    write_text(file, pruning.model_dump_json())
    reporter.say(
        f"The tower was pruned from {before:.1f} to {_millions(backbone):.1f} million parameters."
    )


def _some_photos(products: Sequence[Product], backbone: Backbone) -> Tensor:
    """Photos (B, 3, S, S) of some products, the same ones each time."""
    spec = backbone.preprocess.model_copy(update={"max_photos": 1})

    def in_turn() -> Iterator[Product]:
        for place in np.random.RandomState(0).permutation(len(products)).tolist():
            yield products[place]

    with closing(load(in_turn(), [spec], num_workers=NUM_DECODERS)) as loaded:
        readable = (product.pixels[spec] for product in loaded if not product.problem)
        photos = list(islice(readable, NUM_PHOTOS))
    return torch.from_numpy(np.stack(photos)) if photos else torch.empty(0)


def _millions(backbone: Backbone) -> float:
    return sum(each.numel() for each in backbone.parameters()) / 1e6
