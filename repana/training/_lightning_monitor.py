"""A monitor as a callback of Lightning."""

import sys
from importlib import import_module
from typing import Any

from repana.training import _refusals
from repana.training._monitor import Monitor, ended


def _callback() -> Any:
    """The base class of the package that is in use."""
    names = ("lightning.pytorch", "pytorch_lightning")
    for name in sorted(names, key=lambda n: n not in sys.modules):
        try:
            return import_module(name).Callback
        except ImportError:
            continue
    raise _refusals.package_missing("LightningMonitor", "lightning")


Callback: Any = _callback()


class LightningMonitor(Callback):
    """A `Monitor` for `lightning.Trainer(callbacks=[...])`; takes what `Monitor` takes.

    Steps are `trainer.global_step`, updates of the weights: under gradient accumulation a step is recorded once, after
    the batch that updates. Several optimisers add up in it. The sanity check is passed over. With `mode="stop"`,
    `trainer.should_stop` is set. When a training goes on from a checkpoint (`ckpt_path=`) the records of later steps
    are moved to `abandoned/`. The network is the LightningModule; its labels and inputs are read from the probe set as
    `record` reads them.

    `monitor` is the `Monitor`: `callback.monitor.report()`. `finish=False` leaves what is put off to a later
    `monitor.finish()`.

    Raises InputError where Lightning is not installed.
    """

    def __init__(self, probe: Any, *, finish: bool = False, **options: Any) -> None:
        super().__init__()
        self.monitor, self._finish = Monitor(probe, **options), finish

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.monitor.begin(pl_module, int(trainer.global_step))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.sanity_checking:
            return
        if self.monitor.step(pl_module, int(trainer.global_step)):
            trainer.should_stop = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        ended(self.monitor, pl_module, self._finish)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.monitor.close()
