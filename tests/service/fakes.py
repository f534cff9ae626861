"""A predictor whose answers tests know: it reads a photo's colour, and fails and waits as it is told."""

import io
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from facetry.models.folder import ModelFolder
from facetry.predictions import Predictions
from facetry.product import Preprocess, Product
from facetry.service.config import Batching, Limits, ServiceConfig
from facetry.service.models import LoadedModel
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of({"Sarees": {"colour": ["blue", "red"]}, "Kurtis": {"colour": ["blue", "red"]}})
FORM = Preprocess(size_px=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class FakePredictor:
    """Says "red" of red photos and "blue" of blue ones.

    It waits before each batch until `may_go` is set, and fails on products whose id is in `fails_on`.
    """

    def __init__(self) -> None:
        self.taxonomy = TAXONOMY
        self.preprocesses = (FORM,)
        self.batches: list[list[str]] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.fails_on: dict[str, BaseException] = {}

    def predict(self, products: Sequence[Product]) -> Predictions:
        ids = [str(each.id) for each in products]
        self.batches.append(ids)
        assert self.may_go.wait(10)
        for each in ids:
            if each in self.fails_on:
                raise self.fails_on[each]
        values = np.zeros((len(products), 1, 2), dtype=np.float32)
        for row, product in enumerate(products):
            if product.pixels:
                is_red = product.pixels[FORM][0].mean() > product.pixels[FORM][2].mean()
                values[row, 0] = (0.1, 0.9) if is_red else (0.8, 0.2)
        return Predictions.of(self.taxonomy, products, values)


def photo(colour: str = "red", *, size: tuple[int, int] = (16, 16), form: str = "JPEG") -> bytes:
    """A photo's file."""
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, format=form)
    return content.getvalue()


def fake_folder(path: Path = Path("model"), taxonomy: Taxonomy = TAXONOMY) -> ModelFolder:
    """A model folder that is nowhere on disk."""
    folder = ModelFolder(
        path=path, recipe={"kind": "classifier"}, checksums={}, checksums_file=b"{}", members={}
    )
    vars(folder)["taxonomy"] = taxonomy
    return folder


def loaded(name: str, predictor: FakePredictor, *, version: str = "1") -> LoadedModel:
    """A loaded model with a fake predictor."""
    return LoadedModel(
        name=name, folder=fake_folder(Path(name)), predictor=predictor, fingerprint=version * 12
    )


def service_config(data: Path, **changes: object) -> ServiceConfig:
    """Settings with small limits, for one model called `shop`."""
    settings: dict[str, object] = {
        "models": {"shop": data / "model"},
        "data": data,
        "limits": Limits(max_photos=8, max_photo_bytes=200_000, deadline_s=5, body_timeout_s=2),
        "batching": Batching(max_batch=4, max_wait_ms=1, queue_photos=16, num_decoders=1),
        "num_job_workers": 0,
        "drain_s": 5,
    }
    return ServiceConfig.model_validate({**settings, **changes})
