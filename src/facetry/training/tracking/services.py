"""Services that display the metrics of a training: Weights & Biases and trackio."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

from facetry.errors import MissingExtra, SettingError, nearest
from facetry.runtime.files import write_text
from facetry.training.tracking.files import epoch_row, step_row
from facetry.training.tracking.records import EpochRecord, StepRecord, Tracker

Service = Literal["wandb", "trackio"]

RUN_ID: Final = "tracking_run"
"""The file in the log's folder with the id under which services know an unfinished training."""

_FINISH_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What services show of a training as a whole, which `services` to use, and a caller's own trackers.

    A service's own environment variables take precedence over `project` and `name`.
    """

    project: str
    name: str
    recipe: Mapping[str, Any]
    services: tuple[Service, ...] = ()
    callbacks: tuple[Tracker, ...] = ()

    @classmethod
    def of(cls, table: Path, model: Path, recipe: Mapping[str, Any]) -> "RunInfo":
        """Name the project after the catalogue's folder, and the run after the model folder.

        >>> model = Path("out/both.partial/members/vit.partial")
        >>> run_info = RunInfo.of(Path("shop/train.csv"), model, {})
        >>> run_info.project, run_info.name
        ('shop', 'both/vit')
        """
        name = model.name.removesuffix(".partial")
        if model.parent.name == "members":
            name = f"{model.parent.parent.name.removesuffix('.partial')}/{name}"
        project = table.absolute().parent.name or "facetry"
        return cls(project=project, name=name, recipe=recipe)


def require_service(name: str) -> Service:
    """Return the service of that name if its package is installed; call it before any work is done.

    Raises:
        MissingExtra: wandb is not installed.
        SettingError: trackio, which none of Facetry's extras has, is not; or no such service exists.
    """
    service = next((each for each in _SERVICES if each == name), None)
    if service is None:
        raise SettingError(f"Unknown service {name!r}.", hint=nearest(name, _SERVICES))
    if find_spec(service) is None:
        if service == "wandb":
            raise MissingExtra("Tracking with Weights & Biases", "track")
        raise SettingError("trackio is not installed.", hint="Install it with: pip install trackio")
    return service


def open_service(service: Service, run_info: RunInfo, run_id: str) -> Tracker:
    """Start a run of the service for a training, or continue the one with the same `run_id`."""
    return _SERVICES[service](run_info, run_id)


def run_id(folder: Path) -> str:
    """The id under which services know the training in `folder`; a random one the first time."""
    file = folder / RUN_ID
    if not file.is_file():
        write_text(file, uuid4().hex[:8])
    return file.read_text(encoding="utf-8")


class WandbTracker:
    """Sends metrics to Weights & Biases."""

    def __init__(self, run_info: RunInfo, run_id: str) -> None:
        import wandb

        self._run = wandb.init(
            project=_unless_set("WANDB_PROJECT", run_info.project),
            name=_unless_set("WANDB_NAME", run_info.name),
            id=_unless_set("WANDB_RUN_ID", run_id),
            resume="allow",
            config=dict(run_info.recipe),
            reinit="create_new",  # else the next member of an ensemble would join a run that failed
            settings=wandb.Settings(console="off", finish_timeout=_FINISH_TIMEOUT_S, quiet=True),
        )

    def log_step(self, record: StepRecord) -> None:
        """Send a step's figures."""
        self._run.log(_step_figures(record), step=record.step)

    def log_epoch(self, record: EpochRecord) -> None:
        """Send an epoch's figures, at its last step."""
        self._run.log(_epoch_figures(record), step=record.step)

    def finish(self) -> None:
        """Send what has not been sent yet, for a minute at most; wandb leaves the rest on disk."""
        self._run.finish()


class TrackioTracker:
    """Sends metrics to trackio."""

    def __init__(self, run_info: RunInfo, run_id: str) -> None:
        import trackio

        # trackio continues the run of the same name, so two trainings must not share one.
        self._run = trackio.init(
            project=run_info.project,
            name=f"{run_info.name} {run_id}",
            config=dict(run_info.recipe),
            resume="allow",
            embed=False,
        )

    def log_step(self, record: StepRecord) -> None:
        """Send a step's figures."""
        self._run.log(_step_figures(record), step=record.step)

    def log_epoch(self, record: EpochRecord) -> None:
        """Send an epoch's figures, at its last step."""
        self._run.log(_epoch_figures(record), step=record.step)

    def finish(self) -> None:
        """Send what has not been sent yet."""
        self._run.finish()


_SERVICES: Final[Mapping[Service, Callable[[RunInfo, str], Tracker]]] = {
    "wandb": WandbTracker,
    "trackio": TrackioTracker,
}


def _step_figures(record: StepRecord) -> dict[str, float]:
    row = step_row(record)
    by_head = row.pop("loss_by_head")
    return {**_under("step", row), **_under("loss of a step", by_head)}


def _epoch_figures(record: EpochRecord) -> dict[str, float]:
    return {
        **_under("epoch", epoch_row(record)),
        **_under("loss", {head.name: value for head, value in record.loss_by_head.items()}),
        **_under("score", {head.name: value for head, value in record.score_by_head.items()}),
    }


def _under(group: str, figures: Mapping[str, float]) -> dict[str, float]:
    """Figures with their names prefixed by the group in which services show them."""
    return {f"{group}/{name}": value for name, value in figures.items()}


def _unless_set(variable: str, value: str) -> str | None:
    """The value, or None where the environment has the variable, so that the service uses that."""
    return None if variable in os.environ else value
