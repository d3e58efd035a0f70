"""Small networks that trip a reading by shape, by class or by position."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from zoo._entry import SAMPLES


class Conv1d(nn.Sequential):
    def __init__(self, width: int):
        layers = [nn.Conv1d(4, width, 3, padding=1), nn.BatchNorm1d(width), nn.ReLU()]
        layers += [nn.Conv1d(width, width, 3, padding=1), nn.BatchNorm1d(width), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, 3))


class Mixer(nn.Module):
    """Tokens in, tokens out, with a convolution over time inside."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 3, padding=1, groups=width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self.conv(self.norm(x).transpose(1, 2)).transpose(1, 2))


class Mixers(nn.Sequential):
    def __init__(self, width: int):
        super().__init__(Mixer(width), Mixer(width), Mixer(width))


class PatchMerging(nn.Module):
    """As in Swin: four neighbours become one, twice as wide."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)))


class Merged(nn.Sequential):
    def __init__(self):
        super().__init__(PatchMerging(8), nn.GELU(), PatchMerging(16), nn.GELU())


class ChannelsLast(nn.Module):
    """Six by six positions, six channels behind them, no norm in the first layers."""

    def __init__(self):
        super().__init__()
        self.stem, self.fc, self.norm, self.head = nn.Conv2d(3, 6, 1), nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(self.stem(x).permute(0, 2, 3, 1))
        return self.head(self.norm(x).mean((1, 2)))


class ChannelsFirst(nn.Sequential):
    """Six channels of six by six positions."""

    def __init__(self):
        layers = [nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.GELU(), nn.Conv2d(6, 6, 1), nn.GroupNorm(2, 6)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


class TimeFirst(nn.Module):
    """A recurrent network or encoder that takes (t, b, c), behind a linear map of (b, t, c)."""

    def __init__(self, kind: str):
        super().__init__()
        self.embed = nn.Linear(4, 12)
        layer = nn.TransformerEncoderLayer(12, 2, 20)
        self.body = nn.GRU(12, 8) if kind == "gru" else nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8 if kind == "gru" else 12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.embed(x).transpose(0, 1))
        return self.head((x[0] if isinstance(x, tuple) else x).mean(0))


class TimeFirstInput(nn.Module):
    """Takes (t, b, c) itself: the labels say which axis has the samples."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(4, 12), nn.LayerNorm(12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(torch.relu(self.embed(x))).mean(0))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.lstm = nn.Embedding(20, 8, padding_idx=0), nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.lstm(self.embed(input_ids))[0] * attention_mask[..., None])


class Padded(nn.Module):
    """An encoder whose mask is True where there is padding."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 12)
        layer = nn.TransformerEncoderLayer(12, 2, 20, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(12, 3)

    def forward(self, ids: Tensor, padding_mask: Tensor) -> Tensor:
        x = self.encoder(self.embed(ids), src_key_padding_mask=padding_mask)
        real = (~padding_mask).float()[..., None]
        return self.head((x * real).sum(1) / real.sum(1))


class Positions(nn.Module):
    """As many samples as tokens and as position ids, which have no axis of samples."""

    def __init__(self):
        super().__init__()
        self.words, self.places, self.norm = nn.Embedding(20, 8), nn.Embedding(8, 8), nn.LayerNorm(8)

    def forward(self, input_ids: Tensor, position_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.norm(self.words(input_ids) + self.places(position_ids))
        return (x * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True)


class Attended(nn.Module):
    """Learned queries read tokens: before they meet the input, they are constants and no weights."""

    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(6, 12))
        self.embed, self.ask, self.keys, self.values = (nn.Linear(n, 12) for n in (4, 12, 12, 12))
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        asked = self.ask(self.queries).expand(len(x), -1, -1)
        x = self.norm(scaled_dot_product_attention(asked, self.keys(x), self.values(x)))
        return self.head(x.mean(1))


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(7, 12), nn.ReLU(), nn.LayerNorm(12))
        self.compare, self.head = nn.Linear(12, 12), nn.Linear(12, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        gap = (self.encoder(left) - self.encoder(right)).abs()
        return self.head(torch.relu(self.compare(gap)).mean(1))


class Basis(nn.Module):
    """Multiplies with a square matrix of as many rows as samples, which must not be cut."""

    def __init__(self):
        super().__init__()
        self.down, self.change, self.head = nn.Linear(8, SAMPLES), nn.Identity(), nn.Linear(SAMPLES, 3)

    def forward(self, x: Tensor, basis: Tensor) -> Tensor:
        return self.head(self.change(self.down(x) @ basis))


class PointNet(nn.Module):
    """Sixteen points, sixteen channels."""

    def __init__(self):
        super().__init__()
        self.local = nn.Sequential(nn.Conv1d(3, 16, 1), nn.ReLU(), nn.Conv1d(16, 16, 1))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.local(x.transpose(1, 2)).amax(2))


class Spectral(nn.Module):
    def __init__(self, width: int, modes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width, modes, modes, dtype=torch.cfloat) / width)

    def forward(self, x: Tensor) -> Tensor:
        high, kept = torch.fft.rfft2(x), self.weight.shape[2]
        out = torch.zeros_like(high)
        out[:, :, :kept, :kept] = torch.einsum("bixy,ioxy->boxy", high[:, :, :kept, :kept], self.weight)
        return torch.fft.irfft2(out, s=x.shape[-2:])


class Fourier(nn.Module):
    """A Fourier neural operator on eight channels of 8 x 8."""

    def __init__(self):
        super().__init__()
        self.lift, self.spectral, self.local, self.out = (
            nn.Conv2d(1, 8, 1),
            Spectral(8, 3),
            nn.Conv2d(8, 8, 1),
            nn.Conv2d(8, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x)
        return self.out(torch.nn.functional.gelu(self.spectral(x) + self.local(x)))


class Both(nn.Module):
    """Linear maps along both axes of a series."""

    def __init__(self):
        super().__init__()
        self.time, self.features, self.head = nn.Linear(9, 9), nn.Linear(7, 7), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x + torch.relu(self.time(x.transpose(1, 2))).transpose(1, 2)
        x = x + torch.relu(self.features(x))
        return self.head(x.transpose(1, 2)).mean(2)


class Even(nn.Module):
    """Takes batches of an even size only."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(4, 12), nn.LayerNorm(12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) % 2:
            raise ValueError("the batch is not even")
        return self.head(self.norm(self.embed(x)).mean(1))


