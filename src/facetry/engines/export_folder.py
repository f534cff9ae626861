"""The folder of one export: `MODEL/engines/NAME/`, read without torch.

`model.xml` and `model.bin`, or `model.onnx` (with `model.onnx.data` where it is large), `export.json`,
`parity.json`, `probes.npz` (but for those of earlier versions), and `checksums.json`, which is written
last.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from facetry.engines.engine import PROBABILITIES, Precision, Runtime
from facetry.errors import ExportError, ModelFolderError
from facetry.models.folder import ENGINES, ModelFolder, check_files, write_checksums
from facetry.product import Preprocess
from facetry.runtime.documents import parse_json
from facetry.runtime.files import write_text
from facetry.taxonomy import Taxonomy

FORMAT = 1
EXPORT = "export.json"
PARITY = "parity.json"
MODEL_FILES: Mapping[Runtime, str] = {"openvino": "model.xml", "onnx": "model.onnx"}
"""The file that a runtime opens."""

_AGAIN = "Export the model again with `facetry export`."


@dataclass(frozen=True, kw_only=True)
class ExportNote:
    """The content of `export.json`.

    `weights` is the SHA-256 of the `weights.safetensors` that it was made from; `versions` are those of
    the packages that made it; `outputs` are the names of the file's outputs, which once were
    probabilities alone.
    """

    runtime: Runtime
    precision: Precision
    weights: str
    versions: Mapping[str, str]
    outputs: tuple[str, ...] = (PROBABILITIES,)

    @property
    def name(self) -> str:
        """The folder's name.

        >>> ExportNote(runtime="onnx", precision="int8", weights="", versions={}).name
        'onnx-int8'
        """
        return export_name(self.runtime, self.precision)


@dataclass(frozen=True, kw_only=True)
class Export:
    """A complete export: its folder, and its `export.json`."""

    folder: Path
    note: ExportNote

    @property
    def file(self) -> Path:
        """The file that the runtime opens."""
        return self.folder / MODEL_FILES[self.note.runtime]

    def fits(self, model: ModelFolder) -> bool:
        """Whether it was made from the model folder's weights; True if the folder has none."""
        return model.weights_sum in {None, self.note.weights}


_NOTE = TypeAdapter(ExportNote)


def export_name(runtime: Runtime, precision: Precision) -> str:
    """The name of an export's folder."""
    return f"{runtime}-int8" if precision == "int8" else runtime


def export_folder(model: Path, name: str) -> Path:
    """The folder of the export called `name` in a model folder."""
    return model / ENGINES / name


def write_export(folder: Path, note: ExportNote) -> None:
    """Complete an export whose other files are in `folder` already."""
    write_text(folder / EXPORT, json.dumps({"format": FORMAT, **asdict(note)}, indent=1))
    write_checksums(folder)


def read_export(folder: Path) -> Export:
    """Check an export and read its note.

    Raises:
        ExportError: there is no export, or it is damaged or made by a newer version.
    """
    try:
        check_files(folder, needed=(EXPORT,))
        content = parse_json((folder / EXPORT).read_text(encoding="utf-8"))
        version = int(content.pop("format"))
    except ModelFolderError as error:
        raise ExportError(f"The export {folder} cannot be used: {error.message}", hint=_AGAIN) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{folder / EXPORT} is missing or damaged.", hint=_AGAIN) from error
    return Export(folder=folder, note=_note(folder, version, content))


def metadata(taxonomy: Taxonomy, preprocess: Preprocess) -> dict[str, str]:
    """The metadata of an exported file, which other programs need to use it.

    A model that removes backgrounds is given by its file name, without a folder.
    """
    if preprocess.background_model:
        file = Path(preprocess.background_model.name)
        preprocess = preprocess.model_copy(update={"background_model": file})
    return {
        "facetry.format": str(FORMAT),
        "facetry.taxonomy": taxonomy.to_json(),
        "facetry.preprocess": preprocess.model_dump_json(),
    }


def _note(folder: Path, version: int, content: Mapping[str, Any]) -> ExportNote:
    if version > FORMAT:
        raise ExportError(
            f"{folder} is of format {version}; this version reads up to {FORMAT}.",
            hint="Update Facetry.",
        )
    try:
        return _NOTE.validate_python(content)
    except ValueError as error:
        raise ExportError(f"{folder / EXPORT} is damaged.", hint=_AGAIN) from error
