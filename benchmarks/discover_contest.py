"""Discover against other ways, on laws where the truth is known and on features: python benchmarks/discover_contest.py

    --part false-alarms    laws without structure, all sizes; a false alarm is more than one subclass
    --part power           a stratum of a share at a distance: found of 20, with the power that theory predicts
    --part scenarios       27 laws, ours and four other ways: is the number of subclasses right?
    --part digits          a small network trained on merged digits, five maps: the same question, and the Rand index
    --part clinc --clinc FILE   sentence features of CLINC150, 15 intents a domain: raw and after networks
    --part seconds         processor time

A row is written to --out as soon as it is there, and a run goes on where it stopped; discover_tables.py makes tables of
them. One thread a process. Laws: discover_laws.py. Ways: discover_ways.py.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.metrics import adjusted_rand_score

from benchmarks.discover_laws import ONE_MODE, SCENARIOS, strata
from benchmarks.discover_ways import WAYS, ours
from finegrain.empirical.hidden_classes.power import predicted_power
from finegrain.empirical.hidden_classes.tree import find_subclasses
from finegrain.theory.tools.files import to_json, write_atomic

Row = dict[str, Any]
Job = tuple[Row, Callable[[], Row]]

SIZES = [(n, d) for n in (200, 600, 2000) for d in (1, 2, 20, 64, 256)]
POWER = [
    # samples, dimensions, share, distance
    (2000, 64, 0.05, 6.0),
    (2000, 64, 0.02, 8.0),
    (2000, 64, 0.01, 10.0),
    (2000, 64, 0.5, 4.0),
    (2000, 64, 0.5, 3.5),
    (2000, 64, 0.2, 4.5),
    (2000, 64, 0.1, 5.0),
    (2000, 64, 0.02, 7.0),
    (2000, 64, 0.01, 8.0),
    (2000, 64, 0.05, 5.0),
    (20000, 64, 0.01, 8.0),
    (5000, 64, 0.02, 6.0),
    (1000, 200, 0.2, 7.0),
    (500, 20, 0.1, 6.0),
    (200, 20, 0.5, 4.0),
    (200, 20, 0.5, 5.0),
    (200, 20, 0.1, 8.0),
]
MAPS = {
    "d and d + 5": "mod",
    "2k and 2k + 1": "0,0,1,1,2,2,3,3,4,4",
    "d and 9 - d": "0,1,2,3,4,4,3,2,1,0",
    "lower and upper half": "0,0,0,0,0,1,1,1,1,1",
    "nothing merged": "0,1,2,3,4,5,6,7,8,9",
}


def false_alarms(draws: int) -> Iterator[Job]:
    """Each law at each of 15 sizes; `draws` in all for each law, spread over the sizes."""
    for law, draw in ONE_MODE.items():
        for n, d in SIZES:

            def count(draw: Any = draw, n: int = n, d: int = d) -> Row:
                each = -(-draws // len(SIZES))
                found = [
                    find_subclasses(draw(np.random.default_rng([s, n, d]), n, d), seed=s) for s in range(each)
                ]
                return {"draws": each, "alarms": sum(f.count > 1 for f in found)}

            yield {"law": law, "samples": n, "dimensions": d}, count


def power(draws: int) -> Iterator[Job]:
    """A stratum of a share at a distance from the rest, `draws` classes of each."""
    for n, d, share, distance in POWER:

        def found(n: int = n, d: int = d, share: float = share, distance: float = distance) -> Row:
            hits, index = 0, []
            for s in range(draws):
                x, label = strata(n, d, (share,), distance)(np.random.default_rng([s, n, d, 1]))
                result = find_subclasses(x, seed=s)
                hits += result.tests[0].found
                if result.tests[0].found:
                    index.append(adjusted_rand_score(label, result.subclass))
            told = predicted_power(n, d, share, distance)
            return {"draws": draws, "found": hits, "predicted": told, "rand": float(np.mean(index or [0]))}

        yield {"samples": n, "dimensions": d, "share": share, "distance": distance}, found


def scenarios(seeds: int) -> Iterator[Job]:
    """Every way on every scenario: is the number of strata right, and the adjusted Rand index."""
    for kind, members in SCENARIOS.items():
        for name, draw in members.items():
            for way, find in WAYS.items():
                for seed in range(seeds):

                    def score(draw: Any = draw, find: Any = find, seed: int = seed) -> Row:
                        x, label = draw(np.random.default_rng([seed, 27]))
                        return _score(label, find(x, seed))

                    yield {"kind": kind, "scenario": name, "way": way, "seed": seed}, score


def digits(seeds: int) -> Iterator[Job]:
    """Every way on each class of networks trained on merged digits."""
    for name, map_ in MAPS.items():
        for seed in range(seeds):

            def score(map_: str = map_, seed: int = seed) -> Row:
                x, coarse, fine = _digit_features(map_, seed)
                result = {}
                for way, find in WAYS.items():
                    scores = [
                        _score(fine[coarse == k], find(x[coarse == k], seed)) for k in range(coarse.max() + 1)
                    ]
                    result[way] = {
                        "classes": len(scores),
                        "right": sum(s["right"] for s in scores),
                        "rand": sum(s["rand"] for s in scores),
                        "found": [s["found"] for s in scores],
                    }
                return {"ways": result}

            yield {"map": name, "seed": seed}, score


def clinc(file: Path, seeds: int) -> Iterator[Job]:
    """Fifteen intents in each domain: raw sentence features, and the two hidden layers of networks."""
    for seed in range(seeds):
        for stage in ("raw", "first hidden layer", "last hidden layer"):

            def score(stage: str = stage, seed: int = seed) -> Row:
                x, domain, intent = _clinc_features(file, stage, seed)
                scores = [
                    _score(intent[domain == k], ours(x[domain == k], seed)) for k in range(domain.max() + 1)
                ]
                return {
                    "found": [s["found"] for s in scores],
                    "rand": float(np.mean([s["rand"] for s in scores])),
                }

            yield {"stage": stage, "seed": seed}, score


def seconds() -> Iterator[Job]:
    """Processor seconds of one class, median of three."""
    for n, d, parts in (
        (2000, 64, 1),
        (2000, 64, 3),
        (20000, 64, 1),
        (20000, 64, 3),
        (5000, 512, 1),
        (5000, 512, 3),
    ):

        def spent(n: int = n, d: int = d, parts: int = parts) -> Row:
            times = []
            for s in range(3):
                x, _ = strata(n, d, (1 / parts,) * (parts - 1), 8)(np.random.default_rng(s))
                began = time.process_time()
                count = find_subclasses(x, seed=s).count
                times.append(time.process_time() - began)
            return {"seconds": float(np.median(times)), "found": count}

        yield {"samples": n, "dimensions": d, "strata": parts}, spent


def _score(label: Any, found: Any) -> Row:
    count, truth = int(found.max()) + 1, len(np.unique(label))
    return {
        "found": count,
        "right": bool(count == truth),
        "rand": float(adjusted_rand_score(label, found)),
    }


def _digit_features(map_: str, seed: int) -> tuple[Any, Any, Any]:
    from finegrain.empirical.hidden_classes.look import off_classifier
    from finegrain.empirical.networks.coarse_network import train_on_coarse_labels
    from finegrain.empirical.readers.data import load

    images = load("digits")
    network = train_on_coarse_labels(images, map_, width=256, steps=1200, seed=seed)
    return off_classifier(network.features, network.classifier), network.coarse, images.train_y


def _clinc_features(file: Path, stage: str, seed: int) -> tuple[Any, Any, Any]:
    """Features of all 22,500 sentences; a network of two hidden layers learns the domains from the training split."""
    with np.load(file, allow_pickle=False) as data:
        x, domain, intent, split = (data[name] for name in ("features", "coarse_labels", "labels", "split"))
    if stage == "raw":
        return x, domain, intent
    import torch

    torch.manual_seed(seed)
    layers = [torch.nn.Linear(512, 256), torch.nn.Linear(256, 128), torch.nn.Linear(128, 10)]
    optimiser = torch.optim.Adam([p for layer in layers for p in layer.parameters()], 1e-3)
    features, labels = torch.tensor(x, dtype=torch.float32), torch.tensor(domain, dtype=torch.int64)

    def hidden(z: torch.Tensor) -> list[torch.Tensor]:
        first = torch.relu(layers[0](z))
        return [first, torch.relu(layers[1](first))]

    train = np.flatnonzero(split == 0)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        for batch in np.array_split(rng.permutation(train), len(train) // 128):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(layers[2](hidden(features[batch])[-1]), labels[batch])
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        stages = hidden(features)
    from finegrain.empirical.hidden_classes.look import off_classifier

    reader = layers[1] if stage == "first hidden layer" else layers[2]
    z = stages[0 if stage == "first hidden layer" else 1].numpy()
    last = stage == "last hidden layer"
    return (off_classifier(z, reader.weight.detach().numpy()) if last else z), domain, intent


def run(name: str, jobs: Iterator[Job], out: Path, processes: int) -> None:
    """Do what is not done yet, and write each row at once."""
    path = out / f"{name}.json"
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    left = [(key, work) for key, work in jobs if not any(key.items() <= row.items() for row in rows)]
    work = Parallel(n_jobs=processes, return_as="generator", backend="loky")(
        delayed(_done)(key, job) for key, job in left
    )
    for row in work:
        rows.append(row)
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(path, to_json(rows))


def _done(key: Row, work: Callable[[], Row]) -> Row:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return key | work()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--part", nargs="+", default=["false-alarms", "power", "scenarios", "digits", "seconds"]
    )
    parser.add_argument("--out", type=Path, default=Path("build/discover"))
    parser.add_argument("--clinc", type=Path, help="clinc150-use.npz")
    parser.add_argument("--draws", type=int, default=105, help="classes without structure of each law")
    parser.add_argument("--power-draws", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=10, help="of scenarios")
    parser.add_argument("--network-seeds", type=int, default=3, help="of digits and CLINC150")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    parts: dict[str, Callable[[], Iterator[Job]]] = {
        "false-alarms": lambda: false_alarms(args.draws),
        "power": lambda: power(args.power_draws),
        "scenarios": lambda: scenarios(args.seeds),
        "digits": lambda: digits(args.network_seeds),
        "clinc": lambda: clinc(args.clinc, args.network_seeds),
        "seconds": seconds,
    }
    for part in args.part:
        run(part, parts[part](), args.out, args.processes)


if __name__ == "__main__":
    main()
