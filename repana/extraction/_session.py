"""The only module that touches a live model: hooks, mode, gradients, randomness, all put back whatever happens."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from repana import _check


class Session:
    """A model made ready for reading. `hook`, `pre_hook` and `swap` live as long as the session."""

    def __init__(self, model: nn.Module, stack: ExitStack) -> None:
        self.model = model
        self._stack = stack

    def hook(self, module: nn.Module, function: Callable[[nn.Module, Any, Any, Any], None]) -> None:
        """Call `function(module, args, kwargs, output)` after each forward of the module."""

        def call(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            function(module, args, kwargs, output)

        self._stack.callback(module.register_forward_hook(call, with_kwargs=True).remove)

    def pre_hook(self, module: nn.Module, function: Callable[[nn.Module, Any, Any], None]) -> None:
        """Call `function(module, args, kwargs)` before each forward of the module."""

        def call(module: nn.Module, args: Any, kwargs: Any) -> None:
            function(module, args, kwargs)

        self._stack.callback(module.register_forward_pre_hook(call, with_kwargs=True).remove)

    def swap(self, module: nn.Module, side: str, function: Callable[[Any], Any]) -> None:
        """What goes "in" or comes "out" of the module is `function(tree)` from now on; "in" is (args, kwargs)."""
        if side == "in":

            def before(module: nn.Module, args: Any, kwargs: Any) -> Any:
                return function((args, kwargs))

            self._stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            return

        def after(module: nn.Module, args: Any, output: Any) -> Any:
            return function(output)

        self._stack.callback(module.register_forward_hook(after).remove)


@contextmanager
def session(model: nn.Module, device: torch.device, dtype: torch.dtype | None) -> Iterator[Session]:
    """Evaluation mode, no gradients, eager, on `device`, under autocast to `dtype` if given; all undone at the end.

    `no_grad`, not `inference_mode`: inference tensors carry no version counter, by which in-place changes are seen.
    """
    home = device_of(model)
    with ExitStack() as stack:
        modes = [(module, module.training) for module in model.modules()]
        stack.callback(_restore_modes, modes)
        stack.callback(_restore_randomness, _randomness(device))
        if home is not None and home != device:
            stack.callback(model.to, home)
            model.to(device)
        model.eval()
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype))
        yield Session(model, stack)


def unwrap(model: Any) -> tuple[nn.Module, list[str]]:
    """The module inside torch.compile, DataParallel and DistributedDataParallel, and what was taken off."""
    if not isinstance(model, nn.Module):
        raise _check.not_a_module(model)
    taken = []
    while True:
        inner, name = None, ""
        if hasattr(model, "_orig_mod"):
            inner, name = model._orig_mod, "torch.compile"
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner, name = model.module, type(model).__name__
        if not isinstance(inner, nn.Module):
            return model, taken
        taken.append(name)
        model = inner


def device_of(model: nn.Module) -> torch.device | None:
    """Where the first parameter or buffer lives; None for a model without any."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return None


def _randomness(device: torch.device) -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda, device, np.random.get_state(), random.getstate()  # noqa: NPY002


def _restore_randomness(state: tuple[Any, ...]) -> None:
    cpu, cuda, device, numpy_state, python_state = state
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state(cuda, device)
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(python_state)


def _restore_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training
