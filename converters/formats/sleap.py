"""SLEAP projects (.slp) and packages (.pkg.slp), through sleap-io (`pip install "superanimal-zoo[sleap]"`).

The format's conventions, and what becomes of them:
- Pixels: SLEAP has the centre of the top-left pixel at (0, 0) as here, since its format 1.1; older files
  have its corner there, and sleap-io takes off the half pixel.
- A point that is not `visible` still has coordinates, those of the template it was placed with: it is not
  annotated. There is no flag for an occluded one, and no box.
- Instances are the user's, or a network's (predicted). The user's are read; a file with predicted ones
  only is refused unless `instances="predicted"` takes them as pseudo-labels. Never both: where a user
  corrected a prediction both are in the file.
- Frames without instances of the chosen kind are passed over, besides those that the user marked as
  having no animal. Suggested frames have no labels and are not read.
- A track is the individual, where all instances of a frame have one.

What is lost: `complete` flags, scores, the skeleton's edges, sessions, and whatever else is not keypoints.

The frames of the labels are written as PNG into the folder given for them. They come out of the package, or
out of the videos: these are looked for where the file says, beside the file, and where `video` says (a
video, or a folder of videos). Of image sequences the images themselves are taken. The split group is the
video, also where merged projects list it several times; an image is called `<video>/img<frame>.png`, and its
`source_id` is the number of the frame.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from converters.formats.frames import extract_frames
from converters.formats.image_lookup import posix_name
from converters.formats.self_contained import check_self_contained
from converters.images import SizeReader
from superset_vocab import InputError, LabelRecord, LabelSet, Source, Visibility
from superset_vocab.errors import all_problems
from superset_vocab.files import make_folder

if TYPE_CHECKING:
    from sleap_io.model.labeled_frame import LabeledFrame
    from sleap_io.model.labels import Labels
    from sleap_io.model.video import Video

_LOG = logging.getLogger(__name__)
KINDS = ("user", "predicted")


def detect(path: Path) -> bool:
    """A .slp or .pkg.slp."""
    return path.is_file() and path.suffix.lower() == ".slp"


def read(
    source: Path,
    *,
    dataset: str,
    frames: Path | None = None,
    instances: str = "user",
    video: Path | None = None,
) -> LabelSet:
    """Read a SLEAP project or package.

    Args:
        source: The .slp.
        dataset: Dataset name of the records.
        frames: Folder that the labelled frames are written into; not needed for image sequences.
        instances: "user" or "predicted".
        video: The only video of the project, or a folder with its videos, where they were moved.

    Returns:
        One record for each labelled frame, in the order of the file.

    Raises:
        InputError: If the file or its videos are broken or not at hand; all problems are listed.
        ModuleNotFoundError: Without sleap-io.
    """
    if instances not in KINDS:
        raise InputError(f"instances {instances!r} is none of {', '.join(KINDS)}")
    labels = _load(source)
    labelled = [frame for frame in labels if _chosen(frame, instances) or frame.is_negative]
    if not any(_chosen(frame, instances) for frame in labelled):
        raise InputError(f"{source}: {_nothing(labels, instances)}")
    keypoints = _keypoint_names(source, labelled, instances)
    images = _images(source, labelled, frames, video)
    sizes, records = SizeReader(), []
    for frame in labelled:
        if id(frame) not in images:
            continue  # a frame without animals whose image is not in the package
        path, name = images[id(frame)]
        if (size := sizes(path)) is not None:
            records.append(_record(frame, _chosen(frame, instances), keypoints, (path, name, size), dataset))
    if sizes.problems:
        raise all_problems(f"{source}", sizes.problems)
    found = Source(dataset, keypoints, format="sleap", location=str(source))
    return LabelSet(keypoints, tuple(records), (found,))


def _load(source: Path) -> Labels:
    """The file's content, without opening its videos."""
    import sleap_io
    from sleap_io.io.main import load_slp

    try:
        check_self_contained(source)
        return load_slp(source, open_videos=False)
    except (OSError, KeyError, ValueError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        text = " ".join(str(error).split())
        raise InputError(
            f"{source}: is no SLEAP file that sleap-io {sleap_io.__version__} can read ({text}); "
            "save it again with SLEAP"
        ) from error


def _chosen(frame: LabeledFrame, kind: str) -> list[Any]:
    """The instances of a kind."""
    return list(frame.user_instances if kind == "user" else frame.predicted_instances)


def _nothing(labels: Labels, kind: str) -> str:
    """Why there is nothing to read, and what to do."""
    (other,) = set(KINDS) - {kind}
    count = sum(len(_chosen(frame, other)) for frame in labels)
    if not count:
        return "has no labelled instance; label some frames first"
    hint = "as pseudo-labels " if other == "predicted" else ""
    return (
        f"has no {kind} instances, but {count} {other} ones; take these {hint}with --option instances={other}"
    )


def _keypoint_names(source: Path, frames: Iterable[Any], kind: str) -> tuple[str, ...]:
    """The nodes of the one skeleton."""
    found = {tuple(i.skeleton.node_names) for frame in frames for i in _chosen(frame, kind)}
    if len(found) > 1:
        lists = "; ".join(", ".join(names) for names in sorted(found))
        raise InputError(
            f"{source}: has instances of {len(found)} skeletons ({lists}); save one file for each"
        )
    return found.pop()


def _record(
    frame: LabeledFrame,
    instances: list[Any],
    keypoints: tuple[str, ...],
    image: tuple[Path, str, tuple[int, int]],
    dataset: str,
) -> LabelRecord:
    """One frame with its instances."""
    path, name, size = image
    shape = (len(instances), len(keypoints))
    xy = np.array([i.points["xy"] for i in instances], dtype=np.float64).reshape(*shape, 2)
    seen = np.array([i.points["visible"] for i in instances], dtype=bool).reshape(shape)
    seen &= np.isfinite(xy).all(-1)
    xy[~seen] = np.nan
    state = np.where(seen, Visibility.VISIBLE, Visibility.NOT_ANNOTATED).astype(np.int8)
    tracks = [i.track.name for i in instances if i.track is not None]
    return LabelRecord(
        path, size, dataset, name.partition("/")[0], xy, state, np.full((len(instances), 4), np.nan), name,
        source_id=int(frame.frame_idx),
        individuals=tuple(map(str, tracks)) if len(tracks) == len(instances) else (),
    )  # fmt: skip


def _images(
    source: Path, labelled: list[Any], frames: Path | None, given: Path | None
) -> dict[int, tuple[Path, str]]:
    """Path and name of the image of each labelled frame, by the frame's `id()`."""
    by_video: dict[int, list[Any]] = defaultdict(list)
    for frame in labelled:
        by_video[id(frame.video)].append(frame)
    images, problems, names = {}, [], {}
    taken: Counter[str] = Counter()
    for shown in by_video.values():
        stem, film = _stem(shown[0].video), _identity(source, shown[0].video, given)
        if film not in names:  # projects that were merged may list a video once for each of them
            taken[stem] += 1
            names[film] = stem if taken[stem] == 1 else f"{stem}__{taken[stem]}"
        stem = names[film]
        try:
            paths = _frames_of(source, shown, frames, given, len(by_video))
        except InputError as error:
            problems.append(str(error))
            continue
        for frame in shown:
            index = int(frame.frame_idx)
            if index in paths:
                images[id(frame)] = paths[index], f"{stem}/img{index:06d}.png"
    if problems:
        raise all_problems(f"{source}", problems)
    return images


def _stem(video: Video) -> str:
    """What a video is called: a package's by the video that it was made of."""
    original = video.source_video or video
    name = original.filename[0] if isinstance(original.filename, list) else original.filename
    path = posix_name(str(name))
    return path.parent.name or path.stem if isinstance(original.filename, list) else path.stem


def _identity(source: Path, video: Video, given: Path | None) -> str:
    """What two entries of one film have in common: its file where that is at hand, else what it is called."""
    original = video.source_video or video
    found = None if isinstance(original.filename, list) else _find(source, str(original.filename), given)
    return str(found.resolve() if found else original.filename)


def _frames_of(
    source: Path, shown: list[Any], frames: Path | None, given: Path | None, n_videos: int
) -> dict[int, Path]:
    """Image files of labelled frames of one video, by number; all but frames without animals are there."""
    video: Video = shown[0].video
    indices = [int(frame.frame_idx) for frame in shown]
    if video.is_cropped:
        raise InputError(f"{_stem(video)}: is a cropped view; save the project with the crop applied")
    if isinstance(video.filename, list):
        found = {i: _find(source, video.filename[i], given) for i in indices if i < len(video.filename)}
        missing = [i for i in indices if found.get(i) is None]
        if missing:
            raise InputError(f"{_stem(video)}: image {missing[0]} of the sequence is not at hand")
        return {i: path for i, path in found.items() if path is not None}
    if frames is None:
        raise InputError(f"say where the frames of {_stem(video)} may be written (frames=FOLDER)")
    if (video.backend_metadata or {}).get("has_embedded_images"):
        return _unpack(video, shown, frames)
    path = given if given is not None and given.is_file() and n_videos == 1 else None
    path = path or _find(source, str(video.filename), given)
    if path is None:
        raise InputError(
            f"the video {video.filename} is neither there nor beside the .slp; "
            "name it, or its folder, with --option video=PATH"
        )
    return extract_frames(path, indices, frames)


def _find(source: Path, name: str, given: Path | None) -> Path | None:
    """A video or image: as named, relative to the .slp, beside it, or in the folder given."""
    parts = posix_name(name)
    places = [Path(name), source.parent / parts, source.parent / parts.name]
    if given is not None:
        places.insert(0, given / parts.name)
    return next((place for place in places if place.is_file()), None)


def _unpack(video: Video, shown: list[Any], frames: Path) -> dict[int, Path]:
    """Write the frames that a package holds."""
    folder = frames / _stem(video)
    if folder.exists():
        folder = frames / f"{_stem(video)}__{sum(1 for _ in frames.iterdir())}"
    make_folder(folder)
    found = {}
    try:
        video.open()
        if video.backend is None:
            raise InputError(f"{_stem(video)}: its images in the package cannot be opened; make it again")
        held = [int(frame.frame_idx) for frame in shown if video.backend.has_frame(frame.frame_idx)]
        missing = [int(f.frame_idx) for f in shown if f.instances and int(f.frame_idx) not in held]
        if missing:
            some = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
            raise InputError(
                f"{_stem(video)}: the package does not hold the images of {len(missing)} labelled frames "
                f"({some}); make it again with them"
            )
        for index in held:
            image = np.asarray(video[index])
            colour = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.shape[-1] == 3 else image
            path = folder / f"img{index:06d}.png"
            if not cv2.imwrite(str(path), colour):
                raise InputError(f"{path}: cannot be written")
            found[index] = path
    except (OSError, RuntimeError, KeyError, ValueError, IndexError, TypeError, cv2.error) as error:
        if isinstance(error, InputError):
            raise
        text = " ".join(str(error).split())
        raise InputError(
            f"an image in the package cannot be decoded ({text}); make the package again"
        ) from error
    finally:
        video.close()
    return found
