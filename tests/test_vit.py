"""Parts that the networks of several adapters share."""

from __future__ import annotations

import pytest
import torch

from ctsdk.vit import DropPath, Mlp, PatchEmbed, merge_heads, split_heads


def test_drop_path_drops_whole_samples_in_training_only_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x, drop = torch.ones(4000, 2, 3), DropPath(0.25)
    seen = drop(x)
    assert seen.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (seen.flatten(1) == seen[:, :1, 0]).all()
    assert seen.mean().item() == pytest.approx(1.0, abs=0.05)
    assert drop.eval()(x) is x
    assert DropPath(0.0).train()(x) is x
    assert repr(drop) == "DropPath(0.250)"


def test_heads_split_and_merge_without_loss() -> None:
    q, k, v = (torch.randn(2, 5, 12) for _ in range(3))
    split = split_heads(torch.cat([q, k, v], dim=2), num_heads=3)
    assert [part.shape for part in split] == [(2, 3, 5, 4)] * 3
    assert torch.equal(split[0][:, 1], q[..., 4:8])
    for part, whole in zip(split, (q, k, v), strict=True):
        assert torch.equal(merge_heads(part), whole)


def test_patches_come_row_by_row() -> None:
    embed = PatchEmbed(patch_size=2, width=1)
    with torch.no_grad():
        embed.proj.weight.fill_(1 / 12)
        embed.proj.bias.zero_()
    crop = torch.arange(6.0).reshape(2, 3).repeat_interleave(2, 0).repeat_interleave(2, 1).expand(1, 3, 4, 6)
    torch.testing.assert_close(embed(crop)[0, :, 0], torch.arange(6.0))


def test_an_mlp_has_the_official_names() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in Mlp(4, 10).state_dict().items()}
    assert shapes == {"fc1.weight": (10, 4), "fc1.bias": (10,), "fc2.weight": (4, 10), "fc2.bias": (4,)}
    assert Mlp(4, 10)(torch.randn(2, 5, 4)).shape == (2, 5, 4)
