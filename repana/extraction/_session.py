"""The only module that touches a live model: hooks, mode, gradients, randomness, all put back whatever happens."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from repana.extraction import _model_refusals


class Session:
    """A model made ready for reading. `hook`, `pre_hook` and `swap` live as long as the session."""

    def __init__(self, model: nn.Module, device: torch.device, stack: ExitStack) -> None:
        self.model, self.device = model, device
        self.parts: dict[str, nn.Module] = {}  # places inside modules, read as modules of their own
        self.routed: dict[str, list[torch.Tensor]] = {}  # by call of the last pass, rows that a part of a router takes
        self._stack = stack

    def module(self, name: str) -> nn.Module:
        """A module of the model, or a part of one."""
        return self.parts[name] if name in self.parts else self.model.get_submodule(name)

    def enter(self, context: AbstractContextManager[Any]) -> Any:
        """What the context gives; it is left with the session."""
        return self._stack.enter_context(context)

    def replace(self, model: nn.Module, name: str, function: Callable[..., Any]) -> None:
        """The model's method is `function` until the session ends."""
        held = vars(model).get(name)
        self._stack.callback(partial(_put_back, model, name, held))
        object.__setattr__(model, name, function)

    @contextmanager
    def inner(self) -> Iterator["Session"]:
        """The same model; hooks end with the context."""
        with ExitStack() as stack:
            yield Session(self.model, self.device, stack)

    def hook(self, module: nn.Module, function: Callable[[nn.Module, Any, Any, Any], None]) -> None:
        """Call `function(module, args, kwargs, output)` after each forward of the module; it returns None."""
        self._stack.callback(module.register_forward_hook(function, with_kwargs=True).remove)

    def pre_hook(self, module: nn.Module, function: Callable[[nn.Module, Any, Any], None]) -> None:
        """Call `function(module, args, kwargs)` before each forward of the module; it returns None."""
        self._stack.callback(module.register_forward_pre_hook(function, with_kwargs=True).remove)

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

    `no_grad`, not `inference_mode`, also where the caller is in it: what is recorded may enter a probe's graph. A model
    that hooks place (accelerate) stays where it is.
    """
    home = device_of(model)
    with ExitStack() as stack:
        modes = [(module, module.training) for module in model.modules()]
        stack.callback(_restore_modes, modes)
        stack.callback(_restore_buffers, _buffers(model))
        stack.callback(restore_randomness, randomness(device))
        if home is not None and home != device and placed_by(model) is None:
            stack.callback(model.to, home)
            model.to(device)
        model.eval()
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        _stay_eager(model, stack)
        stack.enter_context(nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype))
        yield Session(model, device, stack)


def _stay_eager(model: nn.Module, stack: ExitStack) -> None:
    """No compiled code runs in the session. Importing the compiler takes seconds, so its stance is set once something
    has imported it: that which was compiled before, or what the model compiles in a forward of its own.
    """
    pending = [stack.enter_context(ExitStack())]

    def check(*_: Any) -> None:
        if pending and "torch._dynamo" in sys.modules:
            pending.pop().enter_context(torch.compiler.set_stance("force_eager"))

    check()
    if pending:
        stack.callback(model.register_forward_pre_hook(check).remove)


@contextmanager
def no_fast_path() -> Iterator[None]:
    """Without the fused layers of `nn.TransformerEncoder`, whose insides no hook sees."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def unwrap(model: Any) -> tuple[nn.Module, list[str]]:
    """The module inside torch.compile, DataParallel and DistributedDataParallel, and what was taken off."""
    if type(model).__name__ == "ExportedProgram":
        raise _model_refusals.no_hooks("ExportedProgram")
    if not isinstance(model, nn.Module):
        raise _model_refusals.not_a_module(model)
    taken = []
    while True:
        inner, name = None, ""
        if hasattr(model, "_orig_mod"):
            inner, name = model._orig_mod, "torch.compile"
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner, name = model.module, type(model).__name__
        if not isinstance(inner, nn.Module):
            break
        taken.append(name)
        model = inner
    if isinstance(model, torch.jit.ScriptModule):
        raise _model_refusals.no_hooks(type(model).__name__)
    if isinstance(model, torch.fx.GraphModule) and _of_operations(model):
        raise _model_refusals.no_hooks("GraphModule of operations (torch.export)")
    return model, taken


