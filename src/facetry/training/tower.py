"""A tower before training: pruned once, with the choice stored in the training's folder, and compiled.

Shapes: B products, S side in pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facetry.images import NUM_DECODERS, load
from facetry.models.config import PruneConfig
from facetry.models.towers.device import compile_failure, computing, pick_device
from facetry.models.towers.image import Backbone
from facetry.models.towers.pruning import NUM_PHOTOS, choose_pruning, prune
from facetry.models.towers.slim import Pruning
from facetry.product import Product
from facetry.runtime.files import write_text
from facetry.runtime.progress import Reporter
from facetry.training.run import Run


@contextmanager
def compiled(run: Run, backbone: Backbone) -> Iterator[bool]:
    """Compile the backbone for as long as the context lasts; yields whether that worked.

    It is tried with a part of a step; if that fails, the reporter says why and nothing is compiled.
    Heads are not compiled: each batch needs other ones.
    """
    try:
        reason = _try(run, backbone)
        if reason:
            backbone._compiled_call_impl = None  # noqa: SLF001 - torch has no other way back
            run.reporter.say(f"The backbone cannot be compiled and runs as it is: {reason}")
        yield not reason
    finally:
        backbone._compiled_call_impl = None  # noqa: SLF001


def _try(run: Run, backbone: Backbone) -> str:
    """Go forward and backward once, without changing the model; why that fails, "" if it does not."""
    if run.processes.is_sharded:
        return "its weights are spread over processes."
    side = backbone.preprocess.size_px
    size = max(1, run.share_size // run.config.accumulation)
    photos = torch.zeros(size, 3, side, side, dtype=torch.uint8, device=run.device)
    before = {name: each.clone() for name, each in backbone.named_buffers()}
    try:
        backbone.compile()
        with computing(run.config.precision, run.device):
            features: Tensor = backbone.train()(photos)
        features.float().sum().backward()
    except Exception as error:  # noqa: BLE001 - a compiler has too many kinds of failure
        return compile_failure(error)
    finally:
        backbone.zero_grad(set_to_none=True)
        for name, each in backbone.named_buffers():
            each.copy_(before[name])
    return ""


PRUNING = "pruning.json"
"""The file in a training's folder with what was pruned, so that it resumes with the same tower."""


def prune_for(
    backbone: Backbone,
    config: PruneConfig,
    products: Sequence[Product],
    folder: Path,
    reporter: Reporter,
) -> None:
    """Prune `backbone` as stored in `folder`, or else as photos of some of `products` suggest.

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

    def shuffled() -> Iterator[Product]:
        for index in np.random.RandomState(0).permutation(len(products)).tolist():
            yield products[index]

    with closing(load(shuffled(), [spec], num_workers=NUM_DECODERS)) as loaded:
        readable = (product.pixels[spec] for product in loaded if not product.problem)
        photos = list(islice(readable, NUM_PHOTOS))
    return torch.from_numpy(np.stack(photos)) if photos else torch.empty(0)


def _millions(backbone: Backbone) -> float:
    return sum(each.numel() for each in backbone.parameters()) / 1e6
