"""From a classifier's recipe and a catalogue to trained weights in a model folder.

While training runs all its files are in `OUT.partial`; at the end that folder is renamed to `OUT`. So a
folder called OUT is finished, and the same command after an interruption resumes in `OUT.partial`.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.serialization import build_classifier, save_classifier
from facetry.models.config import ImageConfig
from facetry.models.towers.blocks import checkpoint_blocks, freeze_blocks
from facetry.models.towers.device import pick_device
from facetry.models.towers.embed import embed_products
from facetry.models.towers.image import build_backbone
from facetry.models.towers.lora import add_lora, merge_lora
from facetry.runtime.progress import SILENT, Advance, Reporter
from facetry.training.config import TrainingSections
from facetry.training.data import Examples, Rows, line_up, useful_rows
from facetry.training.distributed.processes import SINGLE_PROCESS, Processes, current_processes
from facetry.training.inputs import TrainingInputs, read_inputs
from facetry.training.loop import fit
from facetry.training.run import Run, start
from facetry.training.state import TrainingState
from facetry.training.targets.cleaning import clean
from facetry.training.targets.distillation import Distillation
from facetry.training.targets.loss import Criterion
from facetry.training.tower import compiled, prune_for
from facetry.training.tracking import Position, RunInfo, tracking


def train_classifier(
    recipe: TrainingSections,
    catalogue: Catalogue,
    split: Split,
    folder: Path,
    run_info: RunInfo,
    reporter: Reporter,
) -> Classifier:
    """Train to the last epoch, resuming what `folder` has, and write the best weights into `folder`.

    `run_info` describes the training to tracking services.

    Raises:
        BackboneError: a backbone or weights that are not available.
        NotEnoughData: nothing to train on.
        NonFiniteLoss: a loss or gradient became NaN or infinite.
        OutOfMemory: a single product does not fit the memory.
        WriteFailed: the disk is full.
    """
    state_folder = folder / "training"
    classifier = _build(recipe, catalogue, split.rows("train"), state_folder, reporter)
    rows = useful_rows(catalogue, split, unlabelled=bool(recipe.teach and recipe.teach.unlabelled))
    source = read_inputs(recipe, classifier, catalogue.products(rows), state_folder, reporter)
    examples = line_up(catalogue, split, rows, source.problems)
    neighbours = _neighbours(recipe, classifier, source, state_folder, reporter)
    examples, cleaning = clean(examples, catalogue.taxonomy, recipe.clean, neighbours, reporter)
    cleaning.save(state_folder)
    for sentence in (*source.sentences, *cleaning.sentences):
        reporter.say(sentence)
    if recipe.teach:
        distillation = Distillation.read(recipe.teach, state_folder, examples.labels)
        examples = replace(examples, distillation=distillation)
        reporter.say(distillation.describe(examples.labels, torch.from_numpy(examples.train)))
    job = _TrainingJob(
        recipe=recipe, rows=rows, examples=examples, folder=state_folder, run_info=run_info
    )
    processes = SINGLE_PROCESS if recipe.backbone.frozen else current_processes()
    processes.broadcast(job)
    with _starting(job, classifier, source, processes, reporter) as (run, state, advance):
        fit(run, state, advance)
    source.model.load_state_dict(state.best_weights)
    classifier.to(pick_device())  # it is on the CPU if its weights were sharded
    if recipe.training.lora:
        for encoder in classifier.encoders:
            merge_lora(encoder)
    save_classifier(folder, classifier)
    return classifier.eval()


def assist(catalogue: Catalogue) -> None:
    """Take part in every training that the main process starts, until it starts no more."""
    processes = current_processes()
    while received := processes.receive():
        job: _TrainingJob = received[0]
        classifier = _build(job.recipe, catalogue, job.rows, job.folder, SILENT)
        products = catalogue.products(job.rows)
        source = read_inputs(job.recipe, classifier, products, job.folder, SILENT)
        with _starting(job, classifier, source, processes, SILENT) as (run, state, advance):
            fit(run, state, advance)


@dataclass(frozen=True, kw_only=True, eq=False)
class _TrainingJob:
    """What the main process sends to those that train with it; `rows` are rows of the catalogue."""

    recipe: TrainingSections
    rows: Rows
    examples: Examples
    folder: Path
    run_info: RunInfo


def _build(
    recipe: TrainingSections, catalogue: Catalogue, rows: Rows, folder: Path, reporter: Reporter
) -> Classifier:
    """The classifier before its first step; a tower is pruned by the photos of `rows`."""
    training = recipe.training
    torch.manual_seed(recipe.seed)
    classifier = build_classifier(
        catalogue.taxonomy,
        recipe.backbone,
        recipe.heads,
        recipe.image,
        text=recipe.text,
        photos=recipe.photos,
    )
    if recipe.backbone.prune:
        products = catalogue.products(rows)
        prune_for(classifier.backbone, recipe.backbone.prune, products, folder, reporter)
    if training.lora:
        for encoder in classifier.encoders:
            add_lora(encoder, training.lora)
    freeze_blocks(classifier.backbone, training.frozen_blocks)
    if training.checkpointing:
        checkpoint_blocks(classifier.backbone)
    return classifier.to(pick_device())


@contextmanager
def _starting(
    job: _TrainingJob,
    classifier: Classifier,
    source: TrainingInputs,
    processes: Processes,
    reporter: Reporter,
) -> Iterator[tuple[Run, TrainingState, Advance]]:
    """A run, its newest saved state and a progress bar, for `fit`.

    While the context lasts the tower is compiled, if the recipe says so, and the tracker is open.
    """
    config, examples = job.recipe.training, job.examples
    run = _make_run(job, classifier, source, processes, reporter)
    state = start(run, source.model)
    if state.restore(job.folder, reporter):
        reporter.say(state.describe(config.epochs))
    num_left = examples.num_per_epoch * (config.epochs - state.epoch) - state.step * config.batch_size
    model = state.model  # a copy, if its weights are sharded
    backbone = model.backbone if config.compile and isinstance(model, Classifier) else None
    tower = compiled(run, backbone) if backbone else nullcontext()
    done = Position(epoch=state.epoch, step=state.num_steps)
    tracked = tracking(job.folder, done, job.run_info, reporter) if processes.is_main else nullcontext()
    with tower, tracked as tracker, reporter.bar("Training", num_left) as advance:
        yield replace(run, tracker=tracker), state, advance


def _make_run(
    job: _TrainingJob,
    classifier: Classifier,
    source: TrainingInputs,
    processes: Processes,
    reporter: Reporter,
) -> Run:
    config, examples, taxonomy = job.recipe.training, job.examples, classifier.taxonomy
    train = torch.from_numpy(examples.train)
    return Run(
        taxonomy=taxonomy,
        config=config,
        seed=job.recipe.seed,
        examples=examples,
        inputs=source.inputs,
        criterion=Criterion.of(
            config.loss, taxonomy, examples.labels[train], examples.categories[train]
        ),
        device=classifier.device,
        folder=job.folder,
        processes=processes,
        reporter=reporter,
    )


_NEIGHBOURS = "neighbours.safetensors"


def _neighbours(
    recipe: TrainingSections,
    classifier: Classifier,
    source: TrainingInputs,
    folder: Path,
    reporter: Reporter,
) -> NDArray[np.float32] | None:
    """The features (N, D) that neighbours are found by; None where the recipe uses no neighbours."""
    if recipe.clean.neighbours == "none":
        return None
    own = recipe.clean.neighbour_backbone
    if own is None and source.features is not None:
        return source.features
    backbone = build_backbone(own, ImageConfig()).to(classifier.device) if own else classifier.backbone
    file = folder / _NEIGHBOURS
    return embed_products(backbone, source.products, file=file, reporter=reporter).means
