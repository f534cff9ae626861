"""From a search's recipe and a catalogue to a model folder.

Shapes: N products of the catalogue, T of them to index, W to choose on, A slots, D features.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.errors import TrainingError
from facetry.evaluation.metrics import Answers, score
from facetry.models.backbones import build_backbone
from facetry.models.device import pick_device
from facetry.models.embed import BackboneEncoder, Embedding, Encoder, encode_products
from facetry.progress import Reporter
from facetry.search.collection import FOLDER, Collection, to_table
from facetry.search.config import SearchSections
from facetry.search.folder import save_encoder, save_search
from facetry.search.hashes import HashEncoder
from facetry.search.predictor import SimilaritySearch

CHOICES: Final = (1, 3, 5, 9, 15, 25, 45, 75)
"""Numbers of neighbours that `auto` tries; of equals it takes the least."""

_USUAL = 15  # where there is nothing to choose on
_FEATURES = "features.safetensors"

Rows = NDArray[np.int64]


def build_search(
    recipe: SearchSections, catalogue: Catalogue, split: Split, folder: Path, reporter: Reporter
) -> SimilaritySearch:
    """Index the training part, choose how many neighbours vote, and write all of it into `folder`.

    Raises:
        BackboneError: a backbone or weights that cannot be had.
        TrainingError: nothing to index.
    """
    encoder = _make_encoder(recipe)
    number = recipe.search.num_neighbours
    asks = number == "auto"
    train, validation = split.rows("train"), split.rows("validation")
    rows = np.concatenate([train, validation]) if asks else train
    rows = rows[catalogue.is_labelled[rows]]
    products = catalogue.products(rows)
    file = folder / "training" / _FEATURES
    embedding = encode_products(encoder, products, file=file, reporter=reporter)
    is_readable = np.array([not problem for problem in embedding.problems], dtype=bool)
    _tell(is_readable, reporter)
    is_indexed = is_readable & np.isin(rows, train)
    if not is_indexed.any():
        raise _nothing_to_index(split, embedding)
    indexed = [products[place] for place in np.flatnonzero(is_indexed)]
    search = SimilaritySearch(
        collection=Collection.build(
            catalogue.taxonomy,
            to_table(catalogue.taxonomy, indexed),
            embedding.features[is_indexed],
            recipe.search.index,
        ),
        encoder=encoder,
        config=recipe.search,
        num_neighbours=_USUAL if number == "auto" else number,
    )
    if asks:
        others = is_readable & ~is_indexed
        search = _chosen(search, catalogue, rows[others], embedding.features[others], reporter)
    save_encoder(folder, encoder)
    save_search(folder, search)
    kept = Collection.load(
        folder / FOLDER, catalogue.taxonomy, is_binary=bool(recipe.hashes), to_append=False
    )
    return replace(search, collection=kept)  # mapped to memory, not held in it


def _make_encoder(recipe: SearchSections) -> Encoder:
    if recipe.backbone is None:
        return HashEncoder.of(recipe.hashes, recipe.image)
    import torch

    torch.manual_seed(recipe.seed)  # a backbone without weights is drawn
    return BackboneEncoder(build_backbone(recipe.backbone, recipe.image).to(pick_device()))


def _tell(is_readable: NDArray[np.bool_], reporter: Reporter) -> None:
    if num_unreadable := int((~is_readable).sum()):
        reporter.say(
            f"{num_unreadable:,} of {len(is_readable):,} products have no readable photo and are left "
            "out."
        )


def _nothing_to_index(split: Split, embedding: Embedding) -> TrainingError:
    reasons = sorted({problem for problem in embedding.problems if problem})
    return TrainingError(
        f"Nothing to index: of {len(split.rows('train'))} products in the training part none has a "
        f"label and a readable photo{': ' + ', '.join(reasons) if reasons else ''}.",
        hint="`facetry check` lists what is wrong with the catalogue.",
    )


def _chosen(
    search: SimilaritySearch,
    catalogue: Catalogue,
    rows: Rows,
    features: NDArray[np.float32] | NDArray[np.uint8],
    reporter: Reporter,
) -> SimilaritySearch:
    """The search with the number of neighbours that scores best on these rows (W)."""
    if not len(rows):
        reporter.say(f"The validation part has nothing to choose on: {_USUAL} neighbours vote.")
        return search
    scores = {}
    for number in CHOICES:
        top = search.vote(features, catalogue.category_codes[rows], number).argmax(axis=2)
        answers = Answers.of(
            catalogue.taxonomy, catalogue.category_codes[rows], catalogue.labels[rows], top
        )
        scores[number] = score(answers, num_resamples=0).total
    best = max(scores, key=lambda number: scores[number])
    listed = ", ".join(f"{number}: {each:.4f}" for number, each in scores.items())
    reporter.say(f"{best} neighbours vote. Scores on the validation part: {listed}.")
    return replace(search, num_neighbours=best)
