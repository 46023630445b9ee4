"""RTMPose: the published network's names, size and numbers; a gradient everywhere; save and load."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from superset_vocab import InputError
from zoo.networks.rtmpose import CSPNeXt, GatedAttention, RTMPose, ScaleNorm

# Logits of DeepLabCut 3.0.2's rtmpose_s with the weights and the image of `seeded`, at (keypoint, bin).
PLACES = [(0, 0), (0, 511), (7, 100), (19, 256), (30, 333), (38, 12)]
PUBLISHED_X = [-1.154214, 2.175596, -1.439067, -2.16065, -1.365584, 0.216475]
PUBLISHED_Y = [-0.248155, 0.82768, 0.026522, -0.807615, -1.241287, 2.420175]


def tiny(**options) -> RTMPose:
    torch.manual_seed(0)
    options = {"size_wh": (96, 64), "widen": 0.125, "hidden": 32, "s": 16, **options}
    return RTMPose(5, **options)


def seeded(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Weights that depend on the names and shapes only, and an image; every constant differs from 0 and 1."""
    rng = np.random.default_rng(7)
    filled = {}
    for name in sorted(state):
        shape = tuple(state[name].shape)
        if name.endswith("num_batches_tracked"):
            value = np.array(100)
        elif name.endswith(("running_var", "norm.weight", ".g", ".scale")):
            value = rng.uniform(0.6, 1.4, shape)
        elif len(shape) == 1 or name.endswith("gau.beta"):
            value = rng.uniform(-0.2, 0.2, shape)
        else:
            value = rng.normal(0, 1.3 / np.sqrt(np.prod(shape[1:])), shape)
        filled[name] = torch.from_numpy(value).to(state[name].dtype)
    return filled, torch.from_numpy(rng.normal(0, 1, (1, 3, 256, 256))).float()


@pytest.fixture(scope="module")
def published():
    return RTMPose(39).eval()


def test_size_of_the_published_network(published):
    assert sum(p.numel() for p in published.parameters()) == 6_062_073


def test_numbers_of_the_published_network(published):
    weights, image = seeded(published.state_dict())
    published.load_state_dict(weights)
    with torch.inference_mode():
        output = published(image)
    for name, wanted in (("simcc_x", PUBLISHED_X), ("simcc_y", PUBLISHED_Y)):
        assert output[name].shape == (1, 39, 512)
        np.testing.assert_allclose([output[name][0, k, b].item() for k, b in PLACES], wanted, atol=2e-5)


def test_names_of_the_published_network(published):
    names = set(published.state_dict())
    conv = r"(conv\.weight|norm\.(weight|bias|running_mean|running_var|num_batches_tracked))"
    block = rf"blocks\.\d\.(conv1|conv2\.(depthwise|pointwise)_conv)\.{conv}"
    stage = rf"((main|short|final)_conv\.{conv}|{block}|attention\.fc\.(weight|bias))"
    head = r"(final_layer\.(weight|bias)|mlp\.0\.g|mlp\.1\.weight|cls_[xy]\.weight|gau\.(ln\.g|gamma|beta"
    patterns = (
        rf"backbone\.stem\.[012]\.{conv}",
        rf"backbone\.stage[1-4]\.0\.{conv}",
        rf"backbone\.stage[123]\.1\.{stage}",
        rf"backbone\.stage4\.1\.conv[12]\.{conv}",
        rf"backbone\.stage4\.2\.{stage}",
        rf"head\.{head}|(uv|o)\.weight|res_scale\.scale))",
    )
    assert [n for n in sorted(names) if not any(re.fullmatch(p, n) for p in patterns)] == []
    assert {"backbone.stage2.1.blocks.1.conv2.pointwise_conv.norm.running_var", "head.mlp.0.g"} <= names
    assert len(names) == 254


def test_two_are_one_and_one():
    network, images = tiny().eval(), torch.randn(2, 3, 64, 96)
    together = network(images)
    for name, bins in (("simcc_x", 192), ("simcc_y", 128)):
        assert together[name].shape == (2, 5, bins)
        alone = torch.cat([network(image[None])[name] for image in images])
        torch.testing.assert_close(together[name], alone, atol=1e-6, rtol=1e-5)
        assert not torch.allclose(together[name][0], together[name][1], atol=1e-3)


def test_every_parameter_has_a_gradient():
    network = tiny()
    output = network(torch.randn(2, 3, 64, 96))
    sum(value.square().mean() for value in output.values()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_save_and_load():
    network, again = tiny().eval(), tiny(split_ratio=2).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # buffers must travel too
    images = torch.randn(1, 3, 64, 96)
    assert not torch.equal(network(images)["simcc_x"], again(images)["simcc_x"])
    again.load_state_dict(load(save(network.state_dict())))
    for name, value in network(images).items():
        assert torch.equal(value, again(images)[name])


def test_options_change_what_they_say():
    assert tiny(split_ratio=3)(torch.zeros(2, 3, 64, 96))["simcc_x"].shape == (2, 5, 288)
    assert CSPNeXt(deepen=1.0, widen=0.125).stage2[1].blocks[5].shortcut
    assert len(CSPNeXt(deepen=0.33, widen=0.125).stage2[1].blocks) == 2
    assert tiny(expansion=3).head.gau.o.in_features == 96


@pytest.mark.parametrize("size_wh", [[250, 256], [256, 0], [256]])
def test_a_size_that_does_not_fit_is_refused(size_wh):
    with pytest.raises(InputError, match=r"rtmpose: size_wh = .* must be two multiples of 32"):
        RTMPose(3, size_wh=size_wh)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"rtmpose takes images of 96x64 pixels only, got 64x96"):
        tiny()(torch.zeros(1, 3, 96, 64))


def test_no_keypoints_is_refused():
    with pytest.raises(InputError, match=r"rtmpose.*0 channels"):
        RTMPose(0)


def test_scale_norm_gives_root_mean_square_g():
    norm = ScaleNorm()
    nn.init.constant_(norm.g, 2.5)
    x = torch.randn(4, 7, 33) * 30
    torch.testing.assert_close(norm(x).square().mean(-1).sqrt(), torch.full((4, 7), 2.5))
    assert torch.equal(norm(torch.zeros(1, 3)), torch.zeros(1, 3))


def test_attention_treats_keypoints_as_a_set():
    torch.manual_seed(3)
    unit, x, order = GatedAttention(16, s=8), torch.randn(2, 6, 16), torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(unit(x)[:, order], unit(x[:, order]))
    moved = x.clone()
    moved[:, 0] += 1.0
    assert not torch.allclose(unit(x)[:, 1:], unit(moved)[:, 1:], atol=1e-4)  # tokens see one another
