"""The heads of the challenge, forward and backward: one product at a time against category by category.

    python -m benchmarks.heads [--quick] [--threads N]

Threads wait as torch has it; the command line sets OMP_WAIT_POLICY=PASSIVE, which on two cores makes
the baseline faster: it spends much of its time waiting at the end of small operations.

The baseline is how such code is usually written: a `dict` of `nn.Sequential`, a Python loop over the
products of the batch and their attributes, the losses of known labels averaged.

A third row is the machine's own limit: the time it takes to read the weights twice and to write as
many bytes once, which no way to compute forward and backward can do without.
"""

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.challenge import challenge_taxonomy, draw_labels
from benchmarks.measure import alternate, make_parser, ratio, show
from facetry.models.classifier.heads import CategoryHeads, Heads
from facetry.models.config import HeadsConfig
from facetry.taxonomy import Taxonomy
from facetry.training.config import LossConfig
from facetry.training.targets.loss import Criterion

BATCH_SIZE = 32
FEATURE_SIZE = 1024
CONFIG = HeadsConfig(dropout=0.0)
"""The paper's heads, without dropout so that both sides compute the same numbers."""


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, quick="fewer rounds")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    taxonomy = challenge_taxonomy()
    heads = Heads(taxonomy, FEATURE_SIZE, CONFIG)
    networks = per_product_networks(heads)
    batch = make_batch(taxonomy)
    _, categories, labels = batch
    criterion = Criterion.of(LossConfig(), taxonomy, labels, categories)
    difference = _difference(heads, criterion, networks, batch)
    times = alternate(
        {
            "per product": functools.partial(_step_per_product, networks, taxonomy, *batch),
            "by category": functools.partial(_step, heads, criterion, *batch),
            "memory alone": functools.partial(_touch_weights, heads),
        },
        num_rounds=5 if options.quick else 30,
        num_warmups=2,
    )
    speedup = ratio(times["per product"], times["by category"])
    most = ratio(times["per product"], times["memory alone"])
    figures = {
        "benchmark": "heads",
        "num_heads": taxonomy.num_heads,
        "batch_size": BATCH_SIZE,
        "feature_size": FEATURE_SIZE,
        "threads": options.threads,
        **{name.replace(" ", "_"): each.as_dict() for name, each in times.items()},
        "speedup": speedup,
        "speedup_at_most": most,
        "cpu_speedup": ratio(times["per product"].cpu, times["by category"].cpu),
        "loss_difference": difference,
    }
    rows = [(name, *each.cells()) for name, each in times.items()]
    for name, each in (("times faster", speedup), ("at most possible", most)):
        rows.append((name, f"{each['median']:.1f}", f"{each['min']:.1f} - {each['max']:.1f}"))
    show("42 heads, batch of 32, forward and backward", ["", "median, ms", "range, ms"], rows, figures)


def make_batch(taxonomy: Taxonomy) -> tuple[Tensor, Tensor, Tensor]:
    """Features (B, D), category indices (B) and labels (B, A)."""
    categories, labels = draw_labels(taxonomy, BATCH_SIZE)
    features = torch.randn(BATCH_SIZE, FEATURE_SIZE)
    return features.requires_grad_(), torch.from_numpy(categories), torch.from_numpy(labels)


def per_product_networks(heads: Heads) -> nn.ModuleDict:
    """One `nn.Sequential` for each head, with the same weights as `heads`."""
    networks = nn.ModuleDict()
    for category in heads.categories:
        assert isinstance(category, CategoryHeads)
        for index, head in enumerate(category.heads):
            networks[f"{head.category}_{head.attribute}"] = _network(category, index)
    return networks


def _network(category: CategoryHeads, index: int) -> nn.Sequential:
    num_values = len(category.heads[index].values)
    network = nn.Sequential(
        nn.Linear(FEATURE_SIZE, CONFIG.hidden_dim),
        nn.LayerNorm(CONFIG.hidden_dim),
        nn.ReLU(),
        nn.Dropout(CONFIG.dropout),
        nn.Linear(CONFIG.hidden_dim, num_values),
    )
    stacked = (category.hidden[0], category.norms[0], category.output)
    ours = [each[index] for layer in stacked for each in layer.parameters()]
    with torch.no_grad():
        for parameter, own in zip(network.parameters(), ours, strict=True):
            parameter.copy_(own[: len(parameter)])
    return network


def _loss_per_product(
    networks: nn.ModuleDict, taxonomy: Taxonomy, features: Tensor, categories: Tensor, labels: Tensor
) -> Tensor:
    losses = []
    for row in range(len(features)):
        category = taxonomy.categories[int(categories[row])]
        for slot, attribute in enumerate(taxonomy.attributes(category)):
            logits = networks[f"{category}_{attribute}"](features[row : row + 1])
            if labels[row, slot] >= 0:
                losses.append(functional.cross_entropy(logits, labels[row, slot : slot + 1]))
    return torch.stack(losses).mean()


def _step_per_product(
    networks: nn.ModuleDict, taxonomy: Taxonomy, features: Tensor, categories: Tensor, labels: Tensor
) -> float:
    networks.zero_grad(set_to_none=True)
    features.grad = None
    loss = _loss_per_product(networks, taxonomy, features, categories, labels)
    loss.backward()
    return loss.item()


def _step(
    heads: Heads, criterion: Criterion, features: Tensor, categories: Tensor, labels: Tensor
) -> float:
    heads.zero_grad(set_to_none=True)
    features.grad = None
    targets = criterion.targets(labels, categories)
    loss = criterion(heads(features, categories), targets) / targets.sum()
    loss.backward()
    return loss.item()


def _touch_weights(heads: Heads) -> None:
    """Read every weight twice and write as many bytes once, to memory that is new as gradients are."""
    for parameter in heads.parameters():
        parameter.detach().sum()
        parameter.detach().clone()


def _difference(
    heads: Heads, criterion: Criterion, networks: nn.ModuleDict, batch: tuple[Tensor, Tensor, Tensor]
) -> float:
    ours = _step(heads, criterion, *batch)
    return abs(ours - _step_per_product(networks, heads.taxonomy, *batch))


if __name__ == "__main__":
    main()
