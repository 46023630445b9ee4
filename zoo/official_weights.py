"""The published SuperAnimal weights (Ye et al., Nature Communications 2024), read into our networks' names.

The publishers distribute PyTorch checkpoints: a zip archive that holds a pickled dict `{"metadata": ...,
"model": names -> tensors}`, sometimes with the state of an optimizer beside. Only the tensors are taken,
through `torch.load(weights_only=True)`, which builds tensors and plain containers and runs nothing else
that a file asks for. Every other layout is refused: weights that were taken for something they are not
give poses that look plausible and are wrong.

A pose network is stored as `backbone.model.*` or `backbone.*` and `heads.bodypart.*`, a detector as
`model.*` with torchvision's names. Ours are `backbone.*`, `heads.heatmaps.*` and `heads.locref.*` (or
`head.*` for SimCC) and torchvision's names. Numbers stay what they are, in float32; `import_weights`
writes them once as safetensors, which needs no pickle at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from superset_vocab.errors import InputError, all_problems
from superset_vocab.files import atomic_path

Part = Literal["pose", "detector"]
Tensors = dict[str, torch.Tensor]

# What reading an archive, and torch.load on one whose checksums are right, can raise: an archive or a pickle
# that was made to be wrong can make them stumble anywhere.
_LOAD_ERRORS = (RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, OSError)
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)  # float32 holds all of them exactly

_MAP_HEAD = r"heads\.bodypart\.{}\.(?:deconv_layers\.0|final_conv)\.(weight|bias)"
_Rules = tuple[tuple[str, str], ...]
_HEATMAP_POSE: _Rules = (
    (r"backbone\.model\.(.+)", r"backbone.\1"),
    (_MAP_HEAD.format("heatmap_head"), r"heads.heatmaps.\1"),
    (_MAP_HEAD.format("locref_head"), r"heads.locref.\1"),
)
_SIMCC_POSE: _Rules = ((r"(backbone\..+)", r"\1"), (r"heads\.bodypart\.(.+)", r"head.\1"))
_DETECTOR: _Rules = ((r"model\.(.+)", r"\1"),)


@dataclass(frozen=True)
class ImportedWeights:
    """What `import_weights` wrote.

    Attributes:
        path: The safetensors file.
        part: "pose" or "detector"; with a dot behind it, the prefix of the tensors' names.
        n_tensors: How many tensors it has.
        sha256: Of the file, hexadecimal.
        source_sha256: Of the checkpoint it was made from.
    """

    path: Path
    part: Part
    n_tensors: int
    sha256: str
    source_sha256: str


def read_any(path: Path, part: Part, sha256: str = "") -> Tensors:
    """Read one network's weights from a published checkpoint or from safetensors of ours.

    Args:
        path: The file; its content decides what it is, not its name.
        part: Which network. In safetensors its tensors are those whose names begin with it and a dot.
        sha256: What the file must hash to, hexadecimal; "" where that is not known.

    Returns:
        Name in our network, without the part -> tensor, floating point ones as float32.

    Raises:
        InputError: If the file is neither, is damaged, or does not have this part.
    """
    content = _bytes(path)
    if sha256 and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(
            f"{path}: damaged, or not the published weights (sha256 {found[:12]}…, the model's spec says "
            f"{sha256[:12]}…); get the file or superanimal-zoo again"
        )
    if not _is_safetensors(content):
        return _official(path, content, part)[1]
    try:
        tensors = load_safetensors(content)
    except SafetensorError as error:
        raise InputError(f"{path}: is a damaged safetensors file ({error}); get it again") from error
    stray = [name for name in tensors if not name.startswith(("pose.", "detector."))]
    if stray:
        raise InputError(f"{path}: {_some(stray)} belong neither to a pose network nor to a detector")
    ours = {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
    if not ours:
        raise InputError(f"{path}: has no {part} network; give the file of its weights")
    return _checked(ours, f"{path}")


def import_weights(source: Path, out: Path, *, overwrite: bool = False) -> ImportedWeights:
    """Convert a published checkpoint into safetensors, with the very same numbers.

    The names get the part they belong to as prefix, "pose." or "detector.". The file's metadata has one
    entry, "imported": JSON with the source's name and SHA-256. Converting again gives the same bytes.

    Args:
        source: A published checkpoint, `.pt`.
        out: The .safetensors file, written atomically.
        overwrite: Replace a file that exists.

    Raises:
        InputError: If the source is no such checkpoint, or `out` exists or is no .safetensors file.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"{out}: name the output file something.safetensors")
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists; use --overwrite or another --out")
    content = _bytes(source)
    part, tensors = _official(source, content, None)
    source_sha256 = hashlib.sha256(content).hexdigest()
    # One entry only: safetensors writes several in an order that changes from run to run.
    origin = json.dumps({"part": part, "source": source.name, "source_sha256": source_sha256})
    named = {f"{part}.{name}": tensor for name, tensor in tensors.items()}
    converted = save_safetensors(named, metadata={"imported": origin})
    with atomic_path(out) as temporary:
        temporary.write_bytes(converted)
    digest = hashlib.sha256(converted).hexdigest()
    return ImportedWeights(out, part, len(tensors), digest, source_sha256)


