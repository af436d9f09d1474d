"""MixFormerV2 keeps the contract, and its students, narrow ones too, are trained, saved and read again."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ctsdk
from ctsdk import AdapterContractError, CheckpointError
from ctsdk.engine.mixes import StageRecorder, mixed
from ctsdk.engine.stages import StagePlan
from ctsdk.testing import parametrize_with_checks
from ctsdk_mixformerv2.adapter import MixFormerV2Adapter
from ctsdk_mixformerv2.model import Block, MixFormerV2

CONFIG = ctsdk.CompressionConfig.from_mapping(
    {"stages": 4, "training": {"steps": 3, "batch_size": 2, "device": "cpu", "learning_rate": 1e-3}}
)


def tiny(**settings: Any) -> MixFormerV2Adapter:
    adapter = ctsdk.load_adapter("mixformerv2", variant="tiny", weights="random")
    assert isinstance(adapter, MixFormerV2Adapter)
    for name, value in settings.items():
        setattr(adapter, name, value)
    return adapter


def student_of(adapter: MixFormerV2Adapter, stages: int = 4, **plan: Any) -> MixFormerV2:
    student = ctsdk.build_student(adapter, {"backbone": StagePlan.divide(adapter.teacher.config.depth, stages, **plan)})
    assert isinstance(student, MixFormerV2)
    return student.eval()


@parametrize_with_checks([tiny(), tiny(student_mlp_ratio=1.0)])
def test_contract(adapter: ctsdk.TrackerAdapter, check: Callable[[ctsdk.TrackerAdapter], None]) -> None:
    check(adapter)


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mlp_ratio", [None, 1.0])
def test_compression_changes_the_student_and_leaves_the_positions(mlp_ratio: float | None, tmp_path: Path) -> None:
    adapter = tiny(student_mlp_ratio=mlp_ratio)
    result = ctsdk.compress(adapter, CONFIG, batches=[adapter.example_batch(2)], show_progress=False)
    assert len(result.history) == 3
    terms = {"task/ciou", "task/l1", "guidance/ciou", "guidance/l1", "guidance/distribution", "guidance/score"}
    assert terms | {"imitation"} <= set(result.history[0])
    before = student_of(adapter).state_dict()
    same = {name for name, value in result.student.state_dict().items() if torch.equal(value, before[name])}
    assert {"backbone.pos_embed_s", "backbone.pos_embed_t"} <= same
    assert not any(name.startswith(("box_head.", "score_head.", "backbone.reg_tokens")) for name in same)

    result.save(tmp_path)
    again = ctsdk.load_result(tmp_path, adapter)
    batch = adapter.example_batch()
    with torch.inference_mode():
        seen, wanted = (adapter.predict(each.student, batch).boxes for each in (again, result))
    assert torch.equal(seen, wanted)


def test_a_variant_for_narrow_students_is_read_again_by_its_name(
    mixformerv2_at_224: MixFormerV2Adapter, tmp_path: Path
) -> None:
    student = student_of(mixformerv2_at_224)
    plans = {"backbone": StagePlan.divide(8, 4)}
    ctsdk.CompressionResult(student, plans, CONFIG, mixformerv2_at_224).save(tmp_path)
    again = ctsdk.load_result(tmp_path).student
    for name, value in student.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    (tmp_path / "student.safetensors").unlink()


def test_a_narrow_student_of_another_variant_needs_its_adapter(tmp_path: Path) -> None:
    adapter = tiny(student_mlp_ratio=1.0)
    result = ctsdk.CompressionResult(student_of(adapter), {"backbone": StagePlan.divide(12, 4)}, CONFIG, adapter)
    result.save(tmp_path)
    with pytest.raises(CheckpointError, match=r"mlp\.fc1\.weight is \(128, 128\), expected \(512, 128\)"):
        ctsdk.load_result(tmp_path)
    assert len(ctsdk.load_result(tmp_path, adapter).student.backbone.blocks) == 4


# -- student blocks ----------------------------------------------------------------------------------------------------


def test_the_strongest_hidden_channels_are_kept() -> None:
    adapter = tiny(student_mlp_ratio=1.0)
    kept = torch.randperm(512, generator=torch.Generator().manual_seed(0))[:128].sort().values
    is_weak = torch.ones(512, dtype=torch.bool)
    is_weak[kept] = False
    source = adapter.teacher.backbone.blocks[2]
    assert isinstance(source, Block)
    with torch.no_grad():
        # Weak either way in, or either way out.
        source.mlp.fc2.weight[:, is_weak & (torch.arange(512) % 2 == 0)] = 0.0
        source.mlp.fc1.weight[is_weak & (torch.arange(512) % 2 == 1)] = 0.0
        source.mlp.fc1.bias[is_weak] = 0.0
    narrow = student_of(adapter).backbone.blocks[0]
    assert isinstance(narrow, Block)
    assert torch.equal(narrow.mlp.fc1.weight, source.mlp.fc1.weight[kept])
    assert torch.equal(narrow.mlp.fc1.bias, source.mlp.fc1.bias[kept])
    assert torch.equal(narrow.mlp.fc2.weight, source.mlp.fc2.weight[:, kept])
    assert torch.equal(narrow.mlp.fc2.bias, source.mlp.fc2.bias)
    assert source.mlp.fc1.weight.shape == (512, 128)
    # What was dropped had no effect, so the block is the same.
    tokens = torch.randn(1, 220, 128)
    with torch.inference_mode():
        torch.testing.assert_close(narrow(tokens, 72), source(tokens, 72), rtol=0, atol=1e-5)


def test_a_narrow_student_can_start_at_random() -> None:
    adapter = tiny(student_mlp_ratio=1.0)
    student = student_of(adapter, initialisation="random")
    assert {block.mlp.fc1.weight.shape for block in student.backbone.blocks} == {(128, 128)}
    assert not torch.equal(
        student.backbone.blocks[0].attn.qkv.weight, adapter.teacher.backbone.blocks[2].attn.qkv.weight
    )


def test_a_student_no_narrower_than_its_teacher_keeps_all_channels() -> None:
    adapter = tiny(student_mlp_ratio=8.0)
    assert student_of(adapter).backbone.blocks[0].mlp.fc1.weight.shape == (512, 128)


# -- stage tokens ------------------------------------------------------------------------------------------------------


def test_stage_tokens_are_templates_search_and_prediction() -> None:
    adapter = tiny()
    plans, batch = {"backbone": StagePlan.divide(12, 4)}, adapter.example_batch(2)
    with torch.inference_mode(), StageRecorder.of_teacher(adapter, plans) as recorder:
        adapter.predict(adapter.teacher, batch)
    stages = recorder.tokens(batch)["backbone"]
    assert [[tuple(tokens.shape) for tokens in stage] for stage in stages] == [
        [(2, 72, 128), (2, 144, 128), (2, 4, 128)]
    ] * 4


def test_a_block_of_another_kind_is_explained() -> None:
    adapter = tiny()
    with pytest.raises(AdapterContractError, match="returned tuple; expected a tensor of tokens"):
        adapter.stage_tokens("backbone", (torch.zeros(1),), adapter.example_batch())


def test_official_blocks_of_the_small_model_mix_with_those_of_the_base_model(
    mixformerv2_at_224: MixFormerV2Adapter,
) -> None:
    """A trained small model as the student: read in its own layout, it runs stage by stage inside the base model."""
    adapter, plans = mixformerv2_at_224, {"backbone": StagePlan.divide(8, 4)}
    small = adapter.from_official(adapter.to_official(student_of(adapter)))
    assert small.config.depth == 4
    assert small.config.mlp_ratio == 1.0
    own = copy.copy(small.backbone.blocks)
    batch = adapter.example_batch()
    with torch.inference_mode(), mixed(adapter, small, plans, {"backbone": (True, False, False, True)}):
        assert len(small.backbone.blocks) == 6
        assert adapter.predict(small, batch).boxes.isfinite().all()
    assert list(small.backbone.blocks) == list(own)
