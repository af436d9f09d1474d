"""What makes training steps faster or smaller: precision, compiled or recomputed blocks, the memory layout of maps."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ctsdk.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ctsdk.engine.adapter import TrackerAdapter

__all__ = ["autocast", "channels_last", "compiled_blocks", "make_scaler", "recomputed_blocks"]


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which forward passes run.

    Args:
        precision: "float32", "bfloat16", "float16", or "auto": bfloat16 on GPUs that have it, else float32.
        device: on which they run.
    """
    if precision == "auto":
        is_capable = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bfloat16" if is_capable else "float32"
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, {"bfloat16": torch.bfloat16, "float16": torch.float16}[precision])


def make_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Return what keeps small gradients from vanishing in float16; in other precisions it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")


@contextlib.contextmanager
def channels_last(*trackers: nn.Module, is_wanted: bool) -> Iterator[None]:
    """Let convolutions work on maps whose channels lie side by side in memory, while the context is open.

    Tokens on their cells are such maps already; only the weights must follow, for kernels not to turn them each time.
    """
    convolutions = [
        module
        for tracker in trackers
        for module in tracker.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and is_wanted
    ]
    for module in convolutions:
        module.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for module in convolutions:
            module.to(memory_format=torch.contiguous_format)


@contextlib.contextmanager
def compiled_blocks(adapter: TrackerAdapter, student: nn.Module, *, is_wanted: bool) -> Iterator[None]:
    """Let the blocks of teacher and student run compiled while the context is open.

    Each block is compiled on its own, so that a mix is put together from what is compiled already.
    """
    with _other_forwards(_blocks(adapter, student) if is_wanted else [], torch.compile):
        yield


@contextlib.contextmanager
def recomputed_blocks(adapter: TrackerAdapter, student: nn.Module, *, is_wanted: bool) -> Iterator[None]:
    """Let the blocks of teacher and student remember only their inputs while the context is open.

    What the way back needs is computed again there, with the same random numbers (activation checkpointing).

    Raises:
        ConfigError: a block holds batch norm, whose statistics would move twice a step.
    """
    blocks = _blocks(adapter, student) if is_wanted else []
    if any(isinstance(module, _BatchNorm) for block in blocks for module in block.modules()):
        raise ConfigError(
            f"training.recompute_blocks cannot be used with {adapter.name}: its blocks hold batch norm, whose "
            "statistics would move twice in a step. Lower training.micro_batch_size instead."
        )
    with _other_forwards(blocks, lambda forward: partial(checkpoint, forward, use_reentrant=False)):
        yield


def _blocks(adapter: TrackerAdapter, student: nn.Module) -> list[nn.Module]:
    trackers = (adapter.teacher, student)
    return [block for trunk in adapter.trunks().values() for tracker in trackers for block in trunk.blocks(tracker)]


@contextlib.contextmanager
def _other_forwards(
    blocks: list[nn.Module], change: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Change what `blocks` do while the context is open.

    Only their ``forward``, because imitation hooks blocks, other ones in each step, and hooks around what is compiled
    need nothing compiled anew.
    """
    with contextlib.ExitStack() as stack:
        for block in blocks:
            # Another context may have put its own there.
            before = vars(block).get("forward")
            block.forward = change(block.forward)
            if before is None:
                stack.callback(delattr, block, "forward")
            else:
                stack.callback(setattr, block, "forward", before)
        yield
