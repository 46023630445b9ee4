"""Animals to maps and back: targets of known animals are rendered, decoded and compared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from superset_vocab import InputError, load_vocabulary
from zoo.codecs import encode_heatmaps, encode_locref
from zoo.grouping import (
    GroupingOptions,
    Individuals,
    encode_pafs,
    find_peaks,
    group,
    limb_affinity,
    limb_weight,
    with_second_neighbours,
)

SIZE, STRIDE, RADIUS = (320, 256), 8, 10.0
# A mouse along x: nose, two ears, neck, back, tail base; about 100 pixels long.
BODY = np.array([[50.0, 0], [32, -14], [32, 14], [20, 0], [-15, 0], [-50, 0]])
CHAIN = np.array([[0, 1], [0, 2], [1, 3], [2, 3], [3, 4], [4, 5]])
BONES = with_second_neighbours(CHAIN)


def mouse(x: float, y: float, degrees: float, size: float = 1.0) -> np.ndarray:
    """(6, 2) keypoints of a mouse at x, y that looks along `degrees`."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return size * BODY @ np.array([[c, s], [-s, c]]) + [x, y]


def render(keypoints: np.ndarray, visible: np.ndarray | None = None, bones: np.ndarray = BONES):
    """What a perfect network gives for (N, K, 2) keypoints: heatmaps, locref, pafs of a batch of one."""
    visible = np.ones(keypoints.shape[:2], bool) if visible is None else visible
    maps = (
        encode_heatmaps(keypoints, visible, SIZE, STRIDE, sigma=STRIDE),
        encode_locref(keypoints, visible, SIZE, STRIDE, radius=2 * STRIDE)[0],
        encode_pafs(keypoints, visible, bones, SIZE, STRIDE, RADIUS),
    )
    heatmaps, locref, pafs = (torch.from_numpy(m)[None] for m in maps)
    return heatmaps, locref, pafs


def decode(keypoints, visible=None, bones=BONES, **options) -> Individuals:
    (found,) = group(*render(keypoints, visible, bones), bones, STRIDE, GroupingOptions(**options))
    return found


def assert_same_animals(found: Individuals, keypoints, visible=None, atol: float = 1e-3) -> None:
    """Each true animal is found, once, whole, and with nothing of another one's."""
    visible = np.ones(keypoints.shape[:2], bool) if visible is None else visible
    truth = np.where(visible[..., None], keypoints, np.nan)
    assert len(found) == len(truth)
    pairs = np.nan_to_num(np.linalg.norm(found.keypoints[:, None] - truth, axis=-1), nan=1e3).sum(-1)
    rows, columns = linear_sum_assignment(pairs)
    np.testing.assert_allclose(found.keypoints[rows], truth[columns], atol=atol)
    np.testing.assert_array_equal(found.confidence[rows] > 0, visible[columns])


def gap(keypoints: np.ndarray) -> float:
    """Least distance in pixels between the spines of two animals."""
    t = np.linspace(0, 1, 15)[:, None]
    spines = keypoints[:, :1] * (1 - t) + keypoints[:, 5:] * t
    n = len(spines)
    return min(
        np.linalg.norm(spines[a][:, None] - spines[b][None], axis=-1).min()
        for a in range(n)
        for b in range(a)
    )


def same_keypoints_apart(keypoints: np.ndarray) -> bool:
    """Whether no two animals have the same keypoint within three cells."""
    distance = np.linalg.norm(keypoints[:, None] - keypoints[None], axis=-1)
    return bool((distance[np.triu_indices(len(keypoints), 1)] >= 3 * STRIDE).all())


@st.composite
def three_mice(draw):
    """Three mice inside the image that may touch, but do not lie on each other."""
    spots = [(42, 70), (140, 180), (250, 278)]
    keypoints = np.stack(
        [
            mouse(draw(st.floats(low, high)), draw(st.floats(42, 214)), draw(st.floats(0, 360)), 0.8)
            for low, high in spots
        ]
    )
    assume(gap(keypoints) >= 24 and same_keypoints_apart(keypoints))
    return keypoints


@settings(max_examples=40, deadline=None)
@given(three_mice())
def test_three_animals_come_back(keypoints):
    assert_same_animals(decode(keypoints), keypoints)


@settings(max_examples=40, deadline=None)
@given(three_mice(), st.tuples(*[st.integers(0, 5)] * 3))
def test_an_occluded_keypoint_stays_missing_and_tears_nothing(keypoints, hidden):
    visible = np.ones((3, 6), bool)
    visible[np.arange(3), hidden] = False
    assert_same_animals(decode(keypoints, visible), keypoints, visible)


