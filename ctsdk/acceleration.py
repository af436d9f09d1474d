"""What makes training steps faster: precision, loss scaling, compiled blocks, and the memory layout of maps."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctsdk.adapter import TrackerAdapter

__all__ = ["autocast", "channels_last", "compiled_blocks", "make_scaler"]


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

    Each block is compiled on its own, so that a mix is put together from what is compiled already. Only a block's
    ``forward`` is, because imitation hooks blocks, other ones in each step, and hooks around the compiled part need no
    new one.
    """
    blocks = [
        block
        for trunk in adapter.trunks().values()
        for tracker in (adapter.teacher, student)
        for block in trunk.blocks(tracker)
        if is_wanted
    ]
    for block in blocks:
        block.forward = torch.compile(block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
