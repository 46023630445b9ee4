"""Published checkpoints: renamed with the very same numbers, and everything else refused."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from app import weights_command
from superset_vocab import InputError
from zoo.networks import build
from zoo.official_weights import Part, import_weights, read_any
from zoo.weight_files import save_weights

K, C = 5, 4  # keypoints, channels
HEAD = "heads.bodypart.heatmap_head"
BIAS = f"{HEAD}.deconv_layers.0.bias"
LOCREF = "heads.bodypart.locref_head"


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pose_model() -> dict[str, Any]:
    return {
        "backbone.model.conv1.weight": tensor(C, 3, 3, 3),
        "backbone.model.bn1.num_batches_tracked": torch.tensor(7),
        f"{HEAD}.deconv_layers.0.weight": tensor(C, K, 1, 1, seed=1),
        f"{HEAD}.deconv_layers.0.bias": tensor(K, seed=2),
        f"{LOCREF}.deconv_layers.0.weight": tensor(C, 2 * K, 3, 3, seed=3),
        f"{LOCREF}.deconv_layers.0.bias": tensor(2 * K, seed=4),
    }


def detector_model() -> dict[str, Any]:
    return {"model.backbone.body.0.weight": tensor(C, 3, 3, 3), "model.rpn.head.bias": tensor(2, seed=1)}


def checkpoint(model: object, **more: object) -> dict[str, object]:
    return {"metadata": {"epoch": 200, "metrics": {"mAP": 0.5}, "losses": {}}, "model": model, **more}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def same(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    """The same names, types and bits."""
    assert sorted(found) == sorted(wanted)
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value), name


def test_a_pose_network_is_renamed(tmp_path: Path) -> None:
    model = pose_model()
    path = saved(tmp_path / "p.pt", checkpoint(model, optimizer={"state": {0: tensor(3)}}))
    old, new = list(model), [
        "backbone.conv1.weight",
        "backbone.bn1.num_batches_tracked",
        "heads.heatmaps.weight",
        "heads.heatmaps.bias",
        "heads.locref.weight",
        "heads.locref.bias",
    ]  # fmt: skip
    wanted = {ours: model[theirs] for theirs, ours in zip(old, new, strict=True)}
    same(read_any(path, "pose"), wanted)


def test_simcc_and_detectors_are_renamed(tmp_path: Path) -> None:
    simcc = {"backbone.stem.0.conv.weight": tensor(2, 3), "heads.bodypart.mlp.0.g": tensor(1)}
    path = saved(tmp_path / "p.pt", checkpoint(simcc))
    same(
        read_any(path, "pose"),
        {"backbone.stem.0.conv.weight": tensor(2, 3), "head.mlp.0.g": tensor(1)},
    )
    model = detector_model()
    path = saved(tmp_path / "d.pt", checkpoint(model))
    same(read_any(path, "detector"), {name.removeprefix("model."): t for name, t in model.items()})


def published_names(network: nn.Module) -> dict[str, torch.Tensor]:
    """A network's state as it is published: the names of ours, the other way round."""
    state = network.state_dict()
    simcc = "head.cls_x.weight" in state
    if not simcc and not any(name.startswith("heads.") for name in state):
        return {f"model.{name}": t for name, t in state.items()}
    rules = [("heads.heatmaps.", f"{HEAD}.deconv_layers.0."), ("heads.locref.", f"{LOCREF}.deconv_layers.0.")]
    rules += [("head.", "heads.bodypart.")] if simcc else [("backbone.", "backbone.model.")]
    found = {}
    for name, value in state.items():
        old, new = next(((old, new) for old, new in rules if name.startswith(old)), ("", ""))
        found[new + name.removeprefix(old)] = value
    return found


def detector(**_: object) -> nn.Module:
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    return ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2)


