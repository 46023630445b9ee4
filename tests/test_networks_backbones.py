"""Networks on timm backbones: official layout and sizes, values, gradients, mistakes, no downloads."""

from __future__ import annotations

import socket
import urllib.request
from functools import cache

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F

from superset_vocab import InputError
from zoo.networks.heatmap_heads import deconvolutions, freeze_unreached
from zoo.networks.hrnet import HRNet
from zoo.networks.resnet import ResNet
from zoo.networks.timm_heatmap import TimmHeatmaps
from zoo.networks.token_pose import AnimalTokenPose, PlainViT

BOTH = {"heatmaps": 3, "locref": 6}
SMALL_TOKENS = {"size_wh": [96, 64], "width": 32, "depth": 2, "n_heads": 4, "variant": "hrnet_w18_small"}


def tiny_timm(backbone: str, **options):
    return lambda: TimmHeatmaps(BOTH, backbone, head_width=16, **options)


# Name -> how to make it, a size (width, height) that it takes, and its maps' size (columns, rows).
NETWORKS = {
    "hrnet": (lambda: HRNet(BOTH, "hrnet_w18_small"), (96, 64), (24, 16)),
    "resnet": (lambda: ResNet(BOTH, "test_resnet"), (96, 64), (13, 9)),
    "animal_token_pose": (lambda: AnimalTokenPose({"heatmaps": 3}, **SMALL_TOKENS), (96, 64), (24, 16)),
    "plain_vit": (
        lambda: PlainViT(BOTH, "vit_tiny_patch16_224", size_wh=[96, 64], head_width=16),
        (96, 64),
        (24, 16),
    ),
    "timm": (tiny_timm("test_resnet"), (96, 64), (24, 16)),
    "timm, 1/8": (tiny_timm("test_resnet", feature_index=3, output_stride=8), (96, 64), (12, 8)),
    "timm, channels last": (tiny_timm("mambaout_femto"), (96, 64), (24, 16)),
    "timm, vit": (tiny_timm("test_vit", backbone_options={"img_size": [64, 96]}), (96, 64), (24, 16)),
}
# Slower to build; for the test of gradients only.
LARGE = {
    "timm, unused layers": (tiny_timm("efficientvim_m1", output_stride=16), (128, 64), (8, 4)),
    "hrnet_w32": (lambda: HRNet({"heatmaps": 39}), (64, 64), (16, 16)),
    "resnet50_gn": (lambda: ResNet({"heatmaps": 39, "locref": 78}), (64, 64), (9, 9)),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Any try to reach the network fails the test."""

    def refuse(*_args, **_kwargs):
        raise ConnectionAbortedError("a test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", refuse)


@cache
def network_of(name: str) -> nn.Module:
    """One network for all tests; heads and zeroed norms are moved off their start to see all effects."""
    torch.manual_seed(0)
    network = (NETWORKS | LARGE)[name][0]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(module.weight, 1.0, 0.1)
    last = network.heads["heatmaps"]
    for module in last.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # averages; without them activations grow from layer to layer
    with torch.no_grad():
        network.train()(images_for(name))
    return network


def images_for(name: str, n: int = 2) -> torch.Tensor:
    width, height = (NETWORKS | LARGE)[name][1]
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_image_of_a_batch_is_on_its_own(name):
    network, images = network_of(name).eval(), images_for(name)
    with torch.no_grad():
        together, alone = network(images), [network(images[i : i + 1]) for i in range(2)]
    columns, rows = NETWORKS[name][2]
    for output, value in together.items():
        assert value.shape[2:] == (rows, columns)
        torch.testing.assert_close(value, torch.cat([a[output] for a in alone]), rtol=1e-3, atol=1e-4)
    heatmaps = together["heatmaps"]
    assert (heatmaps[0] - heatmaps[1]).abs().max() > 0.01  # and what it gives depends on the image


@pytest.mark.parametrize("name", NETWORKS | LARGE)
def test_every_trainable_parameter_gets_a_gradient(name):
    network = network_of(name).train()
    network.zero_grad(set_to_none=True)
    output = network(images_for(name))
    sum(value.square().mean() for value in output.values()).backward()
    trainable = {n: p for n, p in network.named_parameters() if p.requires_grad}
    assert [n for n, p in trainable.items() if p.grad is None or not p.grad.abs().sum() > 0] == []
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert all(p.grad is None for n, p in network.named_parameters() if n in frozen)
    assert bool(frozen) == (name in ("hrnet", "hrnet_w32", "timm, unused layers"))


@pytest.mark.parametrize("name", NETWORKS)
def test_saved_and_loaded_it_gives_the_same(name):
    network, images = network_of(name).eval(), images_for(name, 1)
    tensors = load(save({k: v.contiguous() for k, v in network.state_dict().items()}))
    torch.manual_seed(7)
    again = NETWORKS[name][0]().eval()
    with torch.no_grad():
        different = again(images)
        again.load_state_dict(tensors)
        expected, found = network(images), again(images)
    for output in expected:
        assert torch.equal(expected[output], found[output])
    assert not torch.allclose(expected["heatmaps"], different["heatmaps"], atol=1e-3)


@pytest.mark.parametrize(("n_keypoints", "n_parameters"), [(39, 29_306_823), (27, 29_306_427)])
def test_hrnet_has_the_published_number_of_parameters(n_keypoints, n_parameters):
    with torch.device("meta"):
        network = HRNet({"heatmaps": n_keypoints})
    assert sum(p.numel() for p in network.parameters()) == n_parameters
    frozen = {n: p.numel() for n, p in network.named_parameters() if not p.requires_grad}
    assert sum(frozen.values()) == 769_984
    assert not [n for n in frozen if not n.startswith("backbone.stage4.2.fuse_layers.")]


@pytest.mark.parametrize(("n_keypoints", "n_parameters"), [(39, 25_664_693), (27, 25_001_105)])
def test_resnet_has_the_published_number_of_parameters(n_keypoints, n_parameters):
    with torch.device("meta"):
        network = ResNet({"heatmaps": n_keypoints, "locref": 2 * n_keypoints})
    assert sum(p.numel() for p in network.parameters()) == n_parameters


def renamed(official: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published names -> ours, by prefix only."""
    prefixes = {
        "backbone.model.": "backbone.",
        "heads.bodypart.heatmap_head.deconv_layers.0.": "heads.heatmaps.",
        "heads.bodypart.locref_head.deconv_layers.0.": "heads.locref.",
    }
    return {
        new + name.removeprefix(old): tensor
        for name, tensor in official.items()
        for old, new in prefixes.items()
        if name.startswith(old)
    }


def random_state(prefix: str, module: nn.Module) -> dict[str, torch.Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}


def test_hrnet_takes_published_weights_and_reads_the_finest_branch():
    torch.manual_seed(3)
    whole = timm.create_model("hrnet_w32", features_only=True, feature_location="").eval()
    head = nn.ConvTranspose2d(32, 4, 1)
    official = random_state("backbone.model", whole)
    official |= random_state("heads.bodypart.heatmap_head.deconv_layers.0", head)
    network = HRNet({"heatmaps": 4}).eval()
    network.load_state_dict(renamed(official))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        # A transposed convolution of kernel 1 is a convolution with the weight's first two axes swapped.
        expected = F.conv2d(whole(images)[1], head.weight.transpose(0, 1), head.bias)
        torch.testing.assert_close(network(images)["heatmaps"], expected, rtol=1e-4, atol=1e-5)


def test_resnet_takes_published_weights():
    torch.manual_seed(4)
    whole = timm.create_model("resnet50_gn", output_stride=16, num_classes=0).eval()
    heads = {"heatmap": nn.ConvTranspose2d(2048, 2, 3, 2), "locref": nn.ConvTranspose2d(2048, 4, 3, 2)}
    official = random_state("backbone.model", whole)
    for name, head in heads.items():
        official |= random_state(f"heads.bodypart.{name}_head.deconv_layers.0", head)
    network = ResNet({"heatmaps": 2, "locref": 4}).eval()
    network.load_state_dict(renamed(official))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features, found = whole.forward_features(images), network(images)
        torch.testing.assert_close(found["heatmaps"], heads["heatmap"](features))
        torch.testing.assert_close(found["locref"], heads["locref"](features))
        assert network(torch.zeros(1, 3, 256, 256))["heatmaps"].shape == (1, 2, 33, 33)  # as published


@pytest.mark.parametrize("name", ["hrnet", "resnet", "timm", "timm, 1/8", "timm, channels last"])
def test_what_is_seen_somewhere_appears_there(name):
    network = network_of(name).eval()
    images = torch.randn(1, 3, 128, 256, generator=torch.Generator().manual_seed(2)).repeat(2, 1, 1, 1)
    x, y = 192, 32
    images[1, :, y - 8 : y + 9, x - 8 : x + 9] += 3.0
    with torch.no_grad():
        heatmaps = network(images)["heatmaps"]
    change = (heatmaps[1] - heatmaps[0]).square().sum(0)
    row, column = divmod(int(change.argmax()), change.shape[1])
    stride = 128 / (change.shape[0] // 2 * 2)
    assert abs((column + 0.5) * stride - x) < 32  # one cell of the backbone's coarsest features
    assert abs((row + 0.5) * stride - y) < 32


def test_tokens_know_where_the_patches_are(monkeypatch):
    torch.manual_seed(6)
    network = AnimalTokenPose({"heatmaps": 3}, **SMALL_TOKENS, residual_blocks=0).eval()
    nn.init.normal_(network.heads["heatmaps"][-1].weight)
    features = torch.randn(1, 16, 16, 24)
    monkeypatch.setattr(network.backbone, "forward", lambda given: [given])
    monkeypatch.setattr("zoo.networks.token_pose.check_size", lambda *_: None)

    def moves() -> float:
        """How much changes when all patches move by one place."""
        with torch.no_grad():
            difference = network(features)["heatmaps"] - network(features.roll(4, dims=3))["heatmaps"]
        return float(difference.abs().max())

    assert moves() > 0.05
    network.position.zero_()
    assert moves() < 1e-4


def test_token_pose_has_the_size_of_the_paper():
    # TokenPose-B on COCO (17 keypoints of 64x48 cells) has 13.5 million parameters (its paper, table 2).
    with torch.device("meta"):
        network = AnimalTokenPose({"heatmaps": 17}, size_wh=[192, 256], residual_blocks=0)
        square = AnimalTokenPose({"heatmaps": 27})
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == 13.5
    assert len(network.layers) == 12
    assert network.keypoint_tokens.shape == (1, 17, 192)
    assert square.map_hw == (64, 64)
    assert square.position.shape == (1, 16 * 16, 192)


def test_plain_vit_has_the_size_of_the_paper():
    with torch.device("meta"):
        network = PlainViT({"heatmaps": 5})
        heatmaps = network(torch.zeros(1, 3, 224, 224))["heatmaps"]
    assert heatmaps.shape == (1, 5, 56, 56)
    assert len(network.backbone.blocks) == 12
    assert network.backbone.blocks[0].attn.num_heads == 12
    assert network.backbone.embed_dim == 768
    # timm's ViT-B/16 without its classifier
    assert sum(p.numel() for p in network.backbone.parameters()) == 85_798_656


def test_heads_start_small():
    vit = PlainViT(BOTH, "vit_tiny_patch16_224", head_width=64)
    for network in (HRNet(BOTH, "hrnet_w18_small"), TimmHeatmaps(BOTH, "test_resnet"), vit):
        for head in network.heads.values():
            assert float(head.weight.detach().std()) == pytest.approx(0.001, rel=0.3)
            assert not head.bias.any()
    head = AnimalTokenPose({"heatmaps": 3}, **SMALL_TOKENS | {"width": 16}).heads["heatmaps"]
    assert len(head) == 4
    assert [float(head[i].weight.detach().std()) for i in (1, 3)] == pytest.approx([0.02, 0.001], rel=0.1)


def test_deconvolutions_double_the_map():
    upsample = deconvolutions(8, 4, 2).eval()
    nn.init.constant_(upsample[0].weight, 1.0)
    nn.init.constant_(upsample[3].weight, 1.0)
    spot = torch.zeros(1, 8, 5, 5)
    spot[:, :, 2, 1] = 1.0
    with torch.no_grad():
        (found,) = upsample(spot)
    assert found.shape == (4, 20, 20)
    mass = found.sum(0)
    # A spot's centre (column + 0.5, in cells) goes to 4 times that.
    assert float((mass.sum(0) * (torch.arange(20) + 0.5)).sum() / mass.sum()) == pytest.approx(4 * 1.5)
    assert float((mass.sum(1) * (torch.arange(20) + 0.5)).sum() / mass.sum()) == pytest.approx(4 * 2.5)


class HalfUsed(nn.Module):
    """Two layers, of which the output needs one; `look` reads a number, which the meta device has not."""

    def __init__(self, look: bool) -> None:
        super().__init__()
        self.used, self.unused, self.look = nn.Conv2d(3, 1, 1), nn.Conv2d(3, 1, 1), look

    def forward(self, images):
        self.unused(images)
        return {"heatmaps": self.used(images) * (images.sum().item() if self.look else 1.0)}


def test_what_no_output_needs_is_frozen():
    network = HalfUsed(look=False)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    assert freeze_unreached(network, (4, 4)) == ["unused.weight", "unused.bias"]
    assert [p.requires_grad for p in network.parameters()] == [True, True, False, False]
    assert all(p.grad is None and p.device.type == "cpu" for p in network.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert freeze_unreached(HalfUsed(look=True), (4, 4)) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TimmHeatmaps(BOTH, "resnet5O"), r"timm has no backbone 'resnet5O'; near names: resnet50"),
        (lambda: TimmHeatmaps(BOTH, "qqqqq"), r"'qqqqq'; timm.list_models\(\) lists them"),
        (
            lambda: TimmHeatmaps(BOTH, "resnet18.mae"),
            r"no weights 'resnet18.mae' of resnet18; it has: .*a1_in1k",
        ),
        (lambda: TimmHeatmaps(BOTH, "hf-hub:timm/resnet18"), r"timm has no backbone 'hf-hub:timm/resnet18'"),
        (lambda: TimmHeatmaps(BOTH, "resnet18", feature_index=9), r"'resnet18' with .*\(9,\).*out of range"),
        (lambda: TimmHeatmaps(BOTH, "resnet18", output_stride=3), r"choose one of 32, 16, 8, 4, 2, 1"),
        (lambda: TimmHeatmaps(BOTH, "inception_v3"), r"do not have stride 32"),
        (lambda: TimmHeatmaps(BOTH, "resnet18", backbone_options={"hue": 1}), r"argument 'hue'"),
        (lambda: TimmHeatmaps({}, "resnet18"), r"it has no outputs; give e\.g\."),
        (lambda: HRNet({"heatmaps": 0}), r"output 'heatmaps' has 0 channels"),
        (lambda: HRNet(BOTH, variant="resnet18"), r"'resnet18' is no HRNet"),
        (lambda: HRNet(BOTH, variant="hrnet_w33"), r"'hrnet_w33'; near names: .*hrnet_w32"),
        (lambda: ResNet(BOTH, variant="vgg11"), r"'vgg11'.*"),
        (lambda: ResNet(BOTH, variant="regnety_002"), r"'regnety_002' is no ResNet"),
        (lambda: ResNet(BOTH, variant="resnet18", backbone_stride=5), r"'output_stride': 5.*refused by timm"),
        (lambda: AnimalTokenPose(BOTH), r"gives no output 'locref'; there are: heatmaps"),
        (lambda: AnimalTokenPose({"heatmaps": 1}, variant="resnet18"), r"'resnet18' is no HRNet"),
        (
            lambda: AnimalTokenPose({"heatmaps": 1}, size_wh=[250, 256]),
            r"size_wh = \[250, 256\] must be .* 16",
        ),
        (lambda: AnimalTokenPose({"heatmaps": 1}, width=190), r"width = 190"),
        (lambda: PlainViT(BOTH, size_wh=[100, 96], variant="vit_tiny_patch16_224"), r"two multiples of 16"),
        (lambda: PlainViT(BOTH, variant="swin_tiny_patch4_window7_224"), r"is no plain vision transformer"),
        (lambda: network_of("hrnet")(torch.zeros(1, 3, 64, 80)), r"80x64 pixels; .* multiples of 32"),
        (lambda: network_of("timm")(torch.zeros(1, 3, 70, 64)), r"2x3 cells .* do not have stride 32"),
        (lambda: network_of("plain_vit")(torch.zeros(1, 3, 96, 64)), r"takes images of 96x64 .* got 64x96"),
        (lambda: network_of("animal_token_pose")(torch.zeros(1, 3, 96, 64)), r"size_wh = \[64, 96\]"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_pretrained_without_the_hub_says_so_and_stays_random(monkeypatch, caplog):
    def unreachable(*_args, **_kwargs):
        raise LocalEntryNotFoundError("no such file\nmore of it")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    network = TimmHeatmaps(BOTH, "test_resnet", pretrained=True).eval()
    (record,) = [r for r in caplog.records if r.name.startswith("zoo")]
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "timm's weights of test_resnet cannot be downloaded (LocalEntryNotFoundError: no such file); "
        "its weights stay random"
    )
    with torch.no_grad():
        assert network(images_for("timm"))["heatmaps"].isfinite().all()
    with pytest.raises(InputError, match=r"leave out pretrained = true"):
        TimmHeatmaps(BOTH, "botnet50ts_256", pretrained=True)


def test_pretrained_takes_the_weights_of_the_hub(monkeypatch):
    torch.manual_seed(11)
    whole = timm.create_model("test_resnet").eval()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_a, **_k: whole.state_dict())
    network = TimmHeatmaps(BOTH, "test_resnet", pretrained=True).eval()
    images = images_for("timm")
    with torch.no_grad():
        assert torch.equal(network.backbone(images)[-1], whole.forward_features(images))
