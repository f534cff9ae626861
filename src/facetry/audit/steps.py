"""The long steps of an audit. Each one's result is stored in a file and read from it when resumed.

Shapes: N products of the catalogue, D features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.audit.config import AuditConfig, Encoder, make_backbone
from facetry.audit.conflicts import Groups, find_conflicts
from facetry.audit.photos import quality_issues
from facetry.audit.result import Photos
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.duplicates.find import find_duplicates
from facetry.catalogue.duplicates.scan import Scan, scan_photos
from facetry.product import Product
from facetry.runtime.files import writing
from facetry.runtime.progress import Reporter


@dataclass(frozen=True, kw_only=True, eq=False)
class Steps:
    """The steps that read a catalogue's photos. Results are stored in `folder`."""

    catalogue: Catalogue
    config: AuditConfig
    encoder: Encoder | None
    folder: Path
    reporter: Reporter

    def photos(self) -> Photos:
        """Read all photos, and find unreadable, poor and duplicate ones."""
        self.features  # noqa: B018  # first, so that missing weights are reported at once
        table = self._once("photos", lambda: pl.DataFrame({"problem": list(self._scan.problems)}))
        issues = self._once("photo_issues", self._find_issues)
        members = Groups(codes=self.groups, pairs=self._pairs).members()
        return Photos(
            problems=table["problem"].to_list(),
            issues=issues,
            members=members,
            conflicts=find_conflicts(self.catalogue, members),
        )

    def noise(self) -> pl.DataFrame:
        """Rank the labels by how likely they are wrong; see `facetry.audit.noise`."""
        from facetry.audit.noise import find_label_noise

        def find() -> pl.DataFrame:
            assert self.features is not None
            return find_label_noise(
                self.catalogue,
                self.features,
                self.groups,
                seed=self.config.seed,
                folder=self.folder / "noise",
                reporter=self.reporter,
            )

        return self._once("noise", find)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Equal numbers for products that show the same photo (N)."""
        return self._grouped["group"].to_numpy()

    @cached_property
    def features(self) -> NDArray[np.float32] | None:
        """The photos' features (N, D), 0 without a photo; None if the audit is without features."""
        if self.encoder is None:
            return None
        from facetry.models.towers.embed import Embedding, embed_products

        file = self.folder / "features.safetensors"
        if file.is_file():
            return Embedding.load(file).features
        backbone = make_backbone(self.encoder)
        return embed_products(backbone, self._products, file=file, reporter=self.reporter).features

    @cached_property
    def _products(self) -> list[Product]:
        return self.catalogue.products()

    @cached_property
    def _scan(self) -> Scan:
        return scan_photos(
            self._products, folder=self.folder / "scan", quality=True, reporter=self.reporter
        )

    @property
    def _pairs(self) -> pl.DataFrame:
        self._grouped  # noqa: B018  # stores the pairs as well
        return pl.read_parquet(self.folder / "pairs.parquet")

    @cached_property
    def _grouped(self) -> pl.DataFrame:
        return self._once("groups", self._find_duplicates)

    def _find_duplicates(self) -> pl.DataFrame:
        found = find_duplicates(self._scan, features=self.features, reporter=self.reporter)
        self._once("pairs", lambda: found.pairs)
        return pl.DataFrame({"group": found.groups})

    def _find_issues(self) -> pl.DataFrame:
        issues = quality_issues(self._scan)
        return issues.rename({"row": "index"}).sort("issue", "score", "index")

    def _once(self, name: str, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """Return the stored table, after making and storing it if it is not there yet."""
        file = self.folder / f"{name}.parquet"
        if not file.is_file():
            frame = make()
            with writing(file) as draft:
                frame.write_parquet(draft)
        return pl.read_parquet(file)
