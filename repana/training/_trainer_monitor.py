"""A monitor as a callback of the Trainer of Hugging Face's transformers."""

from typing import Any

from repana.training import _refusals
from repana.training._monitor import Monitor, ended

try:
    from transformers import TrainerCallback
except ImportError:
    raise _refusals.package_missing("TrainerMonitor", "transformers") from None


class TrainerMonitor(TrainerCallback):
    """A `Monitor` for `transformers.Trainer(callbacks=[...])`; takes what `Monitor` takes.

    Steps are `state.global_step`, updates of the weights, also under gradient accumulation. The start of the training
    is step 0; where it goes on from a checkpoint, the records of later steps are moved to `abandoned/`, whatever the
    Trainer restores of its callbacks. With `mode="stop"`, `control.should_training_stop` is set.

    `monitor` is the `Monitor`: `callback.monitor.report()`. `finish=False` leaves what is put off to a later
    `monitor.finish()`.

    Raises InputError where transformers is not installed.
    """

    def __init__(self, probe: Any, *, finish: bool = False, **options: Any) -> None:
        self.monitor, self._finish = Monitor(probe, **options), finish

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.monitor.begin(model, int(state.global_step))

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if self.monitor.step(model, int(state.global_step)):
            control.should_training_stop = True
        if control.should_training_stop or state.global_step >= state.max_steps:
            self.monitor.last(model)  # before the Trainer may load other weights (`load_best_model_at_end`)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        ended(self.monitor, None if args.load_best_model_at_end else model, self._finish)
