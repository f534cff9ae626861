"""Compiling a tower: the same features, or a fallback that says so."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from facetry.models.towers.image import Backbone
from facetry.product import Preprocess
from facetry.taxonomy import Taxonomy
from facetry.training.config import TrainingConfig
from facetry.training.data import Examples, FeatureInputs
from facetry.training.run import Run
from facetry.training.targets.loss import Criterion
from facetry.training.tower import compiled

# Torch's own compiler warns of parts of torch.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

TAXONOMY = Taxonomy.of({"Kurtis": {"length": ["long", "short"]}})
SIDE_PX = 8


class Lines:
    """A reporter that stores its messages."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def bar(self, description: str, total: int | None) -> object:
        raise NotImplementedError


class Tower(nn.Module):
    """A tower with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())

    def forward(self, photos: Tensor) -> Tensor:
        result: Tensor = self.layers(photos)
        return result


@pytest.fixture
def backbone() -> Backbone:
    torch.manual_seed(0)
    preprocess = Preprocess(size_px=SIDE_PX, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return Backbone(Tower(), preprocess, 4 * 6 * 6)


@pytest.fixture
def run() -> Run:
    labels, categories = torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    rows = categories.numpy()
    config = TrainingConfig(batch_size=2)
    return Run(
        taxonomy=TAXONOMY,
        config=config,
        seed=0,
        examples=Examples(
            ids=["p"], categories=categories, labels=labels, train=rows, validation=rows[:0]
        ),
        inputs=FeatureInputs(torch.zeros(1, 3, SIDE_PX, SIDE_PX)),
        criterion=Criterion.of(config.loss, TAXONOMY, labels, categories),
        device=torch.device("cpu"),
        reporter=Lines(),
    )


PHOTOS = torch.arange(2 * 3 * SIDE_PX**2, dtype=torch.uint8).view(2, 3, SIDE_PX, SIDE_PX)


def test_a_compiled_backbone_computes_the_same(backbone: Backbone, run: Run) -> None:
    expected = backbone.eval()(PHOTOS)
    before = {name: each.clone() for name, each in backbone.state_dict().items()}
    with compiled(run, backbone) as is_compiled:
        assert is_compiled, run.reporter.said
        assert all(torch.equal(before[name], each) for name, each in backbone.state_dict().items())
        assert all(each.grad is None for each in backbone.parameters())
        torch.testing.assert_close(backbone.eval()(PHOTOS), expected, rtol=1e-4, atol=1e-4)
    assert backbone._compiled_call_impl is None


def test_a_machine_without_a_compiler_trains_all_the_same(backbone: Backbone, run: Run) -> None:
    from torch._inductor import config

    torch._dynamo.reset()
    before = {name: each.clone() for name, each in backbone.state_dict().items()}
    lines = Lines()
    no_compiler = config.patch({"cpp.cxx": ("nothing-of-this-name",), "fx_graph_cache": False})
    with no_compiler, compiled(replace(run, reporter=lines), backbone) as is_compiled:
        assert not is_compiled
        (line,) = lines.said
        assert line.startswith("The backbone cannot be compiled and runs as it is: ")
        backbone(PHOTOS).sum().backward()
    assert all(torch.equal(before[name], each) for name, each in backbone.eval().state_dict().items()
               if "running" not in name and "num_batches" not in name)  # fmt: skip
