"""The last layer of a network: found in a file, alone or beside other arrays."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from finegrain.empirical.readers.array_files import read_json
from finegrain.empirical.readers.classifier import read_linear

X = np.random.default_rng(0).standard_normal((23, 3)).astype(np.float32)
Y = np.arange(23) % 3


def test_a_classifier_is_found_beside_other_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", **{"fc.weight": X, "fc.bias": X[:, 0], "features": X, "labels": Y})
    save_file(
        {"weight": torch.from_numpy(X).half(), "features": torch.from_numpy(X)}, tmp_path / "a.safetensors"
    )
    np.save(tmp_path / "a.npy", X)
    for spec, bias in (
        ("a.npz", True),
        ("a.npz:features", False),
        ("a.safetensors", False),
        ("a.npy", False),
    ):
        weights, biases = read_linear(f"{tmp_path}/{spec}")
        np.testing.assert_allclose(weights, X, rtol=2**-10)
        assert (biases is not None) == bias
    np.savez(tmp_path / "b.npz", a=X, b=X)
    with pytest.raises(
        ValueError, match=r"one array \(K, d\) and at most one \(K,\), got a \(23, 3\), b \(23, 3\)"
    ):
        read_linear(tmp_path / "b.npz")
    (tmp_path / "a.json").write_text("{")
    for call in (lambda: read_linear(tmp_path / "a.json"), lambda: read_json(tmp_path / "a.json")):
        with pytest.raises(ValueError, match=r"a\.json"):
            call()
