"""Average precision by object keypoint similarity, computed by pycocotools.

An instance without an annotated keypoint is not to be found, but finding it is no mistake: COCO lets a pose
within twice its box go uncounted. There the similarity is over the keypoints that the pose has.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from training.metrics import FAR, AveragePrecision


@dataclass(frozen=True)
class Scene:
    """One image: truth (N, K, 2), areas (N,), boxes (N, 4); individuals by falling score (P, K, 2), (P,)."""

    truth: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray
    poses: np.ndarray
    scores: np.ndarray


def average_precision(scenes: Sequence[Scene], sigmas: np.ndarray) -> AveragePrecision:
    """COCO's figures, computed by pycocotools."""
    from pycocotools.coco import COCO  # of the train extra

    images = [{"id": i} for i in range(1, len(scenes) + 1)]
    content = {"images": images, "categories": [{"id": 1, "name": "animal"}]}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        sides = []
        for annotations in (_coco_truth(scenes), _coco_results(scenes)):
            side = COCO()
            side.dataset = cast(Any, {**content, "annotations": annotations})
            side.createIndex()
            sides.append(side)
        evaluation = _evaluator()(*sides, iouType="keypoints")
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas)
        evaluation.params.areaRng = [[0, np.inf]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, 0, 0, 0]  # (thresholds, recalls); -1 where undefined
    recall = evaluation.eval["recall"][:, 0, 0, 0]
    if not (recall > -1).all():
        return AveragePrecision(np.nan, np.nan, np.nan, np.nan)
    return AveragePrecision(
        ap=float(precision.mean()),
        ap_50=float(precision[0].mean()),
        ap_75=float(precision[5].mean()),
        ar=float(recall.mean()),
    )


def _evaluator() -> type[Any]:
    """COCO's evaluation, in which poses may lack keypoints."""
    from pycocotools.cocoeval import COCOeval

    class Evaluation(COCOeval):
        def computeOks(self, imgId: int, catId: int) -> Any:  # noqa: N802, N803 - the library's names
            """(individuals, instances) OKS; it takes the mean over keypoints that are `FAR` as well."""
            similarity, this = super().computeOks(imgId, catId), cast(Any, self)
            individuals = sorted(this._dts[imgId, catId], key=lambda one: -one["score"])
            for j, instance in enumerate(this._gts[imgId, catId] if len(similarity) else ()):
                if not instance["num_keypoints"]:
                    for i, one in enumerate(individuals[: len(similarity)]):
                        x = np.asarray(one["keypoints"][::3])
                        similarity[i, j] *= len(x) / (x != FAR).sum()
            return similarity

    return Evaluation


def _coco_truth(scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    """Instances as COCO annotations; undefined and not annotated keypoints have flag 0."""
    found = []
    for image, scene in enumerate(scenes, start=1):
        for points, area, box in zip(scene.truth, scene.areas, scene.boxes, strict=True):
            annotated = np.isfinite(points).all(-1)
            triples = np.column_stack([np.nan_to_num(points), 2 * annotated])
            found.append(
                {
                    "id": len(found) + 1,  # COCO takes the id 0 for no match
                    "image_id": image,
                    "category_id": 1,
                    "keypoints": triples.ravel().tolist(),
                    "num_keypoints": int(annotated.sum()),
                    "bbox": box.tolist(),
                    "area": float(area),
                    "iscrowd": 0,
                }
            )
    return found


def _coco_results(scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    """Individuals as COCO results; a missing keypoint is far away from everything."""
    found = []
    for image, scene in enumerate(scenes, start=1):
        for points, score in zip(scene.poses, scene.scores, strict=True):
            known = points[np.isfinite(points).all(-1)]
            size = np.ptp(known, axis=0)
            triples = np.column_stack([np.nan_to_num(points, nan=FAR), np.ones(len(points))])
            found.append(
                {
                    "id": len(found) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "keypoints": triples.ravel().tolist(),
                    "bbox": [*known.min(0).tolist(), *size.tolist()],
                    "area": float(size.prod()),
                    "score": float(score),
                }
            )
    return found
