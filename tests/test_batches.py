"""From records to training samples, and what everything rests on: no gradient where undefined."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from training_files import STILL

from converters import convert_labels
from converters.synthetic import LABS, synthesize
from superset_vocab import InputError, LabelSet, Visibility, load_vocabulary
from training.batches import PoseDataset, build_dataset, keypoint_box
from training.losses import RecipeLoss
from training.recipe import Loss, Recipe, parse_recipe
from zoo.networks import build

VOCABULARY = load_vocabulary("superanimal_topviewmouse")


def recipe(view: str = "crop", size: str = "[64, 64]", extra: str = STILL, stride: int = 2) -> Recipe:
    return parse_recipe(
        f"[network]\nname = 'compact_unet'\n[data]\nsources = [{{path = 'x'}}]\n"
        f"[batch]\nview = '{view}'\ninput_size = {size}\nstride = {stride}\nsigma = 2.0\n"
        "context = 1.25\ngrey = true\n" + extra
    )


@pytest.fixture(scope="module")
def mice(tmp_path_factory) -> LabelSet:
    folder = tmp_path_factory.mktemp("mice")
    return convert_labels(
        synthesize(LABS["homecage"], 6, folder / "raw", seed=3), "synthetic_homecage", folder / "out"
    )


@pytest.fixture(scope="module")
def wild(tmp_path_factory) -> LabelSet:
    """Mice with all 27 keypoints."""
    folder = tmp_path_factory.mktemp("wild")
    return convert_labels(
        synthesize(LABS["wild"], 6, folder / "raw", seed=3), "synthetic_wild", folder / "out"
    )


def test_crops_show_every_labelled_animal(mice):
    dataset = build_dataset(recipe(), mice, seed=0)
    assert len(dataset) == sum((record.visibility >= 1).any(1).sum() for record in mice.records)
    assert set(dataset.groups) == {"synthetic_homecage"}
    defined = mice.records[0].visibility[0] != Visibility.UNDEFINED
    for i in range(len(dataset)):
        sample = dataset[(i, i)]
        assert np.array_equal(sample["keypoint_weight"].numpy() > 0, defined)
        assert (sample["heatmaps"][~torch.from_numpy(defined)] == 0).all()
        np.testing.assert_allclose(sample["image"].mean(), 0, atol=1e-4)
    base = VOCABULARY.index["tail_base"]
    assert sum(dataset[(i, i)]["heatmaps"][base].max() > 0.7 for i in range(len(dataset))) >= len(dataset) - 2


def test_targets_lie_on_the_keypoints(mice):
    dataset = build_dataset(recipe("frame", "[256, 144]", stride=1), mice, seed=0)
    assert len(dataset) == len(mice)
    for i, record in enumerate(mice.records):
        heat = dataset[(i, 0)]["heatmaps"].numpy()
        scale = 256 / record.size_wh[0]
        for n, k in zip(*np.nonzero(record.visibility >= 1), strict=True):
            x, y = (record.keypoints[n, k] + 0.5) * scale - 0.5
            assert heat[k, round(np.clip(y, 0, 143)), round(np.clip(x, 0, 255))] > 0.9


def test_a_sample_depends_on_seed_and_position_only(mice):
    dataset, again = (build_dataset(recipe(extra=""), mice, seed=4) for _ in range(2))
    other = build_dataset(recipe(extra=""), mice, seed=5)
    for position in (7, 1):
        assert torch.equal(dataset[(0, position)]["image"], again[(0, position)]["image"])
        assert not torch.equal(dataset[(0, position)]["image"], other[(0, position)]["image"])
    assert not torch.equal(dataset[(0, 1)]["image"], dataset[(0, 7)]["image"])


def test_flipping_exchanges_left_and_right(mice):
    flipped = recipe(extra=STILL.replace("flip = 0", "flip = 1.0"))
    plain, mirrored = build_dataset(recipe(), mice, seed=0), build_dataset(flipped, mice, seed=0)
    left, right = VOCABULARY.index["left_ear_tip"], VOCABULARY.index["right_ear_tip"]
    for i in range(len(plain)):
        a, b = plain[(i, 0)]["heatmaps"], mirrored[(i, 0)]["heatmaps"]
        torch.testing.assert_close(a[left], b[right].flip(1), atol=0.02, rtol=0)
        torch.testing.assert_close(a[right], b[left].flip(1), atol=0.02, rtol=0)


@pytest.mark.parametrize("heatmap", ["mse", "binary_cross_entropy"])
@pytest.mark.parametrize("spatial", [0.0, 1.0])
def test_undefined_keypoints_have_exactly_zero_gradient(mice, heatmap, spatial):
    dataset = build_dataset(recipe(), mice, seed=0)
    batch = torch.utils.data.default_collate([dataset[(i, i)] for i in range(4)])
    loss = RecipeLoss(Loss(heatmap=heatmap, spatial_weight=spatial))
    logits = torch.randn(
        batch["heatmaps"].shape, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    sum(loss({"heatmaps": logits}, batch).values()).backward()
    undefined = batch["keypoint_weight"] == 0
    assert undefined.any()
    assert (logits.grad[undefined] == 0).all()
    assert (logits.grad[~undefined].abs().sum((1, 2)) > 0).all()
    everything = {**batch, "keypoint_weight": torch.ones_like(batch["keypoint_weight"])}
    full = logits.detach().clone().requires_grad_()
    sum(loss({"heatmaps": full}, everything).values()).backward()
    assert torch.equal(full.grad[~undefined], logits.grad[~undefined])


def test_a_head_channel_that_no_one_defines_does_not_move(mice):
    dataset = build_dataset(recipe(), mice, seed=0)
    batch = torch.utils.data.default_collate([dataset[(i, i)] for i in range(4)])
    network = build("compact_unet", outputs={"heatmaps": 27}, widths=[8, 16])
    loss = RecipeLoss(Loss(heatmap="binary_cross_entropy", spatial_weight=1.0))
    sum(loss(network(batch["image"]), batch).values()).backward()
    undefined = batch["keypoint_weight"][0] == 0
    head = network.heads["heatmaps"]
    assert (head.weight.grad[undefined] == 0).all()
    assert (head.bias.grad[undefined] == 0).all()
    assert (head.weight.grad[~undefined].abs().sum((1, 2, 3)) > 0).all()


def test_without_masking_undefined_counts_as_nowhere(mice):
    loose = dataclasses.replace(recipe(), run=dataclasses.replace(recipe().run, masking=False))
    sample = build_dataset(loose, mice, seed=0)[(0, 0)]
    assert (sample["keypoint_weight"] == 1).all()


def test_detector_samples(mice):
    dataset = build_dataset(recipe("detector", "[256, 144]", stride=4), mice, seed=0)
    for i, record in enumerate(mice.records):
        sample = dataset[(i, 0)]
        in_box = np.array(["tail" not in name or name == "tail_base" for name in VOCABULARY.keypoints])
        boxes = keypoint_box(record.keypoints, in_box)
        boxes = np.where(np.isfinite(boxes).all(-1, keepdims=True), boxes, record.bbox_xywh)
        scale = 256 / record.size_wh[0]
        for box in boxes:
            x, y = ((box[:2] + box[2:] / 2 + 0.5) * scale - 0.5 - 1.5) / 4
            if 0 <= x < 64 and 0 <= y < 36:
                row, column = min(round(y), 35), min(round(x), 63)
                offset = 4 * np.hypot(x - column, y - row)
                assert sample["heatmaps"][0, row, column] >= np.exp(-0.5 * (offset / 2.0) ** 2) - 0.02
                assert sample["size_weight"][0, row, column] == 1
        assert sample["keypoint_weight"].tolist() == [1.0]


def test_box_leaves_the_tail_out():
    points = np.full((2, 27, 2), np.nan)
    points[0, 0], points[0, 13], points[0, 25] = (10, 10), (110, 60), (300, 300)
    points[1, 0] = (5, 5)
    in_box = np.array(["tail" not in name or name == "tail_base" for name in VOCABULARY.keypoints])
    np.testing.assert_allclose(keypoint_box(points, in_box)[0], [0, 0, 120, 70])
    assert np.isnan(keypoint_box(points, in_box)[1]).all()


def test_labels_without_a_vocabulary_are_refused(mice):
    foreign = dataclasses.replace(mice, vocabulary=None)
    with pytest.raises(InputError, match="zoo convert"):
        build_dataset(recipe(), foreign, seed=0)


def test_labels_without_an_animal_are_refused(mice):
    empty = [
        dataclasses.replace(
            r, keypoints=r.keypoints[:0], visibility=r.visibility[:0], bbox_xywh=r.bbox_xywh[:0]
        )
        for r in mice.records
    ]
    with pytest.raises(InputError, match="no animal"):
        PoseDataset(
            dataclasses.replace(mice, records=tuple(empty)), build_dataset(recipe(), mice, seed=0).options
        )


def test_half_body_crops_show_half_of_the_animal_larger(wild):
    half = recipe(extra=STILL + "half_body = 1.0\nhalf_body_keypoints = 8\n")
    never = recipe(extra=STILL + "half_body = 1.0\nhalf_body_keypoints = 28\n")
    whole, parts, none = (build_dataset(r, wild, seed=0) for r in (recipe(), half, never))
    seen = [
        [(d[(i, i)]["heatmaps"].amax((1, 2)) > 0.5).sum().item() for i in range(len(d))]
        for d in (whole, parts)
    ]
    assert np.mean(seen[1]) < 0.9 * np.mean(seen[0])
    assert min(seen[1]) >= 2
    assert torch.equal(none[(0, 3)]["image"], whole[(0, 3)]["image"])
    assert torch.equal(parts[(1, 3)]["image"], build_dataset(half, wild, seed=0)[(1, 3)]["image"])


def test_limbs_are_targets_where_the_loss_wants_them(wild):
    text = STILL + "[loss]\npafs = 'l1'\nlocref = 'l1'\n"
    dataset = build_dataset(recipe("frame", "[64, 64]", extra=text), wild, seed=0)
    sample = dataset[(0, 0)]
    bones = VOCABULARY.bones
    assert sample["pafs"].shape == (2 * len(bones), 32, 32)
    weight = sample["keypoint_weight"].numpy()
    assert np.array_equal(sample["pafs_weight"].numpy(), weight[bones].min(-1))
    length = sample["pafs"].unflatten(0, (-1, 2)).norm(dim=1)
    assert length.max() == pytest.approx(1, abs=1e-5)
    assert (length.amax((1, 2))[torch.from_numpy(weight[bones].min(-1)) == 0] == 0).all()


def test_earlier_stages_are_supervised_like_the_last(mice):
    dataset = build_dataset(recipe(extra=STILL + "[loss]\npafs = 'l1'\n"), mice, seed=0)
    batch = torch.utils.data.default_collate([dataset[(i, i)] for i in range(2)])
    maps, fields = torch.rand_like(batch["heatmaps"]), torch.rand_like(batch["pafs"])
    options = {"heatmap": "mse", "pafs": "l1"}
    last = RecipeLoss(Loss(**options))({"heatmaps": maps, "pafs": fields}, batch)
    output = {"heatmaps": maps, "pafs": fields}
    output |= {
        f"{n}_stages": torch.stack([t, t, t], dim=1) for n, t in (("heatmaps", maps), ("pafs", fields))
    }
    terms = RecipeLoss(Loss(**options, stages_weight=0.5))(output, batch)
    torch.testing.assert_close(terms["stages"], 1.5 * (last["heatmaps"] + last["pafs"]))
    assert "stages" not in RecipeLoss(Loss(**options, stages_weight=0.0))(output, batch)
    assert "stages" not in last


def test_imagenet_colours_are_those_of_the_published_networks(mice):
    colour = parse_recipe(
        "[network]\nname = 'hrnet'\n[data]\nsources = [{path = 'x'}]\n[batch]\ninput_size = [64, 64]\n"
        "stride = 2\nnormalisation = 'imagenet'\n" + STILL
    )
    image = build_dataset(colour, mice, seed=0)[(0, 0)]["image"].numpy()
    assert image.shape == (3, 64, 64)
    pixels = (
        image * np.array([0.229, 0.224, 0.225])[:, None, None]
        + np.array([0.485, 0.456, 0.406])[:, None, None]
    ) * 255
    np.testing.assert_allclose(pixels, pixels.round(), atol=1e-3)
    assert pixels.min() >= -1e-3
    with pytest.raises(InputError, match="grey goes with normalisation"):
        parse_recipe(colour.to_toml(), overrides=["batch.grey=true"])