def _bytes(path: Path) -> bytes:
    """A file's content, read once, so that what is hashed is what is used."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the weights ({error.strerror or error}); check the path"
        ) from error


def _official(path: Path, content: bytes, part: Part | None) -> tuple[Part, Tensors]:
    """The part and our names -> tensors of a published checkpoint; `part` is the one expected, if any."""
    model = _model_of(path, _unpickled(path, content))
    found, rules = _layout(path, model)
    if part is not None and part != found:
        kinds = {"pose": "a pose network", "detector": "a detector"}
        raise InputError(f"{path}: has the weights of {kinds[found]}, want those of {kinds[part]}")
    return found, _renamed(path, _checked(model, f"{path}"), rules)


def _unpickled(path: Path, content: bytes) -> object:
    """What a checkpoint holds: tensors and plain containers, nothing that runs."""
    if content[:4] != b"PK\x03\x04":
        raise InputError(f"{path}: {_what_else(content)}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            wrong = archive.testzip()  # torch.load does not look at the checksums
    except (zipfile.BadZipFile, zlib.error, *_LOAD_ERRORS) as error:
        raise InputError(
            f"{path}: is damaged or was cut off after {len(content)} bytes ({error}); get it again"
        ) from error
    if wrong is not None:
        raise InputError(f"{path}: is damaged ({wrong} has a wrong checksum); get it again")
    try:
        with torch.serialization.safe_globals(_NUMPY_STANDINS):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        raise InputError(
            f"{path}: refused for safety: it is more than weights"
            f"{f' (it asks for {asked[1]})' if asked else ''}, and reading it could run a program; "
            "use the checkpoint as it was published"
        ) from error
    except _LOAD_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: is no PyTorch checkpoint ({reason})") from error


def _what_else(content: bytes) -> str:
    """What a file is that is no zip archive, and what to do."""
    if not content:
        return "is empty; get it again"
    if _is_safetensors(content):
        return "is a safetensors file, not a published .pt checkpoint"
    if content.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights themselves; run `git lfs pull` or download the file"
    if content.lstrip()[:1] == b"<":
        return "is a web page, not the weights; download the file itself"
    if content[:1] == b"\x80":
        return "refused for safety: it is a bare pickle, and reading it could run a program"
    return "is no PyTorch checkpoint; want a .pt file as it was published"


def _is_safetensors(content: bytes) -> bool:
    """Whether it begins like one: the length of the header in 8 bytes, then JSON."""
    return content[8:9] == b"{" and 2 <= int.from_bytes(content[:8], "little") <= len(content) - 8


def _model_of(path: Path, loaded: object) -> Mapping[str, Any]:
    """The names and tensors in a checkpoint's dict; what is beside them (an optimizer) is not used."""
    if not isinstance(loaded, Mapping):
        raise InputError(f"{path}: holds a {type(loaded).__name__}, want a published checkpoint")
    if loaded and all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise InputError(
            f"{path}: is a plain state dict of {len(loaded)} tensors ({_some(loaded)}), not a published "
            'checkpoint, which has "metadata" and "model"'
        )
    missing = [name for name in ("metadata", "model") if name not in loaded]
    if missing:
        raise InputError(
            f"{path}: has no {' and no '.join(map(repr, missing))} but {_some(loaded)}; "
            "it is no published checkpoint"
        )
    model = loaded["model"]
    if not isinstance(model, Mapping) or not model:
        raise InputError(f"{path}: its 'model' is no dict of tensors")
    strange = [name for name in model if not isinstance(name, str)]
    if strange:
        raise InputError(f"{path}: its 'model' has names that are no text ({_some(strange)})")
    return model