NETWORKS: dict[str, dict[str, Any]] = {
    "hrnet": {"outputs": {"heatmaps": K}, "variant": "hrnet_w18_small"},
    "resnet": {"outputs": {"heatmaps": K, "locref": 2 * K}, "variant": "resnet26"},
    "rtmpose_s": {"n_keypoints": K, "widen": 0.125, "hidden": 16, "s": 8},
    "detector": {},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_real_networks_take_what_was_read(tmp_path: Path, name: str) -> None:
    part: Part = "detector" if name == "detector" else "pose"
    make = detector if name == "detector" else partial(build, name)
    torch.manual_seed(0)
    network = make(**NETWORKS[name])
    path = saved(tmp_path / "w.pt", checkpoint(published_names(network)))
    torch.manual_seed(1)
    other = make(**NETWORKS[name])
    other.load_state_dict(read_any(path, part))
    same(other.state_dict(), network.state_dict())
    imported = import_weights(path, tmp_path / "w.safetensors")
    assert (imported.part, imported.n_tensors) == (part, len(network.state_dict()))
    same(read_any(imported.path, part, imported.sha256), network.state_dict())


def test_a_convolution_as_head_gives_the_same_maps(tmp_path: Path) -> None:
    torch.manual_seed(0)
    convolution, transposed = nn.Conv2d(C, K, 1), nn.ConvTranspose2d(C, K, 1)
    model = {"backbone.model.conv1.weight": tensor(C, 3, 3, 3)}
    model |= {f"{HEAD}.final_conv.{name}": t for name, t in convolution.state_dict().items()}
    found = read_any(saved(tmp_path / "p.pt", checkpoint(model)), "pose")
    transposed.load_state_dict({name: found[f"heads.heatmaps.{name}"] for name in ("weight", "bias")})
    image = tensor(2, C, 6, 7)
    torch.testing.assert_close(transposed(image), convolution(image))
    assert not torch.allclose(convolution(image)[:, 0], convolution(image)[:, 1])


names = st.from_regex(r"[a-z][a-z0-9_]{0,6}(\.[a-z0-9]{1,4}){0,2}", fullmatch=True)
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    """Tensors of any shape with any finite values, some of them counters."""
    found = {}
    for name in draw(st.lists(names, min_size=1, max_size=5, unique=True)):
        shape = draw(shapes)
        if draw(st.booleans()):
            found[name] = torch.tensor(draw(st.integers(0, 2**40)))
        else:
            values = draw(
                arrays(np.float32, shape, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
            )
            found[name] = torch.from_numpy(values)
    return found


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=tensors())
def test_import_keeps_every_bit(tmp_path: Path, found: dict[str, torch.Tensor]) -> None:
    path = saved(tmp_path / "d.pt", checkpoint({f"model.{name}": t for name, t in found.items()}))
    imported = import_weights(path, tmp_path / "d.safetensors", overwrite=True)
    back = read_any(imported.path, "detector")
    same(back, found)
    for name, value in found.items():
        assert back[name].numpy().tobytes() == value.numpy().tobytes()  # -0.0 stays -0.0


def test_an_import_says_where_it_is_from_and_is_the_same_again(tmp_path: Path) -> None:
    path = saved(tmp_path / "superanimal_x.pt", checkpoint(pose_model()))
    first = import_weights(path, tmp_path / "a.safetensors")
    assert import_weights(path, tmp_path / "b.safetensors").sha256 == first.sha256
    for result in (first.path, tmp_path / "b.safetensors"):
        assert hashlib.sha256(result.read_bytes()).hexdigest() == first.sha256
    with safe_open(first.path, "pt") as opened:
        origin = json.loads(opened.metadata()["imported"])
        assert sorted(opened.keys())[0] == "pose.backbone.bn1.num_batches_tracked"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert origin == {"part": "pose", "source": "superanimal_x.pt", "source_sha256": digest}
    assert first.source_sha256 == digest


def test_an_import_replaces_nothing_unasked(tmp_path: Path) -> None:
    path, out = saved(tmp_path / "p.pt", checkpoint(pose_model())), tmp_path / "out.safetensors"
    out.write_text("mine")
    with pytest.raises(InputError, match=r"out\.safetensors: exists; use --overwrite"):
        import_weights(path, out)
    with pytest.raises(InputError, match="plain state dict"):
        import_weights(saved(tmp_path / "plain.pt", pose_model()), out, overwrite=True)
    assert out.read_text() == "mine"
    with pytest.raises(InputError, match=r"name the output file something\.safetensors"):
        import_weights(path, tmp_path / "out.pt")
    with pytest.raises(InputError, match="cannot be written there"):
        import_weights(path, tmp_path / "none" / "out.safetensors")
    import_weights(path, out, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.safetensors", "p.pt", "plain.pt"]
    same(read_any(out, "pose"), read_any(path, "pose"))


def test_half_precision_is_widened_and_shared_memory_parted(tmp_path: Path) -> None:
    shared = tensor(8)
    model = {"model.a": shared[:4], "model.b": shared, "model.half": tensor(9).bfloat16()}
    path = saved(tmp_path / "d.pt", checkpoint(model))
    found = read_any(path, "detector")
    same(found, {"a": shared[:4], "b": shared, "half": tensor(9).bfloat16().float()})
    found["a"].zero_()
    assert torch.equal(found["b"], shared)
    same(
        read_any(import_weights(path, tmp_path / "d.safetensors").path, "detector"),
        read_any(path, "detector"),
    )


def archive_with(path: Path, old: bytes, new: bytes) -> Path:
    """The checkpoint with other bytes in its pickle, and right checksums."""
    with zipfile.ZipFile(path) as source:
        parts = [(one.filename, source.read(one)) for one in source.infolist()]
    with zipfile.ZipFile(path, "w") as target:
        for name, content in parts:
            target.writestr(name, content.replace(old, new) if name.endswith("data.pkl") else content)
    return path


@pytest.mark.parametrize("numpy_1", [False, True])
def test_metrics_that_are_numpy_numbers_do_no_harm(tmp_path: Path, numpy_1: bool) -> None:
    """Releases of before 2025 wrote such, with the module names of NumPy 1."""
    allowed = torch.serialization.get_safe_globals()
    content = checkpoint(pose_model())
    content["metadata"] = {"epoch": 1, "metrics": {"mAP": np.float64(0.5), "n": np.int32(3)}, "losses": {}}
    path = saved(tmp_path / "p.pt", content)
    with pytest.raises(pickle.UnpicklingError, match="numpy"):
        torch.load(path, weights_only=True)
    if numpy_1:
        archive_with(path, b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert len(read_any(path, "pose")) == len(pose_model())
    assert set(torch.serialization.get_safe_globals()) == set(allowed)  # a list of no certain order


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("bare", [False, True])
def test_a_program_in_a_checkpoint_is_not_run(tmp_path: Path, bare: bool) -> None:
    marker = tmp_path / "ran"
    content = checkpoint(pose_model(), optimizer=Evil(marker))
    path = saved(tmp_path / "p.pt", content)
    if bare:
        path.write_bytes(pickle.dumps(content))
    for part in get_args(Part):
        with pytest.raises(InputError, match=r"p\.pt: refused for safety") as caught:
            read_any(path, part)
        assert len(str(caught.value).splitlines()) == 1
        assert bare or "system" in str(caught.value)
    assert not marker.exists()
    torch.load(path, weights_only=False) if not bare else pickle.loads(path.read_bytes())
    assert marker.exists()  # it would have been


def changed(**entries: object) -> dict[str, object]:
    return checkpoint({**pose_model(), **entries})


REFUSED: dict[str, tuple[object, str]] = {
    "plain": (pose_model(), r"is a plain state dict of 6 tensors \('backbone\.model\.conv1\.weight'"),
    "no model": ({"metadata": {}, "net": pose_model()}, "has no 'model' but 'metadata', 'net'"),
    "no metadata": ({"model": pose_model()}, "has no 'metadata' but 'model'"),
    "neither": ({"state_dict": {}, "epoch": 1}, "has no 'metadata' and no 'model'"),
    "empty": ({}, "has no 'metadata' and no 'model'"),
    "list": ([1, 2], "holds a list"),
    "tensor": (tensor(3), "holds a Tensor"),
    "no tensors": (checkpoint({}), "'model' is no dict of tensors"),
    "model is a list": (checkpoint([tensor(1)]), "'model' is no dict of tensors"),
    "numbers as names": (checkpoint({**pose_model(), 3: tensor(1)}), r"names that are no text \(3\)"),
    "no tensor": (changed(**{BIAS: 3}), "bias' is a int, want a tensor"),
    "NaN": (changed(**{BIAS: tensor(K) * np.nan}), "bias' has values that are not fin"),
    "double": (changed(**{BIAS: tensor(K).double()}), "float64; want dense float32"),
    "sparse": (changed(**{BIAS: tensor(K).to_sparse()}), "sparse_coo"),
    "other head": (changed(**{"heads.identity.weight": tensor(1)}), r"identity\.weight' belong to no"),
    "two layers": (
        changed(**{f"{HEAD}.final_conv.weight": tensor(K, K, 1, 1), f"{HEAD}.final_conv.bias": tensor(K)}),
        "2 problems(?s:.)*final_conv.bias' is one more layer of its head",
    ),
    "wide convolution": (
        checkpoint({"backbone.model.a": tensor(1), f"{HEAD}.final_conv.weight": tensor(K, C, 3, 3)}),
        r"final_conv\.weight' has shape \(5, 4, 3, 3\); only 1x1",
    ),
    "unknown network": (checkpoint({"encoder.a": tensor(1)}), r"\('encoder\.a'\) are those of no"),
    "no head": (checkpoint({"backbone.model.a": tensor(1)}), "those of no SuperAnimal network"),
    "detector": (checkpoint(detector_model()), "has the weights of a detector, want those of a pose"),
}


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize("kind", REFUSED)
def test_other_layouts_are_refused(tmp_path: Path, kind: str) -> None:
    content, words = REFUSED[kind]
    path = saved(tmp_path / "p.pt", content)
    with pytest.raises(InputError, match=words) as caught:
        read_any(path, "pose")
    assert str(caught.value).startswith(f"{path}: ")


def test_a_pose_network_is_no_detector(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.pt", checkpoint(pose_model()))
    with pytest.raises(InputError, match="has the weights of a pose network, want those of a detector"):
        read_any(path, "detector")


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    return buffer.getvalue()


OTHER_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "page": (b"\n<!DOCTYPE html><html>", "is a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer.*git lfs pull"),
    "text": (b"hello, world", "is no PyTorch checkpoint"),
    "zip": (zipped(), "is no PyTorch checkpoint"),
    "safetensors": (save({"pose.a": tensor(1)}), "is a safetensors file, not a published"),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_other_files_are_refused(tmp_path: Path, kind: str) -> None:
    content, words = OTHER_FILES[kind]
    path = tmp_path / "p.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"p\.pt: .*{words}"):
        import_weights(path, tmp_path / "out.safetensors")


def test_damaged_missing_and_truncated_files(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.pt", checkpoint(pose_model()))
    content = path.read_bytes()
    for size in (5, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match=rf"p\.pt: is damaged or was cut off after {size} bytes"):
            read_any(path, "pose")
    numbers = content.index(pose_model()["backbone.model.conv1.weight"].numpy().tobytes())
    path.write_bytes(content[:numbers] + bytes([content[numbers] ^ 1]) + content[numbers + 1 :])
    with pytest.raises(InputError, match=r"p\.pt: is damaged \(.*data/.* has a wrong checksum\)"):
        read_any(path, "pose")
    with pytest.raises(InputError, match=r"none\.pt: cannot read the weights \(No such file"):
        read_any(tmp_path / "none.pt", "pose")
    with pytest.raises(InputError, match="cannot read the weights"):
        read_any(tmp_path, "pose")


def test_our_own_files(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    torch.manual_seed(0)
    pose, other = nn.Linear(2, 3), nn.Linear(3, 2)
    digest = save_weights(path, {"pose": pose, "detector": other})
    same(read_any(path, "detector", digest), {n: t.half().float() for n, t in other.state_dict().items()})
    with pytest.raises(InputError, match=f"not the published weights \\(sha256 {digest[:12]}"):
        read_any(path, "pose", "0" * 64)
    save_weights(path, {"pose": pose})
    with pytest.raises(InputError, match="has no detector network"):
        read_any(path, "detector")
    path.write_bytes(save({"pose.a": tensor(1), "net.b": tensor(1)}))
    with pytest.raises(InputError, match=r"'net\.b' belong neither to a pose network nor to a detector"):
        read_any(path, "pose")
    path.write_bytes(save({"pose.a": tensor(40)})[:-1])
    with pytest.raises(InputError, match="is a damaged safetensors file"):
        read_any(path, "pose")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    weights_command.add_to(parser.add_subparsers())
    source, out = saved(tmp_path / "d.pt", checkpoint(detector_model())), tmp_path / "d.safetensors"
    arguments = parser.parse_args(["import-weights", str(source), "--out", str(out)])
    assert arguments.run(arguments) == 0
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert capsys.readouterr().out == f"{out}  detector, 2 tensors, sha256 {digest}\n"
    with pytest.raises(InputError, match="exists"):
        arguments.run(arguments)
