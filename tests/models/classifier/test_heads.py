"""The heads compute what one plain network per (category, attribute) computes."""

import math
from collections.abc import Mapping
from itertools import zip_longest

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from facetry.models.classifier.heads import CategoryHeads, Heads, Standardise, build_heads, probabilities
from facetry.models.config import HeadsConfig
from facetry.taxonomy import Taxonomy
from facetry.training.config import LossConfig
from facetry.training.targets.loss import Criterion
from tests.models.conftest import NUM_FEATURES, Batch, randomise

Networks = Mapping[tuple[str, str], nn.Sequential]

FORMS = [(1, "every"), (2, "every"), (3, "every"), (3, "first")]


def make_heads(taxonomy: Taxonomy, *, seed: int = 0, **config: object) -> Heads:
    torch.manual_seed(seed)
    heads = Heads(taxonomy, NUM_FEATURES, HeadsConfig.model_validate({"hidden_dim": 8, **config}))
    randomise(heads)
    return heads


def plain_networks(heads: Heads) -> Networks:
    """One `nn.Sequential` per head, its weights cut out of the stacked ones."""
    networks = {}
    for category in heads.categories:
        assert isinstance(category, CategoryHeads)
        for index, head in enumerate(category.heads):
            modules: list[nn.Module] = []
            for layer, norm in zip_longest(category.hidden, category.norms):
                normed = [cut_norm(norm, index)] if norm else []
                modules += [cut_linear(layer, index), *normed, nn.ReLU()]
                modules.append(nn.Dropout(heads.config.dropout))
            modules.append(cut_linear(category.output, index, num_outputs=len(head.values)))
            networks[head.category, head.attribute] = nn.Sequential(*modules)
    return networks


def cut_linear(stacked: nn.Module, index: int, num_outputs: int | None = None) -> nn.Linear:
    weight, bias = stacked.weight[index, :num_outputs], stacked.bias[index, :num_outputs]
    linear = nn.Linear(1, 1)
    linear.weight, linear.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return linear


def cut_norm(stacked: nn.Module, index: int) -> nn.LayerNorm:
    norm = nn.LayerNorm(stacked.weight.shape[1], dtype=stacked.weight.dtype)
    norm.weight = nn.Parameter(stacked.weight[index].clone())
    norm.bias = nn.Parameter(stacked.bias[index].clone())
    return norm


def plain_loss(networks: Networks, taxonomy: Taxonomy, batch: Batch) -> Tensor:
    """One product and one attribute at a time."""
    losses = []
    for features, code, labels in zip(batch.features, batch.categories, batch.labels, strict=True):
        if code < 0:
            continue
        for slot, head in enumerate(taxonomy.heads_of(taxonomy.categories[code])):
            if labels[slot] >= 0:
                logits = networks[head.category, head.attribute](features)
                losses.append(functional.cross_entropy(logits, labels[slot]))
    return torch.stack(losses).mean()


def mean_loss(taxonomy: Taxonomy, logits: Tensor, categories: Tensor, labels: Tensor) -> Tensor:
    """The mean loss of the known labels; 0 without any."""
    criterion = Criterion.of(LossConfig(), taxonomy, labels, categories)
    targets = criterion.targets(labels, categories)
    return criterion(logits, targets) / targets.sum().clamp_min(1)


def stacked_gradients(heads: Heads) -> dict[tuple[str, str], list[Tensor]]:
    """The gradients of every head in the order of `nn.Sequential.parameters`."""
    gradients = {}
    for category in heads.categories:
        assert isinstance(category, CategoryHeads)
        for index, head in enumerate(category.heads):
            pairs = zip_longest(category.hidden, category.norms)
            layers = [module for pair in pairs for module in pair if module]
            own = [each.grad[index] for layer in layers for each in (layer.weight, layer.bias)]
            num_values = len(head.values)
            own += [each.grad[index, :num_values] for each in category.output.parameters()]
            gradients[head.category, head.attribute] = own
    return gradients


