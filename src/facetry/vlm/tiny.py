"""The tiny model: Qwen2-VL's own classes, made on the spot, with a tokenizer that knows the taxonomy.

It knows nothing before it is fine-tuned. With it every step can be run, and is tested, where the
real weights cannot be had.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import torch

from facetry.taxonomy import Taxonomy
from facetry.vlm.config import TEMPLATES

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
        tokenizer_object=_learned(taxonomy),
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
    """A Qwen2-VL with two layers of width 64 and a vision tower of two; its weights follow `seed`."""
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


def _learned(taxonomy: Taxonomy) -> Any:
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
