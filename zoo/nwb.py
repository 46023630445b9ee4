"""Predictions on a video as Neurodata Without Borders, by the extension ndx-pose.

In the processing module "behavior" is a `PoseEstimation` for each individual ("PoseEstimation" for a single
one, else "PoseEstimation_<individual>"), with a `PoseEstimationSeries` for each keypoint, linked to the
skeleton and to the video, whose name, not content, is kept. Pixels are ours: the centre of the top-left pixel
is (0, 0). Missing is NaN. The provenance is in the file's notes.

NWB wants to know when a session began. A video does not say so reliably: the file has 1970-01-01 there, and
says that this is a placeholder.

Both packages make their classes when they are imported, so types have nothing to check here.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from superset_vocab.errors import InputError
from superset_vocab.files import atomic_path
from superset_vocab.provenance import package_version

if TYPE_CHECKING:
    from zoo.results import Predictions

NO_TIME = "NWB keeps poses by time, and images have none; write csv, h5 or coco"
_PLACEHOLDER = datetime(1970, 1, 1, tzinfo=UTC)
_CONFIDENCE = "confidence of the network in the keypoint, 0 to 1, not calibrated"


def is_installed() -> bool:
    """Whether NWB files can be written here."""
    return find_spec("ndx_pose") is not None


def require() -> None:
    """Refuse before any work where NWB files cannot be written.

    Raises:
        InputError: If a package is missing.
    """
    if not is_installed():
        raise InputError(
            'format nwb: needs ndx-pose, which is not installed; pip install "superanimal-zoo[nwb]"'
        )


def write_nwb(predictions: Predictions, path: Path) -> None:
    """Write an NWB file.

    Args:
        predictions: Of a video.
        path: The file; replaced if it exists.

    Raises:
        InputError: If ndx-pose is missing, or the predictions are of images, which have no time.
    """
    require()
    if predictions.fps is None:
        raise InputError(f"{path}: {NO_TIME}")
    import ndx_pose
    from pynwb import NWBHDF5IO

    file = _file(predictions)
    behaviour = file.create_processing_module("behavior", "poses of animals")
    skeleton = _skeleton(predictions)
    behaviour.add(ndx_pose.Skeletons(skeletons=[skeleton]))
    video = _video(predictions)
    file.add_acquisition(video)
    for n, individual in enumerate(predictions.individuals):
        single = predictions.n_individuals == 1
        name = "PoseEstimation" if single else f"PoseEstimation_{individual}"
        behaviour.add(_poses(predictions, n, name, skeleton, video))
    with atomic_path(path) as temporary:
        io: Any = NWBHDF5IO(path=str(temporary), mode="w")
        with io:
            io.write(file)


def _file(predictions: Predictions) -> Any:
    """The file without poses."""
    import pynwb

    return pynwb.NWBFile(
        session_description=f"Poses of the animals in {_source(predictions)}. When it was recorded is not "
        "known: session_start_time is a placeholder.",
        identifier=str(uuid4()),
        session_start_time=_PLACEHOLDER,
        notes=json.dumps(predictions.provenance),
    )


def _skeleton(predictions: Predictions) -> Any:
    import ndx_pose

    vocabulary = predictions.vocabulary
    edges = np.array(vocabulary.bones, dtype=np.uint8).reshape(-1, 2)
    return ndx_pose.Skeleton(name=vocabulary.name, nodes=list(vocabulary.keypoints), edges=edges)


def _video(predictions: Predictions) -> Any:
    """The video by its name."""
    from pynwb.image import ImageSeries

    return ImageSeries(
        name="video",
        description="what the poses are of",
        external_file=[_source(predictions)],
        format="external",
        starting_frame=[0],
        num_samples=len(predictions),
        rate=float(predictions.fps or 0),
        dimension=[int(length) for length in predictions.size_wh[0]] if len(predictions) else None,
        unit="n.a.",
    )


def _poses(predictions: Predictions, n: int, name: str, skeleton: Any, video: Any) -> Any:
    """One individual."""
    import ndx_pose

    from zoo.exports import scorer

    series = [
        ndx_pose.PoseEstimationSeries(
            name=keypoint,
            data=predictions.keypoints[:, n, k],
            confidence=predictions.confidence[:, n, k],
            confidence_definition=_CONFIDENCE,
            reference_frame="x to the right, y down; (0, 0) is the centre of the top-left pixel",
            unit="pixels",
            **_times(predictions),
        )
        for k, keypoint in enumerate(predictions.vocabulary.keypoints)
    ]
    return ndx_pose.PoseEstimation(
        name=name,
        pose_estimation_series=series,
        description=f"{predictions.individuals[n]}, found without labels; missing is NaN",
        scorer=scorer(predictions),
        source_software="superanimal-zoo",
        source_software_version=package_version(),
        skeleton=skeleton,
        source_video=video,
    )


def _times(predictions: Predictions) -> dict[str, Any]:
    """When the frames are, in seconds of the video."""
    rate, index = float(predictions.fps or 0), predictions.frame_index
    if len(index) and (np.diff(index) == 1).all():
        return {"starting_time": float(index[0] / rate), "rate": rate}
    return {"timestamps": index / rate}


def _source(predictions: Predictions) -> str:
    """Name of the video."""
    return str(predictions.provenance.get("input", {}).get("name") or "a video")
