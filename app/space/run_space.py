"""The demo as a Hugging Face Space: copy this folder into a Space of the kind Gradio.

Not called app.py, since `import app` must find the installed package.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from app.cli import main

_OPTIONS = ("POOL", "ANNOTATIONS", "VOCABULARY", "KEYPOINTS", "CONTRIBUTE_TO")
"""Variables of the Space, each of which becomes the option of `zoo app` of that name."""


def arguments() -> list[str]:
    """What `zoo app` is called with."""
    examples = Path(__file__).parent / "examples"
    found = ["app", "--host", "0.0.0.0", "--port", "7860"]
    if examples.is_dir():
        found += ["--examples", str(examples)]
    for name in _OPTIONS:
        if value := os.environ.get(name, "").strip():
            found += [f"--{name.lower().replace('_', '-')}", value]
    return found


if __name__ == "__main__":
    sys.exit(main(arguments()))