def test_without_second_neighbours_an_occluded_keypoint_tears_the_animal():
    keypoints, visible = mouse(160, 128, 20)[None], np.ones((1, 6), bool)
    visible[0, 3] = False  # the neck, through which the only way from head to back leads
    torn = decode(keypoints, visible, CHAIN)
    np.testing.assert_array_equal(torn.confidence > 0, [[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]])
    assert len(decode(keypoints, visible, BONES)) == 1


@pytest.mark.parametrize(
    "poses",
    [
        ((160, 128, 0), (145, 118, 90)),  # a cross
        ((160, 128, 0), (175, 165, 60)),
        ((160, 128, 30), (185, 128, -30)),
        ((160, 120, 0), (160, 145, 0)),  # side by side
        ((160, 120, 0), (160, 146, 180)),
        ((105, 128, 10), (216, 147, 10)),  # one sniffs at the other's tail
        ((95, 128, 10), (218, 150, 190)),  # nose to nose
    ],
)
def test_two_animals_that_overlap(poses):
    keypoints = np.stack([mouse(*pose) for pose in poses])
    assert same_keypoints_apart(keypoints)  # else no heatmap could tell them apart
    assert_same_animals(decode(keypoints), keypoints)


def test_crowds_are_mostly_told_apart():
    """Mice anywhere on each other: fields of opposite limbs cancel at times, so not all can be right."""
    rng = np.random.default_rng(0)
    right = total = 0
    while total < 60:
        poses = zip(rng.uniform(58, 262, 4), rng.uniform(58, 198, 4), rng.uniform(0, 360, 4), strict=True)
        keypoints = np.stack([mouse(*pose) for pose in poses])
        if same_keypoints_apart(keypoints):
            total += 1
            found = decode(keypoints)
            distance = np.linalg.norm(found.keypoints[:, None] - keypoints, axis=-1)
            right += len(found) == 4 and bool((distance.max(-1) < 1).any(0).all())
    assert right >= 0.95 * total


def test_errors_of_a_network_are_forgiven():
    torch.manual_seed(0)
    keypoints = np.stack([mouse(90, 80, 40), mouse(220, 170, 200), mouse(100, 190, 300)])
    heatmaps, locref, pafs = render(keypoints)
    noisy = [maps + scale * torch.randn_like(maps) for maps, scale in ((heatmaps, 0.02), (pafs, 0.2))]
    (found,) = group(noisy[0].clamp(0, 1), locref + 0.1 * torch.randn_like(locref), noisy[1], BONES, STRIDE)
    assert_same_animals(found, keypoints, atol=4.0)


def test_every_image_of_a_batch_is_on_its_own():
    scenes = [np.stack([mouse(90, 80, 40), mouse(220, 170, 200)]), mouse(160, 128, 77)[None]]
    maps = [torch.cat(parts) for parts in zip(*map(render, scenes), strict=True)]
    for found, keypoints in zip(group(*maps, BONES, STRIDE), scenes, strict=True):
        assert_same_animals(found, keypoints)


def test_no_animal_is_none():
    found = decode(np.zeros((0, 6, 2)))
    assert len(found) == 0
    assert found.keypoints.shape == (0, 6, 2)


def test_an_untrained_network_gives_no_crowd():
    flat = torch.full((1, 6, 32, 40), 0.5)
    (found,) = group(flat, None, torch.zeros(1, 2 * len(BONES), 32, 40), BONES, STRIDE)
    assert len(found) == 0


# Peaks


@settings(max_examples=40, deadline=None)
@given(st.floats(20, 300), st.floats(20, 230))
def test_peaks_are_exact_with_location_refinement_and_without(x, y):
    heatmaps, locref, _ = render(np.full((1, 6, 2), [x, y]))
    for refinement, error in ((locref, 1e-3), (None, 0.05)):
        (peaks,) = find_peaks(heatmaps, refinement, STRIDE, GroupingOptions())
        assert peaks.keypoint.tolist() == list(range(6))
        np.testing.assert_allclose(peaks.xy, np.full((6, 2), [x, y]), atol=error)
        np.testing.assert_allclose(peaks.confidence, heatmaps.amax((0, 2, 3)).numpy(), rtol=1e-6)


def test_a_plateau_is_one_peak():
    heatmaps = torch.zeros(1, 1, 9, 9)
    heatmaps[0, 0, 3:5, 4:6] = 0.7  # the keypoint lies between four cells
    (peaks,) = find_peaks(heatmaps, None, 4, GroupingOptions())
    np.testing.assert_allclose(peaks.xy, [[4.5 * 4 + 1.5, 3.5 * 4 + 1.5]])