@pytest.mark.parametrize(("num_hidden_layers", "norms"), FORMS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_equal_one_network_per_head(
    odd: Taxonomy,
    mixed: Batch,
    num_hidden_layers: int,
    norms: str,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    form = {"num_hidden_layers": num_hidden_layers, "norms": norms}
    heads = make_heads(odd, **form, dropout=0).to(dtype)
    networks = plain_networks(heads)
    batches = []
    for _ in range(2):
        features = mixed.features.to(dtype).clone().requires_grad_()
        batches.append(Batch(features, mixed.categories, mixed.labels))

    logits = heads(batches[0].features, mixed.categories)
    loss = mean_loss(odd, logits, mixed.categories, mixed.labels)
    loss.backward()
    expected = plain_loss(networks, odd, batches[1])
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=0, abs=tolerance)
    torch.testing.assert_close(
        batches[0].features.grad, batches[1].features.grad, rtol=0, atol=tolerance
    )
    gradients = stacked_gradients(heads)
    for name, network in networks.items():
        for own, parameter in zip(gradients[name], network.parameters(), strict=True):
            other = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(own, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("num_hidden_layers", [1, 2, 3])
def test_logits_equal_in_double_precision(odd: Taxonomy, mixed: Batch, num_hidden_layers: int) -> None:
    heads = make_heads(odd, num_hidden_layers=num_hidden_layers).double().eval()
    features = mixed.features.double()
    logits = heads(features, mixed.categories)
    for network in (networks := plain_networks(heads)).values():
        network.eval()
    for row, code in enumerate(mixed.categories.tolist()):
        if code < 0:
            continue
        for slot, head in enumerate(odd.heads_of(odd.categories[code])):
            expected = networks[head.category, head.attribute](features[row])
            own = logits[row, slot, : len(head.values)]
            torch.testing.assert_close(own, expected, rtol=0, atol=1e-12)


def test_padding_and_unknown_categories_are_minus_infinity(odd: Taxonomy, mixed: Batch) -> None:
    logits = make_heads(odd)(mixed.features, mixed.categories)
    assert logits.shape == (9, 3, 4)
    for row, code in enumerate(mixed.categories.tolist()):
        heads = odd.heads_of(odd.categories[code]) if code >= 0 else ()
        expected = torch.zeros(3, 4, dtype=torch.bool)
        for slot, head in enumerate(heads):
            expected[slot, : len(head.values)] = True
        assert torch.equal(logits[row].isfinite(), expected)
        assert (logits[row][~expected] == -math.inf).all()


def test_probabilities_sum_to_one_over_values(odd: Taxonomy, mixed: Batch) -> None:
    heads = make_heads(odd).eval()
    result = probabilities(heads(mixed.features, mixed.categories))
    logits = heads(mixed.features, mixed.categories)
    has_values = logits.isfinite().any(dim=-1)
    torch.testing.assert_close(result.sum(dim=-1), has_values.float())
    assert (result[logits.isneginf()] == 0).all()
    assert (result[logits.isfinite()] > 0).all()
    assert (result[mixed.categories == -1] == 0).all()
    assert (result[mixed.categories == 0, 1, 0] == 1).all(), "a single value is certain"


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([0.0, 0.0, -math.inf], [0.5, 0.5, 0]),
        ([-math.inf, 3.0, -math.inf], [0, 1, 0]),
        ([-math.inf] * 3, [0, 0, 0]),
        ([1e4, -1e4, -math.inf], [1, 0, 0]),
    ],
)
def test_softmax_of_padded_logits(logits: list[float], expected: list[float]) -> None:
    assert probabilities(torch.tensor([logits])).tolist() == [expected]


def test_probabilities_of_half_precision_are_single_precision() -> None:
    logits = torch.tensor([[0.1, 0.2, -math.inf]], dtype=torch.bfloat16)
    result = probabilities(logits)
    assert result.dtype == torch.float32
    assert result.sum().item() == pytest.approx(1, abs=1e-6)


