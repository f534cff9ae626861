"""A Qwen-VL checkpoint: its network, and the processor of its text and photos.

`tiny_model` makes a small network with random weights, to run and test every step without the real
weights; it has to be fine-tuned to predict anything.

Shapes: R rows, S side in pixels.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from facetry.errors import BackboneError, MissingExtra, WeightsUnavailable
from facetry.models.config import ImageConfig
from facetry.models.towers.device import compute_dtype, pick_device
from facetry.predictors.vlm.config import TEMPLATES, TINY, VlmConfig
from facetry.product import Preprocess
from facetry.runtime.files import listing
from facetry.taxonomy import Taxonomy

_SPECIAL: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_NUM_TOKENS: Final = 640
_WIDTH: Final = 64

_CHAT: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_processor(taxonomy: Taxonomy) -> Any:
    """A Qwen2-VL processor whose tokens were learned from the taxonomy's names."""
    from transformers import (
        Qwen2Tokenizer,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = Qwen2Tokenizer(
        tokenizer_object=_train_tokenizer(taxonomy),
        unk_token="<|endoftext|>",  # noqa: S106
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|endoftext|>",  # noqa: S106
        additional_special_tokens=list(_SPECIAL),
    )
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(cap_pixels_per_frame=True),
        chat_template=_CHAT,
    )


