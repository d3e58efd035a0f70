"""Which axis is what: labels that are followed through operations, sizes that confirm, and the user's word."""

import pytest
import torch
from networks import Net
from torch import nn

from repana import InputError, ModelError, plan, record


def hooked(net, x, name):
    """What a module gives, by a hook of one's own."""
    out = []
    handle = net.eval().get_submodule(name).register_forward_hook(lambda module, args, output: out.append(output))
    with torch.no_grad():
        net(x)
    handle.remove()
    return out[0]


# --- layouts that a shape does not tell -------------------------------------------------------------------------------

LAST = lambda s, x: s.head(s.fc(s.stem(x).permute(0, 2, 3, 1)).mean((1, 2)))  # noqa: E731


def channels_last():
    return Net(LAST, stem=nn.Conv2d(3, 6, 1), fc=nn.Linear(6, 6), head=nn.Linear(6, 3))


@pytest.mark.parametrize("size", [(4, 9), (6, 6)])
def test_a_linear_layer_over_maps_has_its_features_last(size):
    net, x = channels_last(), torch.randn(12, 3, *size)
    torch.testing.assert_close(record(net, x, ["fc"])["fc"], hooked(net, x, "fc").mean((1, 2)))
    torch.testing.assert_close(record(net, x, ["stem"])["stem"], hooked(net, x, "stem").mean((2, 3)))
    frame = plan(net, x, ["stem", "fc", "head"]).frame()
    assert frame["layout"].tolist() == ["b c h w", "b h w c", "b c"]
    assert set(frame["evidence"]) == {"ops+sizes"}


