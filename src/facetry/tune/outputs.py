"""What a search leaves: tables, the best recipe, and a report."""

from pathlib import Path

from facetry.files import write_text
from facetry.recipe import dump_recipe
from facetry.tune.claim import REPORT, SPLIT
from facetry.tune.findings import Findings
from facetry.tune.report import write_report
from facetry.tune.trials import write_trials

BEST = "best.yaml"


def write_outputs(out: Path, findings: Findings) -> None:
    """Write `trials.csv`, `trials.parquet`, `best.yaml` and `report.html`."""
    write_trials(out, findings.trials)
    if text := _best_yaml(out, findings):
        write_text(out / BEST, text)
    write_report(out / REPORT, findings)


def _best_yaml(out: Path, findings: Findings) -> str:
    """The best recipe with a comment on how it was found; "" if there is none."""
    best, recipe = findings.best, findings.best_recipe
    if best is None or recipe is None:
        return ""
    header = (
        f"# Trial {best.number:,} of {len(findings.trials):,}: {best.score:.4f} on the validation part.",
        "#",
        f"#   facetry train {out / BEST} --catalogue CATALOGUE --split {out / SPLIT} --out MODEL",
        "#",
    )
    # Files of a recipe count from its own folder, and this one lies in another than its base did.
    return "\n".join(header) + "\n" + dump_recipe(recipe, base=Path.cwd())
