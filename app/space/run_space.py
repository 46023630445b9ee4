"""The demo as a Hugging Face Space: copy this folder into a Space of the kind Gradio.

Not called app.py, since `import app` must find the installed package.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from app.web.main import serve
from app.web.settings import Settings

if __name__ == "__main__":
    examples = Path(__file__).parent / "examples"
    with tempfile.TemporaryDirectory(prefix="zoo-app-") as root:
        serve(
            Settings(root=Path(root), examples=examples if examples.is_dir() else None),
            host="0.0.0.0",
            port=7860,
        )
