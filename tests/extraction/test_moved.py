"""Entries that a network moves: a mask, or the number of a sample, no longer stands over what it belongs to."""

import pytest
import torch
from networks import Net
from torch import nn

from repana import ModelError, record

IDS = torch.randint(2, 50, (8, 8), generator=torch.Generator().manual_seed(0))
MASK = torch.arange(8) < torch.tensor([3, 7, 5, 2, 7, 4, 1, 6])[:, None]
TEXT = {"input_ids": IDS, "attention_mask": MASK.long()}


class Text(nn.Module):
    def __init__(self, between):
        super().__init__()
        self.e, self.o, self.between = nn.Embedding(50, 6), nn.Linear(6, 6), between

    def forward(self, input_ids, attention_mask=None):
        return self.o(self.between(self.e(input_ids)))


def slices(h):
    out = torch.zeros_like(h)
    out[:, 1:] = h[:, :-1]
    return out


def into_zeros(h):
    out = h.new_zeros(h.shape)
    out[:, 2:] = h[:, :-2]
    return out


def into_a_copy(h):
    out = h.clone()
    out[:, :-1] = h[:, 1:]
    return out


def convolved(h, front, kernel=3, dilation=1):
    """A convolution over positions with `front` zeros before them and none behind, as many positions as came."""
    weight = torch.linspace(-1, 1, 6 * 6 * kernel).view(6, 6, kernel)
    padded = nn.functional.pad(h.transpose(1, 2), (front, 0))
    return nn.functional.conv1d(padded, weight, dilation=dilation)[..., : h.shape[1]].transpose(1, 2)


def numbers(h):
    out = torch.zeros_like(h)
    out[:, torch.arange(8).roll(1)] = h
    return out


MOVES = {
    "slices": slices,
    "zeros": into_zeros,
    "copy": into_a_copy,
    "numbers": numbers,
    "transposed parts": lambda h: h.view(len(h), 2, 4, 6).transpose(1, 2).reshape(len(h), 8, 6),
    "index_copy": lambda h: torch.zeros_like(h).index_copy(1, torch.arange(8).roll(1), h),
    "scatter": lambda h: torch.zeros_like(h).scatter(1, torch.arange(7, -1, -1)[None, :, None].expand_as(h), h),
    "channel_shuffle": lambda h: torch.channel_shuffle(h[..., None], 2)[..., 0],
    "second half first": lambda h: torch.stack(h.chunk(2, 1)[::-1], 1).flatten(1, 2),
    "padding in front": lambda h: nn.functional.pad(h, (0, 0, 1, 0))[:, :-1],
    "window before its place": lambda h: convolved(h, 3),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_a_mask_does_not_follow_moved_positions(move):
    with pytest.raises(ModelError, match="RA113"):
        record(Text(move), TEXT, ["o"])


def in_place(h):
    h = h.clone()
    h[:, 1:] = h[:, 1:] * 2
    return h


def piece_by_piece(h):
    out = h.new_empty(h.shape)
    for i in (0, 4):
        out[:, i : i + 4] = h[:, i : i + 4] + 1
    return out


STAYS = {
    "causal convolution": lambda h: convolved(h, 2),
    "dilated causal convolution": lambda h: h + convolved(convolved(h, 2), 4, dilation=2),
    "in place": in_place,
    "pieces": piece_by_piece,
    "heads": lambda h: h.view(len(h), 8, 2, 3).transpose(1, 2).transpose(1, 2).reshape(len(h), 8, 6),
    "windows": lambda h: h.view(len(h), 2, 4, 6).transpose(1, 2).transpose(1, 2).reshape(len(h), 8, 6),
    "in order": lambda h: torch.zeros_like(h).index_copy(1, torch.arange(8), h),
}


@pytest.mark.parametrize("same", STAYS.values(), ids=STAYS)
def test_a_mask_follows_positions_that_stay(same):
    model = Text(same)
    with torch.no_grad():
        hidden = model(IDS)
    expected = (hidden * MASK[..., None]).sum(1) / MASK.sum(1, keepdim=True)
    torch.testing.assert_close(record(model, TEXT, ["o"])["o"], expected)


@pytest.mark.parametrize(
    "move",
    [
        lambda h: h.view(2, -1, 4).transpose(0, 1).reshape(-1, 4) if len(h) % 2 == 0 else h,
        lambda h: torch.zeros_like(h).scatter(0, torch.arange(len(h)).flip(0)[:, None].expand_as(h), h),
        lambda h: h.cumsum(0),
    ],
    ids=["transposed parts", "scatter", "running sum"],
)
def test_rows_of_other_samples_are_refused(move):
    net = Net(lambda net, x: net.h(move(net.l(x))), l=nn.Linear(6, 4), h=nn.Linear(4, 2))
    with pytest.raises(ModelError, match="RA106"):
        record(net, (torch.randn(20, 6), torch.arange(20) % 3), ["h"])


class Positions(nn.Module):
    """Takes position numbers before the ids."""

    def __init__(self):
        super().__init__()
        self.w, self.p, self.l = nn.Embedding(50, 6), nn.Embedding(20, 6), nn.Linear(6, 6)

    def forward(self, position_ids, input_ids, attention_mask):
        return self.l(self.w(input_ids) + self.p(position_ids))


@pytest.mark.parametrize("samples", [6, 8])
def test_position_numbers_that_come_first_are_no_samples(samples):
    model, places = Positions(), torch.arange(8)
    batch = {"position_ids": places, "input_ids": IDS[:samples], "attention_mask": MASK[:samples].long()}
    with torch.no_grad():
        hidden = model(places, IDS[:samples], None)
    real = MASK[:samples]
    expected = (hidden * real[..., None]).sum(1) / real.sum(1, keepdim=True)
    torch.testing.assert_close(record(model, [batch], ["l"])["l"], expected)


def test_a_convolution_over_tokens_beside_features_is_refused():
    """The spatial gate of gMLP: positions were made by weights as features were."""
    net = Net(
        lambda net, x: net.h((u := net.e(x)) * net.c(net.n(u))).mean(1),
        e=nn.Linear(4, 6),
        n=nn.LayerNorm(6),
        c=nn.Conv1d(9, 9, 1),
        h=nn.Linear(6, 3),
    )
    with pytest.raises(ModelError, match="RA108"):
        record(net, (torch.randn(24, 9, 4), torch.arange(24) % 3), ["c"], mask=False)


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(50, 6)

    def forward(self, input_ids, padding_mask):
        x = self.e(input_ids)
        return (x @ x.transpose(1, 2)).masked_fill(padding_mask.bool()[:, None], -1e9).softmax(-1) @ x


def test_an_inverted_mask_shows_at_other_layers_than_those_asked_for():
    with pytest.raises(ModelError, match="RA126"):
        record(Attends(), {"input_ids": IDS, "padding_mask": (~MASK).long()}, ["e"])