def test_peaks_refined_to_one_place_are_one():
    heatmaps, locref = torch.zeros(1, 1, 4, 12), torch.zeros(1, 2, 4, 12)
    heatmaps[0, 0, 1, 4], heatmaps[0, 0, 1, 6], heatmaps[0, 0, 1, 10] = 0.8, 0.6, 0.5
    locref[0, 0, 1, 6] = -1.8  # two cells of one wide bump
    (peaks,) = find_peaks(heatmaps, locref, 8, GroupingOptions())
    np.testing.assert_allclose(peaks.xy, [[4 * 8 + 3.5, 11.5], [10 * 8 + 3.5, 11.5]])
    np.testing.assert_allclose(peaks.confidence, [0.8, 0.5])


def test_options_of_the_peaks():
    heatmaps = torch.zeros(1, 1, 4, 20)
    heatmaps[0, 0, 1, [2, 5, 8, 14]] = torch.tensor([0.9, 0.3, 0.8, 0.05])

    def found(**options) -> list[float]:
        (peaks,) = find_peaks(heatmaps, None, 1, GroupingOptions(**options))
        return peaks.confidence.round(2).tolist()

    assert found() == [0.9, 0.8, 0.3]
    assert found(keypoint_threshold=0.0) == [0.9, 0.8, 0.3, 0.05]
    assert found(max_peaks=2) == [0.9, 0.8]
    assert found(peak_radius=3) == [0.9, 0.8]
    assert found(peak_radius=6, keypoint_threshold=0.0) == [0.9]


# Fields and links


def test_fields_are_unit_vectors_along_the_limb():
    line = np.array([[[40.0, 60], [100.0, 140]]])
    x, y = encode_pafs(line, np.ones((1, 2), bool), np.array([[0, 1]]), (160, 200), 4, 6.0)
    rows, columns = np.mgrid[:50, :40]
    cells = np.stack([columns, rows], -1) * 4 + 1.5
    across = np.abs((cells - line[0, 0]) @ [-0.8, 0.6])
    along = (cells - line[0, 0]) @ [0.6, 0.8]
    inside = (across < 5.9) & (along > 0) & (along < 100)
    np.testing.assert_allclose(x[inside], 0.6, rtol=1e-6)
    np.testing.assert_allclose(y[inside], 0.8, rtol=1e-6)
    assert not x[(across > 6.1) | (along < -6.1) | (along > 106.1)].any()


def test_where_limbs_of_two_animals_cross_the_field_is_their_mean():
    cross = np.array([[[20.0, 60], [100.0, 60]], [[60.0, 20], [60.0, 100]]])
    x, y = encode_pafs(cross, np.ones((2, 2), bool), np.array([[0, 1]]), (120, 120), 4, 6.0)
    assert (x[15, 15], y[15, 15]) == (0.5, 0.5)
    assert (x[15, 7], y[15, 7]) == (1, 0)
    assert (x[7, 15], y[7, 15]) == (0, 1)


def test_a_limb_without_an_end_or_a_length_leaves_no_trace():
    points = np.array([[[20.0, 60], [100.0, 60]], [[50.0, 50], [50.0, 50]]])
    visible = np.array([[True, False], [True, True]])
    assert not encode_pafs(points, visible, np.array([[0, 1]]), (120, 120), 4, 6.0).any()


def test_affinity_is_the_field_along_the_line():
    field = np.zeros((2, 20, 20))
    field[0] = 0.9
    starts, ends = np.array([[20.0, 20.0], [60, 60]]), np.array([[60.0, 60.0], [60, 20], [20, 60]])
    affinity = limb_affinity(field, starts, ends, 4, GroupingOptions())
    half = 0.9 / np.sqrt(2)
    np.testing.assert_allclose(affinity, [[half, 0.9, 0], [0, 0, 0]], atol=1e-9)  # backwards is no limb
    field[:, :, 7:12] = 0  # a gap between x = 28 and x = 48
    assert limb_affinity(field, starts, ends, 4, GroupingOptions())[0, 1] == 0
    gapped = limb_affinity(field, starts, ends, 4, GroupingOptions(limb_support=0.3))
    assert 0.3 < gapped[0, 1] < 0.7
    assert not limb_affinity(0.1 * field, starts, ends, 4, GroupingOptions(limb_support=0.0)).any()


# Animals


