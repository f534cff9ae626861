"""Five people decide at once, as fast as they can: nobody sees an error, nothing is lost or doubled."""

from pathlib import Path

import pytest

from benchmarks.review_people import Load, work_together
from benchmarks.review_times import write_large

pytestmark = pytest.mark.slow


def test_no_answer_is_lost_or_doubled_and_no_error_reaches_anyone(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    monkeypatch.chdir(project)
    review = write_large(tmp_path, database_url, 1000)
    found = work_together(tmp_path, database_url, review, Load(seconds=10, interval_s=0))
    assert found.errors == {}
    assert (found.num_lost, found.num_doubled) == (0, 0)
    assert found.num_confirmed > 50
    assert len(found.seconds["queue page"]) > 5
