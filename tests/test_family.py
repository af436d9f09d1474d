"""What the adapters of a family share: variants by name, networks from a seed, blocks counted."""

from __future__ import annotations

import pytest
import torch

from ctsdk import CheckpointError
from ctsdk.family import CropGrid, block_number, count_blocks, detached_tensors, unknown_variant


def test_a_variant_that_is_unknown_and_one_that_is_missing() -> None:
    misspelt = str(unknown_variant("ostrack", "tinny", ["tiny", "vitb"], ", and more"))
    assert misspelt == ("adapter 'ostrack' has no variant 'tinny'; it has tiny, vitb, and more. Did you mean 'tiny'?")
    missing = str(unknown_variant("ostrack", None, ["tiny", "vitb"]))
    assert missing == "adapter 'ostrack' needs a variant (variant=, --variant); it has tiny, vitb."


def test_crops_are_cut_into_whole_patches() -> None:
    grid = CropGrid(template_size=112, search_size=224)
    assert (grid.template_cells, grid.search_cells) == (7, 14)


def test_blocks_are_counted_by_their_keys() -> None:
    tensors = {f"blocks.{number}.weight": torch.zeros(1) for number in range(11)}
    assert count_blocks(tensors, "blocks.") == 11
    assert block_number("blocks.10.weight", "blocks.") == 10
    assert block_number("my_blocks.10.weight", "blocks.") is None
    assert block_number("blocksX10.weight", "blocks.") is None
    del tensors["blocks.3.weight"]
    with pytest.raises(
        CheckpointError, match=r"found \[0, 1, 2, 4.*expected 'blocks\.0' and on without a gap.*another tracker"
    ):
        count_blocks(tensors, "blocks.")
    with pytest.raises(CheckpointError, match=r"found \[\] under 'layers\.'; expected 'layers\.0' \(ours\) and on"):
        count_blocks(tensors, "layers.", "'layers.0' (ours)")


def test_tensors_for_a_file_are_detached_and_contiguous() -> None:
    network = torch.nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)
    tensors = detached_tensors(network)
    assert list(tensors) == ["weight", "bias"]
    assert all(value.is_contiguous() and not value.requires_grad for value in tensors.values())
    assert torch.equal(tensors["weight"], network.weight)
