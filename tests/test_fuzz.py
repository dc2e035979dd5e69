"""Every reader on damaged inputs (benchmarks/fuzz), few of them; and that the fuzzer sees what it must see."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finegrain.empirical.readers import safe_pickle
from finegrain.sims.sweeps.points import KEYS, read_points

ROOT = Path(__file__).parents[1]


FAULTS = {
    "another exception": "raise KeyError('input')",
    "a message without the input's name": "raise ValueError('what?')",
    "an error of a library": "b'\\xff'.decode()",
    "a warning": "import warnings; warnings.warn('input')",
    "memory": "bytearray(1 << 30)",
    "code run": "exec('1 + 1')",
    "a process": "import os; os.system('true')",
    "a file written elsewhere": "open('ELSEWHERE', 'a').close()",
    "a file read elsewhere": "open('/etc/passwd').close()",
    "a folder made elsewhere": "import os; os.makedirs('ELSEWHERE.d')",
    "a file removed elsewhere": "import os; os.unlink('ELSEWHERE')",
}
SCRIPT = """
import sys, tempfile
from pathlib import Path
from benchmarks.fuzz import __main__ as fuzz
from benchmarks.fuzz.guard import Watch
from benchmarks.fuzz.readers import Target

faults, sys.argv = sys.argv[1:], ["fuzz", "--inputs", "100", "--seed", "suite"]
failed = fuzz.main()  # whose limit on memory and whose view of warnings stay
with tempfile.TemporaryDirectory() as scratch:
    watch = Watch(Path(scratch), Path.cwd())
    for code in faults:
        found = {}
        exec(f"def read(folder):\\n    {code}", found)
        report = fuzz._fuzz(Target(code, lambda folder, rng: None, found["read"]), 1, "0", Path(scratch), watch, None)
        print("FOUND" if report["failures"] else "MISSED", code)
sys.exit(failed)
"""
SOUND = ["folder.exists()", "raise ValueError('input is damaged')", "(folder / 'a').write_bytes(b'a')"]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """The faults, and the fuzzer's run on every reader and then on faults: a process of its own, with little memory."""
    elsewhere = str(tmp_path_factory.mktemp("fuzzed") / "elsewhere")
    faults = [code.replace("ELSEWHERE", elsewhere) for code in FAULTS.values()]
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, *faults, *SOUND]
    return faults, subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_fuzzer_finds_what_a_reader_must_not_do(fuzzed):
    faults, result = fuzzed
    verdicts = [line for line in result.stdout.splitlines() if line.startswith(("FOUND", "MISSED"))]
    expected = [f"FOUND {code}" for code in faults] + [f"MISSED {code}" for code in SOUND]
    assert verdicts == expected, result.stdout + result.stderr


def test_every_reader_reads_or_refuses_damaged_inputs(fuzzed):
    _, result = fuzzed
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line for line in result.stdout.splitlines() if " inputs: " in line]
    readers = [line for line in lines if " 100 inputs: " in line]
    assert len(readers) >= 13 and all(", 0 failed" in line for line in readers), result.stdout
    assert len(lines) == len(readers) + len(FAULTS) + len(SOUND)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_pickle_of_plain_data_or_refused(content):
    try:
        safe_pickle.loads(b"\x80\x02" + content + b".")
    except ValueError as error:
        assert type(error) is ValueError and str(error)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=2),
    max_leaves=6,
)
tables = st.dictionaries(st.sampled_from([*KEYS, "grid", "points", "S", "other"]), values, max_size=4)


@given(tables)
def test_any_sweep_config_gives_points_or_is_refused(table):
    try:
        assert read_points({"times": [1.0]} | table)
    except ValueError as error:
        assert type(error) is ValueError and str(error)


@pytest.mark.parametrize("depth", [10_000])
def test_nesting_beyond_pythons_own_limit_is_refused(tmp_path, depth):
    config = tmp_path / "sweep.toml"
    config.write_text("times = " + "[" * depth + "]" * depth)
    with pytest.raises(ValueError, match=r"sweep\.toml must be a TOML file"):
        read_points(config)
