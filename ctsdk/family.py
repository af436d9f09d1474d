"""Load the networks of a tracker family by name: what adapters with several variants share.

A family is one network class in several sizes. Each size is a variant: a name, an architecture and a
:class:`ctsdk.TrackerSpec`. :class:`Family` builds a variant from a seed or fills it from a file of the official code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from ctsdk.errors import CheckpointError, ConfigError, did_you_mean
from ctsdk.weights import check_same_keys, read_tensors, without_parallel_prefix

__all__ = ["CropGrid", "Family", "block_number", "count_blocks", "detached_tensors", "unknown_variant"]

_NetworkT = TypeVar("_NetworkT", bound=nn.Module)
_ConfigT = TypeVar("_ConfigT")


@dataclass(frozen=True)
class CropGrid:
    """The part of an architecture that all vision transformers for tracking have: square crops, cut into patches.

    Attributes:
        template_size: side of a template crop, px.
        search_size: side of the search crop, px.
        patch_size: side of a patch, px; one token each.
    """

    template_size: int
    search_size: int
    patch_size: int = 16

    @property
    def template_cells(self) -> int:
        """Cells along a side of the template grid."""
        return self.template_size // self.patch_size

    @property
    def search_cells(self) -> int:
        """Cells along a side of the search grid."""
        return self.search_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class Family(Generic[_ConfigT, _NetworkT]):
    """How the networks of one adapter are made, from a seed or from weights.

    Attributes:
        adapter: the adapter's name, for messages.
        network: the class; called with an architecture.
        config_of: given weights in an official layout and an architecture, returns that architecture with everything
            that the weights tell, such as their number of blocks. Raises CheckpointError where they tell of no tracker
            of the family.
        from_official_layout: given weights in an official layout and their architecture, returns them under the keys of
            the network.
        demo_weights: the files that ship with the adapter, by variant.
        official_file: the name of an official file, for messages.
    """

    adapter: str
    network: Callable[[_ConfigT], _NetworkT]
    config_of: Callable[[Mapping[str, Tensor], _ConfigT], _ConfigT]
    from_official_layout: Callable[[Mapping[str, Tensor], _ConfigT], dict[str, Tensor]]
    demo_weights: Mapping[str, Path]
    official_file: str

    def load(
        self,
        variant: str,
        weights: str | Path | None,
        config: _ConfigT,
        check: Callable[[Mapping[str, Tensor], _ConfigT, str, str], None],
    ) -> _NetworkT:
        """Return the network of a variant, in eval mode.

        Args:
            variant: its name.
            weights: a file; None for the weights that the variant ships; the word "random" for an untrained network.
            config: its architecture.
            check: given the weights, `config`, the file and `variant`, raises CheckpointError where they do not belong
                together.

        Raises:
            CheckpointError: the weights cannot be read or do not fit, or the variant ships none.
        """
        if weights == "random":
            return self.build(config).eval()
        if weights is None and variant not in self.demo_weights:
            raise self._no_weights(variant)
        path = self.demo_weights[variant] if weights is None else Path(weights)
        tensors = read_tensors(path)
        check(tensors, config, str(path), variant)
        return self._fill(tensors, config, str(path))

    def read(self, weights: str | Path | Mapping[str, Tensor], like: _ConfigT) -> _NetworkT:
        """Return a network of the architecture that the weights have, every tensor used, in eval mode.

        Args:
            weights: a file or a state dict, in an official layout.
            like: an architecture of the family, for what weights do not tell.

        Raises:
            CheckpointError: the weights cannot be read, or are not of this family.
        """
        if isinstance(weights, str | Path):
            return self._fill(read_tensors(weights), like, str(weights))
        return self._fill(without_parallel_prefix(weights), like, "the given state dict")

    def build(self, config: _ConfigT) -> _NetworkT:
        """Return an untrained network, always the same; the caller's random state stays as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.network(config)

    def _fill(self, tensors: Mapping[str, Tensor], like: _ConfigT, source: str) -> _NetworkT:
        config = self.config_of(tensors, like)
        own = self.from_official_layout(tensors, config)
        network = self.build(config)
        check_same_keys(own, network.state_dict(), source)
        network.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in own.items()}
        )
        return network.eval()

    def _no_weights(self, variant: str) -> CheckpointError:
        choices = (
            f"weights={self.official_file!r} for a file of the official release or of your own training",
            *(f"variant={name!r}, which ships a small trained teacher" for name in self.demo_weights),
            "weights='random' for an untrained network (to test plumbing, never to compress)",
        )
        return CheckpointError(
            f"variant {variant!r} of adapter {self.adapter!r} ships no weights. Choose one of these: "
            f"{'; '.join(choices)}."
        )


def unknown_variant(adapter: str, variant: str | None, variants: Iterable[str], more: str = "") -> ConfigError:
    """Return the error that lists the variants of an adapter.

    Args:
        adapter: its name.
        variant: the one that was asked for; None if none was.
        variants: the names that it has.
        more: which other names it understands, as the end of a sentence.
    """
    has = f"has {', '.join(variants)}{more}"
    if variant is None:
        return ConfigError(f"adapter {adapter!r} needs a variant (variant=, --variant); it {has}.")
    hint = did_you_mean(variant, variants) or "Name one of them."
    return ConfigError(f"adapter {adapter!r} has no variant {variant!r}; it {has}. {hint.rstrip()}")


def detached_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a network for a file: detached, contiguous, on the CPU."""
    return {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}


def block_number(key: str, prefix: str) -> int | None:
    """Return which block a tensor belongs to: N of the key ``<prefix>N.<rest>``; None for the keys of other parts."""
    match = re.match(re.escape(prefix) + r"(\d+)\.", key)
    return None if match is None else int(match[1])


def count_blocks(tensors: Mapping[str, Tensor], prefix: str, expected: str = "") -> int:
    """Return the number of blocks under a prefix.

    Args:
        tensors: the weights.
        prefix: what stands before the number of the block, such as ``backbone.blocks.``.
        expected: the first block in words, for the message; by default its key.

    Raises:
        CheckpointError: there is no block, or one is missing between others.
    """
    found = {number for key in tensors if (number := block_number(key, prefix)) is not None}
    if not found or found != set(range(len(found))):
        raise CheckpointError(
            f"found {sorted(found)} under {prefix!r}; expected {expected or repr(prefix + '0')} and on without a gap. "
            "Is this the file of another tracker?"
        )
    return len(found)
