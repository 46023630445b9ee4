"""The catalogue of published models, its weight files, and what importing zoo costs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import ABOUT
from torch import nn

import zoo
from superset_vocab import InputError, load_map, load_vocabulary
from zoo.catalogue import find_model, parse_spec
from zoo.detector_networks import build_detector
from zoo.loading import choose_device
from zoo.networks import build
from zoo.official_weights import read_any
from zoo.pose import PoseInput, TopDownPose
from zoo.weight_files import mismatches, save_weights

SPEC = (
    ABOUT
    + """
variant = "a"
default = true
[pose]
network = "compact_unet"
options = {}
input = {size = 128}
weights = {file = "m.a.safetensors", sha256 = "00"}
[detectors.small]
network = "compact_unet"
weights = {file = "m.a.safetensors", sha256 = "00"}
bbox_threshold = 0.25
[detectors.large]
network = "ssdlite320_mobilenet_v3_large"
weights = {file = "large.pt", repository = "lab/large"}
bbox_threshold = 0.5
[inference]
detect_every = "auto"
[evaluation]
rmse_px = 4.5
"""
)


def test_spec_is_read() -> None:
    spec = parse_spec("m.a.toml", SPEC)
    assert (spec.full_name, spec.default, spec.detect_every) == ("m_a", True, "auto")
    assert spec.pose.input == {"size": 128}
    assert spec.pose.weights.path.name == "m.a.safetensors"
    assert spec.default_detector == "small"
    assert [d.bbox_threshold for d in spec.detectors.values()] == [0.25, 0.5]
    assert spec.detectors["small"].options == {}
    assert spec.detectors["large"].weights.revision == "main"
    assert [p.weights.embedded for p in (spec.pose, *spec.detectors.values())] == [True, True, False]
    assert not spec.embedded
    assert spec.evaluation == {"rmse_px": 4.5}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('summary = "s"', 'sumary = "s"', r"2 problems.*unknown entry 'sumary'.*lacks the entry 'summary'"),
        ("input = {size = 128}", "inputs = {size = 128}", "unknown entry 'pose.inputs'"),
        ("bbox_threshold = 0.25", 'bbox_threshold = "low"', "'detectors.small.bbox_threshold' is a str"),
        ("[detectors.large]", "[detectors.large.more]", "unknown entry 'detectors.large.more'"),
        (
            'repository = "lab/large"',
            'revision = "v1"',
            "detectors.large.weights without a repository need their",
        ),
        ('detect_every = "auto"', 'detect_every = "often"', "inference.detect_every is 'often'"),
        ("bbox_threshold = 0.25", "bbox_threshold = 25", "25, which is not in"),
        ("[evaluation]", "[evaluations]", "unknown entry 'evaluations'"),
        ('name = "m"', "name = ", "not a TOML file"),
    ],
)
def test_wrong_specs_are_refused(old: str, new: str, words: str) -> None:
    with pytest.raises(InputError, match=f"(?s){words}"):
        parse_spec("m.a.toml", SPEC.replace(old, new))


def test_find_model_by_name_and_variant() -> None:
    a = parse_spec("a", SPEC)
    models = [replace(a, variant="b", default=False), a]
    assert find_model("m", None, models) is a
    assert find_model("m", "b", models).variant == "b"
    with pytest.raises(InputError, match=r"'n' is no published model; .*there are: m"):
        find_model("n", None, models)
    with pytest.raises(InputError, match=r"m has no variant 'c'.*there are: a, b"):
        find_model("m", "c", models)


def test_every_published_model_is_sound() -> None:
    specs = zoo.list_models()
    assert len({(spec.name, spec.variant) for spec in specs}) == len(specs)
    for name in {spec.name for spec in specs}:
        assert sum(spec.default for spec in specs if spec.name == name) == 1
    for spec in specs:
        vocabulary = load_vocabulary(spec.vocabulary)
        with torch.device("meta"):
            network = build(spec.pose.network, **spec.pose.options)
        TopDownPose(network, PoseInput(**spec.pose.input), flip_index=vocabulary.flip_index)
        for detector in spec.detectors.values():
            build_detector(detector)
        if spec.embedded:
            assert zoo.load(spec.name, spec.variant, device="cpu").vocabulary.name == spec.vocabulary
            assert spec.pose.weights.path.stat().st_size <= 18 * 10**6


def test_published_facts() -> None:
    """Parameter counts as measured on the publishers' software (shared/reference)."""
    counts = {}
    for spec in zoo.list_models():
        with torch.device("meta"):
            network = build(spec.pose.network, **spec.pose.options)
        counts[spec.name, spec.variant] = sum(p.numel() for p in network.parameters())
    assert counts["superanimal_quadruped", "hrnet_w32"] == 29_306_823
    assert counts["superanimal_quadruped", "resnet_50"] == 25_664_693
    assert counts["superanimal_quadruped", "rtmpose_s"] == 6_062_073
    assert counts["superanimal_topviewmouse", "hrnet_w32"] == 29_306_427
    assert counts["superanimal_topviewmouse", "resnet_50"] == 25_001_105


