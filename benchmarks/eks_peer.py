"""Their side of the parity check: runs in an environment that has ensemble-kalman-smoother, never in ours.

    python eks_peer.py ENSEMBLES OUT.npz

writes, for every case, each column of its output tables and the smoothing parameters it chose.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

# pyright: reportMissingImports=false
from eks.ibl_paw_multicam_smoother import fit_eks_multicam_ibl_paw
from eks.ibl_pupil_smoother import fit_eks_pupil
from eks.multicam_smoother import fit_eks_mirrored_multicam, fit_eks_multicam
from eks.singlecam_smoother import fit_eks_singlecam

COLUMNS = ("x", "y", "x_ens_median", "x_ens_var", "y_ens_var", "x_posterior_var", "y_posterior_var")


def cases(data: Path, scratch: Path):
    """(name, function that returns tables and parameters) of every case, as the command line calls them."""
    fly = {"calibration": str(data / "fly" / "calibration.toml")}
    several = {
        "multicam mirror-mouse-separate": ("mirror-mouse-separate", {"camera_names": ["top", "bot"]}),
        "multicam fly": ("fly", {"camera_names": ["Cam-A", "Cam-B", "Cam-C"]}),
        "calibrated fly": ("fly", fly),
    }
    for s, label in ((10.0, "fixed"), (None, "automatic")):
        for name in ("ibl-pupil", "mirror-mouse"):
            yield (
                f"singlecam {name}/{label}/plain",
                lambda name=name, s=s: fit_eks_singlecam(
                    str(data / name), str(scratch / "one.csv"), smooth_param=s
                )[:2],
            )
        pair = [0.99, 0.98] if s else [None, None]
        yield (
            f"pupil ibl-pupil/{label}/plain",
            lambda pair=pair: fit_eks_pupil(
                str(data / "ibl-pupil"), str(scratch / "pupil.csv"), smooth_params=pair
            )[:2],
        )
        for inflate in (False, True):
            common = {"smooth_param": s, "quantile_keep_pca": 95, "inflate_vars": inflate}
            end = f"{label}/{'inflated' if inflate else 'plain'}"
            for name, (folder, more) in several.items():
                yield (
                    f"{name}/{end}",
                    lambda folder=folder, more=more, common=common: fit_eks_multicam(
                        str(data / folder), str(scratch), **common, **more
                    )[:2],
                )
            yield (
                f"mirrored mirror-mouse/{end}",
                lambda common=common: fit_eks_mirrored_multicam(
                    str(data / "mirror-mouse"), str(scratch / "m.csv"), camera_names=["top", "bot"], **common
                )[:2],
            )
            yield (
                f"paw ibl-paw/{end}",
                lambda common=common: fit_eks_multicam_ibl_paw(
                    str(data / "ibl-paw"), str(scratch), var_mode="var", **common
                )[:2],
            )


def main() -> None:
    """Run every case."""
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    arrays = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, run in cases(data, Path(scratch)):
            tables, parameters = run()
            tables = tables if isinstance(tables, list) else [tables]
            for view, table in enumerate(tables):
                names = list(dict.fromkeys(table.columns.get_level_values(1)))
                scorer = table.columns[0][0]
                for keypoint in names:
                    columns = [table[(scorer, keypoint, column)] for column in COLUMNS]
                    arrays[f"{name}|{view}|{keypoint}"] = np.stack(columns, axis=1)
            arrays[f"{name}|s"] = np.asarray(parameters, dtype=float)
            print(name, arrays[f"{name}|s"], flush=True)
    np.savez(out, **arrays)


if __name__ == "__main__":
    main()