def test_confidence_of_an_animal():
    keypoints = mouse(160, 128, 20)[None]
    whole = decode(keypoints)
    heatmaps, locref, pafs = render(keypoints)
    assert whole.individual_confidence[0] == pytest.approx(whole.confidence[0].mean(), rel=0.02)
    (weak,) = group(heatmaps, locref, pafs / 2, BONES, STRIDE)
    assert weak.individual_confidence[0] == pytest.approx(whole.individual_confidence[0] / 2, rel=1e-3)
    visible = np.array([[True] * 5 + [False]])
    assert decode(keypoints, visible).individual_confidence[0] == pytest.approx(
        whole.individual_confidence[0] - whole.confidence[0, 5] / 6, rel=0.02
    )


def test_the_most_confident_animals_come_first_and_are_kept():
    keypoints = np.stack([mouse(90, 80, 40), mouse(220, 170, 200), mouse(100, 190, 300)])
    visible = np.ones((3, 6), bool)
    visible[0, :3] = False
    visible[2, 0] = False
    found = decode(keypoints, visible)
    assert (np.diff(found.individual_confidence) < 0).all()
    np.testing.assert_array_equal(found.confidence > 0, visible[[1, 2, 0]])
    assert_same_animals(decode(keypoints, visible, max_individuals=2), keypoints[1:], visible[1:])
    assert_same_animals(decode(keypoints, visible, min_keypoints=4), keypoints[1:], visible[1:])


def test_no_animal_has_a_keypoint_twice_however_the_fields_run():
    torch.manual_seed(1)
    heatmaps, locref, pafs = render(np.stack([mouse(90, 80, 40), mouse(220, 170, 200)]))
    (found,) = group(heatmaps, locref, 0.9 * torch.ones_like(pafs), BONES, STRIDE, GroupingOptions())
    (peaks,) = find_peaks(heatmaps, locref, STRIDE, GroupingOptions())
    used = found.keypoints[found.confidence > 0]
    assert len(used) == len(np.unique(used, axis=0)) <= len(peaks.keypoint)
    assert len(found) >= 2


def test_a_keypoint_without_limbs_is_an_animal_of_its_own():
    points = np.array([[[50.0, 60.0]], [[200.0, 100.0]]])
    heatmaps = torch.from_numpy(encode_heatmaps(points, np.ones((2, 1), bool), SIZE, STRIDE, 8.0))[None]
    (found,) = group(heatmaps, None, None, np.zeros((0, 2)), STRIDE, GroupingOptions(min_keypoints=1))
    assert sorted(found.keypoints[:, 0, 0].round().tolist()) == [50, 200]
    np.testing.assert_array_equal(found.individual_confidence, found.confidence[:, 0])


def test_maps_that_do_not_fit_are_refused():
    heatmaps, locref, pafs = render(mouse(160, 128, 20)[None])
    with pytest.raises(ValueError, match=r"locref has shape \(1, 11, 32, 40\), want \(1, 12, 32, 40\)"):
        group(heatmaps, locref[:, 1:], pafs, BONES, STRIDE)
    with pytest.raises(ValueError, match=r"pafs has shape .* want \(1, 12, 32, 40\)"):
        group(heatmaps, locref, pafs, CHAIN, STRIDE)
    with pytest.raises(ValueError, match="no pafs for 6 limbs"):
        group(heatmaps, locref, None, CHAIN, STRIDE)


def test_all_wrong_options_are_named():
    with pytest.raises(
        InputError, match=r"limb_threshold is 1\.5, want 0 to 1(.|\n)*n_samples is 1, want at least 2"
    ):
        GroupingOptions(limb_threshold=1.5, n_samples=1)


# Skeletons and weights


def test_a_limb_counts_as_far_as_both_its_keypoints():
    weight = np.array([[1, 1, 1, 1, 0, 1], [0, 1, 1, 0.5, 1, 1]])
    np.testing.assert_array_equal(limb_weight(weight, CHAIN), [[1, 1, 1, 1, 0, 0], [0, 0, 0.5, 0.5, 0.5, 1]])
    assert limb_weight(weight, np.zeros((0, 2))).shape == (2, 0)


def test_second_neighbours_of_a_skeleton():
    assert BONES[len(CHAIN) :].tolist() == [[0, 3], [1, 2], [1, 4], [2, 4], [3, 5]]
    np.testing.assert_array_equal(BONES[: len(CHAIN)], CHAIN)
    bones = load_vocabulary("superanimal_topviewmouse").bones
    more = with_second_neighbours(bones)
    assert len({frozenset(pair) for pair in more.tolist()}) == len(more) > len(bones)
    assert (more[:, 0] != more[:, 1]).all()
