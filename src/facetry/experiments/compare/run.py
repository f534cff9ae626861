"""The whole comparison: claim the folder, build and score row by row, write the leaderboard.

`OUT` holds `split.parquet`, `models/KEY` (a model folder for each recipe, members of ensembles among
them), `rows/KEY` (what it answered), `errors/NAME.txt`, and the leaderboard itself.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from facetry.build.train import library_folder
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import catalogue_identity, upgraded_identity
from facetry.catalogue.split import Split, SplitConfig
from facetry.errors import SettingError, WorkerFailed
from facetry.experiments.compare.entries import Entry, line_up
from facetry.experiments.compare.formats import leaderboard_json, leaderboard_markdown
from facetry.experiments.compare.leaderboard import HeldOutPart, Leaderboard, Result, build_leaderboard
from facetry.experiments.compare.report import write_report
from facetry.experiments.compare.rows import (
    ComparisonInputs,
    RowScores,
    build_model,
    kept_fingerprint,
    score_model,
    settle_split,
)
from facetry.models.folder import ModelFolder
from facetry.recipe import EnsembleRecipe, Recipe
from facetry.runtime.files import write_text, writing_folder
from facetry.runtime.progress import SILENT, Reporter
from facetry.runtime.resumable import JobKind, open_or_resume
from facetry.runtime.workers import Cost, run_in_worker

LEADERBOARD = "leaderboard"
_SPLIT = "split.parquet"
_MODELS = "models"
_ROWS = "rows"
_COMPARISON = JobKind(
    command="compare",
    preliminary=frozenset({_SPLIT}),
    works_in_place=True,
    result=f"{LEADERBOARD}.json",
)


def compare(
    entries: Sequence[Entry],
    catalogue: Catalogue,
    out: str | Path,
    *,
    split: Split | None = None,
    is_nano: bool = False,
    reporter: Reporter = SILENT,
) -> Leaderboard:
    """Build what is not built yet, score what is not scored yet, and write the leaderboard to `out`.

    All rows are trained on and scored on one split: `split`, or that of the first recipe. A row that
    fails is shown with its error and tried again the next time. Interrupted, the same call goes on;
    with other entries it adds or leaves out rows.

    Raises:
        CatalogueError: a catalogue that cannot be worked with.
        RecipeError: a recipe that needs a part which the split does not have.
        SettingError: entries that cannot be compared.
        NotEnoughData: a test part that cannot be scored.
        FolderError: an `out` that holds something else.
    """
    out = Path(out)
    catalogue = _repaired(catalogue, entries)
    catalogue.require_sound()
    catalogue.require_photos()
    entries = line_up(entries, _split_config(entries[0].recipe, split))
    first, file = entries[0].recipe, out / _SPLIT

    def upgrade(found: dict[str, Any]) -> dict[str, Any]:
        """Facetry 0.1.0 wrote None for a split that was given."""
        split = found["split"] or kept_fingerprint(file, catalogue)
        return upgraded_identity({**found, "split": split}, catalogue)

    with open_or_resume(out, _identity(first, catalogue, split), _COMPARISON, upgrade=upgrade):
        split = settle_split(file, catalogue, split, first.split, seed=first.seed, reporter=reporter)
        test_part = HeldOutPart.of(catalogue, split, seed=first.seed)
        field = _Comparison(out=out, catalogue=catalogue, reporter=reporter)
        results = [field.result(entry) for entry in entries]
        board = build_leaderboard(test_part, split, results, is_nano=is_nano)
        write_text(out / f"{LEADERBOARD}.json", json.dumps(leaderboard_json(board), indent=1))
        write_text(out / f"{LEADERBOARD}.md", leaderboard_markdown(board))
        write_report(out / f"{LEADERBOARD}.html", board)
    return board


def _split_config(first: Recipe, given: Split | None) -> SplitConfig:
    """What all recipes are to say of the split; of no meaning where it is given."""
    if given is not None:
        return SplitConfig(seed=first.seed)
    seed = first.seed if first.split.seed is None else first.split.seed
    return first.split.model_copy(update={"seed": seed})


def _repaired(catalogue: Catalogue, entries: Sequence[Entry]) -> Catalogue:
    """The catalogue with the repairs that the recipes name, which must be the same ones."""
    files = {entry.recipe.repairs for entry in entries}
    if len(files) > 1:
        raise SettingError(
            "The recipes name different repairs of labels, so that they would be scored on different "
            "labels.",
            hint="Name the same file in all of them, or leave it to --repairs.",
        )
    file = files.pop()
    return catalogue if file is None else catalogue.with_repairs(file)


def _identity(first: Recipe, catalogue: Catalogue, given: Split | None) -> dict[str, Any]:
    """What must be the same for rows to be added."""
    split = given.fingerprint if given else first.split.model_dump(mode="json")
    return {**catalogue_identity(catalogue), "split": split}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Comparison:
    """Where rows are built and scored."""

    out: Path
    catalogue: Catalogue
    reporter: Reporter

    @cached_property
    def inputs(self) -> ComparisonInputs:
        return ComparisonInputs(
            source=self.catalogue.source,
            given=self.catalogue.given,
            is_closed=self.catalogue.is_closed,
            split=self.out / _SPLIT,
            library=self.out / _MODELS,
        )

    def result(self, entry: Entry) -> Result:
        """Build and score one entry, or record why that failed."""
        self.reporter.say(f"Row {entry.name}")
        trace = self.out / "errors" / f"{entry.name}.txt"
        trace.unlink(missing_ok=True)
        try:
            building = None if entry.model else self._build(entry.recipe)
            folder = entry.model or self._place(entry.recipe)
            scored, scoring = self._score(folder, self._key(entry))
        except WorkerFailed as error:
            self.reporter.say(f"Row {entry.name} failed: {error.message}")
            if error.trace:
                write_text(trace, error.trace)
            return Result(entry=entry, error=str(error))
        return Result(entry=entry, scored=scored, building=building, scoring=scoring)

    def _place(self, recipe: Recipe) -> Path:
        return library_folder(self.inputs.library, recipe)

    def _key(self, entry: Entry) -> str:
        """What only equal models share: the name in the library, or the model folder's fingerprint."""
        return entry.model.fingerprint[:16] if entry.model else self._place(entry.recipe).name

    def _build(self, recipe: Recipe) -> Cost:
        """Build a recipe's model folder, its members' before; what all of it took in all runs."""
        parts = []
        if isinstance(recipe, EnsembleRecipe):
            for name, member in recipe.members.items():
                try:
                    parts.append(self._build(member))
                except WorkerFailed as error:
                    message = f"Its member {name!r} failed: {error.message}"
                    raise WorkerFailed(message, hint=error.hint, trace=error.trace) from None
        return _joined([*parts, self._build_own(recipe)])

    def _build_own(self, recipe: Recipe) -> Cost:
        place = self._place(recipe)
        costs = place.with_name(f"{place.name}.json")
        spent = _read_costs(costs)
        if place.exists() and spent:
            return spent
        started = time.perf_counter()
        try:
            _, cost = run_in_worker(build_model, self.inputs, recipe, place, reporter=self.reporter)
        except BaseException:
            lost = Cost(seconds=time.perf_counter() - started, memory_mib=0.0)
            write_text(costs, json.dumps(asdict(_joined([*filter(None, [spent]), lost]))))
            raise
        cost = _joined([*filter(None, [spent]), cost])
        write_text(costs, json.dumps(asdict(cost)))
        return cost

    def _score(self, folder: Path | ModelFolder, key: str) -> tuple[RowScores, Cost]:
        place = self.out / _ROWS / key
        if not place.exists():
            scored, cost = run_in_worker(score_model, self.inputs, folder, reporter=self.reporter)
            with writing_folder(place) as draft:
                np.save(draft / "answers.npy", scored.answers)
                figures = {**asdict(scored), "cost": asdict(cost)}
                del figures["answers"]
                (draft / "row.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        figures = json.loads((place / "row.json").read_text(encoding="utf-8"))
        cost = Cost(**figures.pop("cost"))
        return RowScores(answers=np.load(place / "answers.npy"), **figures), cost


def _joined(costs: Sequence[Cost]) -> Cost:
    """What came one after the other: seconds add up, memory was free again."""
    gpu = [cost.gpu_mib for cost in costs if cost.gpu_mib is not None]
    return Cost(
        seconds=sum(cost.seconds for cost in costs),
        memory_mib=max(cost.memory_mib for cost in costs),
        gpu_mib=max(gpu) if gpu else None,
    )


def _read_costs(path: Path) -> Cost | None:
    return Cost(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
