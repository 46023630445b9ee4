"""Peak memory of `zoo predict` on a video, and on the same video ten times over.

Run it with `python -m benchmarks.memory`.

Each measurement is a process of its own; the peak is the kernel's (getrusage of the children).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.data import VIDEO, need

REPEATS = 10


def repeated(video: Path, out: Path, times: int) -> Path:
    """The video `times` times over, in one file."""
    import cv2

    target = out / f"x{times}.mp4"
    writer = None
    for _ in range(times):
        reader = cv2.VideoCapture(str(video))
        while True:
            there, frame = reader.read()
            if not there:
                break
            if writer is None:
                size = (frame.shape[1], frame.shape[0])
                writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, size)
            writer.write(frame)
    if writer is not None:
        writer.release()
    return target


def measure(video: Path, out: Path) -> float:
    """Peak memory in MiB of predicting a video, in a fresh process."""
    code = (
        "import resource, sys\nfrom app.cli import main\n"
        "code = main(['predict', sys.argv[1], '--out', sys.argv[2], '--quiet', '--variant', 'compact'])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\nsys.exit(code)"
    )
    command = [sys.executable, "-c", code, str(video), str(out)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(result.stdout.splitlines()[-1]) / 1024


def main() -> None:
    """Measure both and print the ratio."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        once = repeated(need(VIDEO), folder, 1)
        many = repeated(need(VIDEO), folder, REPEATS)
        peak = {name: measure(path, folder / name) for name, path in (("once", once), ("many", many))}
    print(
        f"peak memory of zoo predict: {peak['once']:.0f} MiB once, {peak['many']:.0f} MiB for {REPEATS} times"
    )
    print(f"ratio {peak['many'] / peak['once']:.3f}")


if __name__ == "__main__":
    main()
