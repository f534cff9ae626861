"""Text encoders from open_clip: a product's title as features.

A product without text has only tokens of 0, which become features of 0: this is how
`models.classifier.classifier` recognises it.

Shapes: B products, L tokens, D features.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facetry.errors import BackboneError, WeightsUnavailable
from facetry.models.cards import CARDS, BackboneCard, find_card
from facetry.models.config import BackboneConfig
from facetry.models.towers.image import weights_file
from facetry.models.towers.weights import load_weights

Tokens = NDArray[np.int64]


class TextTower(nn.Module):
    """Tokens (B, L) in, features (B, D) out."""

    def __init__(self, tower: nn.Module, feature_size: int, *, unit_length: bool = False) -> None:
        super().__init__()
        self.tower = tower
        self.feature_size = feature_size
        self.unit_length = unit_length

    def tokenise(self, texts: Sequence[str | None]) -> Tokens:
        """Tokens (B, L) of texts, truncated to the encoder's context length; all 0 for no text."""
        from open_clip import tokenize

        tower: Any = self.tower
        tokens = np.zeros((len(texts), tower.context_length), dtype=np.int64)
        rows = [row for row, text in enumerate(texts) if text and text.strip()]
        if rows:
            tokens[rows] = tokenize([texts[row] for row in rows], tower.context_length).numpy()
        return fold_tokens(tokens, tower.vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed; features of 0 where there is no text."""
        has_text = tokens.any(dim=1)
        if not has_text.any():
            return torch.zeros(len(tokens), self.feature_size, device=tokens.device)
        found = self._embed(tokens[has_text])
        features = found.new_zeros(len(tokens), self.feature_size)
        features[has_text] = found
        return features

    def _embed(self, tokens: Tensor) -> Tensor:
        tower: Any = self.tower
        if _is_plain(tower):
            features = _embed_unpadded(tower, tokens)
        else:
            result: Tensor | tuple[Tensor, ...] = tower(tokens)
            features = result[0] if isinstance(result, tuple) else result  # CoCa adds its tokens
        return functional.normalize(features, dim=-1) if self.unit_length else features


def _is_plain(tower: Any) -> bool:
    """Whether it is CLIP's text encoder, whose end token does not attend to the padding after it."""
    is_causal = tower.attn_mask is not None and tower.cls_emb is None
    has_projection = isinstance(tower.text_projection, nn.Parameter)
    return is_causal and has_projection and tower.pool_type == "argmax"


def _embed_unpadded(tower: Any, tokens: Tensor) -> Tensor:
    """The result of the tower's own forward, computed without the padding after the longest text.

    Titles are a fifth of CLIP's context length, and the cost grows with the length.
    """
    length = int(tokens.count_nonzero(dim=1).max())
    tokens = tokens[:, :length]
    embedded = tower.token_embedding(tokens) + tower.positional_embedding[:length]
    read = tower.ln_final(tower.transformer(embedded, attn_mask=tower.attn_mask[:length, :length]))
    ends = tokens.argmax(dim=1)
    features: Tensor = (
        read[torch.arange(len(tokens), device=tokens.device), ends] @ tower.text_projection
    )
    return features


def fold_tokens(tokens: Tokens, vocab_size: int) -> Tokens:
    """Map tokens of CLIP's vocabulary to a smaller one, in which several tokens share a number.

    0, start and end have numbers of their own. The end's remains the largest: the encoder takes its
    features from the position of the largest token.

    >>> fold_tokens(np.array([[49406, 320, 2368, 49407, 0]]), 2048)
    array([[2046,  321,  324, 2047,    0]])
    """
    if vocab_size >= _NUM_TOKENS:
        return tokens
    folded = 1 + tokens % (vocab_size - 3)
    folded = np.where(tokens >= _NUM_TOKENS - 2, tokens - _NUM_TOKENS + vocab_size, folded)
    return np.where(tokens == 0, 0, folded)


_NUM_TOKENS = 49408  # in CLIP's vocabulary; the last two are start and end


def build_text_tower(config: BackboneConfig, *, with_weights: bool = True) -> TextTower:
    """Build the text encoder of the backbone that `config` names, by default with its weights.

    Raises:
        BackboneError: the backbone has no text encoder, or the weights do not fit.
        WeightsUnavailable: the hub cannot be reached; the message names the file and the key to set.
    """
    from open_clip.model import _build_text_tower

    card = find_card(config.name)
    known = _settings(card)
    tower = _build_text_tower(
        known["embed_dim"], dict(known["text_cfg"]), quick_gelu=_uses_quick_gelu(card, config, known)
    )
    if with_weights and config.weights != "none":
        _load(tower, card, config)
    return TextTower(tower, known["embed_dim"], unit_length=config.unit_length)


def _settings(card: BackboneCard) -> Mapping[str, Any]:
    """open_clip's configuration of a card's text encoder."""
    import open_clip

    known = card.text or (
        open_clip.get_model_config(card.model) if card.library == "open_clip" else None
    )
    if known is None or {"hf_model_name", "hf_tokenizer_name"} & known["text_cfg"].keys():
        why = "has no text encoder" if not known else "reads text by other tokens than CLIP's"
        readers = [each.name for each in CARDS.values() if each.text or each.library == "open_clip"]
        raise BackboneError(
            f"{card.name} {why}.",
            hint=f"Set text.encoder to a backbone that has one: {', '.join(readers)}.",
        )
    settings: Mapping[str, Any] = known
    return settings


def _uses_quick_gelu(card: BackboneCard, config: BackboneConfig, known: Mapping[str, Any]) -> bool:
    import open_clip

    tag = config.tag or card.tag
    pretrained = open_clip.get_pretrained_cfg(card.model, tag) if tag else {}
    return bool(known.get("quick_gelu", False) or pretrained.get("quick_gelu", False))


def _load(tower: nn.Module, card: BackboneCard, config: BackboneConfig) -> None:
    try:
        load_weights(tower, weights_file(card, config))
    except WeightsUnavailable:
        raise
    except BackboneError as error:
        raise BackboneError(
            f"The text encoder: {error.message}",
            hint="Set text.weights to a file that also holds a text encoder, or to 'none' to "
            "train it from scratch.",
        ) from error