def _layout(path: Path, model: Mapping[str, Any]) -> tuple[Part, _Rules]:
    """Which network it is, and how its tensors are called here."""
    if all(name.startswith("model.") for name in model):
        return "detector", _DETECTOR
    if any(name.startswith("heads.bodypart.") for name in model):
        if any(name.startswith("backbone.model.") for name in model):
            return "pose", _HEATMAP_POSE
        if any(name.startswith("backbone.stem.") for name in model):
            return "pose", _SIMCC_POSE
    raise InputError(f"{path}: its tensors ({_some(model)}) are those of no SuperAnimal network")


def _checked(tensors: Mapping[str, Any], what: str) -> Tensors:
    """Dense, finite tensors, floating point ones as float32, which changes no number.

    Raises:
        InputError: Lists what is wrong.
    """
    problems = []
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            problems.append(f"{name!r} is a {type(tensor).__name__}, want a tensor")
        elif tensor.layout != torch.strided or tensor.dtype not in (*_FLOATS, torch.int64):
            problems.append(f"{name!r} is {tensor.layout}, {tensor.dtype}; want dense float32 or int64")
        elif tensor.is_floating_point() and not torch.isfinite(tensor).all():
            problems.append(f"{name!r} has values that are not finite")
    if problems:
        raise all_problems(what, sorted(problems))
    # Cloned: what shares memory in the checkpoint must not be changed together, nor keep the rest alive.
    return {
        name: (tensor.detach().float() if tensor.is_floating_point() else tensor.detach()).clone(
            memory_format=torch.contiguous_format
        )
        for name, tensor in tensors.items()
    }


def _renamed(path: Path, tensors: Tensors, rules: _Rules) -> Tensors:
    """Our names, with 1x1 convolutions of a head as the transposed convolutions that ours are."""
    renamed: Tensors = {}
    problems, unknown = [], []
    for name, tensor in tensors.items():
        ours = next((m.expand(new) for old, new in rules if (m := re.fullmatch(old, name))), None)
        if ours is None:
            unknown.append(name)
        elif ours in renamed:
            problems.append(f"{name!r} is one more layer of its head, which has one in published networks")
        elif ".final_conv." in name and rules is _HEATMAP_POSE and name.endswith(".weight"):
            if tensor.ndim != 4 or tensor.shape[2:] != (1, 1):
                shape = tuple(tensor.shape)
                problems.append(
                    f"{name!r} has shape {shape}; only 1x1 convolutions have the same meaning here"
                )
            renamed[ours] = tensor.transpose(0, 1).contiguous() if tensor.ndim == 4 else tensor
        else:
            renamed[ours] = tensor
    if unknown:
        problems.append(f"{_some(unknown)} belong to no SuperAnimal network")
    if problems:
        raise all_problems(f"{path}", sorted(problems))
    return renamed


def _some(names: Any) -> str:
    """The first few of many names."""
    shown = [repr(name) for name in names]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


class _Dtype:
    """Stands in for `numpy.dtype`: takes anything, does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _scalar(*_: object) -> None:
    """Stands in for the function that builds a NumPy number."""


# Checkpoints of older releases have their metrics as NumPy numbers, which weights_only refuses. We do not
# need them; reading them with these instead of NumPy's own runs none of its code on bytes of the file.
_NUMPY_STANDINS: list[Any] = [
    (_Dtype, "numpy.dtype"),
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
]
