"""Top-down pose: boxes to crops, crops through the network, its output back to image pixels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from superset_vocab.errors import InputError, all_problems
from zoo.crops import CROPS, NORMALISATIONS
from zoo.decoders import DECODERS, Outputs, mirror_outputs
from zoo.transforms import apply_matrix, invert_matrix, to_grey

_CROPS_PER_PASS = 16  # more does not run faster on a CPU, and activations of 16 stay in its cache


@dataclass(frozen=True)
class PoseInput:
    """How boxes become a network's input, and its output positions; `[pose.input]` of a model's file.

    Attributes:
        size: S, side of a crop in pixels.
        stride: Crop pixels per cell of the output; the decoders say what that is for them.
        context: Side of what a crop shows, as a multiple of the box's longer side.
        crop: How boxes become crops, one of `zoo.crops.CROPS`.
        normalisation: What is done to pixel values, one of `zoo.crops.NORMALISATIONS`.
        decoder: How outputs become positions, one of `zoo.decoders.DECODERS`.
        grey: Whether the network takes one channel of luminance instead of RGB.

    Raises:
        InputError: Lists every value that makes no sense.
    """

    size: int
    stride: int
    context: float = 1.0
    crop: str = "square"
    normalisation: str = "image"
    decoder: str = "gaussian"
    grey: bool = False

    def __post_init__(self) -> None:
        choices = {"crop": CROPS, "normalisation": NORMALISATIONS, "decoder": DECODERS}
        problems = [
            f"{what} {getattr(self, what)!r} is none of {', '.join(known)}"
            for what, known in choices.items()
            if getattr(self, what) not in known
        ]
        for what, kind in {"size": int, "stride": int, "context": (int, float)}.items():
            value = getattr(self, what)
            if isinstance(value, bool) or not isinstance(value, kind) or not value > 0:
                problems.append(f"{what} is {value!r}, want a number above 0")
        if problems:
            raise all_problems("pose input", problems)


class TopDownPose:
    """Finds the keypoints of the animals whose boxes are given; batches over all crops of all frames.

    Args:
        network: Crops (B, 1 or 3, S, S) -> its outputs by name, as the decoder wants them.
        pose_input: How crops are made, and outputs read.
        flip_index: (K,) what each keypoint becomes in a mirrored image; K is the number of keypoints.
        untrained: Keypoints (indices) whose channels were never trained: they have no position (NaN) and
            confidence 0.
        flip_test: Average the outputs for the crop and for its mirror image: twice the work, and left and
            right are exchanged less often (the paper's evaluation does it).
        device: Where the network runs.
    """

    def __init__(
        self,
        network: nn.Module,
        pose_input: PoseInput,
        *,
        flip_index: np.ndarray,
        untrained: Sequence[int] = (),
        flip_test: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.network, self.device = network, torch.device(device)
        self.flip_index = np.array(flip_index, dtype=np.int64)
        self.size, self.stride, self.context = pose_input.size, pose_input.stride, pose_input.context
        self.grey, self.flip_test, self.untrained = pose_input.grey, flip_test, list(untrained)
        self._crop, self._normalise = CROPS[pose_input.crop], NORMALISATIONS[pose_input.normalisation]
        self._decoder = DECODERS[pose_input.decoder]

    def with_options(self, *, context: float | None = None, flip_test: bool | None = None) -> TopDownPose:
        """The same network, run with other options; None keeps an option.

        Raises:
            InputError: If the context is not above 0.
        """
        other = copy.copy(self)
        if context is not None:
            if not context > 0:
                raise InputError(f"context is {context:g}, want a factor above 0 on the box's longer side")
            other.context = float(context)
        if flip_test is not None:
            other.flip_test = flip_test
        return other

    def __call__(
        self, frames: Sequence[np.ndarray], bboxes: Sequence[np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Predict the keypoints in every box.

        Args:
            frames: (H, W, 3) RGB uint8 each.
            bboxes: (N, 4) xywh in pixels for each frame; rows with NaN give NaN.

        Returns:
            For each frame keypoints (N, K, 2) in image pixels and confidence (N, K) in [0, 1], float32.
        """
        crops, matrices, owners = [], [], []
        for t, (frame, boxes) in enumerate(zip(frames, bboxes, strict=True)):
            boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
            image = to_grey(frame) if self.grey and len(boxes) else frame
            for n in np.flatnonzero(np.isfinite(boxes).all(1)):
                pixels, matrix = self._crop(image, boxes[n], self.size, self.context)
                crops.append(pixels)
                matrices.append(matrix)
                owners.append((t, n))
        k = len(self.flip_index)
        results = [
            (np.full((len(b), k, 2), np.nan, np.float32), np.full((len(b), k), np.nan, np.float32))
            for b in bboxes
        ]
        for start in range(0, len(crops), _CROPS_PER_PASS):
            part = slice(start, start + _CROPS_PER_PASS)
            positions, confidence = self._decode(np.stack(crops[part]))
            for i, (t, n) in enumerate(owners[part]):
                results[t][0][n] = apply_matrix(positions[i], invert_matrix(matrices[start + i]))
                results[t][1][n] = confidence[i]
        return results

    def _decode(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, S, S[, 3]) uint8 crops -> positions (B, K, 2) in crop pixels and confidence (B, K)."""
        channels_first = crops[:, None] if crops.ndim == 3 else crops.transpose(0, 3, 1, 2)
        images = torch.from_numpy(self._normalise(channels_first)).to(self.device)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            outputs = self._outputs(images)
            positions, confidence = self._decoder(outputs, self.stride)
        xy, sure = positions.cpu().numpy().astype(np.float64), confidence.cpu().numpy()
        xy[:, self.untrained], sure[:, self.untrained] = np.nan, 0.0
        return xy, sure

    def _outputs(self, images: torch.Tensor) -> Outputs:
        """The network's outputs, averaged with those of the mirrored crop if wanted."""
        outputs = {name: value.float() for name, value in self.network(images).items()}
        if not self.flip_test:
            return outputs
        flip = torch.from_numpy(self.flip_index).to(self.device)
        mirrored = {name: value.float() for name, value in self.network(images.flip(-1)).items()}
        mirrored = mirror_outputs(mirrored, flip, self.size, self.stride)
        return {name: (outputs[name] + mirrored[name]) / 2 for name in outputs}
