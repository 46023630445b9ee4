"""An ensemble of models of the zoo on one video: predict with each, keep what was predicted."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptation.eks.files import Poses, Track, read_poses
from superset_vocab.errors import InputError, all_problems
from superset_vocab.files import read_json

if TYPE_CHECKING:
    from zoo.model import Model

_WEIGHTS = (".safetensors", ".pt")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One network of an ensemble.

    Attributes:
        model: What `zoo.load` takes: the name of a published model, e.g. "superanimal_topviewmouse", a
            model's folder, or "hf://owner/name@revision".
        variant: Which network of it; None for the model's own.
        weights: File with its weights; None for the published ones.
    """

    model: str
    variant: str | None = None
    weights: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Member:
        """A member from "MODEL", "MODEL:VARIANT", "MODEL:WEIGHTS" or "MODEL:VARIANT:WEIGHTS".

        WEIGHTS end in .safetensors or .pt. A model's folder and an address on the Hub stand alone.

        Raises:
            InputError: If the text is none of these.
        """
        from zoo.model_folder import folder_of

        if "://" in text or (Path(text).is_dir() and folder_of(text) is not None):
            return cls(text)
        model, _, rest = text.partition(":")
        variant, weights = rest, ""
        if rest.endswith(_WEIGHTS):
            head, _, tail = rest.partition(":")
            # "C:\..." is a drive, not a variant
            variant, weights = (head, tail) if tail and len(head) > 1 else ("", rest)
        if not model or (":" in variant):
            raise InputError(
                f"members: {text!r} is none of MODEL, MODEL:VARIANT, MODEL:WEIGHTS, MODEL:VARIANT:WEIGHTS; "
                f"weights end in {' or '.join(_WEIGHTS)}"
            )
        return cls(model, variant or None, Path(weights) if weights else None)


def check_members(members: Sequence[Member]) -> None:
    """Refuse members that cannot be: unknown models, missing files, the same network twice.

    Raises:
        InputError: Lists all problems.
    """
    from zoo.catalogue import find_model
    from zoo.published import spec_outside

    problems = []
    for member in members:
        try:
            if spec_outside(member.model) is None:
                find_model(member.model, member.variant)
        except InputError as error:
            problems.append(str(error))
        if member.weights is not None and not member.weights.is_file():
            problems.append(f"{member.weights}: no such file of weights")
    for member in sorted({repr(one) for one in members if members.count(one) > 1}):
        problems.append(f"{member} is there twice: an ensemble needs different networks")
    if problems:
        raise all_problems("members", problems)


def member_paths(folder: Path, video: Path, members: Sequence[Member]) -> list[Path]:
    """Tables that `predict_members` keeps, one for each member."""
    names = [re.sub(r"[^\w.-]+", "_", Path(one.model).name) for one in members]
    stems = [f"{video.stem}.member{i}.{name}" for i, name in enumerate(names)]
    return [folder / f"{stem}.h5" for stem in stems]


def predict_members(
    video: Path,
    members: Sequence[Member],
    folder: Path,
    *,
    load: Mapping[str, Any] | None = None,
    predict: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> list[Poses]:
    """Predict a video with every member and keep each one's table in `folder`.

    Args:
        video: The video.
        members: The networks.
        folder: Created if it does not exist.
        load: Further arguments of `zoo.load` (device, detector, allow_embedded).
        predict: Further arguments of `Model.predict` (max_individuals, batch_size, progress).
        resume: Take tables that are there already, if they are of this video, these weights and as many
            animals.

    Returns:
        One for each member, individuals as each one's tracking had them.

    Raises:
        InputError: If a model or the video cannot be had, or a table that is there is of something else.
    """
    import zoo

    check_members(members)
    paths = member_paths(folder, video, members)
    poses = []
    for member, path in zip(members, paths, strict=True):
        model = zoo.load(member.model, member.variant, weights=member.weights, **(load or {}))
        if resume and path.exists():
            _check_kept(path, model, video, (predict or {}).get("max_individuals"))
            _log.info("%s is there already", path)
        else:
            model.predict(video, **(predict or {})).save(folder, path.stem, ["h5"])
        kept = read_poses(path)
        poses.append(Poses(kept.source, kept.tracks, kept.frame_index, {**_provenance(path), **kept.about}))
    return _padded(poses)


def _padded(poses: Sequence[Poses]) -> list[Poses]:
    """Members with as many individuals as the one that saw the most; the others' are missing."""
    most = max(poses, key=lambda one: len(one.tracks)).tracks
    return [replace(one, tracks=(*one.tracks, *map(_absent, most[len(one.tracks) :]))) for one in poses]


def _absent(track: Track) -> Track:
    """An individual that was not seen."""
    nothing = np.full_like(track.keypoints, np.nan)
    return replace(track, keypoints=nothing, confidence=nothing[..., 0])


def _provenance(path: Path) -> dict[str, Any]:
    """The provenance beside a member's table."""
    return read_json(path.with_suffix(".provenance.json"))


def _check_kept(path: Path, model: Model, video: Path, max_individuals: int | None) -> None:
    """Refuse a table of another video, other weights or another number of animals."""
    from zoo.exports import read_h5_provenance

    about = read_h5_provenance(path)
    wanted = {"model": model.spec.name, "variant": model.spec.variant, "weights": model.weights}
    problems = [
        f"its {name} is {about.get(name)!r}, not {value!r}"
        for name, value in wanted.items()
        if about.get(name) != value
    ]
    size, name = about.get("input", {}).get("bytes"), about.get("input", {}).get("name")
    if (name, size) != (video.name, video.stat().st_size):
        problems.append(f"it is of {name} ({size} bytes), not of {video.name} ({video.stat().st_size} bytes)")
    for done in about.get("operations", []):
        if done.get("name") == "track" and done.get("max_individuals") != max_individuals:
            problems.append(f"its max_individuals was {done.get('max_individuals')}, not {max_individuals}")
    if problems:
        raise all_problems(f"{path} cannot be resumed from", [*problems, "remove it or use another --out"])