def _of_operations(model: torch.fx.GraphModule) -> bool:
    """Whether a graph holds operations in the place of modules; one that was symbolically traced calls its modules."""
    ops = [node.target for node in model.graph.nodes if node.op == "call_function"]
    return any(isinstance(target, torch._ops.OpOverload) for target in ops)


def hookable(module: nn.Module) -> bool:
    """Scripted parts of an eager model take no hooks."""
    return not isinstance(module, torch.jit.ScriptModule)


def own_forward(module: nn.Module) -> bool:
    """Whether a module is more than a list of others."""
    return not hookable(module) or type(module).forward not in (nn.Module.forward, nn.Sequential.forward)


def device_of(model: nn.Module) -> torch.device | None:
    """Where the model takes its inputs: where hooks put them, else where its first parameter or buffer lives."""
    if placed_by(model) is not None:
        for module in model.modules():
            device = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
            if device is not None:
                return torch.device(f"cuda:{device}" if isinstance(device, int) else device)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type != "meta":
            return tensor.device
    return None


def placed_by(model: nn.Module) -> str | None:
    """What placed the weights and moves them while the model runs, or None."""
    return "accelerate" if any(hasattr(module, "_hf_hook") for module in model.modules()) else None


def requested_device(model: nn.Module, device: torch.device | str | None) -> torch.device:
    """Where to record. Refuses to move a model that hooks have placed, and one that holds no weights."""
    found = device_of(model) or torch.device("cpu")
    asked = found if device is None else _available(device)
    how = placed_by(model)
    if how is not None:
        if asked != found:
            raise _model_refusals.placed(str(device), how)
        return found
    weights = dict(model.named_parameters())
    lazy = [name for name, t in (*weights.items(), *model.named_buffers()) if nn.parameter.is_lazy(t)]
    if lazy:
        raise _model_refusals.lazy_weights(lazy)
    meta = [name for name, p in weights.items() if p.device.type == "meta"]
    if meta:
        raise _model_refusals.weights_missing(meta)
    devices = sorted({str(p.device) for p in weights.values()})
    if len(devices) > 1 and device is None:
        raise _model_refusals.several_devices(devices)
    return asked


def _available(device: torch.device | str) -> torch.device:
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise _model_refusals.no_device(str(device), str(error).splitlines()[0]) from None
    return found


def randomness(device: torch.device) -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda, device, np.random.get_state(), random.getstate()  # noqa: NPY002


def restore_randomness(state: tuple[Any, ...]) -> None:
    cpu, cuda, device, numpy_state, python_state = state
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state(cuda, device)
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(python_state)


def _buffers(model: nn.Module) -> list[tuple[nn.Module, str, torch.Tensor, torch.Tensor]]:
    """Every buffer and a copy: of a network that writes into its own, as a memory bank does, also in evaluation."""
    held = [(m, n, t) for m in model.modules() if hookable(m) for n, t in m._buffers.items() if t is not None]
    return [(m, n, t, t.detach().clone()) for m, n, t in held if t.device.type != "meta"]


@torch.no_grad()
def _restore_buffers(buffers: list[tuple[nn.Module, str, torch.Tensor, torch.Tensor]]) -> None:
    for module, name, tensor, copy in buffers:
        module._buffers[name] = tensor
        if not torch.equal(tensor.to(copy.device), copy):
            tensor.copy_(copy)


def _put_back(model: nn.Module, name: str, held: Any) -> None:
    if held is None:
        vars(model).pop(name, None)
    else:
        object.__setattr__(model, name, held)


def _restore_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        module.training = training
