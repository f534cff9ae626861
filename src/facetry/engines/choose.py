"""Chooses the engine for a model, if the model can become a graph."""

import ctypes
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from facetry.engines.engine import EngineConfig, EngineName
from facetry.errors import EngineError, FacetryError, MissingExtra
from facetry.models.folder import ModelFolder
from facetry.runtime.extras import EXTRAS, is_installed

_EXPORTS: Final[Mapping[EngineName, Mapping[str, frozenset[str]]]] = {
    "openvino": {
        "openvino": frozenset({"auto", "fp32", "bf16", "fp16"}),
        "openvino-int8": frozenset({"auto", "int8"}),
    },
    "onnxruntime": {
        "onnx": frozenset({"auto", "fp32"}),
        "onnx-int8": frozenset({"auto", "int8"}),
    },
}
"""The exports that an engine reads, the preferred one first, and the precisions for each."""


def find_obstacle(folder: ModelFolder) -> str:
    """Why a model cannot become a graph, as the predicate of a sentence; "" if it can."""
    if folder.members:
        found = (find_obstacle(each) for each in folder.members.values())
        return next((f"has a member that {obstacle}" for obstacle in found if obstacle), "")
    content = folder.classifier_recipe
    if content is None:
        return f"is of the kind {folder.kind}"
    if content.get("text") is not None:
        return "reads text along with the photo"
    if (content.get("photos") or {}).get("max", 1) > 1:
        return "reads several photos of a product"
    return ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the choice depends on apart from the model: a GPU, the kind of CPU, what is installed.

    `engines` are those that read exports; torch computes and converts weights.
    """

    has_gpu: bool
    is_x86: bool
    engines: frozenset[str]
    has_torch: bool = True

    @classmethod
    def here(cls) -> "Machine":
        """The machine that this process runs on."""
        return cls(
            has_gpu=_has_gpu(),
            is_x86=platform.machine().lower() in {"x86_64", "amd64"},
            engines=frozenset(name for name in _EXPORTS if is_installed(name)),
            has_torch=is_installed("torch"),
        )


@dataclass(frozen=True, kw_only=True)
class AvailableFormats:
    """What a model folder has to load: exports that all its classifiers have, and weights."""

    name: str
    exports: frozenset[str]
    has_weights: bool


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An engine, the export that it reads (None: the weights), and why it was chosen."""

    engine: EngineName
    export: str | None
    reason: str


def choose(available: AvailableFormats, config: EngineConfig, machine: Machine) -> Choice:
    """The engine for a model folder with these formats.

    `auto` is torch on a GPU; on an x86 CPU it is OpenVINO, from its export or converted in memory; else
    an installed engine that has an export; else torch. fp32 is preferred to int8.

    Raises:
        EngineError: what `config` requires is not available.
        MissingExtra: the engine is not installed.
    """
    if config.compile and config.name not in {"auto", "torch"}:
        raise EngineError(
            f"--compile is for the torch engine, not for {config.name}.",
            hint="Leave out one of --compile and --engine.",
        )
    wanted = "torch" if config.compile else config.name
    for choice in _options(available, config, machine):
        if wanted == "auto":
            return choice
        if wanted == choice.engine:
            return replace(choice, reason="as requested") if wanted == "torch" else choice
    raise _refusal(available, config, machine)


def _options(available: AvailableFormats, config: EngineConfig, machine: Machine) -> Iterator[Choice]:
    """All available choices, the best first."""
    openvino, onnx = (list(_exported(name, available, config, machine)) for name in _EXPORTS)
    from_weights = available.has_weights and machine.has_torch and config.precision != "int8"
    converted = []
    if from_weights and "openvino" in machine.engines:
        reason = f"converted in memory; facetry export {available.name} --to openvino keeps it"
        converted = [Choice(engine="openvino", export=None, reason=reason)]
    if from_weights and machine.has_gpu:
        yield Choice(engine="torch", export=None, reason="there is a GPU")
    if machine.is_x86:
        yield from [*openvino, *converted]
    yield from [*openvino, *onnx]
    if from_weights:
        yield Choice(engine="torch", export=None, reason=_reason_for_torch(machine))
    yield from converted


def _exported(
    engine: EngineName, available: AvailableFormats, config: EngineConfig, machine: Machine
) -> Iterator[Choice]:
    """The exports that an engine reads, if it is installed."""
    for export, precisions in _EXPORTS[engine].items():
        if engine in machine.engines and export in available.exports and config.precision in precisions:
            yield Choice(engine=engine, export=export, reason="its export in the model folder")


def _reason_for_torch(machine: Machine) -> str:
    """Why torch computes on a CPU."""
    if machine.is_x86 and "openvino" not in machine.engines:
        return 'pip install "facetry[openvino]" brings a faster one'
    return "there is no export that an installed engine reads"


def _refusal(available: AvailableFormats, config: EngineConfig, machine: Machine) -> FacetryError:
    """The error that no available choice meets `config`."""
    wanted, precision = config.name, config.precision
    if wanted == "torch" or config.compile:
        return _refusal_of_torch(available, config, machine)
    if wanted != "auto" and wanted not in machine.engines:
        return MissingExtra(f"The engine {wanted}", EXTRAS[wanted])
    if wanted == "auto":
        for name, exports in _EXPORTS.items():
            if any(each in available.exports and precision in exports[each] for each in exports):
                return MissingExtra(f"The export in {available.name}", EXTRAS[name])
    elif precision not in (allowed := frozenset[str]().union(*_EXPORTS[wanted].values())):
        numbers = ", ".join(sorted(allowed - {"auto"}))
        return EngineError(
            f"{wanted} does not compute in {precision}.", hint=f"It computes in: {numbers}."
        )
    return _missing_export(available, config, machine)


def _refusal_of_torch(
    available: AvailableFormats, config: EngineConfig, machine: Machine
) -> FacetryError:
    if config.precision == "int8":
        return EngineError(
            "The torch engine does not compute in int8.",
            hint="Make an export with `facetry export --int8`, and leave out --engine torch.",
        )
    if available.has_weights and not machine.has_torch:
        return MissingExtra("The engine torch", EXTRAS["torch"])
    return EngineError(
        f"{available.name} has no weights for the torch engine, but only exports: {_names(available)}.",
        hint="Leave out --engine, or name the model folder that the exports were made from.",
    )


def _missing_export(available: AvailableFormats, config: EngineConfig, machine: Machine) -> FacetryError:
    """The error that the export for `config` is missing, and no weights can be used in its place."""
    if available.has_weights and config.precision != "int8" and not machine.has_torch:
        what = f"{available.name} has no export that can be used here, and computing with its weights"
        return MissingExtra(what, EXTRAS["torch"])
    runtime = "onnx" if config.name == "onnxruntime" else "openvino"
    int8 = " --int8" if config.precision == "int8" else ""
    what = f"{config.precision} " if config.precision != "auto" else ""
    engine = "" if config.name == "auto" else f" for {config.name}"
    return EngineError(
        f"{available.name} has no {what}export{engine}; it has: {_names(available)}.",
        hint=f"Make one with: facetry export {available.name} --to {runtime}{int8} "
        "--catalogue CATALOGUE",
    )


def _names(available: AvailableFormats) -> str:
    return ", ".join(sorted(available.exports)) or "none"


def _has_gpu() -> bool:
    """Whether there is a GPU; asks the driver, as torch takes seconds to import."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    is_fine = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return is_fine and count.value > 0
