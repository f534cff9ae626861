"""Folders that are started, stopped at any moment, resumed and finished."""

import json
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from facetry.audit.config import AuditConfig, open_encoder
from facetry.build.load import load
from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.repairs.file import read_repairs
from facetry.errors import FacetryError, FolderInUse, FolderMismatch, FolderOccupied
from facetry.experiments.compare.entries import read_entries
from facetry.recipe import load_recipe
from facetry.runtime import resumable
from facetry.runtime.files import remove, try_lock, write_text
from facetry.runtime.resumable import JobKind, open_or_resume, stopped_hint
from tests.runtime.steps import (
    IN_PLACE,
    PLACED,
    attempt_otherwise,
    begin_nothing,
    contents,
    kill_at_every_moment,
    partial,
    work,
)

KINDS = pytest.mark.parametrize("kind", [PLACED, IN_PLACE], ids=["placed", "in place"])


@KINDS
@pytest.mark.parametrize("before", [begin_nothing, attempt_otherwise])
def test_a_kill_between_any_two_file_operations_loses_nothing_and_can_be_resumed(
    tmp_path: Path, kind: JobKind, before: Callable[[Path, JobKind], None]
) -> None:
    """In a new process: one that has torch in it takes long to fork, and is forked for each kill."""
    process = get_context("spawn").Process(target=kill_at_every_moment, args=(tmp_path, kind, before))
    process.start()
    process.join()
    assert process.exitcode == 0


@KINDS
def test_finished_work_is_not_repeated(tmp_path: Path, kind: JobKind) -> None:
    assert work(tmp_path / "out", kind, num_steps=2) == [0, 1]
    assert work(tmp_path / "out", kind) == [2]
    assert work(tmp_path / "out", kind) == []


@KINDS
def test_settings_may_change_only_before_work_is_stored(tmp_path: Path, kind: JobKind) -> None:
    out = tmp_path / "out"
    work(out, kind, seed=0, num_steps=0)
    work(out, kind, seed=1, num_steps=1)
    assert (partial(out, kind) / "plan.txt").read_text() == "with 1"
    with pytest.raises(FolderMismatch, match=r"out\S* was made with another seed\.\n") as refused:
        work(out, kind, seed=0)
    assert refused.value.hint == "Choose another --out, or delete that folder."
    work(out, kind)
    with pytest.raises(FolderMismatch, match="was made with another seed"):
        work(out, kind, seed=0)
    assert work(out, kind) == []


def put_file(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def put_draft(folder: Path) -> None:
    (folder / ".letter.draft").write_text("mine")


def put_folder(folder: Path) -> None:
    (folder / "photos").mkdir()


def put_job(folder: Path) -> None:
    (folder / "job.json").write_text('{"salary": 1}')


def put_list(folder: Path) -> None:
    (folder / "job.json").write_text("[1]")


def put_other_command(folder: Path) -> None:
    (folder / "job.json").write_text('{"command": "train", "format": 2, "seed": 1, "sizes": [1, 2]}')


FOREIGN = [put_file, put_draft, put_folder, put_job, put_list, put_other_command]


@KINDS
@pytest.mark.parametrize("is_out", [True, False], ids=["out", "where it works"])
@pytest.mark.parametrize("put", FOREIGN)
def test_a_foreign_folder_is_left_alone_and_no_hint_says_to_delete_it(
    tmp_path: Path, kind: JobKind, is_out: bool, put: Callable[[Path], None]
) -> None:
    out = tmp_path / "out"
    folder = out if is_out else partial(out, kind)
    folder.mkdir()
    put(folder)
    before = contents(folder)
    with pytest.raises(FolderOccupied, match="was not made by `facetry audit`") as refused:
        work(out, kind)
    assert refused.value.hint == "Choose another --out."
    assert contents(folder) == before


@KINDS
def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path, kind: JobKind) -> None:
    for place in dict.fromkeys((tmp_path / "out", partial(tmp_path / "out", kind))):
        place.write_text("mine")
        with pytest.raises(FolderOccupied, match="was not made by `facetry audit`"):
            work(tmp_path / "out", kind)
        assert place.read_text() == "mine"
        place.unlink()


@KINDS
def test_an_empty_folder_is_used(tmp_path: Path, kind: JobKind) -> None:
    partial(tmp_path / "out", kind).mkdir()
    assert work(tmp_path / "out", kind) == [0, 1, 2]


@KINDS
def test_one_process_at_a_time(tmp_path: Path, kind: JobKind) -> None:
    folder = partial(tmp_path / "out", kind)
    with try_lock(folder), pytest.raises(FolderInUse, match="is being written by another process"):
        work(tmp_path / "out", kind)


def test_work_that_another_process_finished_during_the_wait_for_the_lock_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    lock = resumable.lock

    def finish_first(*arguments: Any) -> Any:
        monkeypatch.setattr(resumable, "lock", lock)
        work(out, PLACED)
        return lock(*arguments)

    monkeypatch.setattr(resumable, "lock", finish_first)
    assert work(out, PLACED) == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_appeared_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_or_resume(out, {}, PLACED) as job:
        write_text(out / "mine.txt", "mine")
        with pytest.raises(FolderOccupied, match="was made by something else"):
            job.finish()
    assert contents(out) == {"mine.txt": "mine"}
    remove(out)
    with open_or_resume(out, {}, PLACED) as job:
        job.finish()


