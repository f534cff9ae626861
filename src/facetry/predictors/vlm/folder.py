"""The model folder of a VLM predictor: the files in addition to those of all model folders.

`vlm.json`: the checkpoint's name and version, and the prompts. `processor/`: tokenizer and image
processor. `adapter/`: LoRA's weights, if it was fine-tuned. `base/`: the network's weights, if they are
not a published checkpoint's: those of the tiny model, or of a network whose weights were all trained.
`examples.safetensors`: the photos of few-shot examples, whose labels are in `vlm.json`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from facetry.errors import ModelFolderError, WeightsUnavailable
from facetry.models.classifier.serialization import save_preprocess
from facetry.models.folder import ModelFolder
from facetry.models.retired import without_retired
from facetry.predictors.vlm.config import TuningConfig, VlmConfig
from facetry.predictors.vlm.predictor import Example, VlmPredictor
from facetry.predictors.vlm.qwen import Qwen, read_qwen, require_transformers
from facetry.runtime.files import write_text, writing, writing_folder

_TARGETS: Final = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
_MATRICES: Final = "adapter_model.safetensors"
_PREFIX: Final = "base_model.model."


def with_lora(network: Any, config: TuningConfig, seed: int) -> Any:
    """The network with LoRA matrices, initialised with `seed` and at first without effect."""
    from peft import LoraConfig

    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=_TARGETS,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _inject(lora, network)


def has_lora(network: Any) -> bool:
    """Whether a network has LoRA matrices."""
    return hasattr(network, "peft_config")


def save_lora(folder: Path, network: Any) -> None:
    """Write the LoRA matrices in peft's own format, so that other programs can load the adapter."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    with writing_folder(folder) as draft:
        state: Mapping[str, Any] = get_peft_model_state_dict(network)
        named = {f"{_PREFIX}{name}": each.contiguous().cpu() for name, each in state.items()}
        save_file(named, draft / _MATRICES)
        network.peft_config["default"].save_pretrained(draft)


def load_lora(folder: Path, network: Any) -> None:
    """Add saved LoRA matrices to a network."""
    from peft import LoraConfig, set_peft_model_state_dict
    from safetensors.torch import load_file

    _inject(LoraConfig.from_pretrained(str(folder)), network)
    state = load_file(folder / _MATRICES)
    named = {name.removeprefix(_PREFIX): each for name, each in state.items()}
    set_peft_model_state_dict(network, named)


def _inject(lora: Any, network: Any) -> Any:
    from peft import inject_adapter_in_model

    network = inject_adapter_in_model(lora, network)
    for each in network.parameters():
        if each.requires_grad:
            each.data = each.data.float()  # small steps are lost in bf16, the network's precision
    return network


_ADAPTER = "adapter"
_BASE = "base"
_PROCESSOR = "processor"
_RECORD = "vlm.json"
_EXAMPLES = "examples.safetensors"


class _ExampleRecord(BaseModel):
    """An example without its photo."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: str
    labels: dict[str, str]


class _Record(BaseModel):
    """The content of `vlm.json`: `question` is the template used, `begins` each category's prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    question: str
    begins: dict[str, str]
    config: VlmConfig
    examples: tuple[_ExampleRecord, ...]

    @field_validator("config", mode="before")
    @classmethod
    def _without_retired_keys(cls, config: Any) -> Any:
        return without_retired({"vlm": config})["vlm"]


def save_base(folder: Path, network: Any) -> None:
    """Write a network's own weights; call it before LoRA matrices are added."""
    with writing_folder(folder / _BASE) as draft:
        network.save_pretrained(draft)


def save_vlm(folder: Path, predictor: VlmPredictor) -> None:
    """Write all but the network's own weights; `models.folder.write_checksums` completes the folder."""
    qwen = predictor.qwen
    with writing_folder(folder / _PROCESSOR) as draft:
        qwen.processor.save_pretrained(draft)
    if has_lora(qwen.network):
        save_lora(folder / _ADAPTER, qwen.network)
    save_preprocess(folder, predictor.preprocesses[0])
    if predictor.examples:
        pixels = np.stack([each.pixels for each in predictor.examples])
        with writing(folder / _EXAMPLES) as file:
            save_file({"pixels": pixels}, file)
    record = _Record(
        version=qwen.version,
        question=predictor.config.question,
        begins={each: predictor.prompts.text(each) for each in predictor.taxonomy.categories},
        config=predictor.config,
        examples=tuple(
            _ExampleRecord(category=each.category, labels=dict(each.labels))
            for each in predictor.examples
        ),
    )
    write_text(folder / _RECORD, record.model_dump_json(indent=1))


def load_vlm(opened: ModelFolder) -> VlmPredictor:
    """Load a VLM predictor from a model folder, without downloads.

    Raises:
        ModelFolderError: a file is missing or does not fit the others; or the checkpoint that was
            fine-tuned is not on this machine, or has another version.
        MissingExtra: the libraries for language models are not installed.
    """
    require_transformers()
    folder = opened.path
    try:
        record = _Record.model_validate_json((folder / _RECORD).read_text(encoding="utf-8"))
        taxonomy, preprocess = opened.taxonomy, opened.preprocess
        photos = load_file(folder / _EXAMPLES)["pixels"] if record.examples else ()
    except (OSError, ValueError, ValidationError, SafetensorError) as error:
        raise ModelFolderError(f"{folder} cannot be loaded: {error}") from error
    examples = [
        Example(category=each.category, labels=each.labels, pixels=pixels)
        for each, pixels in zip(record.examples, photos, strict=True)
    ]
    qwen = _load_qwen(folder, record)
    return VlmPredictor(qwen, taxonomy, record.config, preprocess, examples)


def _load_qwen(folder: Path, record: _Record) -> Qwen:
    config, base = record.config, folder / _BASE
    where = Path(config.model).expanduser() if config.is_local else config.model
    try:
        qwen = read_qwen(
            base if base.is_dir() else where,
            revision=config.revision,
            processor=folder / _PROCESSOR,
            is_offline=True,
            dtype="auto" if base.is_dir() else None,
        )
    except WeightsUnavailable as error:
        raise ModelFolderError(
            f"{folder} needs the checkpoint {config.model!r}, which is not on this machine.",
            hint=error.hint,
        ) from error
    if base.is_dir():
        qwen.version = record.version
    if qwen.version != record.version:
        raise ModelFolderError(
            f"{folder} was made with another version of {config.model!r}: {record.version}, and here is "
            f"{qwen.version}.",
            hint="Download that version, or train anew.",
        )
    if (folder / _ADAPTER).is_dir():
        load_lora(folder / _ADAPTER, qwen.network)
    qwen.network.eval()
    return qwen