class Experts(nn.Module):
    """All experts at once, weighted by a gate."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 12, 12))
        self.embed, self.gate, self.mixed, self.head = (
            nn.Linear(4, 12),
            nn.Linear(12, 3),
            nn.Identity(),
            nn.Linear(12, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        share = self.gate(x).softmax(-1)
        return self.head(self.mixed(torch.einsum("btc,ecd,bte->btd", x, self.weight, share)).mean(1))


class Numpy(nn.Module):
    """Leaves torch for one layer."""

    def __init__(self):
        super().__init__()
        self.embed, self.outside, self.norm, self.head = (
            nn.Linear(4, 12),
            nn.Identity(),
            nn.LayerNorm(12),
            nn.Linear(12, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.outside(torch.from_numpy(self.embed(x).numpy(force=True) ** 2))
        return self.head(self.norm(x).mean(1))


class Detector(nn.Module):
    """A convolutional stem, then a decoder with learned queries."""

    def __init__(self):
        super().__init__()
        self.stem, self.queries = nn.Conv2d(3, 12, 4, 4), nn.Parameter(torch.randn(6, 12))
        self.encoder = nn.TransformerEncoderLayer(12, 2, 20, batch_first=True)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(12, 2, 20, batch_first=True), 2)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.encoder(self.stem(x).flatten(2).transpose(1, 2))
        return self.head(self.decoder(self.queries.expand(len(x), -1, -1), x))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.inner = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.up, self.join, self.out = (
            nn.ConvTranspose2d(16, 8, 2, 2),
            nn.Conv2d(16, 8, 3, padding=1),
            nn.Conv2d(8, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        first = torch.relu(self.down(x))
        x = torch.cat([first, self.up(torch.relu(self.inner(first)))], 1)
        return self.out(nn.functional.interpolate(self.join(x), scale_factor=2.0))


class Loop(nn.Module):
    """Writes step by step into a buffer."""

    def __init__(self):
        super().__init__()
        self.cell, self.all, self.norm, self.head = nn.GRUCell(4, 12), nn.Identity(), nn.LayerNorm(12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        out, state = x.new_zeros(len(x), x.shape[1], 12), x.new_zeros(len(x), 12)
        for i in range(x.shape[1]):
            state = self.cell(x[:, i], state)
            out[:, i] = state
        return self.head(self.norm(self.all(out)).mean(1))


class Shapes(nn.Module):
    """A table that takes only the shape of its argument."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(9, 12))

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 9, 12) + self.table


class Shaped(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.embed, self.head = Shapes(), nn.Linear(4, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.embed(x) + self.table(x)).mean(1))


class Video(nn.Module):
    """Frames folded into the batch for the convolutions, then a sequence of frames."""

    def __init__(self):
        super().__init__()
        self.frames = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1))
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.frames(x.flatten(0, 1))
        return self.head(self.norm(maps.mean((2, 3)).unflatten(0, x.shape[:2])).mean(1))


class WindowsMajor(nn.Module):
    """Windows of two steps, all first windows before all second ones: the samples are not the major part."""

    def __init__(self):
        super().__init__()
        self.embed, self.window, self.head = nn.Linear(4, 12), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        b, t = x.shape[:2]
        x = self.embed(x).reshape(b, t // 2, 2, 12).transpose(0, 1).reshape(-1, 2, 12)
        return self.head(self.window(x).reshape(t // 2, b, 2, 12).mean((0, 2)))


class Similar(nn.Module):
    """A module that compares every sample with every other."""

    def __init__(self):
        super().__init__()
        self.embed, self.gram, self.head = nn.Linear(4, 12), nn.Identity(), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.head(self.gram(x @ x.T).softmax(1) @ x)


class Inference(nn.Sequential):
    """Turns inference mode on itself."""

    def __init__(self):
        super().__init__(nn.Linear(4, 12), nn.LayerNorm(12), nn.GELU())

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)
