"""Which axis is which: layers of every layout give the mean over their positions, and what is ambiguous is refused."""

import pytest
import torch
from torch import nn

from finegrain.empirical.readers.hooks import layer_batches

N = 6


def rows(model, x, layer, labels=None, **options):
    labels = torch.arange(len(x) if labels is None else labels) % 2
    ((h, _),) = layer_batches(model, [(x, labels)], layer, **options)
    return h


class First(nn.Module):
    """The first output of a recurrent or attention layer."""

    def __init__(self, layer, inputs=1):
        super().__init__()
        self.layer, self.inputs = layer, inputs

    def forward(self, x):
        found = self.layer(*[x] * self.inputs)
        return found[0] if isinstance(found, tuple) else found


class Permuted(nn.Module):
    """A layer inside of permutations, as norms of the channels have them."""

    def __init__(self, layer, before, after=None):
        super().__init__()
        self.layer, self.before, self.after = layer, before, after

    def forward(self, x):
        y = self.layer(x.permute(*self.before))
        return y if self.after is None else y.permute(*self.after)


class LayerNorm2d(nn.LayerNorm):
    """Of the channels of (N, c, H, W), as torchvision's."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


IMAGES, SERIES, TOKENS = (N, 3, 7, 9), (N, 3, 8), (N, 5, 4)
LAYERS = {
    "convolution 1d": (nn.Conv1d(3, 4, 2), SERIES, (2,)),
    "convolution 2d": (nn.Conv2d(3, 4, 2), IMAGES, (2, 3)),
    "convolution 3d": (nn.Conv3d(3, 4, 2), (N, 3, 4, 5, 6), (2, 3, 4)),
    "transposed convolution": (nn.ConvTranspose2d(3, 4, 2), IMAGES, (2, 3)),
    "batch norm of series": (nn.BatchNorm1d(3), SERIES, (2,)),
    "group norm": (nn.GroupNorm(1, 3), IMAGES, (2, 3)),
    "pooling": (nn.AdaptiveAvgPool2d((2, 5)), IMAGES, (2, 3)),
    "linear of tokens": (nn.Linear(4, 3), TOKENS, (1,)),
    "linear of an image's pixels": (nn.Linear(4, 3), (N, 5, 7, 4), (1, 2)),
    "layer norm": (nn.LayerNorm(4), TOKENS, (1,)),
    "recurrent, batch first": (First(nn.GRU(4, 3, batch_first=True)), TOKENS, (1,)),
    "attention, batch first": (First(nn.MultiheadAttention(4, 2, batch_first=True), 3), TOKENS, (1,)),
    "a permuted norm": (
        nn.Sequential(nn.Conv2d(3, 4, 2), Permuted(nn.LayerNorm(4), (0, 2, 3, 1))),
        IMAGES,
        (1, 2),
    ),
    "a norm permuted back": (nn.Sequential(nn.Conv2d(3, 5, 2), LayerNorm2d(5)), IMAGES, (2, 3)),
    "an activation": (nn.Sequential(nn.Conv1d(3, 4, 2), nn.GELU()), SERIES, (2,)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_features_are_means_over_the_positions_of_each_layout(name):
    torch.manual_seed(0)
    layer, shape, positions = LAYERS[name]
    model, x = nn.Sequential(layer).eval(), torch.randn(shape)
    with torch.no_grad():
        given = model(x)
    torch.testing.assert_close(rows(model, x, "0"), given.mean(positions))
    torch.testing.assert_close(rows(model, x, "0", reduce="max"), given.amax(positions))
    torch.testing.assert_close(rows(model, x, "0", reduce="flatten"), given.flatten(1))


@pytest.mark.parametrize("steps", [4, N])
@pytest.mark.parametrize(
    "layer", [nn.LSTM(3, 5), nn.RNN(3, 5), nn.TransformerEncoderLayer(3, 1, 4, dropout=0)]
)
def test_sequences_that_come_first_are_known_by_their_layer(layer, steps):
    torch.manual_seed(1)
    model, x = nn.Sequential(First(layer)).eval(), torch.randn(steps, N, 3)
    with torch.no_grad():
        given = model(x)
    torch.testing.assert_close(rows(model, x, "0.layer", N), given.mean(0))
    torch.testing.assert_close(rows(model, x, "0.layer", N, reduce="last"), given[-1])
    torch.testing.assert_close(rows(model, x, "0.layer", N, reduce="cls"), given[0])
    torch.testing.assert_close(
        rows(model, x, "0.layer", N, reduce="flatten"), given.permute(1, 0, 2).flatten(1)
    )


def test_what_follows_a_sequence_first_layer_goes_by_numbers_or_is_refused():
    model = nn.Sequential(First(nn.LSTM(3, 5)), nn.Linear(5, 4)).eval()
    x = torch.randn(7, N, 3)
    torch.testing.assert_close(rows(model, x, "1", N), model(x).detach().mean(0))
    with pytest.raises(
        ValueError, match=r"gives shape \(6, 6, 4\), as many positions as samples.*NTC or TNC"
    ):
        rows(model, torch.randn(N, N, 3), "1", N)
    x = torch.randn(N, N, 3)
    torch.testing.assert_close(rows(model, x, "1", N, axes="TNC"), model(x).detach().mean(0))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 6, 2), Permuted(nn.Identity(), (0, 2, 3, 1))),
            (N, 3, 7, 7),
        ),  # (N, 6, 6, 6)
        (Permuted(nn.Identity(), (0, 2, 1)), TOKENS),
        (nn.LayerNorm((5, 4)), TOKENS),
        (nn.Softmax(dim=1), IMAGES),
    ],
)
def test_a_layout_that_cannot_be_known_is_refused_with_the_cure(layer, shape):
    model, x = nn.Sequential(layer).eval(), torch.randn(shape)
    with pytest.raises(ValueError, match="in a layout that is not known: say axes, such as N"):
        rows(model, x, "0")
    axes = "NCHW"[: len(shape)]
    torch.testing.assert_close(
        rows(model, x, "0", axes=axes), model(x).detach().mean(tuple(range(2, len(shape)))), atol=1e-6, rtol=0
    )
    assert rows(model, x, "0", reduce=lambda h: h.flatten(1)).shape[0] == N


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 6)

    def forward(self, ids, **masks):
        return self.words(ids)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("reduce", ["mean", "max", "cls", "last"])
@pytest.mark.parametrize("name", ["attention_mask", "src_key_padding_mask"])
def test_padding_changes_no_feature(side, reduce, name):
    torch.manual_seed(2)
    model, ids = Tokens().eval(), torch.randint(1, 20, (N, 4))

    def padded(width):
        pads = torch.zeros(N, width, dtype=torch.long)
        parts = [(ids, torch.ones_like(ids)), (pads, pads)]
        ids_, kept = (torch.cat(p, 1) for p in zip(*(parts if side == "right" else parts[::-1]), strict=True))
        mask = kept if name == "attention_mask" else kept == 0
        batch = {"ids": ids_, name: mask, "labels": torch.arange(N) % 2}
        ((h, _),) = layer_batches(model, [batch], "words", reduce=reduce)
        return h

    torch.testing.assert_close(padded(9), padded(0))


def test_masks_that_do_not_fit_are_refused():
    model, ids, labels = Tokens().eval(), torch.ones(N, 4, dtype=torch.long), torch.arange(N) % 2

    def told(mask, **options):
        with pytest.raises(ValueError) as error:
            list(
                layer_batches(
                    model, [{"ids": ids, "attention_mask": mask, "labels": labels}], "words", **options
                )
            )
        return str(error.value)

    half = torch.ones(N, 4).tril()
    assert "mask 'attention_mask' with entries other than 0 and 1" in told(half * 0.5)
    assert "the attention mask (6, 3), which leaves padding out, does not fit" in told(half[:, :3])
    assert "padding, which reduce='flatten' would keep" in told(half, reduce="flatten")
    assert "leaves out every position" in told(half * 0)


def test_packed_sequences_are_means_over_their_own_lengths():
    torch.manual_seed(3)
    lengths, x = torch.tensor([5, 2, 4]), torch.randn(3, 5, 3)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    model = First(nn.GRU(3, 4, batch_first=True)).eval()
    ((h, _),) = layer_batches(model, [(packed, torch.arange(3))], "layer")
    given = [model(x[i : i + 1, :length]).detach()[0].mean(0) for i, length in enumerate(lengths)]
    torch.testing.assert_close(h, torch.stack(given))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_part_of_a_model_is_left_alone_and_is_no_layer():
    part = torch.jit.trace(nn.Linear(3, 4), torch.randn(N, 3))
    model, x = nn.Sequential(part, nn.Linear(4, 2)).train(), torch.randn(N, 3)
    torch.testing.assert_close(rows(model, x, "1"), model(x).detach())
    with pytest.raises(ValueError, match="layer '0' must be no ScriptModule, which takes no hooks"):
        rows(model, x, "0")


class Thrice(nn.Module):
    def __init__(self):
        super().__init__()
        self.step = nn.Linear(3, 3)

    def forward(self, x):
        return self.step(self.step(self.step(x)))


def test_one_call_of_several_can_be_chosen():
    model, x = Thrice().eval(), torch.randn(N, 3)
    with torch.no_grad():
        right = [model.step(x), model.step(model.step(x)), model(x)]
    for call, expected in [(0, right[0]), (1, right[1]), (-1, right[2])]:
        torch.testing.assert_close(rows(model, x, "step", call=call), expected)


@pytest.mark.parametrize(
    "changing", [nn.ReLU(inplace=True), nn.ELU(inplace=True), nn.Dropout(0.5, inplace=True)]
)
@pytest.mark.parametrize("of", ["input", "output"])
def test_what_changes_a_tensor_in_place_afterwards_does_not_change_its_features(changing, of):
    class Doubled(nn.Module):
        def forward(self, x):
            x += x
            return x

    model, x = nn.Sequential(nn.Linear(3, 4), changing, Doubled()).eval(), torch.randn(N, 3)
    right = model[0](x).detach().clone()
    torch.testing.assert_close(rows(model, x, {"input": "1", "output": "0"}[of], of=of), right)


@pytest.mark.parametrize("fails", [False, True])
def test_every_module_keeps_its_own_mode(fails):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)).train()
    model[1].eval()
    before = [module.training for module in model.modules()]
    batches = [(torch.randn(N, 2 if fails else 3), torch.arange(N) % 2)]
    if fails:
        with pytest.raises(RuntimeError, match="mat1 and mat2"):
            list(layer_batches(model, batches, "3"))
    else:
        for _ in layer_batches(model, batches * 2, "3"):
            assert [module.training for module in model.modules()] == before
    assert [module.training for module in model.modules()] == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_inputs_may_be_a_tuple_a_dictionary_or_arrays():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(5, 4)

        def forward(self, a, b):
            return self.one(a) + self.two(b)

    model, a, b, y = Sum().eval(), torch.randn(N, 3), torch.randn(N, 5), [0, 1] * 3
    for inputs in ((a, b), [a, b], {"b": b, "a": a}, (a.numpy(), b.numpy())):
        ((h, labels),) = layer_batches(model, [(inputs, y)], "two")
        torch.testing.assert_close(h, model.two(b).detach())
        assert labels.tolist() == y
