"""Checkpoints as the paper's published code writes them: one product at a time, an MLP a head."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from open_clip.coca_model import CoCa
from open_clip.model import CLIP
from torch import Tensor, nn

from facetry.models.cards import CARDS

COLUMNS = {
    "Sarees": {"pattern": "attr_2", "border": "attr_1", "blouse_pattern": "attr_3"},
    "Women Tops & Tunics": {"neck_collar": "attr_1"},
}
VALUES = {  # in the order of a table's rows
    "Sarees_pattern": ["zari woven", "applique", "same as  saree"],
    "Sarees_border": ["solid", "big", "no border", "zari"],
    "Sarees_blouse_pattern": ["default"],
    "Women Tops & Tunics_neck_collar": ["v-neck", "round neck"],
}
TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}


@dataclass(kw_only=True)
class Published:
    """The model of such a checkpoint: an open_clip model and its MLPs."""

    backbone: str = "nano_vit"
    num_hidden_layers: int = 1
    norms: str = "first"
    hidden_dim: int = 8
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: COLUMNS)
    values: Mapping[str, Sequence[str]] = field(default_factory=lambda: VALUES)

    def __post_init__(self) -> None:
        torch.manual_seed(5)
        self.clip = make_clip(self.backbone).eval()
        self.heads = nn.ModuleDict(
            {key: nn.Sequential(*self.mlp(len(values))) for key, values in self.values.items()}
        ).eval()
        for parameter in self.heads.parameters():  # norms too, which all start with ones
            nn.init.normal_(parameter, std=0.5)

    def mlp(self, num_values: int) -> Iterator[nn.Module]:
        size = 128
        for place in range(self.num_hidden_layers):
            yield nn.Linear(size, self.hidden_dim)
            if not place or self.norms == "every":
                yield nn.LayerNorm(self.hidden_dim)
            yield from (nn.ReLU(), nn.Dropout(0.3))
            size = self.hidden_dim
        yield nn.Linear(size, num_values)

    @torch.no_grad()
    def predict(self, photo: Tensor, category: str) -> dict[str, dict[str, float]]:
        """Attribute to value to probability of one normalised photo (3, S, S)."""
        features = self.clip.encode_image(photo[None])
        result = {}
        for attribute in self.columns[category]:
            key = f"{category}_{attribute}"
            shares = self.heads[key](features)[0].softmax(0).tolist()
            cleaned = [" ".join(value.split()) for value in self.values[key]]
            result[attribute] = dict(zip(cleaned, shares, strict=True))
        return result

    def content(self) -> dict[str, Any]:
        """What is saved; both models were compiled."""
        mlps = {f"attribute_predictors.{key}": each for key, each in self.heads.state_dict().items()}
        return {
            "epoch": 9,
            "clip_model_state_dict": compiled(self.clip.state_dict()),
            "model_state_dict": compiled(mlps),
            "optimizer_state_dict": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []},
            "model_config": {
                "clip_dim": 128,
                "hidden_dim": self.hidden_dim,
                "dropout_rate": 0.3,
                "num_hidden_layers": self.num_hidden_layers,
            },
            "dataset_info": {
                "attribute_classes": {key: list(values) for key, values in self.values.items()},
                "category_mapping": {key: dict(each) for key, each in self.columns.items()},
            },
        }

    def save(self, path: Path) -> Path:
        torch.save(self.content(), path)
        return path


def make_clip(backbone: str) -> nn.Module:
    settings = CARDS[backbone].settings
    if backbone == "nano_coca":
        multimodal = {"width": 32, "heads": 2, "layers": 1, "vocab_size": 64, "context_length": 8}
        text = {**TEXT, "embed_cls": True, "output_tokens": True}
        return CoCa(settings["embed_dim"], multimodal, text, settings["vision_cfg"])
    return CLIP(**settings, text_cfg=TEXT)


def compiled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"_orig_mod.{key}": each for key, each in state.items()}
