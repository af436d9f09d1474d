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
    from collections.abc import Iterator

    from ctsdk.adapter import TrackerAdapter

__all__ = ["autocast", "changed_blocks", "channels_last", "make_scaler"]


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
def changed_blocks(
    adapter: TrackerAdapter, student: nn.Module, *, is_compiled: bool, is_recomputed: bool
) -> Iterator[None]:
    """Let the blocks of teacher and student run compiled, or remember only their inputs, while the context is open.

    Each block is compiled on its own, so that a mix is put together from what is compiled already. Only a block's
    ``forward`` is changed, because imitation hooks blocks, other ones in each step, and hooks around the compiled part
    need no new one.

    Args:
        adapter: the teacher and its blocks.
        student: the student.
        is_compiled: whether blocks are compiled.
        is_recomputed: whether what a block remembers for the way back is computed again there, with the same random
            numbers (activation checkpointing).

    Raises:
        ConfigError: a block that is to be recomputed holds batch norm, whose statistics would move twice a step.
    """
    blocks = [
        block
        for trunk in adapter.trunks().values()
        for tracker in (adapter.teacher, student)
        for block in trunk.blocks(tracker)
        if is_compiled or is_recomputed
    ]
    if is_recomputed and any(isinstance(module, _BatchNorm) for block in blocks for module in block.modules()):
        raise ConfigError(
            f"training.recompute_blocks cannot be used with {adapter.name}: its blocks hold batch norm, whose "
            "statistics would move twice in a step. Lower training.micro_batch_size instead."
        )
    for block in blocks:
        if is_compiled:
            block.forward = torch.compile(block.forward)
        if is_recomputed:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
