"""Features of a layer by a forward hook: what the layer gives, from any model, and nothing of the model changed."""

import numpy as np
import pytest
import torch
from torch import nn

import finegrain as fg
from finegrain.empirical.readers.hooks import feature_batches, layer_batches, model_batches


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
        self.twice = nn.ReLU()
        self.unused = nn.Linear(1, 1)
        self.tokens = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True)
        self.fc = nn.Linear(3 * 4, 2)

    def forward(self, x, scale=1.0):
        h = self.twice(self.twice(self.stem(x * scale)))
        self.tokens(h.flatten(2))
        return self.fc(h.flatten(1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net().train()


LOADER = [(torch.randn(5, 1, 4, 4), torch.arange(5) % 2), (torch.randn(2, 1, 4, 4), torch.tensor([1, 0]))]


def test_features_are_what_the_layer_gives_in_evaluation_mode(model):
    batches = list(layer_batches(model, LOADER, "stem"))
    assert [tuple(h.shape) for h, _ in batches] == [(5, 3), (2, 3)]
    assert torch.equal(torch.cat([y for _, y in batches]), torch.cat([y for _, y in LOADER]))
    with torch.no_grad():
        expected = model.eval().stem(LOADER[0][0])
    torch.testing.assert_close(batches[0][0], expected.mean(dim=(2, 3)))
    (flat, _), _ = layer_batches(model, LOADER, "stem", reduce="flatten")
    torch.testing.assert_close(flat, expected.flatten(1))
    (tokens, _), _ = layer_batches(model, LOADER, "tokens")
    assert tokens.shape == (5, 4)


def test_features_of_several_layers_are_those_of_each_alone(model):
    found, labels = fg.features(model, LOADER, ["tokens", "stem.0", "fc"])
    assert list(found) == ["tokens", "stem.0", "fc"]
    np.testing.assert_array_equal(labels, torch.cat([y for _, y in LOADER]))
    for layer, h in found.items():
        alone = torch.cat([h for h, _ in layer_batches(model, LOADER, layer)])
        assert (h.dtype, h.shape) == (np.float32, tuple(alone.shape))
        np.testing.assert_array_equal(h, alone)
    flat, _ = fg.features(model, LOADER, "stem.0", of="input", reduce="flatten")
    np.testing.assert_array_equal(flat["stem.0"], torch.cat([x for x, _ in LOADER]).flatten(1))


def test_each_batch_is_forgotten_when_it_has_been_given(model):
    sizes = [(found["stem"].shape[0], len(y)) for found, y in feature_batches(model, LOADER, ["stem", "fc"])]
    assert sizes == [(5, 5), (2, 2)]


def test_features_that_numpy_has_no_type_for_are_given_in_float32():
    model = nn.Sequential(nn.Linear(2, 3)).to(torch.bfloat16)
    found, _ = fg.features(model, [(torch.ones(4, 2, dtype=torch.bfloat16), torch.zeros(4))], "0")
    assert found["0"].dtype == np.float32
    exact = model(torch.ones(4, 2, dtype=torch.bfloat16)).detach().double()
    np.testing.assert_array_equal(found["0"], exact)  # every bfloat16 is a float32


def test_nothing_to_read_is_refused_by_name(model):
    with pytest.raises(ValueError, match="loader must give at least one batch, got none"):
        fg.features(model, [], "fc")
    with pytest.raises(ValueError, match="layers must name at least one layer, got none"):
        fg.features(model, LOADER, [])


def test_the_input_of_the_classifier_is_what_it_sees(model):
    h, _ = next(layer_batches(model, LOADER, "fc", of="input"))
    with torch.no_grad():
        torch.testing.assert_close(model.fc(h), model.eval()(LOADER[0][0]))


def test_the_model_is_left_as_it_was(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for stop_early in (False, True):
        for _ in layer_batches(model, LOADER, "stem.0"):
            if stop_early:
                break
        assert model.training
    with pytest.raises(ValueError, match="must run once"):
        list(layer_batches(model, LOADER, "twice"))
    with pytest.raises(ValueError, match="must run once"):
        fg.features(model, LOADER, ["stem.0", "twice"])
    assert model.training
    assert not model.stem[0]._forward_hooks and not model.twice._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_batches_may_be_dictionaries(model):
    loader = [{"x": LOADER[0][0], "scale": 0.0, "labels": LOADER[0][1]}]
    ((h, y),) = layer_batches(model, loader, "fc")
    assert torch.equal(y, LOADER[0][1])
    torch.testing.assert_close(h, h[:1].expand(5, 2).clone())  # scale 0: all inputs alike


BAD = [
    ({"layer": "stm"}, r"layer must be the name of a module of the model, got 'stm' \(nearest: stem"),
    ({"layer": ""}, "layer must be the name of a module"),
    ({"layer": "twice"}, "layer 'twice' must run once in a forward pass, got 2 times"),
    ({"layer": "unused"}, "layer 'unused' must run once in a forward pass, got 0 times"),
    ({"layer": "fc", "of": "weights"}, "of must be one of input, output; got 'weights'"),
    ({"layer": "fc", "reduce": "sum"}, "reduce must be one of cls, flatten, last, max, mean; got 'sum'"),
    ({"layer": "fc", "loader": [torch.zeros(2)]}, r"loader must give \(inputs, labels\) or a dictionary"),
    ({"layer": "fc", "loader": [{"x": 1}]}, r"with 'labels', got a dictionary of \['x'\]"),
    (
        {"layer": "fc", "loader": [(1, 2, 3)]},
        r"with 'labels', got a batch of 3 entries; several inputs are a tuple",
    ),
    (
        {"layer": "twice", "call": 2},
        "layer 'twice' must have a call 2 in a forward pass, got 2 calls, counted from 0",
    ),
    ({"layer": "stem", "axes": "NC"}, "axes must have one letter per axis, 4 in all, .* got 'NC'"),
    (
        {"layer": "stem", "reduce": "cls"},
        "layer 'stem' gives 2 axes of positions, of which reduce='cls' needs one",
    ),
    (
        {"layer": "stem", "reduce": lambda h: h},
        r"layer 'stem' gives features \(5, 3, 2, 2\) for 5 labels, and not \(N, d\): give axes or reduce",
    ),
    (
        {"layer": "fc", "loader": [(LOADER[0][0], ["a"] * 5)]},
        "labels of a batch must be integers, got str 'a'",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_calls_are_refused_by_name(model, change, message):
    with pytest.raises(ValueError, match=message):
        list(layer_batches(model, **({"loader": LOADER} | change)))


def test_a_layer_that_gives_no_tensor_is_refused():
    class Words(nn.Module):
        def forward(self, x):
            return "words"

    with pytest.raises(ValueError, match=r"layer '0' must give a tensor \(N, \.\.\.\), got str"):
        list(layer_batches(nn.Sequential(Words()), LOADER, "0"))


def test_a_model_may_come_from_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\ndef build():\n"
        "    return torch.nn.Sequential(torch.nn.Linear(2, 3)), [(torch.zeros(4, 2), torch.zeros(4))]\n"
    )
    ((h, y),) = model_batches(f"{file}:build", "0")
    assert (h.shape, y.shape) == ((4, 3), (4,))
    with pytest.raises(ValueError, match="must define a function bild, got NoneType"):
        model_batches(f"{file}:bild", "0")
    with pytest.raises(ValueError, match=r"model must be FILE\.py:FUNCTION, beside a layer, got .* and None"):
        model_batches(f"{file}:build", None)
    with pytest.raises(ValueError, match=r"model must be FILE\.py:FUNCTION, beside a layer, got .*mine.py'"):
        model_batches("mine.py", "0")
    with pytest.raises(FileNotFoundError, match=r"no file .*other\.py, of model"):
        model_batches(f"{tmp_path / 'other.py'}:build", "0")
    file.write_text("def build():\n    return None\n")
    with pytest.raises(ValueError, match="must return a torch model and its loader, got NoneType"):
        model_batches(f"{file}:build", "0")
