"""What joins photos and text: masks hold, one photo is itself, missing text is learned."""

import pytest
import torch

from facetry.models.classifier.classifier import AttentionPool, MeanPool, Neck, TextFusion
from facetry.models.config import PhotosConfig, TextConfig

NUM_FEATURES, NUM_TEXT = 12, 5


def make_attention() -> AttentionPool:
    """One that has learned something."""
    torch.manual_seed(1)
    pool = AttentionPool(NUM_FEATURES)
    with torch.no_grad():
        pool.question.normal_(std=3)
    return pool


def make_fusion(**changes: object) -> TextFusion:
    torch.manual_seed(2)
    fusion = TextFusion(NUM_FEATURES, NUM_TEXT, TextConfig.model_validate(changes))
    with torch.no_grad():
        fusion.no_text.normal_()
    return fusion


@pytest.fixture
def features() -> torch.Tensor:
    torch.manual_seed(3)
    return torch.randn(4, 3, NUM_FEATURES)


IS_PHOTO = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]).bool()


def test_attention_sums_to_one_over_the_photos_there_are(features: torch.Tensor) -> None:
    weights = make_attention().weights(features, IS_PHOTO)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))
    assert not weights[~IS_PHOTO].any()
    assert weights[2].std() > 0.05


def test_attention_begins_as_the_mean(features: torch.Tensor) -> None:
    torch.testing.assert_close(
        AttentionPool(NUM_FEATURES)(features, IS_PHOTO), MeanPool()(features, IS_PHOTO)
    )


@pytest.mark.parametrize("pool", [MeanPool(), make_attention()])
def test_pooling(pool: torch.nn.Module, features: torch.Tensor) -> None:
    pooled = pool(features, IS_PHOTO)
    assert torch.equal(pooled[0], features[0, 0])  # one photo is itself
    spoiled = features.masked_fill(~IS_PHOTO[..., None], 9.0)
    assert torch.equal(pool(spoiled, IS_PHOTO), pooled)
    backwards = pool(features[2:].flip(1), IS_PHOTO[2:])
    torch.testing.assert_close(backwards, pooled[2:])
    twice = features[:, [0, 0, 1]]
    torch.testing.assert_close(pool(twice, IS_PHOTO)[1], features[1, 0])


def test_attention_learns_its_query(features: torch.Tensor) -> None:
    pool = AttentionPool(NUM_FEATURES)
    pool(features, IS_PHOTO)[:, 0].sum().backward()
    assert pool.question.grad is not None
    assert pool.question.grad.abs().sum() > 0


TOLD = torch.tensor([[1.0, 2, 3, 4, 5], [0, 0, 0, 0, 0]])


def test_concat_joins_both_vectors() -> None:
    fusion, photos = make_fusion().eval(), torch.randn(2, NUM_FEATURES)
    joined = fusion(photos, TOLD)
    assert joined.shape == (2, fusion.feature_size) == (2, NUM_FEATURES + NUM_TEXT)
    assert torch.equal(joined[:, :NUM_FEATURES], photos)
    assert torch.equal(joined[0, NUM_FEATURES:], TOLD[0])
    assert torch.equal(joined[1, NUM_FEATURES:], fusion.no_text)


def test_a_gate_scales_what_it_adds() -> None:
    fusion, photos = make_fusion(fusion="gate").eval(), torch.randn(2, NUM_FEATURES)
    assert fusion.gate is not None
    assert fusion.project is not None
    texts = torch.stack([TOLD[0], fusion.no_text])
    gate = fusion.gate(torch.cat([photos, texts], dim=1)).sigmoid()
    torch.testing.assert_close(fusion(photos, TOLD), photos + gate * fusion.project(texts))
    assert fusion.feature_size == NUM_FEATURES


@pytest.mark.parametrize("kind", ["concat", "gate"])
def test_no_texts_are_like_products_without_text(kind: str) -> None:
    fusion, photos = make_fusion(fusion=kind).eval(), torch.randn(2, NUM_FEATURES)
    assert torch.equal(fusion(photos, None), fusion(photos, torch.zeros(2, NUM_TEXT)))


@pytest.mark.parametrize(("drop", "low", "high"), [(0.0, 1, 1), (0.3, 0.66, 0.74), (0.9, 0.07, 0.13)])
def test_training_hides_a_share_of_the_texts(drop: float, low: float, high: float) -> None:
    fusion = make_fusion(drop=drop).train()
    photos, texts = torch.zeros(3000, NUM_FEATURES), torch.ones(3000, NUM_TEXT)
    is_shown = fusion(photos, texts)[:, -1] == 1
    assert low <= is_shown.float().mean() <= high
    assert (fusion.eval()(photos, texts)[:, -1] == 1).all()


def test_the_vector_for_missing_text_is_learned() -> None:
    fusion = make_fusion()
    fusion(torch.zeros(1, NUM_FEATURES), TOLD[1:]).sum().backward()
    assert torch.equal(fusion.no_text.grad, torch.ones(NUM_TEXT))


def test_a_neck_pools_first_and_joins_text_then(features: torch.Tensor) -> None:
    neck = Neck(NUM_FEATURES, NUM_TEXT, PhotosConfig(max=3), TextConfig(drop=0)).eval()
    counts, texts = torch.tensor([1, 2, 3, 3]), torch.ones(4, NUM_TEXT)
    joined = neck(features, num_photos=counts, texts=texts)
    assert joined.shape == (4, neck.feature_size)
    torch.testing.assert_close(joined[:, :NUM_FEATURES], MeanPool()(features, IS_PHOTO))
    assert torch.equal(joined[:, NUM_FEATURES:], texts)
    single = neck(features[:, 0], texts=texts)
    assert torch.equal(single[0], joined[0])


@pytest.mark.parametrize(("photos", "text"), [({"max": 4, "pool": "attention"}, None), ({}, {})])
def test_a_neck_has_only_the_parameters_it_needs(photos: dict[str, object], text: object) -> None:
    config = TextConfig() if text is not None else None
    neck = Neck(NUM_FEATURES, NUM_TEXT, PhotosConfig.model_validate(photos), config)
    names = {name for name, _ in neck.named_parameters()}
    pooling = {"pool.question", "pool.norm.weight", "pool.norm.bias"}
    assert names == ({"fusion.no_text"} if config else pooling)
    assert neck.feature_size == NUM_FEATURES + (NUM_TEXT if config else 0)
