"""What is promised, and what people's answers say of it, stands in the metrics."""

import numpy as np

from facetry.confidence.cells import Evidence
from facetry.confidence.fill_audit import Watched
from facetry.confidence.promises import Promises, make_promises
from facetry.confidence.stream import watch
from facetry.service.metrics import Metrics
from tests.service.fakes import TAXONOMY

NUM_LABELS = 200


def promises() -> Promises:
    """One head with labels enough, all of them right; the other without any."""
    confidence = np.linspace(0.5, 0.99, NUM_LABELS)
    evidence = Evidence(
        heads=np.zeros(NUM_LABELS, dtype=np.int64),
        confidence=confidence,
        of_label=confidence,
        is_right=np.ones(NUM_LABELS, dtype=bool),
        groups=np.arange(NUM_LABELS),
    )
    return make_promises(evidence, TAXONOMY, 0.9)


def test_promises_are_shown_by_head_and_of_the_newest_version_alone() -> None:
    metrics = Metrics()
    metrics.show_model("shop", "one", None)
    metrics.show_model("shop", "two", promises())
    lines = metrics.text().decode().splitlines()
    assert 'facetry_model_info{model="shop",version="two"} 1.0' in lines
    assert not [line for line in lines if 'version="one"' in line]
    assert 'facetry_promise_precision{model="shop"} 0.9' in lines
    starts = [line.rpartition(" ") for line in lines if line.startswith("facetry_promise_fill_from{")]
    found = {name.split('category="')[1].split('"')[0]: value for name, _, value in starts}
    assert 0.5 <= float(found["Sarees"]) <= 0.99
    assert found["Kurtis"] == "+Inf"


def test_answers_about_filled_cells_are_bounds_of_a_promise() -> None:
    given = promises()
    answers = watch(np.arange(100) % 20 != 0, given.target)
    nothing = watch(np.zeros(0, dtype=bool), given.target)
    pools = tuple(answers if each.threshold else nothing for each in given.promises)
    none = np.zeros(2, dtype=np.int64)
    metrics = Metrics()
    metrics.show_audit(
        "shop",
        Watched(
            promises=given, heads=(answers, nothing), pools=pools, num_open=none, num_open_right=none
        ),
    )
    shown = [line for line in metrics.text().decode().splitlines() if "fill_audit_precision{" in line]
    assert len(shown) == 2
    lower, upper = (float(line.rpartition(" ")[2]) for line in sorted(shown))
    assert lower < 0.95 < upper
