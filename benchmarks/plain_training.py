"""Training as such code is usually written: what `benchmarks.training` compares with.

Photos are decoded, resized and augmented by Pillow in the main process when their batch is wanted; the
tower is the library's own with its usual memory layout; heads are a dictionary of networks, and a loop
goes over the products of the batch and their attributes. All runs eagerly, in float32.

Shapes: B products, S side in pixels, D features, A slots.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision import transforms

from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.models.towers.device import pick_device
from facetry.models.towers.image import build_backbone
from facetry.product import Preprocess
from facetry.taxonomy import Head, Taxonomy
from facetry.training.config import TrainingConfig

HEADS = HeadsConfig()


class PlainTraining:
    """The whole of a usual training; `seconds` and `waiting_s` add up over its epochs."""

    def __init__(
        self,
        backbone: BackboneConfig,
        image: ImageConfig,
        taxonomy: Taxonomy,
        config: TrainingConfig,
    ) -> None:
        built = build_backbone(backbone, image)
        self.device = pick_device()
        tower = built.tower.to(memory_format=torch.contiguous_format)
        self.tower = tower.to(self.device).train()
        self.taxonomy = taxonomy
        self.heads = nn.ModuleDict(
            {head_key(head): head_network(built.feature_size, head) for head in taxonomy.heads}
        ).to(self.device)
        self.batch_size = config.batch_size
        self.clip_norm = config.clip_norm
        self.transform = _transform(built.preprocess)
        self.optimiser = torch.optim.AdamW(
            [
                {"params": self.tower.parameters(), "lr": config.backbone_lr},
                {"params": self.heads.parameters(), "lr": config.heads_lr},
            ],
            weight_decay=config.weight_decay,
        )
        self.seconds = self.waiting_s = 0.0

    def epoch(
        self, photos: Sequence[Path], categories: NDArray[np.int64], labels: NDArray[np.int64]
    ) -> None:
        """Go through all products once: their photos, category indices (B) and labels (B, A)."""
        started = time.perf_counter()
        order = torch.randperm(len(photos)).split(self.batch_size)
        for rows in order:
            read_from = time.perf_counter()
            batch = torch.stack([self.transform(open_photo(photos[row])) for row in rows.tolist()])
            self.waiting_s += time.perf_counter() - read_from
            self._step(batch, categories[rows.numpy()], labels[rows.numpy()])
        self.seconds += time.perf_counter() - started

    def _step(self, batch: Tensor, categories: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        self.optimiser.zero_grad()
        result = self.tower(batch.to(self.device))
        features = result[0] if isinstance(result, tuple) else result  # B D
        losses = []
        for row, category in enumerate(categories.tolist()):
            for slot, head in enumerate(self.taxonomy.heads_of(self.taxonomy.categories[category])):
                if (label := int(labels[row, slot])) >= 0:
                    logits = self.heads[head_key(head)](features[row : row + 1])
                    losses.append(
                        functional.cross_entropy(logits, torch.tensor([label], device=self.device))
                    )
        torch.stack(losses).mean().backward()
        learned = [*self.tower.parameters(), *self.heads.parameters()]
        nn.utils.clip_grad_norm_(learned, self.clip_norm)
        self.optimiser.step()


def head_key(head: Head) -> str:
    """What a head's network is called."""
    return f"{head.category}_{head.attribute}".replace(".", " ")


def head_network(feature_size: int, head: Head) -> nn.Sequential:
    """A head by itself."""
    return nn.Sequential(
        nn.Linear(feature_size, HEADS.hidden_dim),
        nn.LayerNorm(HEADS.hidden_dim),
        nn.ReLU(),
        nn.Dropout(HEADS.dropout),
        nn.Linear(HEADS.hidden_dim, len(head.values)),
    )


def open_photo(path: Path) -> Image.Image:
    """Decode with Pillow."""
    with Image.open(path) as photo:
        return photo.convert("RGB")


def _transform(spec: Preprocess) -> transforms.Compose:
    side = spec.size_px
    return transforms.Compose(
        [
            transforms.Resize(side, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(side),
            transforms.RandomCrop(side, padding=side // 8, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(spec.mean, spec.std),
        ]
    )
