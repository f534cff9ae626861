"""Some products with the photos and labels that training would make of them, augmented and mixed.

Shapes: B products, S the photos' side in pixels, A attribute slots, V values.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from facetry.catalogue.catalogue import Catalogue
from facetry.errors import NotEnoughData, RecipeError
from facetry.images import NUM_DECODERS, Augmentation, Augmenter, Mixer, load
from facetry.product import Pixels, Preprocess, Product, ProductId
from facetry.taxonomy import Taxonomy
from facetry.training.config import TrainingSections

if TYPE_CHECKING:
    from torch import Tensor

    from facetry.images.augment.mixing import Mix

NUM_PRODUCTS = 16
NUM_CATEGORIES = 4
NUM_EPOCHS = 3

_NUM_TRIED = 100  # products of a category whose photos are tried until enough are readable
_MIN_SHARE = 5e-3  # a smaller share would be shown as 0%
_MIXINGS = {"mixup": "MixUp", "cutmix": "CutMix"}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One product's photo (3, S, S) as training sees it.

    `masked` are the attributes whose labels are not learned from this photo. `partner` is the product
    that was mixed in, if any, and `share` the product's own share of the mixture. `mixed_labels` has the
    attributes whose target differs from the product's label: attribute -> value -> share. The shares
    add up to less than 1 where one of the two labels is not known.
    """

    title: str
    pixels: Pixels
    masked: tuple[str, ...] = ()
    partner: ProductId | None = None
    share: float = 1.0
    mixed_labels: tuple[tuple[str, dict[str, float]], ...] = ()

    @property
    def lines(self) -> list[str]:
        """The view in words, one fact per line."""
        facts = [f"not learned: {', '.join(self.masked)}"] if self.masked else []
        if self.partner is not None:
            facts.append(f"{self.share:.0%} itself, {1 - self.share:.0%} {self.partner}")
        for attribute, shares in self.mixed_labels:
            listed = ", ".join(f"{value} {share:.0%}" for value, share in shares.items())
            facts.append(f"{attribute}: {listed}")
        return facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A product with its known labels, its photo (3, S, S), and how training sees it."""

    product: Product
    pixels: Pixels
    views: tuple[View, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Some products as training sees them; `settings` lists the active augmentation in words."""

    backbone: str
    size_px: int
    settings: str
    rows: tuple[Row, ...]


def make_preview(recipe: TrainingSections, catalogue: Catalogue) -> Preview:
    """Choose products of the largest categories, and augment and mix them as training does.

    The recipe's seed determines the products and their random augmentation.

    Raises:
        RecipeError: the backbone is frozen, so that photos are not augmented.
        NotEnoughData: no labelled product has a photo that can be read.
    """
    from facetry.models.towers.image import build_backbone

    if recipe.backbone.frozen:
        raise RecipeError(
            "With a frozen backbone photos are embedded once, as they are.",
            hint="Set backbone.frozen to false to see what training would make of them.",
        )
    if recipe.clean.repairs:
        catalogue = catalogue.with_repairs(recipe.clean.repairs)
    spec = build_backbone(recipe.backbone, recipe.image, with_weights=False).preprocess
    augmenter = Augmenter(recipe.augment, recipe.seed, catalogue.taxonomy)
    batch = _Batch.of(catalogue, recipe.seed, spec)
    columns = [*_augmented(batch, augmenter), *_mixed(batch, augmenter)]
    return Preview(
        backbone=recipe.backbone.name,
        size_px=spec.size_px,
        settings=_describe(recipe.augment),
        rows=tuple(
            Row(product=product, pixels=product.pixels[spec], views=views)
            for product, views in zip(batch.products, zip(*columns, strict=True), strict=True)
        ),
    )


def _describe(config: Augmentation) -> str:
    """The active steps with their strengths, and the steps that change labels."""
    steps = [f"{name} {value:g}" for name, value in config if isinstance(value, float) and value]
    changes = [f"{name} changes {', '.join(each)}" for name, each in config.changes.items()]
    return " · ".join(steps + changes) or "no augmentation"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Batch:
    """Products with their photos (B, 3, S, S), categories (B) and targets (B, A, V)."""

    taxonomy: Taxonomy
    products: Sequence[Product]
    pixels: "Tensor"
    categories: "Tensor"
    targets: "Tensor"

    @classmethod
    def of(cls, catalogue: Catalogue, seed: int, spec: Preprocess) -> "_Batch":
        import torch
        from torch.nn import functional

        chosen = dict(_choose(catalogue, seed, spec))
        if not chosen:
            raise NotEnoughData(
                "No labelled product has a photo that can be read.",
                hint="`facetry check` lists what is wrong with the catalogue.",
            )
        rows = np.array(list(chosen))
        labels = torch.from_numpy(catalogue.labels[rows].astype(np.int64))  # (B, A)
        one_hot = functional.one_hot(labels.clamp(min=0), catalogue.taxonomy.num_values)
        return cls(
            taxonomy=catalogue.taxonomy,
            products=list(chosen.values()),
            pixels=torch.from_numpy(np.stack([each.pixels[spec] for each in chosen.values()])),
            categories=torch.from_numpy(catalogue.category_codes[rows]),
            targets=(one_hot * (labels >= 0)[..., None]).float(),
        )


