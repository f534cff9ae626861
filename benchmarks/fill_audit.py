"""How soon the fill audit withdraws a promise that no longer holds, and how often one that does.

    python -m benchmarks.fill_audit [--quick] [--target SHARE]

Streams of answers are simulated. False alarms are those within 3,000 answers at exactly the promised
precision, which is the worst case that keeps the promise. A drop to 0.85 comes at once, or after 3,000
answers at 0.96; counted are the answers from the drop on, among the streams without an alarm before it.
The baseline is the confidence sequence alone, without the change detector.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from benchmarks.measure import make_parser, show
from facetry.confidence.stream import HORIZON, ChangeDetector, first_below
from facetry.confidence.threshold import DELTA

GOOD, BAD = 0.96, 0.85
NUM_STREAMS, NUM_QUICK = 4_000, 400
_LONGEST_DROP = 2_000

Alarm = Callable[[NDArray[np.bool_]], int | None]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = make_parser(__doc__, quick=f"{NUM_QUICK} streams of each kind in place of {NUM_STREAMS}")
    parser.add_argument("--target", type=float, default=0.95, help="the promised precision")
    options = parser.parse_args(arguments)
    num_streams = NUM_QUICK if options.quick else NUM_STREAMS
    figures = measure(options.target, num_streams)
    rows = [_cells(name, found) for name, found in figures["ways"].items()]
    columns = ("withdrawn by", "false alarms", "95% interval", "at once", "after 3,000 good", "not seen")
    show(f"{num_streams:,} streams, promise of {options.target:g}", columns, rows, figures)


def measure(target: float, num_streams: int, *, delta: float = DELTA) -> dict[str, Any]:
    """False alarms and delays of the confidence sequence alone, the detector alone, and both."""
    detector = ChangeDetector.of(target, delta=delta / 2)
    ways: dict[str, Alarm] = {
        "confidence sequence": lambda answers: first_below(answers, target, delta),
        "change detector": detector.first_alarm,
    }
    alone = {name: _Alarms.of(way, target, num_streams) for name, way in ways.items()}
    alone["both"] = _Alarms.first(list(alone.values()))
    return {
        "benchmark": "fill_audit",
        "target": target,
        "delta": delta,
        "horizon": HORIZON,
        "limit": round(detector.limit, 3),
        "num_streams": num_streams,
        "ways": {name: alarms.figures() for name, alarms in alone.items()},
    }


@dataclass(frozen=True)
class _Alarms:
    """The answer at which each of S streams raised an alarm, by kind of stream; infinity for none."""

    by_kind: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, way: Alarm, target: float, num_streams: int) -> "_Alarms":
        """Those of one way to find out, on streams that are the same for all ways."""
        kinds = {
            "kept": [(target, HORIZON)],
            "at once": [(BAD, _LONGEST_DROP)],
            "later": [(GOOD, HORIZON), (BAD, _LONGEST_DROP)],
        }
        return cls({kind: _first_alarms(way, parts, num_streams) for kind, parts in kinds.items()})

    @classmethod
    def first(cls, several: Sequence["_Alarms"]) -> "_Alarms":
        """The first of several alarms of each stream."""
        kinds = several[0].by_kind
        return cls({kind: np.min([each.by_kind[kind] for each in several], axis=0) for kind in kinds})

    def figures(self) -> dict[str, Any]:
        """The share of false alarms with its interval, and the delays' median and 90th percentile."""
        false = np.isfinite(self.by_kind["kept"])
        interval = binomtest(int(false.sum()), len(false)).proportion_ci()
        later = self.by_kind["later"]
        later = later[later > HORIZON] - HORIZON
        delays = {"at_once": self.by_kind["at once"], "later": later}
        return {
            "false_alarms": round(float(false.mean()), 4),
            "interval": [round(float(end), 4) for end in interval],
            "not_seen": round(float(np.isinf(later).mean()), 4),
            **{name: _delay(answers) for name, answers in delays.items()},
        }


def _first_alarms(
    way: Alarm, parts: Sequence[tuple[float, int]], num_streams: int
) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    found = np.full(num_streams, np.inf)
    for index in range(num_streams):
        answers = np.concatenate([rng.random(length) < precision for precision, length in parts])
        found[index] = way(answers) or np.inf
    return found


def _delay(answers: NDArray[np.float64]) -> dict[str, float | None]:
    """The median and the 90th percentile; None for a stream whose drop was not seen."""
    quantiles = np.quantile(answers, [0.5, 0.9], method="higher")
    return {
        name: float(each) if np.isfinite(each) else None
        for name, each in zip(("median", "p90"), quantiles, strict=True)
    }


def _cells(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    low, high = found["interval"]
    return (
        name,
        f"{found['false_alarms']:.1%}",
        f"{low:.1%} - {high:.1%}",
        *(_delay_cell(found[each]) for each in ("at_once", "later")),
        f"{found['not_seen']:.1%}",
    )


def _delay_cell(delay: dict[str, float | None]) -> str:
    shown = ["never" if each is None else f"{each:.0f}" for each in delay.values()]
    return f"{shown[0]} (90%: {shown[1]})"


if __name__ == "__main__":
    main()
