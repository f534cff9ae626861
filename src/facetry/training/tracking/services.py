"""Services that show how training goes: Weights & Biases and trackio."""

import os
from collections.abc import Callable, Mapping, Sequence
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
"""The file beside the log that holds the name by which services know an unfinished training."""

_FINISHING_S: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class About:
    """What services are told of a training as a whole, and which ones.

    A service's own environment variables go before `project` and `name`.
    """

    project: str
    name: str
    recipe: Mapping[str, Any]
    services: tuple[Service, ...] = ()

    @classmethod
    def of(
        cls, table: Path, model: Path, recipe: Mapping[str, Any], services: Sequence[Service] = ()
    ) -> "About":
        """Named after the catalogue's folder and after the model folder, finished or not.

        >>> about = About.of(Path("shop/train.csv"), Path("out/both.partial/members/vit.partial"), {})
        >>> about.project, about.name
        ('shop', 'both/vit')
        """
        name = model.name.removesuffix(".partial")
        if model.parent.name == "members":
            name = f"{model.parent.parent.name.removesuffix('.partial')}/{name}"
        project = table.absolute().parent.name or "facetry"
        return cls(project=project, name=name, recipe=recipe, services=tuple(services))


def require_service(name: str) -> Service:
    """The service of that name, whose package is installed: to be asked before any work is done.

    Raises:
        MissingExtra: wandb is not installed.
        SettingError: trackio is not, which is in none of our extras, or there is no such service.
    """
    service = next((each for each in _SERVICES if each == name), None)
    if service is None:
        raise SettingError(f"Unknown service {name!r}.", hint=nearest(name, _SERVICES))
    if find_spec(service) is None:
        if service == "wandb":
            raise MissingExtra("Tracking with Weights & Biases", "track")
        raise SettingError("trackio is not installed.", hint="Install it with: pip install trackio")
    return service


def open_service(service: Service, about: About, run_id: str) -> Tracker:
    """Begin to tell a service of a training, or go on under the same `run_id`."""
    return _SERVICES[service](about, run_id)


def run_id(folder: Path) -> str:
    """The name by which services know the training in `folder`, made up the first time."""
    file = folder / RUN_ID
    if not file.is_file():
        write_text(file, uuid4().hex[:8])
    return file.read_text(encoding="utf-8")


class WandbTracker:
    """Tells Weights & Biases."""

    def __init__(self, about: About, run_id: str) -> None:
        import wandb

        self._run = wandb.init(
            project=_unless_set("WANDB_PROJECT", about.project),
            name=_unless_set("WANDB_NAME", about.name),
            id=_unless_set("WANDB_RUN_ID", run_id),
            resume="allow",
            config=dict(about.recipe),
            reinit="create_new",  # a member of an ensemble whose run failed must not go into the next
            settings=wandb.Settings(console="off", finish_timeout=_FINISHING_S, quiet=True),
        )

    def log_step(self, record: StepRecord) -> None:
        """Send a step's figures."""
        self._run.log(_step_figures(record), step=record.step)

    def log_epoch(self, record: EpochRecord) -> None:
        """Send an epoch's figures, at its last step."""
        self._run.log(_epoch_figures(record), step=record.step)

    def finish(self) -> None:
        """Send what has not been sent yet, for a minute at most; the rest stays on disk."""
        self._run.finish()


class TrackioTracker:
    """Tells trackio."""

    def __init__(self, about: About, run_id: str) -> None:
        import trackio

        # A run goes on by its name, so two trainings must not share one.
        self._run = trackio.init(
            project=about.project,
            name=f"{about.name} {run_id}",
            config=dict(about.recipe),
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


_SERVICES: Final[Mapping[Service, Callable[[About, str], Tracker]]] = {
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
    """Figures with the name of the group in which the services show them."""
    return {f"{group}/{name}": value for name, value in figures.items()}


def _unless_set(variable: str, value: str) -> str | None:
    """None, which leaves it to the variable, where the environment has it."""
    return None if variable in os.environ else value
