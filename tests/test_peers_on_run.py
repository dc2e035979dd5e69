"""Peers beside ours, on features made for it: hidden classes behind a large direction that the classifier reads."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks import peers_on_run

MAP = np.array([0, 1, 0, 1])


def arrays(seed=0):
    """Two hidden classes per label, 8 apart; along the classifier the features spread by 40."""
    rng, found = np.random.default_rng(seed), {"coarse_map": MAP, "classifier": np.eye(2, 8)}
    for split, n in (("train", 400), ("test", 200)):
        y = np.arange(n) % 4
        x = rng.standard_normal((n, 8)) + 8 * np.eye(8)[2 + y]
        x[:, :2] += 200 * np.eye(2)[MAP[y]] + 40 * rng.standard_normal((n, 2))
        found |= {f"{split}.as is": x, f"fine.{split}": y}
    return found


def test_each_way_has_a_row_on_the_same_features():
    found = {row["way"]: row for row in peers_on_run.rows(arrays(), None, 0)}
    assert list(found) == [*peers_on_run.PEERS, *peers_on_run.OURS]
    assert len({row["oracle"] for row in found.values()}) == 1
    # Plain k-means splits along what is largest, which no hidden class goes by; ours looks off the classifier.
    assert found["k-means"]["matched"] < 0.65 and found["k-means"]["clp"] < 0.65
    assert found["guided-mixture"]["matched"] > 0.98 and found["guided-mixture"]["clp"] > 0.98
    assert all(row["clusters"] == 4 for way, row in found.items() if way != "UMAP, HDBSCAN")


def test_a_peer_that_finds_another_number_of_clusters_is_scored_too():
    x, coarse = np.arange(12.0)[:, None], np.repeat([0, 1], 6)
    found = peers_on_run.within(
        lambda x, count, seed: 7 - np.arange(len(x)) % 3, x, coarse, np.array([2, 2]), 0
    )
    assert found.tolist() == [2, 1, 0, 2, 1, 0, 5, 4, 3, 5, 4, 3]


def test_the_program_reads_what_recover_writes(tmp_path, capsys):
    save_file(arrays(), tmp_path / "representation.safetensors")
    peers_on_run.main(tmp_path, images=100, json_file=tmp_path / "rows.json")
    assert "| guided-mixture | 4 |" in capsys.readouterr().out and (tmp_path / "rows.json").is_file()
    with pytest.raises(FileNotFoundError, match="representation"):
        peers_on_run.main(tmp_path / "absent")