def test_a_missing_label_carries_no_loss_and_no_gradient() -> None:
    """With the labels of one head all missing, its weights are neither moved nor looked at."""
    taxonomy = Taxonomy.of({"Tops": {"fit": ["boxy", "slim"], "neck": ["round", "v"]}})
    torch.manual_seed(0)
    features, categories = torch.randn(4, NUM_FEATURES), torch.zeros(4, dtype=torch.int64)
    labels = torch.tensor([[0, -1], [1, -1], [-1, -1], [0, -1]])
    heads = make_heads(taxonomy)
    heads.eval()
    loss = mean_loss(taxonomy, heads(features, categories), categories, labels)
    loss.backward()
    for name, parameter in heads.named_parameters():
        assert parameter.grad is not None
        assert (parameter.grad[1] == 0).all(), name
        assert (parameter.grad[0] != 0).any(), name
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter[1] += 1
    after = mean_loss(taxonomy, heads(features, categories), categories, labels)
    assert after.item() == loss.item()


def test_a_product_without_labels_changes_nothing(odd: Taxonomy, mixed: Batch) -> None:
    heads = make_heads(odd).eval()
    logits = heads(mixed.features, mixed.categories)
    before = mean_loss(odd, logits, mixed.categories, mixed.labels)
    changed = mixed.features.clone()
    changed[[5, 7]] += 3  # these two have no label
    after = mean_loss(odd, heads(changed, mixed.categories), mixed.categories, mixed.labels)
    assert after.item() == before.item()


def test_a_batch_without_labels_has_no_loss_and_no_gradient(odd: Taxonomy, mixed: Batch) -> None:
    heads = make_heads(odd)
    features = mixed.features.clone().requires_grad_()
    logits = heads(features, mixed.categories)
    loss = mean_loss(odd, logits, mixed.categories, torch.full_like(mixed.labels, -1))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))
    for name, parameter in heads.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, torch.zeros_like(parameter)), name


def test_an_empty_batch(odd: Taxonomy) -> None:
    logits = make_heads(odd)(torch.empty(0, NUM_FEATURES), torch.empty(0, dtype=torch.int64))
    assert logits.shape == (0, 3, 4)


def test_one_category_does_not_influence_another(odd: Taxonomy, mixed: Batch) -> None:
    """The parameters of a category see only its own products."""
    heads = make_heads(odd).eval()
    only_tops = torch.where(mixed.categories == 2, 2, -1)
    own = torch.where((mixed.categories == 2)[:, None], mixed.labels, -1)
    mean_loss(odd, heads(mixed.features, only_tops), only_tops, own).backward()
    for code, category in enumerate(heads.categories):
        for parameter in category.parameters():
            assert (parameter.grad is not None) == (code == 2)

    changed = mixed.features.clone()
    changed[mixed.categories != 2] = torch.randn(6, NUM_FEATURES)
    before, after = heads(mixed.features, mixed.categories), heads(changed, mixed.categories)
    assert torch.equal(before[mixed.categories == 2], after[mixed.categories == 2])


def test_dropout_only_while_training(odd: Taxonomy, mixed: Batch) -> None:
    heads = make_heads(odd, dropout=0.5)
    known = mixed.categories >= 0
    training = [heads.train()(mixed.features, mixed.categories) for _ in range(2)]
    assert not torch.equal(training[0][known], training[1][known])
    evaluating = [heads.eval()(mixed.features, mixed.categories) for _ in range(2)]
    assert torch.equal(*evaluating)


def test_dropout_drops_as_often_and_scales_as_torch_does() -> None:
    taxonomy = Taxonomy.of({"Tops": {"neck": ["round", "v"]}})
    heads = make_heads(taxonomy, dropout=0.25, hidden_dim=64)
    category = heads.categories[0]
    assert isinstance(category, CategoryHeads)
    with torch.no_grad():
        for stacked in (*category.hidden, *category.norms, category.output):
            stacked.weight.zero_()
            stacked.bias.fill_(1)
        category.output.weight.fill_(1 / 64)
    logits = heads.train()(torch.zeros(500, NUM_FEATURES), torch.zeros(500, dtype=torch.int64))
    kept = (logits[:, 0, 0] - 1).detach()
    torch.testing.assert_close(kept * 64 * 0.75, (kept * 64 * 0.75).round(), rtol=0, atol=1e-3)
    assert kept.mean().item() == pytest.approx(1, abs=0.02)


