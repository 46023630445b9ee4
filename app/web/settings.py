"""What a host allows its visitors. The defaults suit a small public machine of two cores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from superset_vocab import load_vocabulary
from superset_vocab.errors import InputError, all_problems
from zoo.hub import check_repository

MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """Limits of the demo; every one is checked before work starts.

    Attributes:
        root: Folder below which every visitor has a folder of their own; emptied when the app ends.
        max_upload_mib: Largest file.
        max_files: Most images in one upload.
        max_pixels: Largest image or frame, width times height.
        max_side: Longest side of an image or frame in pixels.
        max_seconds: Longest video.
        max_frames: Most frames of a video, whatever it says its rate is.
        max_zip_files: Most entries of a zip file.
        max_unzipped_mib: Most bytes that a zip file may unpack to.
        max_zip_ratio: Most that an entry may be larger unpacked; pictures hardly compress, bombs do.
        max_waiting: Visitors that may wait for the worker; the next one is asked to come back.
        max_job_seconds: A job that takes longer is ended.
        max_memory_share: Of the machine's memory, or of its container's, what a job may take (Linux).
        max_fine_tuning_steps: Most optimiser steps of a fine-tuning.
        max_fine_tuning_images: Most labelled images of one; of a larger project so many are drawn.
        max_test_images: Most left-over images that a fine-tuned model is tested on.
        idle_minutes: A visitor's files are removed after so long without a request.
        examples: Folder with example images and videos to choose from, or None.
        contribute_to: Dataset repository on the Hub, "owner/name", to which the tab Contribute opens pull
            requests in the name of the host's account; "" for none.
        max_pull_requests: Most of them that all visitors together may open in a day.
        pool: Folder of pictures to annotate, or None.
        pool_origin: Where that folder's pictures are from, with the commit if it is the Hub; "" says nothing.
        annotations: Folder in which the annotations of the pool are kept, or None.
        pool_vocabulary: Vocabulary of the pool's keypoints.
        pool_keypoints: Those of them that can be seen in the pool's view; () for all.
    """

    root: Path
    max_upload_mib: int = 200
    max_files: int = 50
    max_pixels: int = 40_000_000
    max_side: int = 12_000
    max_seconds: float = 120.0
    max_frames: int = 7_200
    max_zip_files: int = 5_000
    max_unzipped_mib: int = 500
    max_zip_ratio: int = 200
    max_waiting: int = 20
    max_job_seconds: float = 1_800.0
    max_memory_share: float = 0.75
    max_fine_tuning_steps: int = 300
    max_fine_tuning_images: int = 200
    max_test_images: int = 100
    idle_minutes: float = 60.0
    examples: Path | None = None
    contribute_to: str = ""
    max_pull_requests: int = 20
    pool: Path | None = None
    pool_origin: str = ""
    annotations: Path | None = None
    pool_vocabulary: str = "superanimal_topviewmouse"
    pool_keypoints: tuple[str, ...] = ()

    @property
    def uploads(self) -> Path:
        """Where Gradio puts what visitors upload."""
        return self.root / "uploads"

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}, want a number above 0"
            for name, value in vars(self).items()
            if isinstance(value, int | float) and not value > 0
        ]
        for name in ("examples", "pool"):
            folder = getattr(self, name)
            if folder is not None and not folder.is_dir():
                problems.append(f"{name}: {folder}: no such folder")
        if (self.pool is None) != (self.annotations is None):
            problems.append("a pool to annotate and a folder for its annotations go together; give both")
        if self.contribute_to:
            try:
                check_repository(self.contribute_to, "contribute_to: ")
            except InputError as error:
                problems.append(str(error))
        known = set(load_vocabulary(self.pool_vocabulary).keypoints)
        problems += [
            f"keypoint {name!r} of the pool is not in {self.pool_vocabulary}"
            for name in self.pool_keypoints
            if name not in known
        ]
        if problems:
            raise all_problems("settings of the app", problems)
