"""Torch's ambient state: values do not depend on inference mode, the default dtype, the default device or the number of
threads; models do."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache

import torch

WORTH_THREADS = 2_000_000  # numbers of a layer, from which two threads were faster than one
_CALLER: ContextVar[tuple[torch.dtype, torch.device] | None] = ContextVar("ambient state of the caller", default=None)


@contextmanager
def settled() -> Iterator[None]:
    """Gradients can be taken, and new tensors are float32 on the host; what the caller had comes back at the end.

    Also a decorator. The caller's defaults are put back while a model runs; see `as_called`.
    """
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    with ExitStack() as stack:
        if _CALLER.get() is None:
            stack.callback(_CALLER.reset, _CALLER.set((dtype, device)))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if dtype != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        if device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


@contextmanager
def as_called() -> Iterator[None]:
    """Inside `settled`, the default dtype and device that the caller had: for running the caller's model."""
    dtype, device = _CALLER.get() or (torch.get_default_dtype(), torch.get_default_device())
    with ExitStack() as stack:
        if dtype != torch.get_default_dtype():
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            torch.set_default_dtype(dtype)
        if device != torch.get_default_device():
            stack.enter_context(device)
        yield


@contextmanager
def threads(work: int) -> Iterator[None]:
    """One thread for a layer of few numbers, n times d: thousands of small operations gain nothing from several
    threads, which wait for each other at each, and lose much where another process shares a core. Larger layers keep
    torch's number."""
    before = torch.get_num_threads()
    if work >= WORTH_THREADS or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def host_memory() -> int:
    """Bytes of host memory that can still be used."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 2**63 - 1


def free_memory(device: torch.device) -> int:
    """Bytes that can still be used where tensors of a device live; those that torch holds for reuse are among them."""
    if device.type != "cuda":
        return host_memory()
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + held


def release_memory() -> None:
    """Give freed memory back to the system, where the C library can: blocks of a few megabytes, freed between small
    ones that stay, else add up over thousands of operations to several times of what is ever in use."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):  # not glibc
        return None
