"""MixFormerV2's weights go in and out in the official layout, strictly; and its variants are what they say."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ctsdk
import ctsdk_mixformerv2
from ctsdk import CheckpointError, ConfigError
from ctsdk.engine.stages import StagePlan
from ctsdk_mixformerv2.adapter import MixFormerV2Adapter
from ctsdk_mixformerv2.model import MixFormerV2, MixFormerV2Config, position_table
from ctsdk_mixformerv2.variants import VARIANTS
from tests.helpers.official_files import light_tensors

LAYOUT: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "mixformerv2" / "layout.json").read_text())
BASE = "mixformer2_vit_online_288_depth8_score"
SMALL = "mixformer2_vit_online_224_depth4_mlp1_score"
STAGE_1 = "mixformer2_vit_student_288_depth12"
TO_SMALL = "mixformer2_vit_online_224_depth8_score_to_mlp1"
# Depth, hidden channels of the MLPs, bins, score head, cells along a side of search and template.
ARCHITECTURES = {
    BASE: (8, 3072, 96, True, 18, 8),
    SMALL: (4, 768, 96, True, 14, 7),
    STAGE_1: (12, 3072, 72, False, 18, 8),
    "mixformer2_vit_stu_student_288_depth8": (8, 3072, 72, False, 18, 8),
    TO_SMALL: (8, 3072, 96, True, 14, 7),
    "mixformer2_vit_online_288_depth12_score": (12, 3072, 96, True, 18, 8),
    "mixformer2_vit_online_288_depth2_score": (2, 3072, 96, True, 18, 8),
    "mixformer2_vit_online_224_depth1_mlp1_score": (1, 768, 96, True, 14, 7),
}
# Fixed positions of search and template cells.
TABLES = ("backbone.pos_embed_s", "backbone.pos_embed_t")
NUM_PARAMETERS = {
    BASE: 58_855_201,
    SMALL: 16_228_897,
    STAGE_1: 86_596_824,
    "mixformer2_vit_online_288_depth12_score": 87_206_689,
}


def layout_of(variant: str, width: int = 768) -> dict[str, tuple[int, ...]]:
    """The tensors of an official checkpoint in its own order, as the official classes would register them."""
    depth, hidden, num_bins, has_score, search_cells, template_cells = ARCHITECTURES[variant]

    def layer(name: str, *weight: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}

    layout: dict[str, tuple[int, ...]] = {
        "backbone.pos_embed_s": (1, search_cells**2, width),
        "backbone.pos_embed_t": (1, template_cells**2, width),
        "backbone.reg_tokens": (1, 4, width),
        "backbone.pos_embed_reg": (1, 4, width),
        **layer("backbone.patch_embed.proj", width, 3, 16, 16),
    }
    for i in range(depth):
        block = f"backbone.blocks.{i}"
        layout |= layer(f"{block}.norm1", width)
        layout |= layer(f"{block}.attn.qkv", 3 * width, width) | layer(f"{block}.attn.proj", width, width)
        layout |= layer(f"{block}.norm2", width)
        layout |= layer(f"{block}.mlp.fc1", hidden, width) | layer(f"{block}.mlp.fc2", width, hidden)
    layout |= layer("box_head.layers.0.0", width, width) | layer("box_head.layers.0.1", width)
    layout |= layer("box_head.layers.1.0", num_bins, width) | layer("box_head.layers.1.1", num_bins)
    if has_score:
        layout |= layer("score_head.layers.0.0", width, width) | layer("score_head.layers.1", 1, width)
    return layout


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def write_layout(path: Path, layout: Mapping[str, tuple[int, ...]]) -> Path:
    """A checkpoint of the official layout that weighs little: its tensors share their numbers."""
    torch.save({"epoch": 500, "net_type": "MixFormer", "net": light_tensors(layout)}, path)
    return path


# Weights that are only looked at are copied to nowhere.
to_nowhere = pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter:UserWarning")


def load(variant: str, weights: str | Path = "random") -> MixFormerV2Adapter:
    """The variant without memory for its weights: enough to see whether they fit."""
    with torch.device("meta"):
        adapter = ctsdk.load_adapter("mixformerv2", variant=variant, weights=weights)
    assert isinstance(adapter, MixFormerV2Adapter)
    return adapter


def tiny(**settings: Any) -> MixFormerV2Adapter:
    adapter = ctsdk.load_adapter("mixformerv2", variant="tiny", weights="random")
    assert isinstance(adapter, MixFormerV2Adapter)
    for name, value in settings.items():
        setattr(adapter, name, value)
    return adapter


def student_of(adapter: MixFormerV2Adapter, stages: int) -> MixFormerV2:
    student = ctsdk.build_student(adapter, {"backbone": StagePlan.divide(adapter.teacher.config.depth, stages)})
    assert isinstance(student, MixFormerV2)
    return student.eval()


def assert_same(seen: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert list(seen) == list(wanted)
    for name, value in wanted.items():
        assert seen[name].dtype == value.dtype
        assert torch.equal(seen[name], value), name


# -- layout ------------------------------------------------------------------------------------------------------------


def test_layout_of_the_base_model_is_the_recorded_one() -> None:
    assert list(layout_of(BASE).items()) == [(name, tuple(shape)) for name, shape, _ in LAYOUT["tensors"]]


@pytest.mark.parametrize("variant", ARCHITECTURES)
def test_layout_of_a_variant(variant: str) -> None:
    adapter = load(variant)
    assert list(shapes_of(adapter.teacher.state_dict()).items()) == list(layout_of(variant).items())


@pytest.mark.parametrize("variant", NUM_PARAMETERS)
def test_number_of_parameters(variant: str) -> None:
    count = sum(parameter.numel() for parameter in load(variant).teacher.parameters())
    assert count == NUM_PARAMETERS[variant] == sum(math.prod(shape) for shape in layout_of(variant).values())
    assert NUM_PARAMETERS[BASE] == LAYOUT["parameters"]


@pytest.mark.parametrize("variant", ARCHITECTURES)
@to_nowhere
def test_an_official_file_loads_under_its_variant(tmp_path: Path, variant: str) -> None:
    path = write_layout(tmp_path / "official.pth.tar", layout_of(variant))
    config = load(variant, path).teacher.config
    assert config == VARIANTS[variant].config


def test_the_checkpoint_of_the_official_trainer_is_read_whole(
    mixformerv2_base: MixFormerV2Adapter, mixformerv2_weights: dict[str, Tensor]
) -> None:
    assert_same(mixformerv2_base.teacher.state_dict(), mixformerv2_weights)
    assert_same(mixformerv2_base.to_official(mixformerv2_base.teacher), mixformerv2_weights)
    assert not mixformerv2_base.teacher.training


def test_the_base_model_is_read_at_224_px(
    mixformerv2_at_224: MixFormerV2Adapter, mixformerv2_weights: dict[str, Tensor]
) -> None:
    tables = {name: position_table(cells, 768) for name, cells in zip(TABLES, (14, 7), strict=True)}
    assert_same(mixformerv2_at_224.teacher.state_dict(), mixformerv2_weights | tables)
    again = mixformerv2_at_224.from_official(mixformerv2_weights)
    assert torch.equal(again.backbone.pos_embed_s, tables["backbone.pos_embed_s"])


def test_compress_tracker_m_s_has_the_layout_of_the_small_model(
    tmp_path: Path, mixformerv2_at_224: MixFormerV2Adapter
) -> None:
    student = student_of(mixformerv2_at_224, 4)
    official = mixformerv2_at_224.to_official(student)
    assert list(shapes_of(official).items()) == list(layout_of(SMALL).items())
    assert sum(parameter.numel() for parameter in student.parameters()) == NUM_PARAMETERS[SMALL]
    path = tmp_path / "CompressTracker-M-S.pth.tar"
    torch.save({"epoch": 500, "net_type": "MixFormer", "net": official}, path)
    small = ctsdk.load_adapter("mixformerv2", variant=SMALL, weights=path)
    assert_same(small.teacher.state_dict(), dict(student.state_dict()))
    batch = small.example_batch()
    with torch.inference_mode():
        seen = small.predict(small.teacher, batch).outputs
        wanted = mixformerv2_at_224.predict(student, batch).outputs
    assert_same(seen, wanted)
    # The teacher's adapter reads the same file, to go on from it.
    assert_same(mixformerv2_at_224.from_official(path).state_dict(), dict(student.state_dict()))
    path.unlink()


@pytest.mark.parametrize("mlp_ratio", [None, 1.0])
@pytest.mark.parametrize("stages", [1, 3, 4, 12])
def test_weights_return_as_they_left(stages: int, mlp_ratio: float | None) -> None:
    adapter = tiny(student_mlp_ratio=mlp_ratio)
    student = student_of(adapter, stages)
    is_narrow = mlp_ratio is not None and stages < 12
    assert {block.mlp.fc1.out_features for block in student.backbone.blocks} == {128 if is_narrow else 512}
    back = adapter.from_official(adapter.to_official(student))
    assert_same(back.state_dict(), dict(student.state_dict()))
    batch = adapter.example_batch()
    with torch.inference_mode():
        assert torch.equal(adapter.predict(back, batch).boxes, adapter.predict(student, batch).boxes)


def test_a_file_without_some_blocks_is_read_as_a_shallower_model() -> None:
    """The official way from 12 blocks to 8: leave out one in three and count the others anew."""
    adapter = MixFormerV2Adapter(MixFormerV2(MixFormerV2Config(width=24, num_heads=2, depth=12)).eval())
    official, kept = adapter.to_official(adapter.teacher), [1, 2, 4, 5, 7, 8, 10, 11]
    others = {name: value for name, value in official.items() if ".blocks." not in name}
    for new, old in enumerate(kept):
        prefix = f"backbone.blocks.{old}."
        others |= {
            name.replace(prefix, f"backbone.blocks.{new}."): value
            for name, value in official.items()
            if name.startswith(prefix)
        }
    shallow = adapter.from_official(others)
    assert shallow.config.depth == 8
    for block, old in zip(shallow.backbone.blocks, kept, strict=True):
        assert_same(block.state_dict(), adapter.teacher.backbone.blocks[old].state_dict())


def test_names_of_parallel_training_are_understood() -> None:
    adapter = tiny()
    official = adapter.to_official(adapter.teacher)
    back = adapter.from_official({f"module.{name}": value for name, value in official.items()})
    assert_same(back.state_dict(), official)


def test_half_precision_files_become_float32() -> None:
    adapter = tiny()
    halves = {name: value.half() for name, value in adapter.teacher.state_dict().items()}
    assert {value.dtype for value in adapter.from_official(halves).state_dict().values()} == {torch.float32}


# -- weights that do not fit -------------------------------------------------------------------------------------------


def refuse(weights: dict[str, Tensor], *named: str) -> None:
    with pytest.raises(CheckpointError) as raised:
        tiny().from_official(weights)
    for part in named:
        assert part in str(raised.value)


def test_weights_that_do_not_fit_are_refused_by_name() -> None:
    official = tiny().to_official(tiny().teacher)
    refuse({k: v for k, v in official.items() if k != "backbone.reg_tokens"}, "1 missing", "backbone.reg_tokens")
    refuse({k: v for k, v in official.items() if k not in TABLES}, "2 missing", *TABLES)
    refuse(official | {"backbone.cls_token": torch.zeros(1, 1, 128)}, "1 unexpected", "backbone.cls_token (1, 1, 128)")
    refuse(official | {"backbone.pos_embed_s": torch.zeros(1, 4, 128)}, "pos_embed_s is (1, 4, 128)", "(1, 144, 128)")
    refuse({k: v for k, v in official.items() if ".blocks.5." not in k}, "without a gap")
    refuse({k: v for k, v in official.items() if not k.startswith("box_head.")}, "a whole MixFormerV2")
    refuse({k: v for k, v in official.items() if k != "score_head.layers.1.bias"}, "score_head.layers.1.bias")
    refuse({"conv.weight": torch.zeros(1)}, "backbone.blocks.0", "another tracker")
    uneven = {k: v[:96] if k in ("backbone.blocks.3.mlp.fc1.weight",) else v for k, v in official.items()}
    refuse(uneven, "backbone.blocks.3.mlp.fc1.weight is (96, 128)", "(512, 128)")


@pytest.mark.parametrize(
    ("of", "under", "told"),
    [
        (BASE, SMALL, "holds 8 blocks of MLP ratio 4 and a score head; variant .* has 4 blocks of MLP ratio 1"),
        (SMALL, BASE, "holds 4 blocks of MLP ratio 1 and a score head; variant .* has 8 blocks of MLP ratio 4"),
        (TO_SMALL, BASE, r"pos_embed_s is \(1, 196, 768\), expected \(1, 324, 768\)"),
        (STAGE_1, BASE, "holds 12 blocks of MLP ratio 4 and no score head; variant .* has 8 blocks .* a score head"),
        (BASE, "mixformer2_vit_stu_student_288_depth8", "a score head; variant .* no score head"),
        (SMALL, "mixformer2_vit_online_224_depth1_mlp1_score", "holds 4 blocks of MLP ratio 1"),
        (SMALL, TO_SMALL, "holds 4 blocks of MLP ratio 1 .* has 8 blocks of MLP ratio 4"),
    ],
)
def test_weights_of_another_variant_are_refused(tmp_path: Path, of: str, under: str, told: str) -> None:
    path = write_layout(tmp_path / "official.pth.tar", layout_of(of))
    with pytest.raises(CheckpointError, match=told):
        load(under, path)


@to_nowhere
def test_position_tables_are_resized_but_not_invented(tmp_path: Path) -> None:
    layout = layout_of(BASE)
    assert load(TO_SMALL, write_layout(tmp_path / "whole.pth.tar", layout)).teacher.config.search_size == 224
    without = {name: shape for name, shape in layout.items() if name != TABLES[0]}
    with pytest.raises(CheckpointError, match=f"1 missing: {TABLES[0]}"):
        load(TO_SMALL, write_layout(tmp_path / "part.pth.tar", without))


@to_nowhere
def test_bins_are_those_of_the_file(tmp_path: Path) -> None:
    """What the official configuration files train has 72 bins, the released models have 96."""
    layout = layout_of(BASE)
    layout |= {name: (72, *shape[1:]) for name, shape in layout.items() if name.startswith("box_head.layers.1.")}
    assert load(BASE, write_layout(tmp_path / "own.pth.tar", layout)).teacher.config.num_bins == 72


def test_weights_must_be_named_or_shipped() -> None:
    with pytest.raises(CheckpointError) as raised:
        ctsdk.load_adapter("mixformerv2", variant=BASE)
    for choice in ("mixformerv2_base.pth.tar", "weights='random'"):
        assert choice in str(raised.value)


@pytest.mark.parametrize(
    ("variant", "hint"),
    [
        ("mixformer2_vit_online_288_depth8_scor", f"Did you mean '{BASE}'?"),
        ("288_depth8_score", "Name one of them"),
        (None, "needs a variant"),
    ],
)
def test_unknown_variant(variant: str | None, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ctsdk.load_adapter("mixformerv2", variant=variant, weights="random")
    assert hint in str(raised.value)


# -- variants ----------------------------------------------------------------------------------------------------------


def test_listed_variants_are_those_that_exist() -> None:
    assert ctsdk_mixformerv2.ctsdk_adapter().variants == tuple(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_built(variant: str) -> None:
    adapter = load(variant)
    assert adapter.variant == variant
    config, spec = adapter.teacher.config, adapter.spec
    assert (spec.template_size, spec.search_size) == (config.template_size, config.search_size)
    assert spec.num_templates == 2
    assert len(adapter.teacher.backbone.blocks) == config.depth
    assert (adapter.teacher.score_head is None) == ("student_288" in variant)
    assert adapter.student_mlp_ratio == (1.0 if variant.endswith("_to_mlp1") else None)
    if variant == "tiny":
        return
    assert spec.search_factor == (5.0 if "_288_" in variant else 4.5)
    assert (spec.search_centre_jitter, spec.search_scale_jitter) == (4.5, 0.5)
    assert config.mlp_ratio == (1.0 if "mlp1_score" in variant else 4.0)
    assert f"_depth{config.depth}" in variant


def test_random_weights_are_always_the_same_and_leave_the_caller_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert_same(tiny().teacher.state_dict(), tiny().teacher.state_dict())
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("width", [24, 49, 56, 98])
def test_hidden_channels_of_a_file_are_kept_whatever_the_width(width: int) -> None:
    for hidden in (1, 3, width, 2 * width + 1):
        config = MixFormerV2Config(width=width, num_heads=1, depth=1, mlp_ratio=hidden / width)
        with torch.device("meta"):
            assert MixFormerV2(config).backbone.blocks[0].mlp.fc1.out_features == hidden