def as_before(folder: Path) -> None:
    """Make a folder's job.json one of Facetry 0.1.0."""
    file = folder / "job.json"
    content = json.loads(file.read_text())
    for key in ("command", "format", "facetry"):
        del content[key]
    file.write_text(json.dumps(content))


@KINDS
def test_a_finished_folder_of_version_0_1_0_is_recognised(tmp_path: Path, kind: JobKind) -> None:
    work(tmp_path / "out", kind)
    as_before(tmp_path / "out")
    assert work(tmp_path / "out", kind) == []
    with pytest.raises(FolderMismatch, match="was made with another seed"):
        work(tmp_path / "out", kind, seed=0)


@KINDS
def test_half_a_folder_of_version_0_1_0_is_refused(tmp_path: Path, kind: JobKind) -> None:
    work(tmp_path / "out", kind, num_steps=2)
    as_before(partial(tmp_path / "out", kind))
    with pytest.raises(FolderMismatch, match="was begun by Facetry 0") as refused:
        work(tmp_path / "out", kind)
    assert "Finish it with Facetry 0.1.0" in refused.value.hint


@KINDS
def test_a_folder_without_work_of_version_0_1_0_is_started_again(tmp_path: Path, kind: JobKind) -> None:
    work(tmp_path / "out", kind, num_steps=0)
    as_before(partial(tmp_path / "out", kind))
    assert work(tmp_path / "out", kind) == [0, 1, 2]


@KINDS
def test_a_folder_of_a_newer_version(tmp_path: Path, kind: JobKind) -> None:
    work(tmp_path / "out", kind)
    file = tmp_path / "out" / "job.json"
    file.write_text(file.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(FolderMismatch, match="is of format 3; this version reads up to 2"):
        work(tmp_path / "out", kind)


def test_facts_are_stored_and_not_compared(tmp_path: Path) -> None:
    for fact in (True, False):
        with open_or_resume(tmp_path / "out", {"seed": 1}, IN_PLACE, facts={"is_given": fact}) as job:
            write_text(job.folder / "step.txt", "done")
    assert resumable.read_record(tmp_path / "out")["is_given"] is True


def test_an_identity_in_an_earlier_format_is_upgraded(tmp_path: Path) -> None:
    def upgrade(found: dict[str, Any]) -> dict[str, Any]:
        return {"seed": found["start"]}

    (tmp_path / "job.json").write_text('{"start": 1}')
    (tmp_path / "result.txt").touch()
    with open_or_resume(tmp_path, {"seed": 1}, IN_PLACE, upgrade=upgrade):
        pass
    with (
        pytest.raises(FolderMismatch, match="another seed"),
        open_or_resume(tmp_path, {"seed": 2}, IN_PLACE, upgrade=upgrade),
    ):
        pass


def test_a_nested_folder_is_named_by_its_owner(tmp_path: Path) -> None:
    inner = tmp_path / "within"
    with open_or_resume(inner, {"seed": 1}, IN_PLACE, owner=tmp_path):
        (inner / "step.txt").touch()
    with (
        pytest.raises(FolderMismatch, match=f"^{tmp_path} was made with another seed"),
        open_or_resume(inner, {"seed": 2}, IN_PLACE, owner=tmp_path),
    ):
        pass


def look_for_a_model(out: Path) -> None:
    load(out)


def look_for_a_recipe(out: Path) -> None:
    load_recipe(out / "best.yaml")


def look_for_a_row(out: Path) -> None:
    read_entries([out])


def look_for_a_catalogue(out: Path) -> None:
    open_catalogue(out)


def look_for_repairs(out: Path) -> None:
    read_repairs(out / "repairs.csv")


def look_for_features(out: Path) -> None:
    open_encoder(AuditConfig(features=out))


@pytest.mark.parametrize(
    "look",
    [
        look_for_a_model,
        look_for_a_recipe,
        look_for_a_row,
        look_for_a_catalogue,
        look_for_repairs,
        look_for_features,
    ],
)
def test_a_missing_result_of_a_stopped_job_has_a_hint(
    tmp_path: Path, look: Callable[[Path], None]
) -> None:
    work(tmp_path / "out", PLACED, num_steps=1)
    with pytest.raises(FacetryError) as refused:
        look(tmp_path / "out")
    assert refused.value.hint.startswith(f"{tmp_path / 'out.partial'} exists: its job was stopped")


@pytest.mark.parametrize("inner", ["", "split.parquet", "members/a"])
def test_a_stopped_job_is_named_where_its_result_is_looked_for(tmp_path: Path, inner: str) -> None:
    path = tmp_path / "out" / inner
    assert stopped_hint(path) == ""
    work(tmp_path / "out", PLACED, num_steps=1)
    assert stopped_hint(path).startswith(f"{tmp_path / 'out.partial'} exists: its job was stopped")
    work(tmp_path / "out", PLACED)
    assert stopped_hint(path) == ""
