"""Identity through crossings: rendered videos of two mice that meet, predicted by the embedded mouse model.

Run it with `python -m benchmarks.identity [SEEDS]`. A swap is a frame from which on an individual's place
holds the other animal. A meeting is a stretch of frames in which the mice are nearer than half a body.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

N_FRAMES = 240
NEAR = 0.5  # body lengths between the centres of two mice that meet


@dataclass(frozen=True)
class Identity:
    """What became of two animals in one video.

    Attributes:
        meetings: Stretches of frames in which they are near each other.
        swaps: Frames from which on they have changed places.
        missing: Share of the animals that were not found.
    """

    meetings: int
    swaps: int
    missing: float


def two_mice(seed: int, n_frames: int = N_FRAMES) -> tuple[np.ndarray, np.ndarray, float]:
    """A rendered video of two mice that seek each other.

    Returns:
        (T, H, W, 3) RGB uint8, the true centres (T, 2, 2) px, and the body length in px.
    """
    from converters.synthetic import LABS, render_video

    lab = replace(LABS["wild"], name="two", n_mice=(2, 2), body_length=(80, 100), size_wh=(360, 270))
    frames = list(render_video(lab, n_frames, np.random.default_rng([seed, 5])))
    centres = np.stack([np.nanmean(frame.keypoints, axis=1) for frame in frames])
    return np.stack([frame.image for frame in frames]), centres, 90.0


def score(found: np.ndarray, centres: np.ndarray, body: float) -> Identity:
    """Compare places with the truth.

    Args:
        found: (T, 2, 2) centres of the two individuals, NaN where absent.
        centres: (T, 2, 2) true centres.
        body: Body length, px.
    """
    straight = np.linalg.norm(found - centres, axis=-1)
    crossed = np.linalg.norm(found - centres[:, ::-1], axis=-1)
    near = np.linalg.norm(centres[:, 0] - centres[:, 1], axis=-1) < NEAR * body
    # Which way round the places are, where that can be told: the animals apart, and an animal found.
    with np.errstate(invalid="ignore"):
        gap = np.nansum(crossed - straight, axis=1)
    told = ~near & (np.abs(gap) > 0.3 * body)
    order = np.sign(gap[told])
    return Identity(
        meetings=int((np.diff(near.astype(int)) == 1).sum() + near[0]),
        swaps=int((np.diff(order) != 0).sum()),
        missing=float(np.isnan(found[..., 0]).mean()),
    )


def measure(seeds: Iterator[int] | range) -> Iterator[tuple[int, Identity]]:
    """Predict and score one video for each seed."""
    import zoo

    model = zoo.load("superanimal_topviewmouse", "compact")
    for seed in seeds:
        video, centres, body = two_mice(seed)
        poses = model.predict(video, max_individuals=2)
        weight = np.nan_to_num(poses.confidence)[..., None]
        total = weight.sum(2)
        sums = (np.nan_to_num(poses.keypoints) * weight).sum(2)
        found = np.where(total > 0, sums / np.maximum(total, 1e-9), np.nan)
        yield seed, score(found, centres, body)


def main() -> None:
    """Print a line for each video and the sum."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    results = []
    for seed, result in measure(range(n)):
        results.append(result)
        print(
            f"seed {seed}: {result.meetings} meetings, {result.swaps} swaps, "
            f"{100 * result.missing:.1f} % missing",
            flush=True,
        )
    print(
        f"{n} videos of {N_FRAMES} frames: {sum(r.meetings for r in results)} meetings, "
        f"{sum(r.swaps for r in results)} swaps, {100 * np.mean([r.missing for r in results]):.1f} % missing"
    )


if __name__ == "__main__":
    main()
