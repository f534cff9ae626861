"""From a classifier's recipe and a catalogue to a model folder.

While training runs everything lies in `OUT.partial`; when it is done that folder becomes `OUT`. So a
folder called OUT is finished, and the same command after an interruption goes on in `OUT.partial`.
"""

from contextlib import nullcontext
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
from facetry.runtime.progress import SILENT, Reporter
from facetry.training.config import TrainingSections
from facetry.training.data import Examples, Rows, line_up, useful_rows
from facetry.training.distributed.processes import SINGLE_PROCESS, Processes, current_processes
from facetry.training.inputs import TrainingInputs, read_inputs
from facetry.training.loop import fit
from facetry.training.run import Run, start
from facetry.training.state import TrainingState
from facetry.training.targets.cleaning import Cleaning, clean
from facetry.training.targets.distillation import Distillation
from facetry.training.targets.loss import Criterion
from facetry.training.tower import compiled, prune_for
from facetry.training.tracking import About, Position, tracking


def train_classifier(
    recipe: TrainingSections,
    catalogue: Catalogue,
    split: Split,
    folder: Path,
    about: About,
    reporter: Reporter,
) -> Classifier:
    """Train to the last epoch in `folder` (going on where it stopped) and write the best weights.

    `about` is what tracking services are told of the training.

    Raises:
        BackboneError: a backbone or weights that cannot be had.
        NotEnoughData: nothing to train on.
        NonFiniteLoss: the loss became NaN or infinite.
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
    _tell(source, cleaning, reporter)
    if recipe.teach:
        distillation = Distillation.read(recipe.teach, state_folder, examples.labels)
        examples = replace(examples, distillation=distillation)
        reporter.say(distillation.describe(examples.labels, torch.from_numpy(examples.train)))
    task = _TrainingJob(recipe=recipe, rows=rows, examples=examples, folder=state_folder, about=about)
    processes = SINGLE_PROCESS if recipe.backbone.frozen else current_processes()
    processes.broadcast(task)
    state = _fit(task, classifier, source, processes, reporter)
    source.model.load_state_dict(state.best_weights)
    classifier.to(pick_device())  # from the CPU, if its weights were spread over processes
    if recipe.training.lora:
        for encoder in classifier.encoders:
            merge_lora(encoder)
    save_classifier(folder, classifier)
    return classifier.eval()


def assist(catalogue: Catalogue) -> None:
    """Train with the main process whatever it asks for, until it asks no more."""
    processes = current_processes()
    while asked := processes.receive():
        task: _TrainingJob = asked[0]
        classifier = _build(task.recipe, catalogue, task.rows, task.folder, SILENT)
        products = catalogue.products(task.rows)
        source = read_inputs(task.recipe, classifier, products, task.folder, SILENT)
        _fit(task, classifier, source, processes, SILENT)


@dataclass(frozen=True, kw_only=True, eq=False)
class _TrainingJob:
    """What the processes that train together have to know: `rows` are of the catalogue."""

    recipe: TrainingSections
    rows: Rows
    examples: Examples
    folder: Path
    about: About


def _build(
    recipe: TrainingSections, catalogue: Catalogue, rows: Rows, folder: Path, reporter: Reporter
) -> Classifier:
    """The classifier as training begins with it; `rows` have photos to judge parts of its tower by."""
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


def _fit(
    task: _TrainingJob,
    classifier: Classifier,
    source: TrainingInputs,
    processes: Processes,
    reporter: Reporter,
) -> TrainingState:
    """Train to the last epoch, in however many processes; returns the state that is reached."""
    recipe, config, examples = task.recipe, task.recipe.training, task.examples
    train = torch.from_numpy(examples.train)
    run = Run(
        taxonomy=classifier.taxonomy,
        config=config,
        seed=recipe.seed,
        examples=examples,
        inputs=source.inputs,
        criterion=Criterion.of(
            config.loss, classifier.taxonomy, examples.labels[train], examples.categories[train]
        ),
        device=classifier.device,
        folder=task.folder,
        processes=processes,
        reporter=reporter,
    )
    state = start(run, source.model)
    if state.restore(task.folder, reporter):
        reporter.say(state.describe(config.epochs))
    num_left = examples.num_per_epoch * (config.epochs - state.epoch) - state.step * config.batch_size
    model = state.model  # a copy, if its weights are spread over processes
    backbone = model.backbone if config.compile and isinstance(model, Classifier) else None
    tower = compiled(run, backbone) if backbone else nullcontext()
    done = Position(epoch=state.epoch, step=state.num_steps)
    told = tracking(task.folder, done, task.about, reporter) if processes.is_main else nullcontext()
    with tower, told as tracker, reporter.bar("Training", num_left) as advance:
        fit(replace(run, tracker=tracker), state, advance)
    return state


def _tell(source: TrainingInputs, cleaning: Cleaning, reporter: Reporter) -> None:
    for sentence in (*source.sentences, *cleaning.sentences):
        reporter.say(sentence)


_NEIGHBOURS = "neighbours.safetensors"


def _neighbours(
    recipe: TrainingSections,
    classifier: Classifier,
    source: TrainingInputs,
    folder: Path,
    reporter: Reporter,
) -> NDArray[np.float32] | None:
    """Features (N, D) that tell who is alike, None where the recipe asks for no neighbours."""
    if recipe.clean.neighbours == "none":
        return None
    own = recipe.clean.neighbour_backbone
    if own is None and source.features is not None:
        return source.features
    backbone = build_backbone(own, ImageConfig()).to(classifier.device) if own else classifier.backbone
    file = folder / _NEIGHBOURS
    return embed_products(backbone, source.products, file=file, reporter=reporter).means
