"""Who is who through a video."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superset_vocab import InputError
from zoo.tracking import Animals, Tracking, count_individuals, distinct, track

K = 4


def animals(*centres: tuple[float, float], confidence: float = 0.9, size: float = 20.0) -> Animals:
    """Animals with keypoints around their centres."""
    xy = np.array(centres, np.float32).reshape(-1, 1, 2)
    offsets = np.array([[-5, 0], [5, 0], [0, -5], [0, 5]], np.float32)
    boxes = np.concatenate([xy[:, 0] - size / 2, np.full((len(xy), 2), size, np.float32)], 1)
    return Animals(
        xy + offsets, np.full((len(xy), K), 0.8, np.float32), boxes, np.full(len(xy), confidence, np.float32)
    )


def centres_of(frames: list[Animals], places: list[np.ndarray]) -> np.ndarray:
    """(T, n, 2) centre of each individual, NaN where absent."""
    return np.array(
        [
            [f.keypoints[i].mean(0) if i >= 0 else (np.nan, np.nan) for i in p]
            for f, p in zip(frames, places, strict=True)
        ]
    )


@given(st.lists(st.booleans(), min_size=30, max_size=30), st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_two_animals_keep_their_places_whatever_the_order_of_detections(swap: list[bool], seed: int) -> None:
    jitter = np.random.default_rng(seed).normal(0, 1, (30, 2, 2))
    paths = np.stack([[(20 + 3 * t, 30), (110 - 3 * t, 60)] for t in range(30)]) + jitter
    frames = [animals(*(pair[::-1] if s else pair)) for pair, s in zip(paths, swap, strict=True)]
    found = centres_of(frames, track(frames))
    first = int(swap[0])
    assert found.shape == (30, 2, 2)
    np.testing.assert_allclose(found[:, first], paths[:, 0], atol=1e-3)
    np.testing.assert_allclose(found[:, 1 - first], paths[:, 1], atol=1e-3)


def test_short_gap_is_bridged_and_stays_absent() -> None:
    frames = [
        animals((20 + t, 30), (100, 80)) if t not in (10, 11, 12) else animals((100, 80)) for t in range(30)
    ]
    found = centres_of(frames, track(frames))
    assert np.isnan(found[10:13, 1]).all()
    assert np.isfinite(np.delete(found[:, 1], [10, 11, 12], 0)).all()
    np.testing.assert_allclose(found[:, 0], np.tile((100, 80), (30, 1)), atol=1e-4)  # seen most: animal0


def test_long_gap_comes_back_to_the_free_place() -> None:
    frames = [animals((20, 30), (100, 80)) if not 10 <= t < 60 else animals((100, 80)) for t in range(90)]
    frames[60:] = [animals((100, 80), (40, 30)) for _ in range(30)]
    found = centres_of(frames, track(frames, tracking=Tracking(max_gap=5)))
    np.testing.assert_allclose(found[60:, 1], np.tile((40, 30), (30, 1)), atol=1e-4)
    np.testing.assert_allclose(found[:, 0], np.tile((100, 80), (90, 1)), atol=1e-4)


def test_a_rare_second_detection_is_no_individual() -> None:
    frames = [
        animals((20 + t / 2, 30), (100, 80)) if t in (50, 51, 120) else animals((20 + t / 2, 30))
        for t in range(200)
    ]
    found = centres_of(frames, track(frames))
    assert found.shape == (200, 1, 2)
    np.testing.assert_allclose(found[:, 0, 0], 20 + np.arange(200) / 2, atol=1e-4)


def test_the_weaker_tracklet_gives_way_only_where_both_are_seen() -> None:
    frames = [animals((20, 30)) if t < 20 else animals((60, 30)) for t in range(100)]
    frames[20] = animals((20, 30), (60, 30))
    found = centres_of(frames, track(frames, max_individuals=1))
    np.testing.assert_allclose(found[:, 0, 0], np.where(np.arange(100) < 20, 20, 60), atol=1e-4)


def test_number_of_individuals_can_be_given() -> None:
    frames = [animals((20, 30), (100, 80)) for _ in range(10)]
    assert [len(p) for p in track(frames, max_individuals=3)] == [3] * 10
    assert [(p >= 0).sum() for p in track(frames, max_individuals=3)] == [2] * 10
    assert [(p >= 0).tolist() for p in track(frames, max_individuals=1)] == [[True]] * 10


def test_video_without_animals_has_one_absent_individual() -> None:
    assert [p.tolist() for p in track([animals()] * 3)] == [[-1]] * 3
    assert track([]) == []


@pytest.mark.parametrize(
    ("counts", "share", "n"),
    [
        ([1] * 95 + [2] * 5, 0.05, 2),
        ([1] * 96 + [2] * 4, 0.05, 1),
        ([0, 0], 0.05, 1),
        ([0] * 99 + [2], 0.05, 2),
        ([1, 3], 0, 3),
    ],
)
def test_count_individuals(counts: list[int], share: float, n: int) -> None:
    assert count_individuals(counts, share) == n


def test_the_same_animal_twice_is_dropped() -> None:
    twice = Animals(
        *(
            np.concatenate(v)
            for v in zip(
                animals((50, 50), confidence=0.6),
                animals((51, 50)),
                animals((80, 50), confidence=0.7),
                strict=True,
            )
        )
    )
    assert distinct(twice, 0.08).tolist() == [1, 2]
    assert distinct(twice, 0.01).tolist() == [1, 2, 0]


def test_tracking_is_deterministic() -> None:
    rng = np.random.default_rng(0)
    frames = [animals(*rng.uniform(0, 200, (int(rng.integers(0, 5)), 2))) for _ in range(60)]
    assert all(np.array_equal(a, b) for a, b in zip(track(frames), track(frames), strict=True))
    for frame, places in zip(frames, track(frames), strict=True):
        used = places[places >= 0]
        assert len(set(used.tolist())) == len(used) == min(len(frame.bbox_xywh), len(places))


def test_parameters_are_checked() -> None:
    with pytest.raises(InputError, match="3 problems"):
        Tracking(max_gap=-1, max_distance=0, min_presence=2)
    with pytest.raises(InputError, match="max_individuals is 0"):
        track([], max_individuals=0)


@given(st.integers(0, 6), st.floats(0.0, 3.0), st.sampled_from([2.0, 3.0, 4.0]))
@settings(max_examples=60)
def test_animals_that_cross_keep_their_identity(hidden: int, apart: float, step: float) -> None:
    """One animal is under the other for some frames of the crossing; both go on as they came."""
    n = 60
    middle = n // 2
    paths = np.stack([[(step * (t - middle), 0), (-step * (t - middle), apart)] for t in range(n)]) + 200.0
    frames = []
    for t, (one, other) in enumerate(paths):
        covered = abs(t - middle) <= hidden / 2
        frames.append(animals(tuple(one)) if covered else animals(tuple(one), tuple(other)))
    found = centres_of(frames, track(frames))
    first = int(abs(found[0, 0, 0] - paths[0, 0, 0]) > 1)
    seen = np.isfinite(found[:, 1 - first, 0])
    np.testing.assert_allclose(found[-20:, first], paths[-20:, 0], atol=1e-3)
    np.testing.assert_allclose(found[-20:, 1 - first][seen[-20:]], paths[-20:, 1][seen[-20:]], atol=1e-3)
    assert seen[-20:].all()


def test_an_animal_that_hides_another_and_is_hidden_in_turn_gets_its_identity_back() -> None:
    """One detection serves for both while they overlap: first it is the one animal, then the other."""
    paths = np.stack([[(60, 50), (100 - 1.6 * t, 50)] for t in range(50)])
    frames = []
    for near, far in paths:
        gap = far[0] - near[0]
        frames.append(animals(near, far) if abs(gap) > 12 else animals(near if gap > 0 else far))
    alone = [t for t, frame in enumerate(frames) if len(frame.bbox_xywh) == 1]
    assert len(alone) == 15
    found = centres_of(frames, track(frames, 2))
    apart = np.setdiff1d(np.arange(50), alone)
    still = int(np.argmin(np.linalg.norm(found[0] - paths[0, 0], axis=-1)))
    np.testing.assert_allclose(found[apart, still], paths[apart, 0], atol=1e-3)
    np.testing.assert_allclose(found[apart, 1 - still], paths[apart, 1], atol=1e-3)
