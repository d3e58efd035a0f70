"""What the spectra of all layers say of a network together."""

from repana._table import Context, Outcome
from repana.errors import RepanaError
from repana.spectra._w_pca import w_pca as weighted

OWN = ("forward", "labels", "mask", "device", "batch_size")  # options of a recording that `w_pca` takes


def w_pca(context: Context) -> Outcome | None:
    """Of the network itself, where it is at hand: its feed-forward hidden states are recorded for it."""
    live = context.network(OWN)
    if live is None:
        return None
    model, data, options = live
    try:
        found = weighted(model, data, **options)
    except RepanaError as error:
        context.fail(context.split, "", "w_pca", error)
        return None
    layers = {name: {"components": e.value, "tokens": e.n} for name, e in found.layers.items()}
    return Outcome({"": found}, settings={**found.settings, "parameters": found.parameters, "components": layers})
