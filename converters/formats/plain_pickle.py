"""Lists, tuples, texts and numbers out of a pickle, without unpickling.

Pandas keeps the column names of an HDF5 "table" as a pickle in an attribute. A pickle is a program,
and a stranger's label file must not run one. This module walks the opcodes with
`pickletools.genops`, which only parses, and builds plain data. Every opcode that could import or
call something (GLOBAL, REDUCE, BUILD, INST, ...) is refused because it is not among those known here.
"""

from __future__ import annotations

import pickletools
from typing import Any

_MARK = object()
_IGNORED = {"PROTO", "FRAME"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK}
_VALUES = {
    "INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "FLOAT", "BINFLOAT",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_EMPTY = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}
_MARKED = {
    "LIST": list,
    "TUPLE": tuple,
    "DICT": lambda items: dict(zip(items[::2], items[1::2], strict=True)),
}
_SMALL_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_APPEND, _SET = {"APPEND", "APPENDS"}, {"SETITEM", "SETITEMS"}
_PUT, _GET = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"GET", "BINGET", "LONG_BINGET"}
_KNOWN = {*_IGNORED, *_CONSTANTS, *_VALUES, *_EMPTY, *_MARKED, *_SMALL_TUPLES, *_APPEND, *_SET, *_PUT, *_GET}


def plain_data(pickled: bytes) -> Any:
    """The lists, tuples, dicts, texts and numbers that a pickle describes.

    Raises:
        ValueError: If the pickle is broken or describes anything else.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "STOP":
                return stack.pop()
            if opcode.name not in _KNOWN:
                raise ValueError(f"it holds more than plain data (opcode {opcode.name})")
            _step(opcode.name, argument, stack, memo)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a pickle of plain data: {error}") from error
    raise ValueError("not a pickle of plain data: it does not end")


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    """Apply one opcode to the stack."""
    if name in _VALUES:
        stack.append(argument)
    elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
    elif name in _EMPTY:
        stack.append(_EMPTY[name]())
    elif name in _MARKED:
        stack.append(_MARKED[name](_since_mark(stack)))
    elif name in _SMALL_TUPLES:
        count = _SMALL_TUPLES[name]
        items = tuple(stack[-count:])
        del stack[-count:]
        stack.append(items)
    elif name in _APPEND:
        items = [stack.pop()] if name == "APPEND" else _since_mark(stack)
        stack[-1].extend(items)
    elif name in _SET:
        items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else _since_mark(stack)
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name in _PUT:
        memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
    elif name in _GET:
        stack.append(memo[argument])


def _since_mark(stack: list[Any]) -> list[Any]:
    """Pop what was pushed after the last mark, and the mark."""
    start = max(i for i, item in enumerate(stack) if item is _MARK)
    items = stack[start + 1 :]
    del stack[start:]
    return items
