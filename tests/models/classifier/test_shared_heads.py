"""Heads that categories share by the names of their attributes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facetry.models.classifier.heads import AnyHeads, SharedHeads, build_heads, probabilities
from facetry.models.config import HeadsConfig
from facetry.taxonomy import Taxonomy
from tests.models.conftest import NUM_FEATURES, Batch, randomise

CLOTHES = Taxonomy.of(
    {
        "Tops": {"fit": ["boxy", "slim"], "colour": ["blue", "red", "white"]},
        "Jeans": {"colour": ["black", "blue"], "waist": ["high"], "empty": []},
        "Bags": {"strap": ["long", "none", "short"]},
    }
)
TOPS, JEANS, BAGS = range(3)


def make_shared(taxonomy: Taxonomy = CLOTHES, **config: object) -> SharedHeads:
    torch.manual_seed(0)
    heads = build_heads(
        taxonomy,
        NUM_FEATURES,
        HeadsConfig.model_validate({"hidden_dim": 8, "shared": True, **config}),
    )
    assert isinstance(heads, SharedHeads)
    randomise(heads)
    return heads.eval()


def answers(heads: AnyHeads, features: Tensor, category: int) -> Tensor:
    logits: Tensor = heads(features, torch.full((len(features),), category))
    return logits


def test_a_value_has_one_logit_in_all_categories_but_for_their_biases() -> None:
    heads, features = make_shared(num_hidden_layers=2), torch.randn(6, NUM_FEATURES)
    bias = heads.joined.bias.detach()
    on_tops, on_jeans = answers(heads, features, TOPS)[:, 1], answers(heads, features, JEANS)[:, 0]
    assert torch.allclose(on_tops[:, 0] - bias[1, 0], on_jeans[:, 1] - bias[2, 1], atol=1e-6)  # blue
    assert not torch.allclose(on_tops[:, 0], on_jeans[:, 1])


def test_computes_one_mlp_for_each_attribute() -> None:
    heads, features = make_shared(), torch.randn(5, NUM_FEATURES)
    stack = heads.joined.attributes
    names = [head.attribute for head in stack.heads]
    assert names == ["fit", "colour", "waist", "empty", "strap"]
    row = names.index("colour")
    assert stack.heads[row].values == ("blue", "red", "white", "black")
    hidden = features @ stack.hidden[0].weight[row].T + stack.hidden[0].bias[row]
    normal = functional.layer_norm(hidden, (8,), stack.norms[0].weight[row], stack.norms[0].bias[row])
    logits = normal.relu() @ stack.output.weight[row].T + stack.output.bias[row]
    expected = logits[:, [3, 0]] + heads.joined.bias[2, :2]  # black, blue of jeans
    assert torch.allclose(answers(heads, features, JEANS)[:, 0, :2], expected, atol=1e-6)


def test_values_that_a_category_lacks_are_minus_infinity() -> None:
    heads, features = make_shared(), torch.randn(4, NUM_FEATURES)
    logits = heads(features, torch.tensor([TOPS, JEANS, BAGS, -1]))
    assert logits.shape == (4, CLOTHES.num_slots, CLOTHES.num_values)
    expected = torch.zeros(4, CLOTHES.num_slots, CLOTHES.num_values, dtype=torch.bool)
    for row, category in enumerate(CLOTHES.categories):
        for slot, head in enumerate(CLOTHES.heads_of(category)):
            expected[row, slot, : len(head.values)] = True
    assert torch.equal(logits.isfinite(), expected)
    assert torch.equal(logits.isneginf(), ~expected)
    sums = probabilities(logits).sum(dim=-1)
    assert torch.allclose(sums, expected.any(dim=-1).float())


@pytest.mark.parametrize("is_shared", [False, True])
def test_one_category_learns_from_the_labels_of_another(is_shared: bool) -> None:
    torch.manual_seed(0)
    heads = build_heads(CLOTHES, NUM_FEATURES, HeadsConfig(hidden_dim=16, dropout=0, shared=is_shared))
    features = torch.randn(64, NUM_FEATURES)
    is_blue = features[:, 0] > 0
    labels = torch.where(is_blue, 0, 1)  # of tops: blue, red
    optimiser = torch.optim.Adam(heads.parameters(), lr=0.01)
    bags = answers(heads, features, BAGS).detach()
    for _ in range(60):
        optimiser.zero_grad()
        functional.cross_entropy(answers(heads, features, TOPS)[:, 1], labels).backward()
        optimiser.step()
    on_jeans = answers(heads, features, JEANS)[:, 0]
    on_blue, on_others = on_jeans[is_blue, 1].mean(), on_jeans[~is_blue, 1].mean()
    assert (on_blue - on_others > 2) == is_shared
    assert torch.equal(answers(heads, features, BAGS), bags)  # no attribute in common


def test_an_attribute_in_several_categories_is_held_once() -> None:
    def count(config: HeadsConfig, taxonomy: Taxonomy) -> int:
        return sum(each.numel() for each in build_heads(taxonomy, NUM_FEATURES, config).parameters())

    many = Taxonomy.of({f"Kind {row}": {"colour": ["red", "blue"]} for row in range(10)})
    one = Taxonomy.of({"Kind 0": {"colour": ["red", "blue"]}})
    shared = HeadsConfig(hidden_dim=8, shared=True)
    assert count(shared, many) == count(shared, one) + 9 * 2  # biases
    assert count(HeadsConfig(hidden_dim=8), many) == 10 * count(HeadsConfig(hidden_dim=8), one)


@pytest.mark.parametrize(
    "grown",
    [
        {"Hats": {"colour": ["red"], "brim": ["wide"]}, **CLOTHES.declared()},
        {**CLOTHES.declared(), "Tops": {"colour": ["amber", "blue", "red", "white"], "fit": ["slim"]}},
    ],
    ids=["a new category", "a new value in between, another order"],
)
def test_heads_keep_their_logits_when_the_taxonomy_changes(
    grown: dict[str, dict[str, list[str]]],
) -> None:
    old = make_shared().double()
    new = old.adapted(Taxonomy.of(grown))
    assert {each.dtype for each in new.parameters()} == {torch.float64}
    assert not new.training
    features = torch.randn(5, NUM_FEATURES, dtype=torch.float64)
    compared = 0
    for before in old.taxonomy.heads:
        if before.category not in new.taxonomy.categories:
            continue
        for value in before.values:
            reads = [place(heads, before.category, before.attribute, value) for heads in (old, new)]
            if None not in reads:
                logits = [read(features) for read in reads if read]
                torch.testing.assert_close(*logits)
                compared += 1
    assert compared >= 8


def place(
    heads: SharedHeads, category: str, attribute: str, value: str
) -> Callable[[Tensor], Tensor] | None:
    """How to read the logits of a value, if the heads have it."""
    taxonomy = heads.taxonomy
    values = taxonomy.head(category, attribute).values
    if value not in values:
        return None
    slot, index = taxonomy.attributes(category).index(attribute), values.index(value)
    code = taxonomy.categories.index(category)
    return lambda features: answers(heads, features, code)[:, slot, index]


def test_missing_labels_and_unknown_categories_carry_no_gradient(odd: Taxonomy, mixed: Batch) -> None:
    heads = make_shared(odd)
    logits = heads(mixed.features, mixed.categories)
    known = mixed.labels >= 0
    functional.cross_entropy(logits[known], mixed.labels[known]).backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in heads.parameters())
