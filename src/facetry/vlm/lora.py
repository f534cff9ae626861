"""LoRA: matrices of a low rank beside the language model's own, the only weights that are trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from facetry.files import writing_folder
from facetry.vlm.config import TuningConfig

_TARGETS: Final = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
_MATRICES: Final = "adapter_model.safetensors"
_PREFIX: Final = "base_model.model."


def with_lora(network: Any, config: TuningConfig, seed: int) -> Any:
    """The network with LoRA's matrices in it; they follow `seed`, and at first change nothing."""
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
    """Whether LoRA's matrices are in a network."""
    return hasattr(network, "peft_config")


def save_lora(folder: Path, network: Any) -> None:
    """Write the matrices, named as peft's own wrapper names them: what reads adapters reads this."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    with writing_folder(folder) as draft:
        state: Mapping[str, Any] = get_peft_model_state_dict(network)
        named = {f"{_PREFIX}{name}": each.contiguous().cpu() for name, each in state.items()}
        save_file(named, draft / _MATRICES)
        network.peft_config["default"].save_pretrained(draft)


def load_lora(folder: Path, network: Any) -> None:
    """Put saved matrices into a network."""
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
            each.data = each.data.float()  # small steps are lost in bf16, the network's own numbers
    return network
