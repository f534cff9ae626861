"""What a classifier learns from: its products' photos and texts or, of frozen encoders, their features.

Shapes: N products, D features, L tokens of a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from facetry.errors import NotEnoughData
from facetry.images import NUM_DECODERS, Augmenter, Mixer, PhotoStore
from facetry.models.classifier.classifier import Classifier
from facetry.models.towers.embed import embed_products, embed_texts
from facetry.product import Product
from facetry.runtime.progress import Reporter
from facetry.training.config import TrainingSections
from facetry.training.data import FeatureInputs, Inputs, PhotoInputs

FEATURES, TEXTS = "features.safetensors", "texts.safetensors"
"""The files with the features of photos and of texts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingInputs:
    """Products, the model to fit to them, its inputs, and why a photo cannot be read ("": it can).

    `features` (N, D) are set if they are the inputs. `num_skipped_photos` counts the photos that could
    not be read of products that have others.
    """

    products: Sequence[Product]
    model: nn.Module
    inputs: Inputs
    problems: Sequence[str]
    features: NDArray[np.float32] | None = None
    num_skipped_photos: int = 0

    @property
    def sentences(self) -> list[str]:
        """Sentences on what could not be read; none if all could."""
        sentences = []
        if num_unreadable := sum(map(bool, self.problems)):
            sentences.append(
                f"{num_unreadable:,} of {len(self.products):,} products have no readable photo and are "
                "left out."
            )
        if self.num_skipped_photos:
            sentences.append(
                f"{self.num_skipped_photos:,} photos cannot be read; their products have others."
            )
        return sentences


def read_inputs(
    recipe: TrainingSections,
    classifier: Classifier,
    products: Sequence[Product],
    folder: Path,
    reporter: Reporter,
) -> TrainingInputs:
    """Photos and texts for the whole classifier or, with a frozen backbone, their features.

    Features are stored in `folder` and read from there the next time.

    Raises:
        NotEnoughData: text is to be read, and no product has any.
    """
    if recipe.text and not any(product.text for product in products):
        raise NotEnoughData(
            f"The recipe reads text, and none of {len(products):,} products to learn from has any.",
            hint="Name the column that holds it in catalogue.yaml (columns: {text: title}), or leave "
            "text out of the recipe.",
        )
    if recipe.backbone.frozen:
        return _embedded(classifier, products, folder, reporter)
    spec = classifier.backbone.preprocess
    augmenter = Augmenter(recipe.augment, recipe.seed, classifier.taxonomy)
    store = PhotoStore(products, spec, num_workers=NUM_DECODERS, reporter=reporter)
    tower, texts = classifier.text_tower, [product.text for product in products]
    return TrainingInputs(
        products=products,
        model=classifier,
        inputs=PhotoInputs(
            store=store,
            augmenter=augmenter,
            mixer=Mixer(recipe.augment, recipe.seed),
            device=classifier.device,
            texts=torch.from_numpy(tower.tokenise(texts)) if tower else None,
            draws_photos=recipe.photos.pool == "mean",
        ),
        problems=[store.problems.get(row, "") for row in range(len(products))],
        num_skipped_photos=store.num_skipped_photos,
    )


def _embedded(
    classifier: Classifier, products: Sequence[Product], folder: Path, reporter: Reporter
) -> TrainingInputs:
    """Features of all photos and texts, as inputs of the layers above the encoders."""
    device = classifier.device
    embedding = embed_products(classifier.backbone, products, file=folder / FEATURES, reporter=reporter)
    texts = None
    if classifier.text_tower is not None:
        texts = torch.from_numpy(embed_texts(classifier.text_tower, products, file=folder / TEXTS))
    counts = embedding.num_photos
    return TrainingInputs(
        products=products,
        model=classifier.top,
        inputs=FeatureInputs(
            torch.from_numpy(embedding.features).to(device),
            texts=None if texts is None else texts.to(device),
            num_photos=None if counts is None else torch.from_numpy(counts).to(device),
        ),
        problems=embedding.problems,
        features=embedding.means,
        num_skipped_photos=embedding.num_skipped_photos,
    )
