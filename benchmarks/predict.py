"""A table of photos predicted, and how much of the time is not the backbone's.

    python -m benchmarks.predict [--quick] [--backbone NAME] [--threads N]

The whole is `facetry predict`: JPEG files of 512 x 680 px in, Parquet and CSV out. The baseline is
the backbone alone on the same pixels in the same batches with the same threads.
"""

import argparse
import functools
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is there
import torch

from benchmarks.challenge import challenge_taxonomy
from benchmarks.measure import Times, alternate, make_parser, percent_cells, share_outside, show
from benchmarks.photos import write_catalogue
from facetry.batch.local import BatchConfig, predict_table
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.images import load_batches
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.serialization import build_classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.models.towers.image import Backbone


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, quick="32 photos, fewer rounds")
    parser.add_argument("--backbone", default="ViT-B-32")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    num_photos, num_rounds = (32, 2) if options.quick else (256, 3)
    backbone = BackboneConfig(name=options.backbone, weights="none")
    classifier = build_classifier(challenge_taxonomy(), backbone, HeadsConfig(), ImageConfig()).eval()
    with tempfile.TemporaryDirectory() as folder:
        catalogue = open_catalogue(write_catalogue(Path(folder) / "catalogue", num_photos))
        batches = _batches(catalogue, classifier)
        times = alternate(
            {
                "predict_table": functools.partial(_whole, classifier, catalogue, Path(folder) / "out"),
                "backbone alone": functools.partial(_alone, classifier.backbone, batches),
            },
            num_rounds=num_rounds,
        )
    _report(times, options, num_photos)


def _batches(catalogue: Catalogue, classifier: Classifier) -> list[torch.Tensor]:
    """The pixels that `predict_table` shows the classifier."""
    (form,) = classifier.preprocesses
    return [
        torch.from_numpy(np.stack([each.pixels[form] for each in batch]))
        for batch in load_batches(catalogue.products(), [form])
    ]


def _whole(classifier: Classifier, catalogue: Catalogue, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)  # else the rows in it would be reused
    summary = predict_table(classifier, catalogue, out, BatchConfig(model=""))
    assert not summary.problems


@torch.no_grad()
def _alone(backbone: Backbone, batches: list[torch.Tensor]) -> None:
    for batch in batches:
        backbone(batch)


def _report(times: dict[str, Times], options: argparse.Namespace, num_photos: int) -> None:
    alone, whole = times["backbone alone"], times["predict_table"]
    share, cpu_share = share_outside(alone, whole), share_outside(alone.cpu, whole.cpu)
    per_photo = {name: each.divided(num_photos) for name, each in times.items()}
    figures = {
        "benchmark": "predict",
        "backbone": options.backbone,
        "num_photos": num_photos,
        "threads": options.threads,
        "photos_per_s": round(num_photos / times["predict_table"].median_s, 2),
        **{f"{name.replace(' ', '_')}_per_photo": each.as_dict() for name, each in per_photo.items()},
        "share_outside_backbone": share,
        "cpu_share_outside_backbone": cpu_share,
    }
    rows = [(f"{name}, one photo", *each.cells()) for name, each in per_photo.items()]
    rows.append(percent_cells("outside, % of wall time", share))
    rows.append(percent_cells("outside, % of CPU time", cpu_share))
    show(f"{options.backbone}, {num_photos} photos", ["", "median, ms", "range, ms"], rows, figures)


if __name__ == "__main__":
    main()