GROWN = {
    "a new attribute": {
        "Tops": {"fit": ["boxy", "slim"], "length": ["crop", "long"], "neck": ["round", "v"]},
        "Sarees": {"border": ["solid", "zari"]},
    },
    "a new category": {
        "Kurtis": {"length": ["long", "short"]},
        "Tops": {"fit": ["boxy", "slim"], "neck": ["round", "v"]},
        "Sarees": {"border": ["solid", "zari"]},
    },
    "a new value in between": {
        "Tops": {"fit": ["boxy", "flared", "slim"], "neck": ["round", "v"]},
        "Sarees": {"border": ["solid", "zari"]},
    },
    "another order": {
        "Sarees": {"border": ["solid", "zari"]},
        "Tops": {"neck": ["round", "v"], "fit": ["boxy", "slim"]},
    },
    "less": {"Tops": {"neck": ["round"]}},
}
BEFORE = Taxonomy.of(
    {
        "Tops": {"fit": ["boxy", "slim"], "neck": ["round", "v"]},
        "Sarees": {"border": ["solid", "zari"]},
    }
)


@pytest.mark.parametrize("change", GROWN)
@pytest.mark.parametrize(("num_hidden_layers", "norms"), FORMS)
def test_heads_keep_their_logits_when_the_taxonomy_changes(
    change: str, num_hidden_layers: int, norms: str
) -> None:
    old = make_heads(BEFORE, num_hidden_layers=num_hidden_layers, norms=norms).eval()
    taxonomy = Taxonomy.of(GROWN[change])
    new = old.adapted(taxonomy)
    assert new.taxonomy == taxonomy
    features = torch.randn(5, NUM_FEATURES)
    for category in taxonomy.categories:
        if category not in BEFORE.categories:
            continue
        logits = {
            heads: heads(features, torch.full((5,), heads.taxonomy.categories.index(category)))
            for heads in (old, new)
        }
        for head in taxonomy.heads_of(category):
            for value in head.values:
                places = [find(heads.taxonomy, category, head.attribute, value) for heads in logits]
                if None in places:
                    continue
                (slot, place), (new_slot, new_place) = places
                # the order in which a matrix product sums follows its size on some processors
                kept = logits[new][:, new_slot, new_place]
                torch.testing.assert_close(kept, logits[old][:, slot, place])


def find(taxonomy: Taxonomy, category: str, attribute: str, value: str) -> tuple[int, int] | None:
    """The slot and index of a value's logit."""
    if attribute not in taxonomy.attributes(category):
        return None
    values = taxonomy.head(category, attribute).values
    if value not in values:
        return None
    return taxonomy.attributes(category).index(attribute), values.index(value)


def test_adapted_heads_share_nothing_with_the_old_ones() -> None:
    old = make_heads(BEFORE)
    before = {name: each.clone() for name, each in old.state_dict().items()}
    new = old.adapted(Taxonomy.of(GROWN["a new value in between"]))
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.fill_(9)
    assert all(torch.equal(each, before[name]) for name, each in old.state_dict().items())


def test_adapted_heads_keep_number_format_and_mode() -> None:
    old = make_heads(BEFORE).double().eval()
    new = old.adapted(Taxonomy.of(GROWN["a new category"]))
    assert {each.dtype for each in new.parameters()} == {torch.float64}
    assert not new.training


