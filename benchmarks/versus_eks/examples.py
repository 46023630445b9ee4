"""The shipped examples and the long recording: the commands of both sides for the same files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data import need

FIXED = 10.0  # s where it is fixed
_COEFFICIENTS = ("0.99", "0.98")  # and the pupil's


@dataclass(frozen=True)
class Example:
    """One of the public package's shipped examples.

    Attributes:
        name: In the table.
        folder: Of its files, in the shared data, or an absolute path.
        theirs: Their subcommand and its options.
        ours: Options of `zoo smooth`.
        pattern: Of the prediction files.
    """

    name: str
    folder: str
    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    pattern: str = "*.csv"

    def source(self) -> Path:
        """The folder; an absolute one lies elsewhere than in the shared data."""
        return Path(self.folder) if Path(self.folder).is_absolute() else need(f"ensembles/{self.folder}")

    def their_command(self, program: Path, fixed: bool, out: Path) -> list[str]:
        """The public command on these files."""
        folder = self.source()
        words = [word.format(folder=folder) for word in self.theirs]
        command = [str(program), *words, "--input-dir", str(folder), "--save-dir", str(out)]
        if fixed and "ibl-pupil" in self.theirs:
            return [*command, "--diameter-s", _COEFFICIENTS[0], "--com-s", _COEFFICIENTS[1]]
        return [*command, "--s", str(FIXED)] if fixed else command

    def our_command(self, python: str, fixed: bool, out: Path) -> list[str]:
        """`zoo smooth` on the same files, with the table that the public command writes."""
        folder = self.source()
        files = [str(path) for path in sorted(folder.glob(self.pattern))]
        words = [word.format(folder=folder) for word in self.ours]
        command = [python, "-m", "app.cli", "smooth", *files, *words, "--out", str(out), "--format", "csv"]
        command += ["--overwrite", "--quiet"]
        if fixed and "pupil" in self.ours:
            return [*command, "--a-diameter", _COEFFICIENTS[0], "--a-centre", _COEFFICIENTS[1]]
        return [*command, "--s", str(FIXED)] if fixed else command


_SEVERAL = ("--inflate", "--variance-of", "observation")  # as in the public command's defaults
EXAMPLES = (
    Example("ibl-pupil, singlecam", "ibl-pupil", ("singlecam",), ("--model", "singlecam")),
    Example("mirror-mouse, singlecam", "mirror-mouse", ("singlecam",), ("--model", "singlecam")),
    Example(
        "mirror-mouse, mirrored",
        "mirror-mouse",
        ("mirrored-multicam", "--camera-names", "top", "bot"),
        ("--model", "mirrored", "--cameras", "top", "bot", *_SEVERAL),
    ),
    Example(
        "mirror-mouse-separate, linear",
        "mirror-mouse-separate",
        ("multicam", "--camera-names", "top", "bot"),
        ("--model", "multicam", "--cameras", "top", "bot", *_SEVERAL),
    ),
    Example(
        "fly, linear",
        "fly",
        ("multicam", "--camera-names", "Cam-A", "Cam-B", "Cam-C"),
        ("--model", "multicam", "--cameras", "Cam-A", "Cam-B", "Cam-C", *_SEVERAL),
    ),
    Example(
        "fly, calibrated",
        "fly",
        ("multicam", "--calibration", "{folder}/calibration.toml"),
        ("--model", "calibrated", "--calibration", "{folder}/calibration.toml", *_SEVERAL),
    ),
    Example("ibl-pupil, pupil", "ibl-pupil", ("ibl-pupil",), ("--model", "pupil")),
    Example(
        "ibl-paw, interpolated",
        "ibl-paw",
        ("ibl-paw",),
        (
            "--model", "multicam", "--cameras", "left", "right", "--variance", "plain", *_SEVERAL,
            "--rename", "right:paw_l=paw_r", "right:paw_r=paw_l",
            "--timestamps", *(f"{{folder}}/3f859b5c-e73a-4044-b49e-34bb81e96715.timestamps.{camera}.npy"
                              for camera in ("left", "right")),
        ),
    ),
)  # fmt: skip


def long_recording(path: Path, n_frames: int, n_keypoints: int = 20, n_members: int = 5) -> Path:
    """Random walks seen by several networks, in places noisily, as an .npz; made once.

    keypoints (members, frames, keypoints, 2) and confidence (members, frames, keypoints), float64.
    """
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    walk = 200 + np.cumsum(rng.normal(0, 1.5, (n_frames, n_keypoints, 2)), axis=0)
    spread = np.exp(rng.normal(0, 0.7, (n_frames, n_keypoints, 1)))
    keypoints = walk + spread * rng.normal(0, 1, (n_members, n_frames, n_keypoints, 2))
    confidence = rng.uniform(0.6, 1.0, (n_members, n_frames, n_keypoints))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, keypoints=keypoints, confidence=confidence)
    return path


def long_tables(recording: Path, folder: Path) -> Path:
    """The long recording as csv, one for each network; made once."""
    if (folder / "complete").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(recording) as arrays:
        keypoints, confidence = arrays["keypoints"], arrays["confidence"]
    m, t, k, _ = keypoints.shape
    names = [f"keypoint{i}" for i in range(k)]
    header = [
        ",".join(["scorer", *["network"] * 3 * k]),
        ",".join(["bodyparts", *(name for name in names for _ in range(3))]),
        ",".join(["coords", *["x", "y", "likelihood"] * k]),
    ]
    for i in range(m):
        values = np.concatenate([keypoints[i], confidence[i, ..., None]], axis=-1).reshape(t, 3 * k)
        table = np.concatenate([np.arange(t)[:, None], values], axis=1)
        formats = ["%d", *["%.6f"] * 3 * k]
        np.savetxt(folder / f"net{i}.csv", table, formats, ",", header="\n".join(header), comments="")
    (folder / "complete").touch()
    return folder