def test_a_near_name_is_suggested() -> None:
    models = [parse_spec("a", SPEC.replace('name = "m"', 'name = "superanimal_topviewmouse"'))]
    with pytest.raises(InputError, match="did you mean 'superanimal_topviewmouse'"):
        find_model("superanimal_topview_mouse", None, models)


def net(width: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))


def test_weights_come_back_in_half_precision(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    digest = save_weights(path, {"pose": net(), "detector": net(2)})
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    tensors = read_any(path, "pose", digest)
    assert mismatches(net(), tensors) == []
    for name, theirs in net().state_dict().items():
        assert torch.equal(tensors[name], theirs.half().float() if theirs.is_floating_point() else theirs)
    assert save_weights(tmp_path / "again.safetensors", {"pose": net(), "detector": net(2)}) == digest


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, {"pose": net()})
    tensors = read_any(path, "pose")
    assert mismatches(net(4), tensors)[0] == "tensor '0.bias' has shape (3,), the network (4,)"
    deeper = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    assert mismatches(deeper, tensors) == ["tensor '2.bias' is missing", "tensor '2.weight' is missing"]
    assert "tensor '1.bias' is not in the network" in mismatches(nn.Sequential(nn.Linear(2, 3)), tensors)
    with pytest.raises(InputError, match=r"w\.safetensors: has no detector network"):
        read_any(path, "detector")


def test_weights_must_be_finite_in_half_precision(tmp_path: Path) -> None:
    infinite = net()
    with torch.no_grad():
        infinite[0].weight.fill_(1e6)  # type: ignore[index,operator]
    with pytest.raises(InputError, match="not finite in half precision"):
        save_weights(tmp_path / "w.safetensors", {"pose": infinite})


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for wrong in ("gpu", "cuda:77"):
        with pytest.raises(InputError, match=f"device '{wrong}' cannot be used here"):
            choose_device(wrong)


def test_importing_zoo_is_light() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import zoo; took = time.perf_counter() - start;"
        "heavy = {'torch', 'pandas', 'cv2', 'scipy', 'numpy'} & set(sys.modules); zoo.list_models();"
        "heavy |= {'torch', 'pandas', 'cv2', 'scipy', 'tables'} & set(sys.modules); print(took, *heavy)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert all(run[1:] == [] for run in runs)
    assert min(float(run[0]) for run in runs) <= 0.3


def test_untrained_keypoints_are_those_that_no_training_set_defines() -> None:
    spec = find_model("superanimal_quadruped", "compact")
    vocabulary = load_vocabulary(spec.vocabulary)
    maps = [load_map(name) for name in ("animalpose", "horses_roboflow_v5", "tiger_pose")]
    defined = {target for one in maps for target in one.targets.values()}
    assert set(spec.pose.untrained) == set(vocabulary.keypoints) - defined
    model = zoo.load(spec.name, spec.variant, device="cpu")
    noise = np.random.default_rng(0).integers(0, 255, (80, 100, 3), dtype=np.uint8)
    poses = model.predict(noise, bboxes_xywh=np.array([[10.0, 10, 60, 60]]))
    missing = np.isnan(poses.keypoints[0, 0]).all(-1)
    assert {k for k, gone in zip(vocabulary.keypoints, missing, strict=True) if gone} == set(
        spec.pose.untrained
    )
    assert (poses.confidence[0, 0][missing] == 0).all()


def test_the_provenance_names_keypoints_that_were_never_trained() -> None:
    model = zoo.load("superanimal_quadruped", "compact", device="cpu")
    poses = model.predict(np.zeros((64, 64, 3), np.uint8))
    (pose,) = (o for o in poses.provenance["operations"] if o["name"] == "pose")
    assert pose["untrained"] == list(model.spec.pose.untrained)
    assert "belly_bottom" in pose["untrained"]
