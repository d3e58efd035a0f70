"""Weight-weighted PCA: how many principal components the hidden states of feed-forward parts fill, times the number of
parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from repana import _check
from repana._ambient import settled
from repana._estimate import NAN, Estimate, Flag, noted, shown
from repana.extraction._batches import Forward
from repana.extraction._feed_forward import FeedForward, feed_forward
from repana.extraction._record import record
from repana.extraction._session import unwrap
from repana.spectra import _refusals
from repana.summaries.covariance import Covariance

if TYPE_CHECKING:
    import pandas as pd

FEW = 10  # tokens for each hidden unit, below which components are counted short


@shown
@dataclass(frozen=True)
class WeightedPCA:
    """Components of all feed-forward parts; see `w_pca`. `components[layer]` of each hidden state."""

    w_pca: Estimate
    components: Estimate
    parameters: int
    layers: Mapping[str, Estimate]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def frame(self) -> "pd.DataFrame":
        """A line for each hidden state: components, its width and the number of tokens."""
        import pandas as pd

        widths = self.settings["widths"]
        rows = [(name, e.value, widths[name], e.n, e.note) for name, e in self.layers.items()]
        return pd.DataFrame(rows, columns=["layer", "components", "width", "tokens", "note"])


@settled()
def w_pca(
    model: nn.Module,
    data: Any,
    *,
    share: float = 0.99,
    layers: Sequence[str] | None = None,
    device: torch.device | str | None = None,
    forward: Forward | None = None,
    labels: Any = None,
    mask: Any = None,
    batch_size: int = 64,
) -> WeightedPCA:
    """Weight-weighted PCA of a transformer: parameters times the components of its feed-forward hidden states.

    H = X W1 + b1 over all real tokens of `data`, in front of the activation, of every feed-forward part
    sigma(X W1 + b1) W2 + b2. With lambda the eigenvalues of the covariance of H in descending order,

    - `layers`: k, the fewest components with sum_{i <= k} lambda_i >= `share` sum_i lambda_i.
    - `components`: the sum of k over parts. `w_pca`: that times `parameters`, the number of parameters of the network,
      each once. Higher goes with better accuracy after training among networks of one search space, in the source of
      untrained ones; values of other spaces, data or shares are not comparable.

    The matrices W1 are found by what runs: d x h with h > d outside attention, followed by h x d; of gated parts the
    first that runs, the gate. `layers` names others. Only sums over tokens are kept, so the data may be of any size.
    k is at most the number of tokens less 1: with fewer than 10 for each hidden unit a note says so. There is no
    interval.

    Raises ModelError (RA138) where no feed-forward part is found, what `record` raises, and InputError for a `share`
    outside (0, 1).

    Source: Wang 2025, arXiv:2504.15983.

    >>> import torch
    >>> from repana.spectra import w_pca
    >>> part = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.GELU(), torch.nn.Linear(8, 3))
    >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    >>> found = w_pca(part, x)
    >>> float(found.components) <= 3, found.parameters
    (True, 59)
    """
    if not 0 < share < 1:
        raise _refusals.share_of_variance(share)
    options: dict[str, Any] = {"device": device, "forward": forward, "labels": labels, "mask": mask}
    if layers is not None:
        parts = FeedForward(tuple(layers))
    else:
        parts = feed_forward(model, data, batch_size=batch_size, **options)
    recorded = record(
        model, data, list(parts.modules), pool="tokens", max_samples=0, scatter=True, logits=False, head=False,
        batch_size=batch_size, **options,
    )  # fmt: skip
    inner, _ = unwrap(model)
    parameters = sum(p.numel() for p in inner.parameters())
    each = {name: _components(Covariance.from_moments(recorded.moments[name]), share) for name in recorded.layers}
    total = sum(e.value for e in each.values())
    few = [name for name, e in each.items() if e.note]
    note = Flag.FEW_SAMPLES.note(f"of {len(few)} of {len(each)} hidden states the tokens are few") if few else ""
    if parts.routers:
        experts = f"experts behind {_check.listed(parts.routers, 2)} are not counted, which see some tokens each"
        note = noted(note, Flag.SUBSET.note(experts))
    n = min(e.n for e in each.values())
    widths = {name: recorded.moments[name].d for name in recorded.layers}
    return WeightedPCA(
        Estimate(float(total * parameters), n=n, note=note),
        Estimate(total, n=n, note=note),
        parameters,
        each,
        {"share": share, "layers": list(recorded.layers), "widths": widths},
    )


def _components(covariance: Covariance, share: float) -> Estimate:
    values, n, d = covariance.eigenvalues, covariance.n, covariance.d
    if not len(values):
        return Estimate(NAN, n=n, note=covariance.reason)
    held = values.double().cumsum(0) / values.double().sum()
    count = min(int((held < share - 1e-12).sum()) + 1, len(values))
    few = n < FEW * d
    return Estimate(float(count), n=n, note=Flag.FEW_SAMPLES.note(f"{n} tokens for {d} hidden units") if few else "")