def tiny_model(processor: Any, seed: int) -> Any:
    """A Qwen2-VL with two layers of width 64 and a vision tower of two; weights are random by `seed`."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    ids = processor.tokenizer.convert_tokens_to_ids
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(processor.tokenizer),
            "hidden_size": _WIDTH,
            "intermediate_size": 2 * _WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "initializer_range": 0.1,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [2, 3, 3],
            },
            "bos_token_id": ids("<|endoftext|>"),
            "eos_token_id": ids("<|im_end|>"),
        },
        vision_config={
            "depth": 2,
            "embed_dim": _WIDTH // 2,
            "hidden_size": _WIDTH,
            "num_heads": 2,
            "initializer_range": 0.1,
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Qwen2VLForConditionalGeneration(config)


def _train_tokenizer(taxonomy: Taxonomy) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_NUM_TOKENS,
        special_tokens=[AddedToken(text, special=True) for text in _SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(taxonomy), trainer)
    return tokenizer


def _texts(taxonomy: Taxonomy) -> Iterator[str]:
    yield from TEMPLATES.values()
    for head in taxonomy.heads:
        yield f"{head.category} {head.attribute} {', '.join(head.values)}"
        yield from (json.dumps({head.attribute: value}, ensure_ascii=False) for value in head.values)


FAMILIES: Final = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
"""The supported kinds of checkpoint, by the `model_type` in their config.json."""

_SIZE_PX: Final = 448  # 16 x 16 or 14 x 14 tokens, depending on the family


@dataclass(kw_only=True, eq=False)
class Qwen:
    """A network with its processor. `version` identifies the checkpoint (before any fine-tuning).

    `network` is the checkpoint's, with LoRA matrices if it was fine-tuned.
    """

    network: Any
    processor: Any
    version: str

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        device: torch.device = self.network.device
        return device

    @property
    def px_per_token(self) -> int:
        """The side in pixels of the square that one token of a photo represents."""
        images = self.processor.image_processor
        return int(images.patch_size * images.merge_size)

    @property
    def image_token(self) -> int:
        """The placeholder for a photo's tokens."""
        return int(self.network.config.image_token_id)

    def tokens(self, text: str) -> tuple[int, ...]:
        """A text's tokens, without special tokens added."""
        return tuple(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def preprocess(self, image: ImageConfig) -> Preprocess:
        """The pixel form: the recipe's settings, else the checkpoint's.

        Raises:
            BackboneError: the size is not a whole number of tokens.
        """
        images = self.processor.image_processor
        own = {
            "size_px": _SIZE_PX,
            "mean": tuple(images.image_mean),
            "std": tuple(images.image_std),
            "resize": "letterbox",
        }
        spec = Preprocess.model_validate({**own, **image.model_dump(exclude_none=True)})
        if spec.size_px % self.px_per_token:
            nearest = max(1, round(spec.size_px / self.px_per_token)) * self.px_per_token
            raise BackboneError(
                f"Photos of {spec.size_px} px do not divide into tokens of {self.px_per_token} px.",
                hint=f"Set image.size_px to {nearest}.",
            )
        return spec

    def see(self, photos: Tensor, spec: Preprocess) -> Mapping[str, Tensor]:
        """The network's input for `uint8` photos (R, 3, S, S): patches, and their grid."""
        inputs: Mapping[str, Tensor] = self.processor.image_processor(
            images=list(photos),
            image_mean=spec.mean,
            image_std=spec.std,
            do_resize=False,
            input_data_format="channels_first",
            return_tensors="pt",
        )
        return {name: inputs[name].to(self.device) for name in ("pixel_values", "image_grid_thw")}


def open_qwen(
    config: VlmConfig, taxonomy: Taxonomy, seed: int, *, dtype: torch.dtype | None = None
) -> Qwen:
    """The checkpoint that a recipe names: from the hub, from a folder, or the tiny model.

    `dtype` None means bf16 on a GPU that supports it, else fp32.

    Raises:
        MissingExtra: transformers is not installed.
        WeightsUnavailable: it is neither in the cache nor can be downloaded.
        BackboneError: it is not a Qwen-VL.
    """
    require_transformers()
    if config.model == TINY:
        processor = tiny_processor(taxonomy)
        network = tiny_model(processor, seed).to(pick_device()).eval()
        return Qwen(network=network, processor=processor, version=f"{TINY}, seed {seed}")
    where: str | Path = config.model
    if config.is_local:
        where = Path(config.model).expanduser()
        if not (where / "config.json").is_file():
            raise WeightsUnavailable(
                f"{where} holds no checkpoint: there is no config.json in it.",
                hint="Name the folder that the checkpoint was downloaded to.",
            )
    return read_qwen(where, revision=config.revision, dtype=dtype)


def read_qwen(
    where: str | Path,
    *,
    revision: str | None = None,
    processor: Path | None = None,
    is_offline: bool = False,
    dtype: torch.dtype | Literal["auto"] | None = None,
) -> Qwen:
    """Load a checkpoint by name or folder; see `open_qwen`. `processor`: a separate folder of it.

    With `is_offline` nothing is downloaded: it must be a folder or in the hub's cache. `dtype` `auto` is
    that of its file.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    options = {"revision": revision, "local_files_only": is_offline}
    device = pick_device()
    try:
        content = AutoConfig.from_pretrained(where, **options)
        _check_family(where, content.model_type)
        network = AutoModelForImageTextToText.from_pretrained(
            where,
            dtype=dtype or compute_dtype("auto", device),
            attn_implementation="sdpa",  # supports any attention mask
            **options,
        )
        loaded_processor = AutoProcessor.from_pretrained(
            processor or where, **({} if processor else options)
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsUnavailable(
            f"The checkpoint {str(where)!r} cannot be loaded: {error}",
            hint="Without a network, download its files elsewhere and set vlm.model to their folder.",
        ) from error
    version = getattr(content, "_commit_hash", None) or _fingerprint(Path(where))
    torch.nn.Module.to(network, device)
    return Qwen(network=network.eval(), processor=loaded_processor, version=version)


def require_transformers() -> None:
    """Check that the libraries for language models are installed.

    Raises:
        MissingExtra: they are not; names the extra to install.
    """
    try:
        import peft
        import transformers
    except ImportError as error:
        raise MissingExtra("Visual question answering", "vlm") from error
    assert peft
    transformers.utils.logging.disable_progress_bar()


def _check_family(where: str | Path, family: str) -> None:
    if family not in FAMILIES:
        raise BackboneError(
            f"The checkpoint {str(where)!r} is a {family!r}, not a Qwen-VL.",
            hint=f"Name a checkpoint of {', '.join(FAMILIES)}, such as Qwen/Qwen2-VL-7B-Instruct.",
        )


def _fingerprint(folder: Path) -> str:
    """A digest of a folder's checkpoint: its configuration, and its weight files' names and sizes."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in listing(folder, lambda path: path.suffix == ".safetensors"):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
    return digest.hexdigest()[:40]
