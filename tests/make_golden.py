"""Make the golden poses of the embedded weights: `PYTHONPATH=. python tests/make_golden.py`.

Look at what changed, and why, before committing.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

FOLDER = Path(__file__).parent / "golden"
SEEDS = (4, 11, 16)


def predict() -> dict:
    """Poses of the embedded model on the golden pictures, rounded to a hundredth of a pixel."""
    import zoo

    model = zoo.load("superanimal_topviewmouse", "compact", device="cpu")
    poses = model.predict(FOLDER)
    return {
        "weights_sha256": model.weights["pose"]["sha256"],
        "images": list(poses.images),
        "keypoints": np.where(np.isnan(poses.keypoints), -1, poses.keypoints).round(2).tolist(),
        "confidence": np.where(np.isnan(poses.confidence), -1, poses.confidence).round(4).tolist(),
    }


def main() -> None:
    """Render the pictures if there are none (CC0: no lab's data), then predict."""
    from converters.synthetic import LABS, render_frame

    FOLDER.mkdir(exist_ok=True)
    for seed in SEEDS:
        path = FOLDER / f"wild_{seed}.png"
        if not path.exists():
            frame = render_frame(LABS["wild"], np.random.default_rng([77, seed]))
            cv2.imwrite(
                str(path), cv2.resize(frame.image, (320, 240), interpolation=cv2.INTER_AREA)[..., ::-1]
            )
    (FOLDER / "poses.json").write_text(json.dumps(predict(), indent=0) + "\n")


if __name__ == "__main__":
    main()
