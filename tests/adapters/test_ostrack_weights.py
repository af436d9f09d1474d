"""OSTrack's weights go in and out in the official layouts, strictly; and its variants are what they say."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ctsdk
import ctsdk_ostrack
from ctsdk import CheckpointError, ConfigError, StagePlan
from ctsdk.engine.mixes import all_teacher
from ctsdk.engine.stages import plan_stages
from ctsdk.engine.step import frozen, step_losses
from ctsdk.engine.student import trunk_depths
from ctsdk_ostrack.adapter import OSTrackAdapter
from ctsdk_ostrack.model import OSTrack, OSTrackConfig
from ctsdk_ostrack.variants import VARIANTS
from tests.golden.synthetic_weights import draw_all

LAYOUTS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "ostrack" / "layouts.json").read_text())
SHAPES = {name: tuple(shape) for name, shape, _ in LAYOUTS["ostrack"]}
# The official depth and token counts, with few channels.
NARROW = OSTrackConfig(width=24, num_heads=3, head_width=16)
ELIMINATING = OSTrackConfig(
    template_size=64, search_size=128, width=24, num_heads=3, head_width=16, keep_ratios={3: 0.7, 6: 0.7, 9: 0.7}
)


def shape_of(official_name: str) -> tuple[int, ...]:
    """The shape of a tensor of a student or of a training checkpoint."""
    return SHAPES[official_name.removeprefix("ori_").replace("distill_blocks.", "blocks.")]


def narrow_adapter(config: OSTrackConfig = NARROW) -> OSTrackAdapter:
    torch.manual_seed(0)
    return OSTrackAdapter(OSTrack(config).eval())


def student_of(adapter: OSTrackAdapter, stages: int) -> OSTrack:
    student = ctsdk.build_student(adapter, plan_stages(trunk_depths(adapter), stages))
    assert isinstance(student, OSTrack)
    return student.eval()


def assert_same(seen: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert list(seen) == list(wanted)
    for name, value in wanted.items():
        assert seen[name].dtype == value.dtype
        assert torch.equal(seen[name], value), name


# -- layouts -----------------------------------------------------------------------------------------------------------


def test_layout_of_the_full_tracker(ostrack_plain: OSTrackAdapter, ostrack_weights: dict[str, Tensor]) -> None:
    assert_same(ostrack_plain.to_official(ostrack_plain.teacher), ostrack_weights)
    assert len(ostrack_weights) == 242


def test_layout_of_a_student(ostrack_plain: OSTrackAdapter) -> None:
    official = ostrack_plain.to_official(student_of(ostrack_plain, 4))
    assert len(official) == 146
    assert list(official) == LAYOUTS["student_of_4"]
    assert {name: tuple(value.shape) for name, value in official.items()} == {
        name: shape_of(name) for name in LAYOUTS["student_of_4"]
    }
    assert official["box_head.conv1_ctr.1.num_batches_tracked"].dtype == torch.int64


def test_student_file(tmp_path: Path, ostrack_plain: OSTrackAdapter) -> None:
    student = student_of(ostrack_plain, 4)
    path = tmp_path / "CompressTracker_ep0500.pth.tar"
    torch.save({"epoch": 500, "net_type": "CompressTracker", "net": ostrack_plain.to_official(student)}, path)
    adapter = ctsdk.load_adapter("ostrack", variant="compresstracker_vitb_256_4", weights=path)
    assert_same(adapter.teacher.state_dict(), dict(student.state_dict()))
    assert_same(ostrack_plain.from_official(path).state_dict(), dict(student.state_dict()))


def test_training_file_is_read_as_its_student(tmp_path: Path, ostrack_weights: dict[str, Tensor]) -> None:
    kinds = {name: kind for name, _, kind in LAYOUTS["ostrack"]}
    student = draw_all(
        (name, shape_of(name), kinds[name.replace("distill_blocks.", "blocks.")])
        for name in LAYOUTS["training_of_4"]
        if name.startswith("backbone.distill_blocks.")
    )
    official = {
        name: student[name] if name in student else ostrack_weights[name.removeprefix("ori_")]
        for name in LAYOUTS["training_of_4"]
    }
    assert len(official) == 532
    path = tmp_path / "CompressTracker_ep0500.pth.tar"
    torch.save({"net": {f"module.{name}": value for name, value in official.items()}}, path)
    adapter = ctsdk.load_adapter("ostrack", variant="compresstracker_vitb_256_4", weights=path)
    path.unlink()
    wanted = {name: official[name] for name in LAYOUTS["student_of_4"]}
    assert_same(adapter.to_official(adapter.teacher), wanted)


@pytest.mark.parametrize("stages", [1, 4, 5, 8, 12])
def test_weights_return_as_they_left(stages: int) -> None:
    adapter = narrow_adapter()
    student = student_of(adapter, stages)
    official = adapter.to_official(student)
    assert any("distill_blocks" in name for name in official) == (stages != 12)
    back = adapter.from_official(official)
    assert_same(back.state_dict(), dict(student.state_dict()))
    batch = adapter.example_batch()
    with torch.inference_mode():
        assert torch.equal(adapter.predict(back, batch).boxes, adapter.predict(student, batch).boxes)


def test_a_students_file_of_full_depth_is_plain_too() -> None:
    adapter = narrow_adapter(ELIMINATING)
    teacher = adapter.to_official(adapter.teacher)
    student = {name.replace("backbone.blocks.", "backbone.distill_blocks."): value for name, value in teacher.items()}
    assert [block.keep_ratio for block in adapter.from_official(student).backbone.blocks] == [None] * 12
    assert adapter.from_official(teacher).backbone.blocks[3].keep_ratio == 0.7


def test_a_students_file_does_for_the_full_variant(tmp_path: Path) -> None:
    tiny = ctsdk.load_adapter("ostrack", variant="tiny", weights="random")
    student = ctsdk.build_student(tiny, plan_stages(trunk_depths(tiny), 4))
    torch.save({"net": tiny.to_official(student)}, tmp_path / "CompressTracker_ep0500.pth.tar")
    adapter = ctsdk.load_adapter("ostrack", variant="tiny", weights=tmp_path / "CompressTracker_ep0500.pth.tar")
    assert_same(dict(adapter.teacher.state_dict()), dict(student.state_dict()))


def test_names_of_parallel_training_are_understood() -> None:
    adapter = narrow_adapter()
    official = adapter.to_official(adapter.teacher)
    back = adapter.from_official({f"module.{name}": value for name, value in official.items()})
    assert_same(back.state_dict(), official)


def test_half_precision_files_become_float32() -> None:
    adapter = narrow_adapter()
    halves = {name: v.half() if v.is_floating_point() else v for name, v in adapter.teacher.state_dict().items()}
    assert {v.dtype for v in adapter.from_official(halves).state_dict().values()} == {torch.float32, torch.int64}


# -- weights that do not fit -------------------------------------------------------------------------------------------


def refuse(weights: dict[str, Tensor], *named: str) -> None:
    with pytest.raises(CheckpointError) as raised:
        narrow_adapter().from_official(weights)
    for part in named:
        assert part in str(raised.value)


def test_weights_that_do_not_fit_are_refused_by_name() -> None:
    official = narrow_adapter().to_official(narrow_adapter().teacher)
    refuse({k: v for k, v in official.items() if k != "backbone.norm.bias"}, "1 missing", "backbone.norm.bias")
    refuse(official | {"box_head.more": torch.zeros(2)}, "1 unexpected", "box_head.more (2,)")
    refuse(official | {"backbone.cls_token": torch.zeros(1, 1, 7)}, "backbone.cls_token is (1, 1, 7)", "(1, 1, 24)")
    refuse({k: v for k, v in official.items() if ".blocks.5." not in k}, "without a gap")
    refuse({"conv.weight": torch.zeros(1)}, "backbone.blocks.0", "another tracker")


def test_weights_of_another_size_are_refused(ostrack_file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"backbone\.pos_embed_x is \(1, 256, 768\), expected \(1, 576, 768\)"):
        ctsdk.load_adapter("ostrack", variant="vitb_384_mae_ce_32x4_ep300", weights=ostrack_file)


def test_weights_of_another_depth_are_refused(ostrack_file: Path) -> None:
    with pytest.raises(CheckpointError, match="holds 12 blocks; variant 'compresstracker_vitb_256_4' has 4"):
        ctsdk.load_adapter("ostrack", variant="compresstracker_vitb_256_4", weights=ostrack_file)


def test_weights_must_be_named_or_shipped() -> None:
    with pytest.raises(CheckpointError) as raised:
        ctsdk.load_adapter("ostrack", variant="vitb_256_mae_ce_32x4_ep300")
    for choice in ("OSTrack_ep0300.pth.tar", "variant='tiny'", "weights='random'"):
        assert choice in str(raised.value)


@pytest.mark.parametrize(
    ("variant", "hint"),
    [
        ("vitb_256_mae_ce_32x4_ep30", "Did you mean 'vitb_256_mae_ce_32x4_ep300'?"),
        ("compresstracker_vitb_256_12", "Did you mean 'compresstracker_vitb_256_"),
        (None, "needs a variant"),
    ],
)
def test_unknown_variant(variant: str | None, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ctsdk.load_adapter("ostrack", variant=variant, weights="random")
    assert hint in str(raised.value)


# -- variants ----------------------------------------------------------------------------------------------------------


def test_listed_variants_are_those_that_exist() -> None:
    assert ctsdk_ostrack.ctsdk_adapter().variants == tuple(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_built(variant: str) -> None:
    with torch.device("meta"):
        adapter = ctsdk.load_adapter("ostrack", variant=variant, weights="random")
    assert isinstance(adapter, OSTrackAdapter)
    assert adapter.variant == variant
    config, spec = adapter.teacher.config, adapter.spec
    assert (spec.template_size, spec.search_size) == (config.template_size, config.search_size)
    assert len(adapter.teacher.backbone.blocks) == config.depth
    keep_ratios = {
        i: block.keep_ratio for i, block in enumerate(adapter.teacher.backbone.blocks) if block.keep_ratio is not None
    }
    assert keep_ratios == ({3: 0.7, 6: 0.7, 9: 0.7} if "_ce_" in variant else {})
    if "_384_" in variant:
        assert (spec.search_factor, spec.search_centre_jitter, spec.search_scale_jitter) == (5.0, 4.5, 0.5)
    if variant.startswith("compresstracker_"):
        assert config.depth == int(variant.rpartition("_")[2])


def test_random_weights_are_always_the_same_and_leave_the_caller_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = (ctsdk.load_adapter("ostrack", variant="tiny", weights="random").teacher for _ in range(2))
    assert_same(first.state_dict(), dict(second.state_dict()))
    assert torch.equal(torch.random.get_rng_state(), before)


# -- candidate elimination and mixes -----------------------------------------------------------------------------------


class Mixing:
    """An eliminating teacher, its student of four plain blocks, and a batch."""

    def __init__(self) -> None:
        self.adapter = narrow_adapter(ELIMINATING)
        self.plans: dict[str, StagePlan] = plan_stages(trunk_depths(self.adapter), 4)
        self.student = student_of(self.adapter, 4)
        self.batch = self.adapter.example_batch(2)

    def losses(self, flags: tuple[bool, ...]) -> dict[str, Tensor]:
        with frozen(self.adapter.teacher):
            mix = {"backbone": flags}
            return step_losses(self.adapter, self.student, self.plans, mix, self.batch, ctsdk.CompressionConfig())


def test_student_of_an_eliminating_teacher_is_plain() -> None:
    mixing = Mixing()
    assert [block.keep_ratio for block in mixing.student.backbone.blocks] == [None] * 4
    whole = student_of(mixing.adapter, 12)
    assert [block.keep_ratio for block in whole.backbone.blocks] == [ELIMINATING.keep_ratios.get(i) for i in range(12)]


def test_all_teacher_mix_is_the_teacher() -> None:
    mixing = Mixing()
    terms = mixing.losses(all_teacher(mixing.plans)["backbone"])
    assert terms["imitation"].item() == 0.0
    assert terms["guidance/giou"].item() == terms["guidance/l1"].item() == 0.0
    with torch.no_grad():
        target = mixing.adapter.predict(mixing.adapter.teacher, mixing.batch)
        task = mixing.adapter.task_loss(target, mixing.batch)
    assert {name: terms[f"task/{name}"].item() for name in task} == {name: v.item() for name, v in task.items()}


@pytest.mark.parametrize("flags", [flags for flags in itertools.product((False, True), repeat=4) if any(flags)])
def test_every_mix_of_an_eliminating_teacher_trains(flags: tuple[bool, ...]) -> None:
    mixing = Mixing()
    terms = mixing.losses(flags)
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(term) for term in terms.values())
    assert terms["imitation"].item() > 0
    for stage, block in enumerate(mixing.student.backbone.blocks):
        gradients = [parameter.grad for parameter in block.parameters()]
        if flags[stage]:
            assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
        else:
            assert all(gradient is None for gradient in gradients)
    assert all(parameter.grad is None for parameter in mixing.adapter.teacher.parameters())
