"""Keypoints of all animals of an image to animals and back (bottom-up pose estimation).

A bottom-up network says where there are keypoints (heatmaps, location refinement) and how limbs run (part
affinity fields: Cao et al., CVPR 2017). Here the maps become animals:
  1. the peaks of every heatmap are candidates, moved by the location refinement there;
  2. for every limb each pair of candidates of its two ends gets an affinity, the field along the line
     between them (Cao et al., eqs 10 and 11), and the pairs of the best assignment become links;
  3. links of all limbs, the best supported first, join candidates to animals unless one would get the same
     keypoint twice (as in Lauer et al., Nature Methods 2022, who join the links of a graph with more
     limbs than a tree needs).
The support of a link is ours: its affinity plus that of every detour over one other candidate. A wrong link,
as between the neighbouring ears of two mice side by side, may have the best affinity, but no detour.
The more limbs, the better: in a tree, one unseen keypoint tears an animal apart, and one wrong link joins
two. `with_second_neighbours` adds limbs that jump over a keypoint.

Maps are as in `zoo.codecs`: cell (row i, column j) of stride s stands for the pixel
(s * j + (s - 1) / 2, s * i + (s - 1) / 2); location refinement is in strides. Encoding is for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from superset_vocab.errors import all_problems


@dataclass(frozen=True)
class GroupingOptions:
    """How maps become animals.

    Attributes:
        keypoint_threshold: Least height of a peak, in [0, 1].
        peak_radius: Peaks of a keypoint are more than so many cells apart.
        max_peaks: Only so many peaks of each keypoint are looked at, the highest.
        limb_threshold: Least affinity of a link, in [0, 1].
        limb_support: Share of a link's samples that must reach `limb_threshold` by themselves, so that a
            line across a gap between two animals is no limb; below 1 because the ends, which are off by the
            error of the peaks, may lie beside the field.
        n_samples: Samples of the field on each line.
        min_keypoints: Animals with fewer keypoints are dropped.
        max_individuals: Only so many animals are kept, the most confident; 0 for all.
    """

    keypoint_threshold: float = 0.1
    peak_radius: int = 1
    max_peaks: int = 20
    limb_threshold: float = 0.1
    limb_support: float = 0.8
    n_samples: int = 10
    min_keypoints: int = 2
    max_individuals: int = 0

    def __post_init__(self) -> None:
        shares = ("keypoint_threshold", "limb_threshold", "limb_support")
        problems = [
            f"{name} is {getattr(self, name):g}, want 0 to 1"
            for name in shares
            if not 0 <= getattr(self, name) <= 1
        ]
        at_least = {
            "peak_radius": 1,
            "max_peaks": 1,
            "n_samples": 2,
            "min_keypoints": 1,
            "max_individuals": 0,
        }
        problems += [
            f"{name} is {getattr(self, name)}, want at least {low}"
            for name, low in at_least.items()
            if getattr(self, name) < low
        ]
        if problems:
            raise all_problems("grouping", problems)


@dataclass(frozen=True, eq=False)
class Individuals:
    """The animals of one image, the most confident first.

    Attributes:
        keypoints: (N, K, 2) float32 px of the network's input; NaN where missing.
        confidence: (N, K) float32 in [0, 1], height of the peak; 0 where missing.
        individual_confidence: (N,) float32 in [0, 1]: mean over all K keypoints of the confidence times the
            affinity of the keypoint's best link in this animal; a missing keypoint counts 0. A keypoint that
            has no limb at all counts with its confidence alone.
    """

    keypoints: np.ndarray
    confidence: np.ndarray
    individual_confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.individual_confidence)


@dataclass(frozen=True, eq=False)
class Peaks:
    """Candidates for keypoints in one image.

    Attributes:
        keypoint: (P,) int, which keypoint.
        xy: (P, 2) float64 px of the network's input.
        confidence: (P,) float64 in [0, 1].
    """

    keypoint: np.ndarray
    xy: np.ndarray
    confidence: np.ndarray


def group(
    heatmaps: torch.Tensor,
    locref: torch.Tensor | None,
    pafs: torch.Tensor | None,
    bones: np.ndarray,
    stride: int,
    options: GroupingOptions | None = None,
) -> list[Individuals]:
    """Find the animals of each image of a batch.

    Args:
        heatmaps: (B, K, h, w) in [0, 1]: of a network that gives logits, their sigmoid.
        locref: (B, 2K, h, w) offsets from the cell in strides, x0, y0, x1, y1, ...; None to refine peaks by
            a parabola through the heatmap.
        pafs: (B, 2E, h, w) fields of the limbs, x0, y0, x1, y1, ...; None if there are no limbs.
        bones: (E, 2) int, the keypoints at the two ends of each limb, as in training.
        stride: Input pixels per cell.
        options: None for the defaults.

    Returns:
        One for each image.

    Raises:
        ValueError: If the maps do not fit each other or the limbs.
    """
    options = options or GroupingOptions()
    b, k, h, w = heatmaps.shape
    bones = np.asarray(bones, np.int64).reshape(-1, 2)
    wanted = {"locref": (locref, 2 * k), "pafs": (pafs, 2 * len(bones))}
    for name, (maps, channels) in wanted.items():
        if maps is not None and maps.shape != (b, channels, h, w):
            raise ValueError(f"{name} has shape {tuple(maps.shape)}, want {(b, channels, h, w)}")
    if pafs is None and len(bones):
        raise ValueError(f"no pafs for {len(bones)} limbs")
    fields = np.zeros((b, 0, 2, h, w)) if pafs is None else pafs.float().cpu().numpy().reshape(b, -1, 2, h, w)
    found = find_peaks(heatmaps, locref, stride, options)
    return [
        assemble(peaks, field, bones, k, stride, options) for peaks, field in zip(found, fields, strict=True)
    ]


def find_peaks(
    heatmaps: torch.Tensor, locref: torch.Tensor | None, stride: int, options: GroupingOptions
) -> list[Peaks]:
    """The local maxima of heatmaps, for each image of a batch.

    Args:
        heatmaps: (B, K, h, w) in [0, 1].
        locref: (B, 2K, h, w) offsets in strides, or None to refine by a parabola.
        stride: Input pixels per cell.
        options: Its `keypoint_threshold`, `peak_radius` and `max_peaks` count.
    """
    b, k, h, w = heatmaps.shape
    heatmaps = heatmaps.float()
    top = _local_maxima(heatmaps, options.peak_radius).flatten(2).topk(min(options.max_peaks, h * w), dim=2)
    index = top.indices
    if locref is None:
        shift = _parabola(heatmaps, index)
    else:
        offsets = locref.float().reshape(b, k, 2, h * w)
        shift = offsets.gather(3, index[:, :, None].expand(-1, -1, 2, -1)).transpose(2, 3)
    cell = torch.stack([index % w, index // w], dim=-1)
    xy = ((cell + shift) * stride + (stride - 1) / 2).double().cpu().numpy()
    height = top.values.double().clamp(max=1).cpu().numpy()
    return [_listed(xy[i], height[i], stride, options.keypoint_threshold) for i in range(b)]


def limb_affinity(
    field: np.ndarray, starts: np.ndarray, ends: np.ndarray, stride: int, options: GroupingOptions
) -> np.ndarray:
    """How well a limb's field runs along the line between each two candidates (Cao et al., eqs 10 and 11).

    Args:
        field: (2, h, w) x and y of the limb's vectors.
        starts: (P, 2) px, candidates for its first keypoint.
        ends: (Q, 2) px, candidates for its second.
        stride: Input pixels per cell.
        options: Its `n_samples`, `limb_threshold` and `limb_support` count.

    Returns:
        (P, Q) in [0, 1]: mean over samples of the line of the field's component along it; exactly 0 where
        that is below the threshold, too few samples reach it, or both ends are the same point.
    """
    difference = ends[None] - starts[:, None]
    length = np.linalg.norm(difference, axis=-1, keepdims=True)
    unit = np.divide(difference, length, out=np.zeros_like(difference), where=length > 1e-6)
    position = starts[:, None, None] + difference[:, :, None] * np.linspace(0, 1, options.n_samples)[:, None]
    along = (_bilinear(field, (position - (stride - 1) / 2) / stride) * unit[:, :, None]).sum(-1)
    affinity = along.mean(-1).clip(0, 1)
    support = (along >= options.limb_threshold).mean(-1) >= options.limb_support
    return np.where(support & (affinity >= options.limb_threshold), affinity, 0)


def assemble(
    peaks: Peaks,
    fields: np.ndarray,
    bones: np.ndarray,
    n_keypoints: int,
    stride: int,
    options: GroupingOptions,
) -> Individuals:
    """Join the candidates of one image to animals.

    Args:
        peaks: The candidates.
        fields: (E, 2, h, w) fields of the limbs.
        bones: (E, 2) int, the keypoints at their ends.
        n_keypoints: K.
        stride: Input pixels per cell.
        options: See `GroupingOptions`.
    """
    animals = {p: [p] for p in range(len(peaks.keypoint))}  # an animal under the name of its first candidate
    owner = np.arange(len(peaks.keypoint))
    best = np.where(np.isin(peaks.keypoint, bones), 0.0, 1.0)  # affinity of a candidate's best link
    for affinity, start, end in _links(peaks, fields, bones, stride, options):
        one, other = owner[start], owner[end]
        if one != other:
            if set(peaks.keypoint[animals[one]]) & set(peaks.keypoint[animals[other]]):
                continue  # a better supported link has already given one of them this keypoint
            owner[animals[other]] = one
            animals[one] += animals.pop(other)
        best[[start, end]] = np.maximum(best[[start, end]], affinity)
    kept = [members for members in animals.values() if len(members) >= options.min_keypoints]
    keypoints = np.full((len(kept), n_keypoints, 2), np.nan, np.float32)
    confidence = np.zeros((len(kept), n_keypoints), np.float32)
    score = np.zeros(len(kept), np.float32)
    for n, members in enumerate(kept):
        keypoints[n, peaks.keypoint[members]] = peaks.xy[members]
        confidence[n, peaks.keypoint[members]] = peaks.confidence[members]
        score[n] = (peaks.confidence[members] * best[members]).sum() / n_keypoints
    order = np.argsort(-score, kind="stable")[: options.max_individuals or None]
    return Individuals(keypoints[order], confidence[order], score[order])


def encode_pafs(
    keypoints: np.ndarray,
    visible: np.ndarray,
    bones: np.ndarray,
    size_wh: tuple[int, int],
    stride: int,
    radius: float,
) -> np.ndarray:
    """Part affinity fields: unit vectors from the first to the second keypoint of each limb.

    A limb covers the cells within `radius` of the line between its keypoints, ends rounded (Cao et al. cut
    them off square; round ones leave room for the error of the peaks). Where the same limb of several
    animals overlaps, the field is the mean of theirs (Cao et al., eq. 9).

    Args:
        keypoints: (N, K, 2) in pixels of the network's input.
        visible: (N, K) bool; a limb with an invisible end leaves no trace, nor does one of no length.
        bones: (E, 2) int, the keypoints at the two ends of each limb.
        size_wh: Size of the network's input.
        stride: Input pixels per cell.
        radius: Half the width of a limb in input pixels.

    Returns:
        (2E, h, w) float32, x0, y0, x1, y1, ...; zero where there is no limb.
    """
    w, h = size_wh[0] // stride, size_wh[1] // stride
    rows, columns = np.mgrid[:h, :w]
    cells = np.stack([columns, rows], axis=-1) * stride + (stride - 1) / 2
    fields = np.zeros((len(bones), 2, h, w), np.float32)
    for e, (first, second) in enumerate(bones):
        count = np.zeros((h, w), np.float32)
        for n in np.flatnonzero(visible[:, first] & visible[:, second]):
            start, line = keypoints[n, first], keypoints[n, second] - keypoints[n, first]
            length = np.linalg.norm(line)
            if length > 0:
                along = ((cells - start) @ line / length**2).clip(0, 1)
                near = np.linalg.norm(cells - start - along[..., None] * line, axis=-1) <= radius
                fields[e, :, near] += line / length
                count += near
        fields[e] /= np.maximum(count, 1)
    return fields.reshape(-1, h, w)


def limb_weight(keypoint_weight: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """The loss weight of limbs: a limb counts as far as both of its keypoints do.

    Args:
        keypoint_weight: (..., K), 0 where the dataset does not define the keypoint.
        bones: (E, 2) int, the keypoints at the two ends of each limb.

    Returns:
        (..., E), for the losses of `training.losses` on (B, 2E, h, w) fields.
    """
    bones = np.asarray(bones, np.int64).reshape(-1, 2)
    return keypoint_weight[..., bones].min(-1)


def with_second_neighbours(bones: np.ndarray) -> np.ndarray:
    """A skeleton and the limbs that jump over one keypoint of it.

    Args:
        bones: (E, 2) int, the keypoints at the two ends of each limb, e.g. `Vocabulary.bones`.

    Returns:
        (F, 2) int: first the given limbs as they are, then each other pair of keypoints that have a common
        neighbour, once, in ascending order.
    """
    bones = np.asarray(bones, np.int64).reshape(-1, 2)
    near: dict[int, set[int]] = {}
    for a, b in bones.tolist():
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    pairs = {(a, b) for others in near.values() for a in others for b in others if a < b}
    pairs -= {(min(pair), max(pair)) for pair in bones.tolist()}
    return np.concatenate([bones, np.array(sorted(pairs), np.int64).reshape(-1, 2)])


def _local_maxima(heatmaps: torch.Tensor, radius: int) -> torch.Tensor:
    """(B, K, h, w): the heatmaps at their peaks, -inf elsewhere; the first cell of a plateau is its peak."""
    side = 2 * radius + 1
    nothing = torch.full_like(heatmaps, -torch.inf)
    highest = heatmaps == F.max_pool2d(heatmaps, side, 1, radius)
    size = heatmaps.shape[-2] * heatmaps.shape[-1]
    rank = torch.arange(size, 0, -1, device=heatmaps.device, dtype=heatmaps.dtype).view(heatmaps.shape[-2:])
    rank = torch.where(highest, rank, nothing)
    first = rank == F.max_pool2d(rank, side, 1, radius)
    return torch.where(highest & first, heatmaps, nothing)


def _parabola(heatmaps: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Offset in cells of the maximum of the parabola through the logarithms at a peak; exact for Gaussians.

    Args:
        heatmaps: (B, K, h, w).
        index: (B, K, P) cells, flat.

    Returns:
        (B, K, P, 2) in [-0.5, 0.5], x and y; 0 on an axis on whose border the peak lies.
    """
    h, w = heatmaps.shape[2:]
    logs = heatmaps.flatten(2).clamp_min(1e-4).log()
    centre = logs.gather(2, index)
    shifts = []
    for position, size, step in ((index % w, w, 1), (index // w, h, w)):
        inside = (position > 0) & (position < size - 1)
        move = inside * step
        before, after = logs.gather(2, index - move), logs.gather(2, index + move)
        curvature = (2 * centre - before - after).clamp_min(1e-6)
        shifts.append(((after - before) / (2 * curvature)).clamp(-0.5, 0.5) * inside)
    return torch.stack(shifts, dim=-1)


def _listed(xy: np.ndarray, height: np.ndarray, stride: int, threshold: float) -> Peaks:
    """Peaks of one image (K, P, 2) and (K, P), highest first, as a list; each place is taken only once.

    Two peaks of one wide bump are refined to the same place: those within a stride of a higher one go.
    """
    keypoint, positions, confidence = [], [], []
    for k in range(len(xy)):
        taken = np.zeros((0, 2))
        for p in np.flatnonzero(height[k] >= max(threshold, 1e-12)):
            if (np.linalg.norm(taken - xy[k, p], axis=1) >= stride).all():
                taken = np.concatenate([taken, xy[k, p][None]])
                keypoint.append(k)
                confidence.append(height[k, p])
        positions.append(taken)
    flat = np.concatenate(positions) if positions else np.zeros((0, 2))
    return Peaks(np.array(keypoint, np.int64), flat, np.array(confidence, np.float64))


def _links(
    peaks: Peaks, fields: np.ndarray, bones: np.ndarray, stride: int, options: GroupingOptions
) -> Sequence[tuple[float, int, int]]:
    """Affinity, start and end (indices of peaks) of the best assignment of every limb, by falling support."""
    links = []
    strength = np.zeros((len(peaks.keypoint), len(peaks.keypoint)))
    for field, (first, second) in zip(fields, bones, strict=True):
        starts, ends = np.flatnonzero(peaks.keypoint == first), np.flatnonzero(peaks.keypoint == second)
        affinity = limb_affinity(field, peaks.xy[starts], peaks.xy[ends], stride, options)
        for i, j in zip(*linear_sum_assignment(affinity, maximize=True), strict=True):
            if affinity[i, j] > 0:
                a, b = int(starts[i]), int(ends[j])
                links.append((float(affinity[i, j]), a, b))
                strength[a, b] = strength[b, a] = max(strength[a, b], affinity[i, j])
    # A detour is as strong as the weaker of its two links.
    return sorted(links, key=lambda link: -link[0] - np.minimum(*strength[list(link[1:])]).sum())


def _bilinear(field: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Values of a (C, h, w) map at (..., 2) columns and rows, that of the nearest cell outside: (..., C)."""
    h, w = field.shape[1:]
    x, y = cells[..., 0].clip(0, w - 1), cells[..., 1].clip(0, h - 1)
    left, top = np.minimum(x.astype(int), max(w - 2, 0)), np.minimum(y.astype(int), max(h - 2, 0))
    right, bottom = np.minimum(left + 1, w - 1), np.minimum(top + 1, h - 1)
    fx, fy = x - left, y - top
    upper = field[:, top, left] * (1 - fx) + field[:, top, right] * fx
    lower = field[:, bottom, left] * (1 - fx) + field[:, bottom, right] * fx
    return np.moveaxis(upper * (1 - fy) + lower * fy, 0, -1)
