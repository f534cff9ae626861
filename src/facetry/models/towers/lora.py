"""LoRA: low-rank matrices added to a tower's linear layers, trained in place of its weights.

After Hu et al. 2021. Adapted are linear layers: the MLPs of a transformer or a ConvNeXt, the queries,
keys and values of attention, projections after the last block. The output projection of torch's own
`nn.MultiheadAttention` (open_clip's ViTs) is left out, as that layer is never called. After merging, a
tower has its original structure.
"""

import re
from typing import Any

from torch import nn

from facetry.errors import BackboneError, MissingExtra
from facetry.models.config import LoraConfig
from facetry.models.towers.image import Backbone
from facetry.models.towers.text import TextTower


def add_lora(backbone: Backbone | TextTower, config: LoraConfig) -> None:
    """Add LoRA matrices to a tower, initially without effect, and freeze all its other weights.

    They are initialised with torch's random generator.

    Raises:
        BackboneError: a tower without linear layers, or `dropout` where attention has no layer for it.
        MissingExtra: peft is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise MissingExtra("training.lora", "lora") from error
    layers, attention = _linear_layers(backbone.tower), _attention_weights(backbone.tower)
    if not layers and not attention:
        raise BackboneError(
            f"LoRA is for linear layers; a {type(backbone.tower).__name__} has none.",
            hint="Leave out training.lora, or take a transformer or a ConvNeXt.",
        )
    if attention and config.dropout:
        raise BackboneError(
            f"training.lora.dropout is {config.dropout}, but in a {type(backbone.tower).__name__} the "
            "attention's matrices have no separate input that could be dropped.",
            hint="Set training.lora.dropout to 0.",
        )
    lora = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type] # a fraction is fine
        lora_dropout=config.dropout,
        target_modules="|".join(map(re.escape, layers)) or [],
        target_parameters=attention,
    )
    peft.inject_adapter_in_model(lora, backbone.tower)


def merge_lora(backbone: Backbone | TextTower) -> None:
    """Merge the LoRA matrices into the tower's weights; does nothing to a tower without any.

    The tower then has its original structure and names, and all its weights are trainable.
    """
    tower: Any = backbone.tower
    if not hasattr(tower, "peft_config"):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(tower.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            tower.set_submodule(name, layer.get_base_layer())
    del tower.peft_config
    tower.requires_grad_(True)


def _linear_layers(tower: nn.Module) -> list[str]:
    """The names of linear layers, including 1 x 1 convolutions in a ConvNeXt's MLPs."""
    inside = tuple(
        f"{name}." for name, each in tower.named_modules() if isinstance(each, nn.MultiheadAttention)
    )
    return [
        name
        for name, each in tower.named_modules()
        if not name.startswith(inside or ("\n",))
        and (isinstance(each, nn.Linear) or _is_pointwise(name, each))
    ]


def _is_pointwise(name: str, module: nn.Module) -> bool:
    return ".mlp." in name and isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)


def _attention_weights(tower: nn.Module) -> list[str]:
    """The names of the weights with which `nn.MultiheadAttention` computes queries, keys and values."""
    return [
        f"{name}.in_proj_weight"
        for name, each in tower.named_modules()
        if isinstance(each, nn.MultiheadAttention) and each.in_proj_weight is not None
    ]
