"""Pickles of plain data, and nothing else: what Python's own unpickler would build, or a refusal that names it."""

import os
import pickle
import struct
import subprocess
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finegrain.empirical.readers import safe_pickle
from finegrain.empirical.readers.testing import python2_pickle

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(plain, st.integers(0, 4))
def test_plain_data_of_every_protocol_come_back(value, protocol):
    assert safe_pickle.loads(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_what_a_pickle_holds_twice_comes_back_as_one(protocol):
    shared = ["text", 1]
    first, again = safe_pickle.loads(pickle.dumps([shared, {"key": shared}], protocol))
    assert first == shared and again["key"] is first


@given(st.integers(1, 700), st.booleans())
def test_python_2_pickles_come_back_as_by_pickle_itself(count, short):
    """The twin: pickle.loads, which would run what a pickle says."""
    array = np.arange(count * 3, dtype=np.uint8).reshape(count, 3)
    value = {
        b"data": array,
        b"labels": list(range(0, 70_000, 300))[:count],
        b"name": b"x" * (20 if short else 300),
    }
    packed = python2_pickle(value)
    ours, theirs = safe_pickle.loads(packed), pickle.loads(packed, encoding="bytes")
    np.testing.assert_array_equal(ours.pop(b"data"), theirs.pop(b"data"))
    assert ours == theirs == {key: entry for key, entry in value.items() if key != b"data"}


@pytest.mark.parametrize("array", [np.arange(6, dtype=np.uint8).reshape(2, 3), np.ones((3, 0), np.uint8)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_of_both_orders_come_back(array, order, protocol):
    packed = pickle.dumps(np.asarray(array, order=order), protocol)
    np.testing.assert_array_equal(safe_pickle.loads(packed), array)


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [
        (os.system, "touch {}", r"posix\.system"),
        (eval, "open('{}', 'w')", r"\w+\.eval"),
        (subprocess.Popen, ["touch", "{}"], r"(subprocess|commands)\.Popen"),
        (os.remove, "{}", r"posix\.remove"),
    ],
)
def test_a_function_is_refused_by_name_and_not_called(tmp_path, function, argument, name, protocol):
    target = str(tmp_path / "called")
    argument = [a.format(target) for a in argument] if isinstance(argument, list) else argument.format(target)
    for value in (Calls(function, argument), [1, {"a": Calls(function, argument)}]):
        with pytest.raises(ValueError, match=rf"names '{name}', which is refused"):
            safe_pickle.loads(pickle.dumps(value, protocol))
    assert list(tmp_path.iterdir()) == []


UNFILLED = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85R"
SHAPE, MINUS_2_MINUS_3 = b"(K\x02K\x03t", b"(J\xfe\xff\xff\xffJ\xfd\xff\xff\xfft"


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"(S'true'\nios\nsystem\n.", r"names 'os\.system', which is refused"),
        (b"\x80\x02cnumpy\ndtype\nU\x01O\x85R.", r"calls numpy\.dtype with \(b'O',\), which is refused"),
        (b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.", r"calls numpy\.ndarray with \(2147483647,\)"),
        (
            b"\x80\x02cnumpy\ndtype\ncnumpy\nndarray\n\x85R.",
            r"calls numpy\.dtype with .*ndarray.*, which is ref",
        ),
        (UNFILLED + b"(K\x01K\x01\x85N\x89U\x01xtb.", r"sets the state of a _Unfilled, which is refused"),
        (b"\x80\x02cnumpy\nndarray\n}b.", r"is a damaged pickle"),
        (b"\x80\x02K\x01Q.", r"holds the instruction BINPERSID, which is refused"),
        (b"\x80\x02\x82\x01.", r"holds the instruction EXT1, which is refused"),
        (b"\x80\x02}(K\x01\x85K\x02u.", r"a dict's keys must be text"),
        (b"\x80\x02}(U\x01au.", r"is a damaged pickle"),  # a key without a value
        (b"\x80\x02K\x01", r"is a damaged pickle: pickle exhausted before seeing STOP"),
        (b"\x80\x02h\x07.", r"is a damaged pickle"),
        (b"\x80\x02.", r"is a damaged pickle"),
        (b"\x80\x02t.", r"is a damaged pickle"),
        (b"", r"is a damaged pickle"),
        (
            python2_pickle(np.ones((2, 3), np.uint8)).replace(SHAPE, b"(K\x02K\x04t"),
            r"is a damaged pickle: an array of shape \(2, 4\) with 6 bytes",
        ),
        (
            python2_pickle(np.ones((2, 3), np.uint8)).replace(SHAPE, b"(\x88K\x06t"),  # (True, 6)
            r"is a damaged pickle: an array of a shape that is none",
        ),
        (
            python2_pickle(np.ones((2, 3), np.uint8)).replace(SHAPE, MINUS_2_MINUS_3),
            r"is a damaged pickle",
        ),
    ],
)
def test_what_is_damaged_or_no_plain_data_is_refused(packed, message):
    with pytest.raises(ValueError, match=message):
        safe_pickle.loads(packed)


def test_a_pickle_of_too_many_instructions_is_refused(monkeypatch):
    monkeypatch.setattr(safe_pickle, "MAX_INSTRUCTIONS", 100)
    with pytest.raises(ValueError, match="has more than 100 instructions"):
        safe_pickle.loads(b"\x80\x02](" + b"N" * 200 + b"e.")


# A shape of 150 times one number of 700,000 bits, and what follows a shape.
NUMBER = b"\xff" * 87_499 + b"\x7f"
HUGE_SHAPE = b"(\x8b" + struct.pack("<i", len(NUMBER)) + NUMBER + b"q\x07" + b"h\x07" * 150 + b"t"
REST = b"cnumpy\ndtype\nU\x02u1\x85R\x89U\x01xtb."


def pairs_of_pairs(depth):
    """A tuple of twice the same tuple, over and over: 2^depth leaves in a few bytes."""
    return b"\x80\x02)q\x000" + depth * b"h\x00h\x00\x86q\x000" + b"h\x00"


@pytest.mark.parametrize(
    "packed",
    [
        b"\x80\x02T" + struct.pack("<i", 2**31 - 1) + b"short",
        b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"short",
        b"\x80\x02cnumpy\ndtype\n" + pairs_of_pairs(60)[2:] + b"R.",
        b"\x80\x02}" + pairs_of_pairs(60)[2:] + b"K\x01s.",
        b"\x80\x02Nr" + struct.pack("<I", 2**32 - 1) + b"t.",
        UNFILLED + b"(K\x01" + HUGE_SHAPE + REST,
        UNFILLED + b"(K\x01(" + (b"]" * 4000 + b"a" * 3999) * 2 + b"t" + REST,
        UNFILLED + b"(K\x01J\xff\xff\xff\x0fU\x01x\x86cnumpy\ndtype\nU\x02u1\x85R\x89U\x01xtb.",
    ],
    ids=["bytes", "text", "printed", "hashed", "memo", "product", "nested", "repeated"],
)
def test_what_a_pickle_claims_costs_neither_memory_nor_time(packed):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            safe_pickle.loads(packed)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
