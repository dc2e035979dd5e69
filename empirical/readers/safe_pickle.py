"""Pickles of plain data, read without Python's unpickler: a pickle is a program, and this machine can do no harm.

It follows the instructions that build numbers, text, bytes, lists, tuples and dicts, and the one sequence with which
NumPy pickles an array, here of unsigned bytes. No function named in a pickle is ever looked up, so none can be called.
pickle.Unpickler with its own find_class would not do: some of its instructions allocate what the file claims, up to
64 GiB for a memo index of four bytes.

Text of Python 2 comes back as bytes, as with pickle's encoding="bytes".
"""

from __future__ import annotations

import math
import pickletools
import reprlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_AXES = 32  # of an array
MAX_INSTRUCTIONS = 2_000_000  # CIFAR-100's largest file takes about 300,000

RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
NDARRAY, DTYPE = "numpy.ndarray", "numpy.dtype"
# Instructions by what they bring: their argument as it is, Python 2's text, a new value.
VALUES = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
VALUES |= {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"}
TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}


def loads(data: bytes) -> Any:
    """The plain data of one pickle.

    Raises:
        ValueError: a damaged pickle; one that names any other function or class, which the message gives; an
            instruction or a kind of array that is not taken; more than MAX_INSTRUCTIONS instructions.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickletools warns of odd escapes in a damaged file's text
            return _followed(data)
    except _Refused as error:
        raise ValueError(str(error)) from None
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(f"is a damaged pickle: {error}") from error


def _followed(data: bytes) -> Any:
    """The one value that is left when all instructions have been followed."""
    machine = _Machine()
    for count, (instruction, argument, _) in enumerate(pickletools.genops(data)):
        if count == MAX_INSTRUCTIONS:
            raise _Refused(f"has more than {MAX_INSTRUCTIONS} instructions")
        machine.step(instruction.name, argument)
    (result,) = machine.stack
    return result


class _Refused(Exception):
    """What is no plain data."""


@dataclass(frozen=True)
class _Named:
    """A function or class that a pickle names; it is never looked up."""

    name: str


class _UnsignedBytes:
    """What numpy.dtype("u1") stands for."""


class _Unfilled:
    """An array before its shape and content are set."""


@dataclass
class _Machine:
    """The stack that the instructions work on, those set aside by each MARK, and the memo."""

    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in TEXTS:
            self.stack.append(argument.encode("latin-1"))
        elif name in NEW:
            self.stack.append(NEW[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name not in ("PROTO", "FRAME", "STOP"):
            self._combine(name, argument)

    def _combine(self, name: str, argument: Any) -> None:
        """Follow an instruction that works on the values there are."""
        match name:
            case "MARK":
                self.below.append(self.stack)
                self.stack = []
            case "APPEND":
                item = self.stack.pop()
                self._extend([item])
            case "APPENDS":
                self._extend(self._since_mark())
            case "SETITEM":
                value, key = self.stack.pop(), self.stack.pop()
                self._update([key, value])
            case "SETITEMS":
                self._update(self._since_mark())
            case "LIST":
                items = self._since_mark()  # first: it replaces the stack
                self.stack.append(items)
            case "DICT":
                items = self._since_mark()
                self.stack.append({})
                self._update(items)
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack[-int(name[-1]) :] = [tuple(self.stack[-int(name[-1]) :])]
            case "TUPLE":
                items = self._since_mark()
                self.stack.append(tuple(items))
            case "GLOBAL" | "INST":
                self.stack.append(_named(argument))
            case "STACK_GLOBAL":
                attribute, module = self.stack.pop(), self.stack.pop()
                self.stack.append(_named(" ".join([module, attribute])))
            case "REDUCE":
                arguments, function = self.stack.pop(), self.stack.pop()
                self.stack.append(_called(function, arguments))
            case "BUILD":
                state, built = self.stack.pop(), self.stack.pop()
                self.stack.append(_filled(built, state))
            case _:
                raise _Refused(f"holds the instruction {name}, which is refused: it builds no plain data")

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise ValueError(f"items for a {type(target).__name__}")
        target.extend(items)

    def _update(self, items: list[Any]) -> None:
        target, keys = self.stack[-1], items[::2]
        # A key that is a tuple of tuples could take the age of the universe to hash.
        if type(target) is not dict or not all(isinstance(key, (str, bytes)) for key in keys):
            raise ValueError("a dict's keys must be text")
        target.update(zip(keys, items[1::2], strict=True))


def _named(module_and_name: str) -> _Named:
    name = module_and_name.replace(" ", ".")
    if name not in (*RECONSTRUCT, NDARRAY, DTYPE):
        raise _Refused(f"names {name!r}, which is refused: only plain data and NumPy arrays are read")
    return _Named(name)


def _called(function: _Named, arguments: tuple[Any, ...]) -> _UnsignedBytes | _Unfilled:
    """The two calls that NumPy's pickles make, by what they mean."""
    if function.name == DTYPE and arguments[0] in (b"u1", "u1"):
        return _UnsignedBytes()
    if function.name in RECONSTRUCT and arguments[0] == _Named(NDARRAY):
        return _Unfilled()
    raise _Refused(
        f"calls {function.name} with {reprlib.repr(arguments)}, which is refused: need unsigned bytes (u1)"
    )


def _filled(built: Any, state: tuple[Any, ...]) -> _UnsignedBytes | NDArray[np.uint8]:
    """The array of a state (version, shape, dtype, is Fortran, bytes); a dtype keeps nothing of its state."""
    if isinstance(built, _UnsignedBytes):
        return built
    _, shape, dtype, fortran, content = state
    if not (
        isinstance(built, _Unfilled) and isinstance(dtype, _UnsignedBytes) and isinstance(content, bytes)
    ):
        raise _Refused(f"sets the state of a {type(built).__name__}, which is refused")
    # First: a product of long numbers takes hours, and one with a list repeats it.
    plain = type(shape) is tuple and len(shape) <= MAX_AXES
    if not (plain and all(type(n) is int and 0 <= n < 2**63 for n in shape)):
        raise ValueError(f"an array of a shape that is none for {len(content)} bytes")
    if math.prod(shape) != len(content):
        raise ValueError(f"an array of shape {reprlib.repr(shape)} with {len(content)} bytes")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")
