"""The whole comparison: open or resume the folder, build and score each row, write the leaderboard.

`OUT` holds `split.parquet`, `models/KEY` (a model folder for each recipe and each member of an
ensemble) with its cost in `models/KEY.json`, `rows/KEY` (the model's answers), `errors/NAME.txt`, and
the leaderboard itself.
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
from facetry.experiments.compare.entries import Entry, with_common_split
from facetry.experiments.compare.formats import leaderboard_json, leaderboard_markdown
from facetry.experiments.compare.leaderboard import HeldOutPart, Leaderboard, Result, build_leaderboard
from facetry.experiments.compare.report import write_report
from facetry.experiments.compare.rows import (
    ComparisonInputs,
    RowScores,
    build_model,
    load_or_save_split,
    saved_fingerprint,
    score_model,
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
_CONFIDENCE = "confidence.npy"
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
    """Build and score the entries that are not done yet, and write the leaderboard to `out`.

    All rows are trained and scored on one split: `split`, or that of the first recipe. A row that fails,
    or whose entry has a fault, is listed with its error and tried again by the next call. If it was
    interrupted, the same call resumes; a call with other entries adds or leaves out rows.

    Raises:
        CatalogueError: the catalogue has errors.
        RecipeError: a recipe that needs a part which the split does not have.
        SettingError: entries that cannot be compared.
        NotEnoughData: a test part that cannot be scored.
        FolderError: an `out` that was made by something else.
    """
    out = Path(out)
    catalogue = _repaired(catalogue, entries)
    catalogue.require_sound()
    catalogue.require_photos()
    entries = with_common_split(entries, _split_config(entries[0].recipe, split))
    first, split_file = entries[0].recipe, out / _SPLIT

    def upgrade(found: dict[str, Any]) -> dict[str, Any]:
        """Facetry 0.1.0 wrote None for a given split; the saved file has its fingerprint."""
        split = found["split"] or saved_fingerprint(split_file, catalogue)
        return upgraded_identity({**found, "split": split}, catalogue)

    with open_or_resume(out, _identity(first, catalogue, split), _COMPARISON, upgrade=upgrade):
        split = load_or_save_split(
            split_file, catalogue, split, first.split, seed=first.seed, reporter=reporter
        )
        test_part = HeldOutPart.of(catalogue, split, seed=first.seed)
        comparison = _Comparison(out=out, catalogue=catalogue, reporter=reporter)
        results = [comparison.result(entry) for entry in entries]
        board = build_leaderboard(test_part, split, results, is_nano=is_nano)
        write_text(out / f"{LEADERBOARD}.json", json.dumps(leaderboard_json(board), indent=1))
        write_text(out / f"{LEADERBOARD}.md", leaderboard_markdown(board))
        write_report(out / f"{LEADERBOARD}.html", board)
    return board


def _split_config(first: Recipe, given: Split | None) -> SplitConfig:
    """The split that is written into all recipes; only the seed matters if a split is given."""
    if given is not None:
        return SplitConfig(seed=first.seed)
    seed = first.seed if first.split.seed is None else first.split.seed
    return first.split.model_copy(update={"seed": seed})


def _repaired(catalogue: Catalogue, entries: Sequence[Entry]) -> Catalogue:
    """The catalogue with the repairs that the recipes name; all must name the same file."""
    files = {entry.recipe.repairs for entry in entries}
    if len(files) > 1:
        raise SettingError(
            "The recipes name different repair files, so they would be scored on different labels.",
            hint="Name the same file in all of them, or in none and use --repairs.",
        )
    file = files.pop()
    return catalogue if file is None else catalogue.with_repairs(file)


def _identity(first: Recipe, catalogue: Catalogue, given: Split | None) -> dict[str, Any]:
    """What must be unchanged for rows to be added to a folder."""
    split = given.fingerprint if given else first.split.model_dump(mode="json")
    return {**catalogue_identity(catalogue), "split": split}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Comparison:
    """Builds and scores rows in the folder `out`, each in a worker process."""

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
        if entry.fault:
            self.reporter.say(f"Row {entry.name} failed: {entry.fault.message}")
            return Result(entry=entry, error=str(entry.fault))
        try:
            building = None if entry.model else self._build(entry.recipe)
            folder = entry.model or self._model_path(entry.recipe)
            scored, scoring = self._score(folder, self._key(entry))
        except WorkerFailed as error:
            self.reporter.say(f"Row {entry.name} failed: {error.message}")
            if error.trace:
                write_text(trace, error.trace)
            return Result(entry=entry, error=str(error))
        return Result(entry=entry, scored=scored, building=building, scoring=scoring)

    def _model_path(self, recipe: Recipe) -> Path:
        return library_folder(self.inputs.library, recipe)

    def _key(self, entry: Entry) -> str:
        """Identifies a model: its name in the library, or the start of its folder's fingerprint."""
        return entry.model.fingerprint[:16] if entry.model else self._model_path(entry.recipe).name

    def _build(self, recipe: Recipe) -> Cost:
        """Build a recipe's model folder after those of its members; the cost over all runs."""
        parts = []
        if isinstance(recipe, EnsembleRecipe):
            for name, member in recipe.members.items():
                try:
                    parts.append(self._build(member))
                except WorkerFailed as error:
                    message = f"Its member {name!r} failed: {error.message}"
                    raise WorkerFailed(message, hint=error.hint, trace=error.trace) from None
        return _total_cost([*parts, self._build_own(recipe)])

    def _build_own(self, recipe: Recipe) -> Cost:
        """Build one model folder unless it exists; the cost includes attempts that failed."""
        folder = self._model_path(recipe)
        costs = folder.with_name(f"{folder.name}.json")
        spent = _read_costs(costs)
        if folder.exists() and spent:
            return spent
        started = time.perf_counter()
        try:
            _, cost = run_in_worker(build_model, self.inputs, recipe, folder, reporter=self.reporter)
        except BaseException:
            lost = Cost(seconds=time.perf_counter() - started, memory_mib=0.0)
            write_text(costs, json.dumps(asdict(_total_cost([*filter(None, [spent]), lost]))))
            raise
        cost = _total_cost([*filter(None, [spent]), cost])
        write_text(costs, json.dumps(asdict(cost)))
        return cost

    def _score(self, folder: Path | ModelFolder, key: str) -> tuple[RowScores, Cost]:
        """Score one model unless its row is stored; the row as stored, and the cost of scoring."""
        row = self.out / _ROWS / key
        if not row.exists():
            scored, cost = run_in_worker(score_model, self.inputs, folder, reporter=self.reporter)
            with writing_folder(row) as draft:
                np.save(draft / "answers.npy", scored.answers)
                np.save(draft / _CONFIDENCE, scored.confidence)
                figures = {**asdict(scored), "cost": asdict(cost)}
                del figures["answers"], figures["confidence"]
                (draft / "row.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        figures = json.loads((row / "row.json").read_text(encoding="utf-8"))
        cost = Cost(**figures.pop("cost"))
        confidence = np.load(row / _CONFIDENCE) if (row / _CONFIDENCE).exists() else None
        answers = np.load(row / "answers.npy")
        return RowScores(answers=answers, confidence=confidence, **figures), cost


def _total_cost(costs: Sequence[Cost]) -> Cost:
    """The cost of consecutive steps: the sum of the seconds, the maximum of the memory."""
    gpu = [cost.gpu_mib for cost in costs if cost.gpu_mib is not None]
    return Cost(
        seconds=sum(cost.seconds for cost in costs),
        memory_mib=max(cost.memory_mib for cost in costs),
        gpu_mib=max(gpu) if gpu else None,
    )


def _read_costs(path: Path) -> Cost | None:
    return Cost(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