@pytest.mark.parametrize("t", [16, 32])
def test_a_token_block_that_holds_a_convolution(t):
    """Also where there are as many tokens as features."""

    class Mixer(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.norm, self.conv, self.out = nn.LayerNorm(d), nn.Conv1d(d, d, 3, padding=1, groups=d), nn.Linear(d, d)

        def forward(self, x):
            return x + self.out(self.conv(self.norm(x).transpose(1, 2)).transpose(1, 2))

    net, x = nn.Sequential(Mixer(32), Mixer(32)), torch.randn(9, t, 32)
    got = record(net, x, ["0", "0.conv", "1"], mask=False)
    torch.testing.assert_close(got["1"], hooked(net, x, "1").mean(1))
    torch.testing.assert_close(got["0.conv"], hooked(net, x, "0.conv").mean(2))
    assert plan(net, x, ["0.conv", "1"], mask=False).frame()["layout"].tolist() == ["b c t", "b t c"]


def test_one_dimensional_signals_need_no_mask():
    """Channels that a network takes first make a map; only sequences may be padded."""
    net = nn.Sequential(nn.Conv1d(12, 32, 7, padding=3), nn.BatchNorm1d(32), nn.ReLU(), nn.AdaptiveAvgPool1d(1))
    x = torch.randn(30, 12, 100)
    for name in ("0", "2"):
        torch.testing.assert_close(record(net, x, [name])[name], hooked(net, x, name).mean(2))


def test_patch_merging_makes_features_of_four_places():
    class Merging(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.norm, self.reduction = nn.LayerNorm(4 * c), nn.Linear(4 * c, 2 * c, bias=False)

        def forward(self, x):
            return self.reduction(self.norm(torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)))

    net, x = nn.Sequential(Merging(8), nn.GELU()), torch.randn(7, 6, 6, 8)
    got = record(net, x, ["0", "0.norm", "1"])
    torch.testing.assert_close(got["0"], hooked(net, x, "0").mean((1, 2)))
    torch.testing.assert_close(got["0.norm"], hooked(net, x, "0.norm").mean((1, 2)))
    torch.testing.assert_close(got["1"], hooked(net, x, "1").mean((1, 2)))


def test_windows_on_the_axis_of_the_samples():
    """(b w) t c, as window attention has it: one row a sample."""

    def forward(net, x):
        b, _, h, w = x.shape
        h = net.stem(x).permute(0, 2, 3, 1).reshape(b, h // 2, 2, w // 2, 2, 8).transpose(2, 3).reshape(-1, 4, 8)
        return net.head(net.attn(h).reshape(b, -1, 8).mean(1))

    net = Net(forward, stem=nn.Conv2d(3, 8, 1), attn=nn.Linear(8, 8), head=nn.Linear(8, 2))
    x = torch.randn(5, 3, 4, 6)
    torch.testing.assert_close(
        record(net, x, ["attn"])["attn"], hooked(net, x, "attn").reshape(5, 6, 4, 8).mean((1, 2))
    )
    assert plan(net, x, ["attn"]).frame()["layout"].item() == "(b w) t c"


@pytest.mark.parametrize("batch", [1, 2, 4, 5])
def test_a_batch_as_large_as_another_axis(batch):
    net, x = Net(lambda s, x: s.lin(x.transpose(1, 2)), lin=nn.Linear(4, 4)), torch.randn(batch, 4, 4)
    torch.testing.assert_close(record(net, x, ["lin"], mask=False, layout={"lin": "b t c"})["lin"],
                               hooked(net, x, "lin").mean(1))  # fmt: skip
    net = Net(lambda s, x: s.lin(s.stem(x).transpose(1, 2)), stem=nn.Conv1d(4, 4, 1), lin=nn.Linear(4, 4))
    torch.testing.assert_close(record(net, x, ["lin"], batch_size=batch)["lin"], hooked(net, x, "lin").mean(1))


ORDER = torch.tensor([2, 0, 1, 3, 5, 4])


def written(h, places):
    out = torch.zeros_like(h)
    out[places] = h
    return out


ELSEWHERE = {
    "flip": lambda h: h.flip(0),
    "roll": lambda h: h.roll(1, 0),
    "roll of all": lambda h: h.roll(1),
    "sorted by content": lambda h: h[h[:, 0].argsort()],
    "constants": lambda h: h[ORDER[len(h) > ORDER]],
    "chosen": lambda h: h.index_select(0, ORDER[len(h) > ORDER]),
    "shifted": lambda h: torch.cat([h[1:], h[:1]]),
    "halves swapped": lambda h: torch.cat(h.chunk(2)[::-1]),
    "even, then odd": lambda h: torch.cat([h[::2], h[1::2]]),
    "padded and cut": lambda h: nn.functional.pad(h, (0, 0, 1, 0))[:-1],
    "written in reverse": lambda h: written(h, torch.arange(len(h)).flip(0)),
    "written by rank": lambda h: written(h, h[:, 0].argsort()),
    "scattered": lambda h: torch.zeros_like(h).scatter(0, h[:, :1].argsort(0).expand_as(h), h),
    "grouped": lambda h: torch.cat([h[h[:, 0] > h[:, 0].mean()], h[h[:, 0] <= h[:, 0].mean()]]),
    "one by one": lambda h: torch.stack([h[i] for i in h[:, 0].argsort().tolist()]),
    "by a product": lambda h: nn.functional.one_hot(h[:, 0].argsort(), len(h)).float() @ h,
}


@pytest.mark.parametrize("how", ELSEWHERE)
def test_rows_in_another_order_are_refused(how):
    """Row i of the labels must be row i of the features; values in two other orders tell, whatever the operations
    are."""
    torch.manual_seed(3)
    move = ELSEWHERE[how]
    net = Net(lambda s, x: s.head(move(s.lin(x))), lin=nn.Linear(4, 4), head=nn.Linear(4, 2))
    x = torch.randn(6, 4)
    with pytest.raises(ModelError) as error:
        record(net, x, ["head"])
    assert str(error.value) == (
        "RA106: 'head' has shape (6, 2) for 6 samples, and its rows are not in their order: the network sorts, "
        "shifts or "
        "shuffles them. Record a layer before that, or behind where the order is restored."
    )
    got = record(net, (x, torch.arange(6) % 2), "*")
    assert list(got) == ["lin"]
    assert got.logits is None
    assert "RA106: left out 'head'; rows are not in the order of the samples" in got.provenance["notes"]


RESTORED = {
    "in order": lambda h: h[torch.arange(len(h))],
    "features alone": lambda h: h.flip(1).sort(-1)[0].topk(4)[0],
    "sorted and back": lambda h: h[h[:, 0].argsort()][h[:, 0].argsort().argsort()],
    "chunks in order": lambda h: torch.cat([part * 2 for part in h.chunk(3)]),
    "row by row": lambda h: torch.stack([row * 2 for row in h]),
}


@pytest.mark.parametrize("how", RESTORED)
def test_an_order_that_is_restored_is_seen(how):
    keep = RESTORED[how]
    net = Net(lambda s, x: s.head(keep(s.lin(x))), lin=nn.Linear(4, 4), head=nn.Linear(4, 2))
    x = torch.randn(6, 4)
    torch.testing.assert_close(record(net, x, ["head"])["head"], hooked(net, x, "head"))


def test_features_that_are_random_are_not_held_against_their_order():
    net = Net(lambda s, x: s.head(s.lin(x)[torch.arange(len(x))] + torch.randn(len(x), 4)),
              lin=nn.Linear(4, 4), head=nn.Linear(4, 2))  # fmt: skip
    assert list(record(net, torch.randn(6, 4), ["head"])) == ["head"]


@pytest.mark.parametrize("what", ["gain", "norm"])
def test_features_of_raw_sequences_under_something_learned_over_time(what):
    """A linear map over raw numbers and a gain for each step: which of both axes holds features is not shown."""

    class Gained(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin, self.norm, self.out = nn.Linear(5, 7), nn.BatchNorm1d(6), nn.Linear(7, 7)
            self.gain = nn.Parameter(torch.rand(6, 1))

        def forward(self, x):
            h = self.lin(x)
            return self.out(h * self.gain if what == "gain" else self.norm(h))

    net, x = Gained(), torch.randn(8, 6, 5)
    with pytest.raises(ModelError, match='RA108: .* layout={"lin": "b c t"} or "b t c"'):
        record(net, x, ["lin"], mask=False)
    got = record(net, x, ["lin"], mask=False, layout={"lin": "b t c"})["lin"]
    torch.testing.assert_close(got, hooked(net, x, "lin").mean(1))


def test_a_network_that_writes_into_its_buffers_is_left_as_it_was():
    class Bank(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(4, 4)
            self.register_buffer("bank", torch.zeros(4))

        def forward(self, x):
            h = self.lin(x) + self.bank
            self.bank += h.mean(0)
            self.bank = self.bank * 0.5
            return h

    net, x = Bank(), torch.randn(6, 4)
    bank = net.bank
    got = record(net, x, ["output"])["output"]
    assert net.bank is bank
    assert torch.equal(bank, torch.zeros(4))
    torch.testing.assert_close(got, net.eval()(x).detach())


def test_a_scripted_part_of_an_eager_network():
    body = torch.jit.script(nn.Sequential(nn.Linear(4, 4)))
    net = Net(lambda s, x: s.head(s.body(x)), body=body, head=nn.Linear(4, 2))
    x = torch.randn(6, 4)
    torch.testing.assert_close(record(net, x, ["head"])["head"], net.head(net.body(x)).detach())


def test_what_does_not_depend_on_the_samples_is_refused():
    """A table that is expanded to the batch's size follows it in size alone."""
    net = Net(lambda s, x: s.lin(x) + s.table(torch.arange(3).expand(len(x), 3)).mean(1),
              lin=nn.Linear(4, 5), table=nn.Embedding(3, 5))  # fmt: skip
    with pytest.raises(ModelError) as error:
        record(net, torch.randn(6, 4), ["table"])
    assert str(error.value) == (
        "RA106: 'table' has shape (6, 3, 5) for 6 samples and does not depend on the samples (a table of weights, or "
        "something computed from sizes alone); leave it out."
    )
    got = record(net, torch.randn(6, 4), "*")
    assert list(got) == ["lin"]
    assert got.provenance["notes"][0].startswith("RA106: left out 'table'; 'table' has shape (6, 3, 5)")


def test_computed_outside_torch_is_decided_by_sizes():
    net = Net(lambda s, x: s.head(torch.from_numpy(s.lin(x).numpy() * 2)), lin=nn.Linear(4, 5), head=nn.Linear(5, 2))
    x = torch.randn(7, 4)
    torch.testing.assert_close(record(net, x, ["head"])["head"], hooked(net, x, "head"))
    assert plan(net, x, ["head"]).frame()["evidence"].item() == "sizes"


def test_length_decides_where_operations_are_silent():
    """Tokens through an operation without a rule: the axis that follows neither samples nor length holds features."""
    outside = lambda h: torch.from_numpy(h.detach().numpy() * 2)  # noqa: E731

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.norm = nn.Embedding(20, 6), nn.Identity()

        def forward(self, input_ids, attention_mask):
            return self.norm(outside(self.embed(input_ids)))

    mask = torch.arange(5) < torch.tensor([2, 5, 3, 4, 5, 1, 5])[:, None]
    batch = {"input_ids": torch.randint(0, 20, (7, 5)), "attention_mask": mask.long()}
    net = Tokens()
    got = record(net, batch, ["norm"], mask={"norm": "attention_mask"})["norm"]
    out = net(**batch).detach()
    torch.testing.assert_close(got, (out * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
    assert plan(net, batch, ["norm"], mask=False).frame()["layout"].item() == "b t c"


def test_packed_sequences():
    def forward(net, x):
        lengths = torch.full((len(x),), x.shape[1])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        out, _ = nn.utils.rnn.pad_packed_sequence(net.rnn(packed)[0], batch_first=True)
        return net.head(out)

    net, x = Net(forward, rnn=nn.LSTM(4, 6, batch_first=True), head=nn.Linear(6, 3)), torch.randn(5, 7, 4)
    torch.testing.assert_close(record(net, x, ["head"], mask=False)["head"], hooked(net, x, "head").mean(1))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_packed_sequences_of_unsorted_lengths(kind):
    """Torch sorts them by length and back; the mask stays over the tokens."""

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.rnn = nn.Embedding(20, 6), kind(6, 5, batch_first=True, bidirectional=True)
            self.head = nn.Linear(10, 3)

        def forward(self, input_ids, attention_mask):
            lengths, t = attention_mask.sum(1).cpu(), input_ids.shape[1]
            packed = nn.utils.rnn.pack_padded_sequence(
                self.embed(input_ids), lengths, batch_first=True, enforce_sorted=False
            )
            out, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=t)
            return self.head(out)

    net, ids = Tagger(), torch.randint(0, 20, (9, 7))
    mask = (torch.arange(7) < torch.tensor([3, 7, 5, 2, 7, 4, 1, 6, 7])[:, None]).long()
    batch = {"input_ids": ids, "attention_mask": mask}
    out = net(**batch).detach()
    want = (out * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(record(net, [batch], ["head"])["head"], want)


def test_two_axes_of_samples_are_refused():
    net = Net(lambda s, x: s.act(s.lin(x) @ s.lin(x).T), lin=nn.Linear(4, 4), act=nn.ReLU())
    with pytest.raises(ModelError) as error:
        record(net, torch.randn(6, 4), ["act"])
    assert "axes 0 and 1 both hold samples" in str(error.value)


def test_complex_layers_are_real_and_imaginary_parts():
    net = Net(lambda s, x: s.act(torch.fft.rfft(s.lin(x))), lin=nn.Linear(8, 8), act=nn.Identity())
    x = torch.randn(9, 8)
    want = hooked(net, x, "act")
    torch.testing.assert_close(record(net, x, ["act"])["act"], torch.cat([want.real, want.imag], 1))
    assert plan(net, x, ["act"]).layers[0].notes == ("complex: real parts, then imaginary parts",)


@pytest.mark.parametrize("store", ["sparse", "bfloat16", "float8"])
def test_other_storage(store):
    kinds = {
        "sparse": lambda h: h.to_sparse(),
        "bfloat16": lambda h: h.bfloat16(),
        "float8": lambda h: h.to(torch.float8_e4m3fn),
    }
    net = Net(lambda s, x: s.act(kinds[store](s.lin(x))), lin=nn.Linear(4, 4), act=nn.Identity())
    x = torch.randn(6, 4)
    want = hooked(net, x, "act")
    want = want.to_dense() if store == "sparse" else want.float()
    assert list(record(net, x, "*")) == ["lin", "act"]
    torch.testing.assert_close(record(net, x, ["act"])["act"], want)


# --- the user's word --------------------------------------------------------------------------------------------------


def test_unclear_axes_are_refused_with_the_line_to_copy():
    """A linear map over tokens, then one over features: both axes were made by weights."""
    net = Net(lambda s, x: s.features(s.time(x.transpose(1, 2)).transpose(1, 2)),
              time=nn.Linear(7, 7), features=nn.Linear(9, 9))  # fmt: skip
    x = torch.randn(64, 7, 9)
    with pytest.raises(ModelError) as error:
        record(net, x, ["time"], mask=False)
    assert str(error.value) == (
        "RA108: 'time' (64, 9, 7): weights mix axes of the input in both directions. Say which is which: "
        'layout={"time": "b c t"} or "b t c".'
    )
    got = record(net, x, ["time"], mask=False, layout={"time": "b c t"})["time"]
    torch.testing.assert_close(got, hooked(net, x, "time").mean(2))
    assert plan(net, x, ["time"], mask=False, layout={"t*": "b c t"}).frame()["evidence"].item() == "yours"
    whole = record(net, x, ["time|flatten"])["time|flatten"]
    torch.testing.assert_close(whole, hooked(net, x, "time").flatten(1))


def test_layouts_by_letters():
    net, x = nn.Sequential(nn.Conv2d(3, 6, 1)), torch.randn(8, 3, 4, 5)
    out = hooked(net, x, "0")
    for letters, want in {
        "b c h w": out.mean((2, 3)),
        "b h c w": out.mean((1, 3)),
        "b c c w": out.mean(3).flatten(1),
        "b x y c": out.mean((1, 2)),
    }.items():
        torch.testing.assert_close(record(net, x, ["0"], layout=letters)["0"], want)
    merged = Net(lambda s, x: s.lin(x.flatten(0, 1)), lin=nn.Linear(4, 3))
    x = torch.randn(6, 5, 4)
    got = record(merged, x, ["lin"], layout={"lin": "(b w) c"}, mask=False)["lin"]
    torch.testing.assert_close(got, merged.lin(x).detach().mean(1))


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        (
            {"0": "b c"},
            "RA123: `layout` of '0' is 'b c', which expects 2 axes; got shape (8, 6, 4, 5).",
        ),
        (
            {"0": "c h w t"},
            "RA123: `layout` of '0' is 'c h w t'; expected b exactly once, such as 'b c h w', 'b t c', 't b c' or "
            "'(b w) t c' (b samples, c features, n rows of `groups=`, 1 an axis of size one, any other letter a "
            "position).",
        ),
        (
            {"0": "b 1 h w"},
            "RA123: `layout` of '0' is 'b 1 h w', which expects size 1 on axis 1; got shape (8, 6, 4, 5).",
        ),
        (
            {"0": "h c b w"},
            "RA106: '0' (8, 6, 4, 5): `layout` 'h c b w' puts the samples on axis 2, but with fewer samples the "
            "size of "
            "axis 0 changed. Correct the layout.",
        ),
        ({"conv": "b c h w"}, "RA123: `layout` names 'conv', but the layers to record are '0'."),
        (
            {"0": "b (c h) w"},
            "RA123: `layout` of '0' is 'b (c h) w'; expected b in every pair of brackets, such as 'b c h w', 'b t c', "
            "'t b c' or '(b w) t c' (b samples, c features, n rows of `groups=`, 1 an axis of size one, any other "
            "letter a position).",
        ),
    ],
)
def test_layouts_that_are_refused(layout, text):
    with pytest.raises(ModelError) as error:
        record(nn.Sequential(nn.Conv2d(3, 6, 1)), torch.randn(8, 3, 4, 5), ["0"], layout=layout)
    assert str(error.value) == text


# --- rows that belong to samples --------------------------------------------------------------------------------------


class Graphs:
    """Stands for a batch of graphs: nodes, and of every node its graph."""

    def __init__(self, graphs, nodes=10):
        self.x, self.batch = torch.randn(graphs * nodes, 8), torch.arange(graphs).repeat_interleave(nodes)
        self.graphs = graphs


def pooled(net, g):
    h = net.nodes(g.x).relu()
    return net.head(torch.zeros(g.graphs, h.shape[1]).index_add(0, g.batch, h) / 10)


def test_nodes_are_averaged_over_their_graph():
    """Also with as many units as graphs."""
    net = Net(pooled, nodes=nn.Linear(8, 16), head=nn.Linear(16, 3))
    batches = [(Graphs(16), [i % 3 for i in range(16)]) for _ in range(2)]
    got = record(net, batches)
    want = torch.cat([net.nodes(g.x).detach().view(16, 10, 16).mean(1) for g, _ in batches])
    torch.testing.assert_close(got["nodes"], want)
    assert got.labels.tolist() == [i % 3 for i in range(16)] * 2
    assert "mean over the rows that 'batch' gives each sample" in plan(net, batches).layers[0].notes[0]


def test_nodes_without_pooling_need_groups():
    net = Net(lambda s, g: s.nodes(g.x), nodes=nn.Linear(8, 16))
    batches = [(Graphs(16), [i % 3 for i in range(16)])]
    with pytest.raises(ModelError) as error:
        record(net, batches, ["nodes"])
    assert str(error.value) == (
        "RA124: 'nodes' has 160 rows for 16 samples, and no operation showed which row belongs to which sample. Name "
        "the input that does with groups= ('batch'), or record a layer behind the pooling."
    )
    got = record(net, batches, ["nodes"], groups="batch")["nodes"]
    torch.testing.assert_close(got, net.nodes(batches[0][0].x).detach().view(16, 10, 16).mean(1))
    with pytest.raises(InputError) as error:
        record(net, batches, ["nodes"], groups="graph")
    assert str(error.value) == (
        "RA124: `groups` is 'graph'; expected an input of the batch with one whole number for each of the 160 rows, "
        "got "
        "no such tensor. The batch has 'x', 'batch'."
    )


def test_nodes_are_the_samples_where_labels_count_nodes():
    class Aggregating(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(10, 16), nn.Linear(16, 4)

        def forward(self, x, edge_index):
            h = self.first(x).relu()
            return self.last(torch.zeros_like(h).index_add(0, edge_index[1], h[edge_index[0]]))

    net = Aggregating()
    batch = {"x": torch.randn(50, 10), "edge_index": torch.randint(0, 50, (2, 200)), "y": torch.randint(0, 4, (50,))}
    got = record(net, [batch])
    torch.testing.assert_close(got["first"], net.first(batch["x"]).detach())
    assert got.labels.tolist() == batch["y"].tolist()
    assert got.provenance["notes"] == ["probed on a whole batch"]


# --- what the probe cuts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 4, 32])
def test_a_matrix_with_as_many_rows_as_samples_is_not_cut(n):
    class Basis(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Linear(10, n)

        def forward(self, x, basis):
            return self.f(x) @ basis

    net, x = Basis(), torch.randn(n, 10)
    got = record(net, [{"x": x, "basis": torch.eye(n), "y": torch.arange(n) % 2}], ["f"])
    torch.testing.assert_close(got["f"], net.f(x).detach())


@pytest.mark.parametrize("size", [6, 8])
def test_positions_as_many_as_samples(size):
    class Embedding(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places, self.lin = nn.Embedding(50, 6), nn.Embedding(20, 6), nn.Linear(6, 6)

        def forward(self, input_ids, position_ids, attention_mask):
            return self.lin(self.words(input_ids) + self.places(position_ids))

    net, ids = Embedding(), torch.randint(0, 50, (24, 8))
    mask = (torch.arange(8) < 6).long().expand(24, 8)
    batches = [
        {"input_ids": ids[i : i + size], "position_ids": torch.arange(8), "attention_mask": mask[i : i + size]}
        for i in range(0, 24, size)
    ]
    got = record(net, batches, "*")
    want = (net.words(ids) + net.places(torch.arange(8)))[:, :6]
    assert list(got) == ["words", "lin"]  # the table of places has no samples
    torch.testing.assert_close(got["lin"], net.lin(want).detach().mean(1))


def test_pairs_of_samples():
    """A model that needs an even number: probed all the same."""

    def forward(net, x):
        h = net.body(x)
        return net.head(h[::2] - h[1::2])

    net, x = Net(forward, body=nn.Linear(4, 5), head=nn.Linear(5, 2)), torch.randn(12, 4)
    torch.testing.assert_close(record(net, x, ["body"], batch_size=6)["body"], net.body(x).detach())
    with pytest.raises(ModelError, match="RA106: 'head' has shape .* for 6 samples: axis 0 does not have one row"):
        record(net, x, ["head"], batch_size=6)


@pytest.mark.parametrize("probe", [2, 5, "batch"])
def test_the_probe_takes_as_many_samples_as_asked_for(probe):
    seen = []
    net = Net(lambda s, x: (seen.append(len(x)), s.lin(x))[1], lin=nn.Linear(4, 5))
    plan(net, torch.randn(12, 4), ["lin"], probe=probe)
    assert seen[0] == (12 if probe == "batch" else probe)
    with pytest.raises(InputError) as error:
        plan(net, torch.randn(12, 4), probe=1)
    assert str(error.value) == "RA212: `probe` is 1; expected a whole number of samples of at least 2, or 'batch'."


def test_a_layer_called_past_its_hooks():
    def forward(net, x):
        return net.block.forward(x)

    net = Net(forward, block=Net(lambda s, x: s.lin(x), lin=nn.Linear(4, 4)))
    with pytest.raises(ModelError) as error:
        record(net, torch.randn(5, 4), ["block"])
    assert str(error.value) == (
        "RA102: 'block' is in the model but was called as `block.forward(...)`, past its hooks, so its output "
        "cannot be "
        "taken. Record what ran inside: 'block.lin'."
    )


def test_a_network_of_one_layer_is_its_input_and_its_output():
    assert list(record(torch.nn.Linear(4, 7), torch.randn(5, 4)).layers) == ["input", "output"]