def _choose(catalogue: Catalogue, seed: int, spec: Preprocess) -> Iterator[tuple[int, Product]]:
    """Labelled products with a readable photo, by row, from the largest categories in turn."""
    labelled = np.flatnonzero(catalogue.is_labelled)
    codes, counts = np.unique(catalogue.category_codes[labelled], return_counts=True)
    largest = codes[np.argsort(-counts, kind="stable")][:NUM_CATEGORIES]
    random = np.random.RandomState(seed % 2**32)
    for code, quota in zip(largest, np.array_split(range(NUM_PRODUCTS), len(largest)), strict=True):
        tried = random.permutation(labelled[catalogue.category_codes[labelled] == code])[:_NUM_TRIED]
        loading = load(
            catalogue.products(tried), [spec], num_workers=NUM_DECODERS, num_prefetched=len(quota)
        )
        with closing(loading) as loaded:
            usable = (
                (row, each) for row, each in zip(tried.tolist(), loaded, strict=True) if each.pixels
            )
            yield from islice(usable, len(quota))


def _augmented(batch: _Batch, augmenter: Augmenter) -> Iterator[tuple[View, ...]]:
    """The views of each epoch, one per product."""
    indices = np.arange(len(batch.products))
    for epoch in range(NUM_EPOCHS):
        pixels = augmenter(batch.pixels, epoch=epoch, indices=indices)
        kept = augmenter.label_mask(epoch=epoch, indices=indices, categories=batch.categories)
        yield tuple(
            View(
                title=f"Epoch {epoch + 1}",
                pixels=pixels[index].numpy(),
                masked=() if kept is None else _masked(batch, index, kept[index]),
            )
            for index in indices.tolist()
        )


def _masked(batch: _Batch, index: int, is_taught: "Tensor") -> tuple[str, ...]:
    """The attributes whose label the product has but training does not learn (`is_taught` (A,))."""
    attributes = batch.taxonomy.attributes(batch.products[index].category)
    masked = (batch.targets[index].sum(dim=-1) > 0) & ~is_taught
    return tuple(name for name, is_masked in zip(attributes, masked.tolist(), strict=False) if is_masked)


def _mixed(batch: _Batch, augmenter: Augmenter) -> Iterator[tuple[View, ...]]:
    """The first epoch's views mixed, for each kind of mixing that the recipe uses."""
    indices = np.arange(len(batch.products))
    pixels = augmenter(batch.pixels, epoch=0, indices=indices)
    kept = augmenter.label_mask(epoch=0, indices=indices, categories=batch.categories)
    targets = batch.targets if kept is None else batch.targets * kept[..., None]
    for kind, title in _MIXINGS.items():
        others_off = dict.fromkeys(_MIXINGS.keys() - {kind}, 0.0)
        mixer = Mixer(augmenter.config.model_copy(update=others_off), augmenter.seed)
        side_px = pixels.shape[-1]
        mix = mixer.draw(batch.categories, epoch=0, indices=indices, progress=0.0, side_px=side_px)
        if mix:
            mixed, taught = mix.pixels(pixels).numpy(), mix.targets(targets)
            yield tuple(_mixture(batch, mix, index, title, mixed, taught) for index in indices.tolist())


def _mixture(batch: _Batch, mix: "Mix", index: int, title: str, mixed: Pixels, taught: "Tensor") -> View:
    product, partner = batch.products[index], int(mix.partners[index])
    return View(
        title=title,
        pixels=mixed[index],
        masked=_masked(batch, index, taught[index].sum(dim=-1) > 0),
        partner=None if partner == index else batch.products[partner].id,
        share=float(mix.shares[index]),
        mixed_labels=tuple(_mixed_labels(batch.taxonomy, product, batch.targets[index], taught[index])),
    )


def _mixed_labels(
    taxonomy: Taxonomy, product: Product, own: "Tensor", taught: "Tensor"
) -> Iterator[tuple[str, dict[str, float]]]:
    """The attributes whose target (A, V) is not the product's own label, with the values' shares."""
    for slot, head in enumerate(taxonomy.heads_of(product.category)):
        shares = {value: float(taught[slot, index]) for index, value in enumerate(head.values)}
        named = {value: share for value, share in shares.items() if share >= _MIN_SHARE}
        if named and (own[slot] - taught[slot]).abs().max() >= _MIN_SHARE:
            yield head.attribute, dict(sorted(named.items(), key=lambda each: -each[1]))
