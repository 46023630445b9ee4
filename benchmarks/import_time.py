"""Time of `import zoo` in a fresh process, and what it must not load: `python -m benchmarks.import_time`."""

from __future__ import annotations

import statistics
import subprocess
import sys

CODE = (
    "import sys, time; start = time.perf_counter(); import zoo; t = time.perf_counter() - start; "
    "print(t, *sorted({'torch', 'pandas', 'cv2'} & set(sys.modules)))"
)


def main() -> None:
    """Print the median of seven processes."""
    lines = [
        subprocess.run(
            [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(7)
    ]
    times = sorted(float(line[0]) for line in lines)
    heavy = " ".join(lines[0][1:]) or "none of torch, pandas, cv2"
    print(
        f"import zoo: median {statistics.median(times):.3f} s "
        f"({times[0]:.3f} to {times[-1]:.3f}); loads {heavy}"
    )


if __name__ == "__main__":
    main()