def test_start_as_linear_layers_do(odd: Taxonomy) -> None:
    torch.manual_seed(0)
    heads = Heads(odd, 400, HeadsConfig(hidden_dim=64))
    category = heads.categories[0]
    assert isinstance(category, CategoryHeads)
    bound = 1 / math.sqrt(400)
    weight = category.hidden[0].weight
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_dim": 0}, "greater than or equal to 1"),
        ({"num_hidden_layers": 4}, "less than or equal to 3"),
        ({"dropout": 1.0}, "less than 1"),
        ({"dropuot": 0.1}, "Extra inputs"),
    ],
)
def test_what_a_configuration_may_not_hold(config: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeadsConfig.model_validate(config)


# Standardised features


def test_the_first_batches_are_averaged_plainly() -> None:
    torch.manual_seed(0)
    scale = Standardise(NUM_FEATURES).train()
    batches = [5 + 3 * torch.randn(6, NUM_FEATURES, dtype=torch.float64).float() for _ in range(9)]
    for batch in batches:
        scale(batch)
    seen = torch.cat(batches)
    torch.testing.assert_close(scale.mean, seen.mean(dim=0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scale.variance, seen.var(dim=0, correction=0), rtol=1e-4, atol=1e-4)
    standard = scale.eval()(seen)
    torch.testing.assert_close(standard.mean(dim=0), torch.zeros(NUM_FEATURES), rtol=0, atol=1e-5)
    torch.testing.assert_close(standard.std(dim=0, correction=0), torch.ones(NUM_FEATURES))


def test_training_and_evaluation_standardise_alike() -> None:
    torch.manual_seed(0)
    scale, batch = Standardise(NUM_FEATURES).train(), torch.randn(4, NUM_FEATURES)
    trained = scale(batch)
    before = scale.state_dict()
    assert torch.equal(scale.eval()(batch), trained)
    assert all(torch.equal(before[name], each) for name, each in scale.state_dict().items())


def test_later_batches_fade() -> None:
    scale = Standardise(1).train()
    for _ in range(150):
        scale(torch.zeros(2, 1))
    scale(torch.full((2, 1), 4.0))
    assert scale.mean.item() == pytest.approx(4 / 100)
    assert scale.variance.item() == pytest.approx(16 * 0.01 * 0.99, rel=1e-4)


@pytest.mark.parametrize("num_products", [0, 1])
def test_a_small_batch_is_standardised_too(odd: Taxonomy, num_products: int) -> None:
    heads = make_heads(odd, standardise=True).train()
    features = torch.randn(num_products, NUM_FEATURES)
    logits = heads(features, torch.zeros(num_products, dtype=torch.int64))
    assert logits[:, 0, :3].isfinite().all()
    assert heads.standardise is not None
    assert heads.standardise.mean.isfinite().all()


@pytest.mark.parametrize("is_shared", [False, True])
def test_large_features_count_no_more_than_small_ones(
    odd: Taxonomy, mixed: Batch, is_shared: bool
) -> None:
    """Whatever a feature is multiplied by and however it is moved, the logits stay."""
    torch.manual_seed(0)
    config = HeadsConfig(hidden_dim=8, dropout=0.0, standardise=True, shared=is_shared)
    heads = build_heads(odd, NUM_FEATURES, config).train()
    sizes = torch.logspace(-1, 2, NUM_FEATURES)
    expected = heads(mixed.features, mixed.categories)
    torch.manual_seed(0)
    others = build_heads(odd, NUM_FEATURES, config).train()
    torch.testing.assert_close(
        others(sizes * mixed.features + 3, mixed.categories), expected, rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize("is_shared", [False, True])
def test_heads_for_another_taxonomy_standardise_as_before(
    odd: Taxonomy, mixed: Batch, is_shared: bool
) -> None:
    torch.manual_seed(0)
    config = HeadsConfig(hidden_dim=8, standardise=True, shared=is_shared)
    heads = build_heads(odd, NUM_FEATURES, config).train()
    heads(5 * mixed.features, mixed.categories)
    grown = heads.eval().adapted(Taxonomy.of({"Kurtis": {"length": ["long", "short"]}}))
    rows = mixed.categories == 1
    old = heads(mixed.features, mixed.categories)[rows, 0, :2]
    new = grown(mixed.features[rows], torch.zeros(int(rows.sum()), dtype=torch.int64))[:, 0]
    torch.testing.assert_close(new, old)
    assert "standardised" in grown.form
