"""The catalogue of published models, its weight files, and what importing zoo costs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import zoo
from superset_vocab import InputError, load_vocabulary
from zoo.catalogue import ModelSpec, NetworkSpec, WeightsSpec, find_model, parse_spec
from zoo.model import choose_device, load_model
from zoo.networks import build
from zoo.weight_files import check_parts, fill, read_weights, save_weights

SPEC = """
name = "m"
variant = "a"
default = true
vocabulary = "superanimal_topviewmouse"
summary = "s"
licence = "l"
citation = "c"
training_data = ["d"]
[weights]
file = "m.a.safetensors"
sha256 = "00"
[pose]
network = "compact_unet"
options = {}
input = {size = 128}
[detector]
network = "compact_unet"
[inference]
bbox_threshold = 0.25
[evaluation]
rmse_px = 4.5
"""


def test_spec_is_read() -> None:
    spec = parse_spec("m.a.toml", SPEC)
    assert (spec.full_name, spec.bbox_threshold, spec.default) == ("m_a", 0.25, True)
    assert spec.pose.input == {"size": 128}
    assert spec.detector.options == {}
    assert spec.evaluation == {"rmse_px": 4.5}
    assert spec.weights.path.name == "m.a.safetensors"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('summary = "s"', 'sumary = "s"', r"2 problems.*unknown entry 'sumary'.*lacks the entry 'summary'"),
        ("input = {size = 128}", "inputs = {size = 128}", "unknown entry 'pose.inputs'"),
        ("bbox_threshold = 0.25", 'bbox_threshold = "low"', "'inference.bbox_threshold' is a str"),
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
        load_vocabulary(spec.vocabulary)
        model = zoo.load(spec.name, spec.variant, device="cpu")
        assert model.vocabulary.name == spec.vocabulary
        assert spec.weights.path.stat().st_size <= 8 * 10**6


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
    tensors = read_weights(path, digest)
    check_parts(tensors, ("pose", "detector"), "w")
    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    fill(other, tensors, "pose", "w")
    for (name, ours), theirs in zip(other.state_dict().items(), net().state_dict().values(), strict=True):
        assert torch.equal(ours, theirs.half().float() if theirs.is_floating_point() else theirs), name
    assert save_weights(tmp_path / "again.safetensors", {"pose": net(), "detector": net(2)}) == digest


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tensors = read_weights(path, save_weights(path, {"pose": net()}))
    with pytest.raises(InputError, match=r"'pose.0.weight' has shape \(3, 2\), the network \(4, 2\)"):
        fill(net(4), tensors, "pose", "w")
    with pytest.raises(InputError, match=r"'pose.2.weight' is missing"):
        fill(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)), tensors, "pose", "w")
    with pytest.raises(InputError, match=r"'pose.1.weight' is not in the network"):
        fill(nn.Sequential(nn.Linear(2, 3)), tensors, "pose", "w")
    with pytest.raises(InputError, match="belongs to none of detector"):
        check_parts(tensors, ("detector",), "w")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """A model with small networks and random weights, as if it were published."""
    monkeypatch.setattr("zoo.catalogue._WEIGHTS", tmp_path)
    torch.manual_seed(0)
    options = {"widths": [4, 6, 8], "output_stride": 2}
    pose = {**options, "outputs": {"heatmaps": 27}}
    detector = {**options, "outputs": {"heatmaps": 1, "size": 2}}
    networks = {"pose": build("compact_unet", **pose), "detector": build("compact_unet", **detector)}
    digest = save_weights(tmp_path / "tiny.safetensors", networks)
    return replace(
        parse_spec("m.a.toml", SPEC),
        weights=WeightsSpec("tiny.safetensors", digest),
        pose=NetworkSpec("compact_unet", pose, {"size": 32, "stride": 2, "context": 1.5}),
        detector=NetworkSpec("compact_unet", detector, {"size_wh": [64, 48], "stride": 2}),
        bbox_threshold=0.0,
    )


def test_a_loaded_model_runs_and_gives_the_same_twice(tiny: ModelSpec) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    boxes = [np.array([[10, 10, 20, 20]])] * 2
    clip = np.stack([frame, frame[::-1]])
    first, second = (load_model(tiny, "cpu").predict(clip, bboxes_xywh=boxes) for _ in range(2))
    np.testing.assert_array_equal(first.keypoints, second.keypoints)
    assert np.isfinite(first.keypoints).all()
    assert np.abs(first.keypoints - (19.5, 19.5)).max() <= 15.5  # inside the square that the crop shows
    assert not np.array_equal(first.keypoints[0], first.keypoints[1])
    assert first.provenance["weights_sha256"] == tiny.weights.sha256
    found = load_model(tiny, "cpu").predict(clip, max_individuals=2)
    assert np.isfinite(found.bbox_confidence).any()


def test_a_model_whose_networks_and_weights_differ_is_refused(tiny: ModelSpec) -> None:
    wider = replace(tiny.pose, options={**tiny.pose.options, "widths": [4, 6, 10]})
    with pytest.raises(InputError, match=r"tiny\.safetensors does not fit the network"):
        load_model(replace(tiny, pose=wider), "cpu")
    with pytest.raises(InputError, match="'unet9' is no network"):
        load_model(replace(tiny, pose=replace(tiny.pose, network="unet9")), "cpu")


def test_damaged_and_missing_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    digest = save_weights(path, {"pose": net()})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"w\.safetensors: the weights are damaged"):
        read_weights(path, digest)
    with pytest.raises(InputError, match="cannot read the weights"):
        read_weights(tmp_path / "none.safetensors", digest)
    infinite = net()
    with torch.no_grad():
        infinite[0].weight.fill_(1e6)  # type: ignore[index,operator]
    with pytest.raises(InputError, match="not finite in half precision"):
        save_weights(path, {"pose": infinite})


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for wrong in ("gpu", "cuda:77"):
        with pytest.raises(InputError, match=f"device '{wrong}' cannot be used here"):
            choose_device(wrong)


def test_importing_zoo_is_light() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import zoo; took = time.perf_counter() - start;"
        "heavy = {'torch', 'pandas', 'cv2', 'scipy', 'tables'} & set(sys.modules); zoo.list_models();"
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


def test_public_names() -> None:
    assert dir(zoo) == sorted(zoo.__all__)
    assert all(getattr(zoo, name) is not None for name in zoo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Modell'"):
        _ = zoo.Modell
