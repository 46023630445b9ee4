"""Packages that offer names without importing the modules behind them until one is used (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package whose public names load when they are first used.

    Type checkers do not run them, so the package also imports the names under `TYPE_CHECKING`.

    Args:
        package: The package's `__name__`.
        modules: Module -> the public names that it has.

    Returns:
        `__getattr__`, and `__dir__`, which lists the package's `__all__`.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    def public() -> list[str]:
        return sorted(sys.modules[package].__all__)

    return load, public
