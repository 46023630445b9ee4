"""DLCRNet: outputs, a gradient everywhere, save and load, and what its stages do."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from superset_vocab import InputError
from zoo.networks import build
from zoo.networks.dlcrnet import DLCRNet, Stage

OUTPUTS = {"heatmaps": 5, "locref": 10, "pafs": 8}


def fresh(**options) -> DLCRNet:
    return DLCRNet(OUTPUTS, **{"variant": "resnet18", "n_stages": 3, "width": 16, **options})


@cache
def network() -> DLCRNet:
    """One network for all tests; what starts near zero is moved off it, so that every effect shows."""
    torch.manual_seed(0)
    made = fresh()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.1)
            module.momentum = None  # the running statistics become those of the images
    for heads in (made.first, *(stage.heads for stage in made.stages)):
        for head in heads.values():
            nn.init.normal_(head.weight, std=0.1)
    made.train()(images(8))
    return made


def images(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def test_two_are_one_and_one():
    with torch.no_grad():
        together = network().eval()(images())
        alone = [network()(images()[i : i + 1]) for i in range(2)]
    assert {name: tuple(value.shape) for name, value in together.items()} == {
        "heatmaps": (2, 5, 8, 12),
        "locref": (2, 10, 8, 12),
        "pafs": (2, 8, 8, 12),
    }
    for name, value in together.items():
        torch.testing.assert_close(value, torch.cat([a[name] for a in alone]), rtol=1e-4, atol=1e-5)
        assert (value[0] - value[1]).abs().max() > 0.01


def test_every_parameter_has_a_gradient_from_the_last_stage():
    net = network().train()
    net.zero_grad(set_to_none=True)
    output = net(images())
    sum(output[name].square().mean() for name in OUTPUTS).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_earlier_stages_can_be_supervised():
    net = network().train()
    net.zero_grad(set_to_none=True)
    output = net(images())
    assert output["heatmaps_stages"].shape == (2, 2, 5, 8, 12)
    assert output["pafs_stages"].shape == (2, 2, 8, 8, 12)
    output["heatmaps_stages"][:, 0].square().mean().backward()
    assert net.first["heatmaps"].weight.grad.abs().sum() > 0
    assert all(p.grad is None or not p.grad.abs().sum() > 0 for p in net.stages.parameters())
    assert set(net.eval()(images())) == set(OUTPUTS)


def test_save_and_load():
    torch.manual_seed(7)
    again = fresh().eval()
    with torch.no_grad():
        expected, different = network().eval()(images(1)), again(images(1))
        again.load_state_dict(load(save({k: v.contiguous() for k, v in network().state_dict().items()})))
        found = again(images(1))
    for name in OUTPUTS:
        assert torch.equal(expected[name], found[name])
        assert not torch.allclose(expected[name], different[name], atol=1e-3)


def test_a_stage_adds_to_the_heatmaps_and_replaces_the_fields():
    stage = Stage({"heatmaps": 2, "pafs": 4}, width=8).eval()
    for head in stage.heads.values():
        nn.init.zeros_(head.weight)
    before = {"heatmaps": torch.randn(1, 2, 4, 4), "pafs": torch.randn(1, 4, 4, 4)}
    after = stage(torch.randn(1, 8, 4, 4), before)
    assert torch.equal(after["heatmaps"], before["heatmaps"])
    assert not after["pafs"].any()


@pytest.mark.parametrize(("stride", "shape"), [(8, (8, 12)), (4, (16, 24)), (2, (32, 48))])
def test_output_stride(stride, shape):
    with torch.no_grad():
        output = fresh(output_stride=stride, n_stages=1).eval()(images(1))
    assert output["heatmaps"].shape[2:] == shape
    assert "heatmaps_stages" not in output


@pytest.mark.parametrize("scale", ["conv2", "conv3"])
def test_the_fused_scales_agree_on_where_a_pixel_lies(scale):
    dark = torch.zeros(1, 3, 256, 256)
    lit = dark.clone()
    lit[:, :, 64:80, 192:208] = 3.0  # cell (4, 12) of stride 16
    index = {"conv2": 0, "conv3": 1}[scale]
    net = network().eval()
    with torch.no_grad():
        one, other = (net.fusion.get_submodule(scale)(net.backbone(images)[index]) for images in (dark, lit))
        change = (one - other).abs().sum((0, 1))
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    assert abs((rows * change).sum() / change.sum() - 4) < 0.75
    assert abs((columns * change).sum() / change.sum() - 12) < 0.75


def test_the_paper_s_size():
    with torch.device("meta"):
        net = build("dlcrnet", outputs={"heatmaps": 27, "locref": 54, "pafs": 60})
    backbone = sum(p.numel() for p in net.backbone.parameters())
    assert backbone == 25_557_032 - (2048 * 1000 + 1000)  # ResNet-50 without its classifier
    fusion = 9 * 256 * (256 + 256 + 512) + 256 * (256 + 256 + 2048) + 6 * 512
    first = 9 * 768 * (256 + 141) + 256 + 141 + 512
    stage = 9 * 256 * (256 + 87 + 256) + 2 * 512 + 256 * 87 + 87
    assert sum(p.numel() for p in net.parameters()) == backbone + fusion + first + 4 * stage


def test_only_what_is_asked_for_is_built():
    with torch.no_grad():
        output = DLCRNet({"heatmaps": 3}, variant="resnet18", width=8, n_stages=2)(images(2))
    assert set(output) == {"heatmaps", "heatmaps_stages"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": {"heatmaps": 5, "locref": 9}}, "'locref' has 9 channels, 5 keypoints need 10"),
        ({"outputs": {"heatmaps": 5, "pafs": 7}}, "'pafs' has 7 channels"),
        ({"outputs": {"pafs": 8}}, "needs the output 'heatmaps'"),
        ({"outputs": {"heatmaps": 5, "size": 2}}, "gives no output 'size'"),
        ({"outputs": OUTPUTS, "n_stages": 0}, "n_stages is 0"),
        ({"outputs": OUTPUTS, "output_stride": 16}, "output_stride is 16"),
        ({"outputs": OUTPUTS, "variant": "resnet5O"}, "timm has no backbone 'resnet5O'"),
    ],
)
def test_what_does_not_fit_is_named(options, message):
    with pytest.raises(InputError, match=message):
        DLCRNet(**options)


def test_an_image_that_does_not_divide_is_refused():
    with pytest.raises(InputError, match="dlcrnet: images of 90x64 pixels"):
        network()(torch.zeros(1, 3, 64, 90))
