"""Faster or smaller training steps: precision, compiled or recomputed blocks, memory layout of convolutions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.errors import ConfigError

__all__ = ["autocast", "channels_last", "compile_blocks", "make_scaler", "recompute_blocks"]


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
    """Return the scaler that keeps small gradients from vanishing in float16; in other precisions it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")


@contextlib.contextmanager
def channels_last(*trackers: nn.Module) -> Iterator[None]:
    """Lay out the weights of convolutions with their channels innermost while the context is open.

    Maps made of tokens are laid out so already; with weights that are not, kernels would convert them in each step.
    """
    convolutions = [
        module
        for tracker in trackers
        for module in tracker.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    for module in convolutions:
        module.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for module in convolutions:
            module.to(memory_format=torch.contiguous_format)


@contextlib.contextmanager
def compile_blocks(adapter: TrackerAdapter, student: nn.Module) -> Iterator[None]:
    """Let the blocks of teacher and student run compiled while the context is open.

    Each block is compiled on its own, so that a new mix needs no new compilation.
    """
    with _replace_forwards(_blocks(adapter, student), torch.compile):
        yield


@contextlib.contextmanager
def recompute_blocks(adapter: TrackerAdapter, student: nn.Module) -> Iterator[None]:
    """Let the blocks of teacher and student keep only their inputs while the context is open.

    The rest is computed again in the backward pass, with the same random numbers (activation checkpointing).

    Raises:
        ConfigError: a block holds batch norm, whose statistics would move twice a step.
    """
    blocks = _blocks(adapter, student)
    if any(isinstance(module, _BatchNorm) for block in blocks for module in block.modules()):
        raise ConfigError(
            f"training.recompute_blocks cannot be used with {adapter.name}: its blocks hold batch norm, whose "
            "statistics would move twice in a step. Lower training.micro_batch_size instead."
        )
    with _replace_forwards(blocks, lambda forward: partial(checkpoint, forward, use_reentrant=False)):
        yield


def _blocks(adapter: TrackerAdapter, student: nn.Module) -> list[nn.Module]:
    trackers = (adapter.teacher, student)
    return [block for trunk in adapter.trunks().values() for tracker in trackers for block in trunk.blocks(tracker)]


@contextlib.contextmanager
def _replace_forwards(
    blocks: list[nn.Module], change: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Replace the ``forward`` of `blocks` while the context is open.

    Not their ``__call__``: imitation hooks other blocks in each step, and hooks around a compiled forward need no new
    compilation.
    """
    with contextlib.ExitStack() as stack:
        for block in blocks:
            # Another context may have replaced it, too.
            before = vars(block).get("forward")
            block.forward = change(block.forward)
            if before is None:
                stack.callback(delattr, block, "forward")
            else:
                stack.callback(setattr, block, "forward", before)
        yield
