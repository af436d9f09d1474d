"""SeqTrack's weights go in and out in the official layout, strictly; and its variants are what they say."""

from __future__ import annotations

import math
import sys
import types
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

import ctsdk
import ctsdk_seqtrack
from ctsdk import CheckpointError, ConfigError
from ctsdk.engine.stages import StagePlan
from ctsdk_seqtrack.adapter import SeqTrackAdapter
from ctsdk_seqtrack.model import SeqTrack, SeqTrackConfig
from ctsdk_seqtrack.variants import VARIANTS, find_variant
from tests.golden.seqtrack.networks import b256, layout, official_weights
from tests.helpers.official_files import light_tensors

NUM_PARAMETERS = {
    "seqtrack_b256": 90_596_002,
    "seqtrack_b384": 91_169_442,
    "seqtrack_l256": 308_244_898,
    "seqtrack_l384": 308_982_178,
}
# Encoder width, blocks, cells along a side of a crop.
ARCHITECTURES = {
    "seqtrack_b256": (768, 12, 16),
    "seqtrack_b384": (768, 12, 24),
    "seqtrack_l256": (1024, 24, 16),
    "seqtrack_l384": (1024, 24, 24),
}
# The official depths, with few channels.
NARROW = SeqTrackConfig(
    template_size=32, search_size=64, width=24, num_heads=3, decoder_width=16, decoder_hidden_width=32, num_bins=50
)
ENDS = ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias")


def layout_of(width: int, depth: int, num_cells: int) -> dict[str, tuple[int, ...]]:
    """The tensors of an official checkpoint in its own order, as the official classes would register them."""

    def layer(name: str, *weight: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}

    tensors: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, num_cells**2, 256),
        "encoder.body.pos_embed": (1, 2 * num_cells**2, width),
        **layer("encoder.body.patch_embed.proj", width, 3, 16, 16),
    }
    for i in range(depth):
        block = f"encoder.body.blocks.{i}"
        tensors |= layer(f"{block}.norm1", width)
        tensors |= layer(f"{block}.attn.qkv", 3 * width, width) | layer(f"{block}.attn.proj", width, width)
        tensors |= layer(f"{block}.norm2", width)
        tensors |= layer(f"{block}.mlp.fc1", 4 * width, width) | layer(f"{block}.mlp.fc2", width, 4 * width)
    tensors |= layer("encoder.body.norm", width) | layer("bottleneck", 256, width)
    tensors |= {
        "decoder.embedding.word_embeddings.weight": (4002, 256),
        "decoder.embedding.position_embeddings.weight": (5, 256),
        **layer("decoder.embedding.LayerNorm", 256),
    }
    for part in (f"decoder.body.layers.{i}" for i in range(2)):
        for attention in ("self_attn", "multihead_attn"):
            tensors |= {f"{part}.{attention}.in_proj_weight": (768, 256), f"{part}.{attention}.in_proj_bias": (768,)}
            tensors |= layer(f"{part}.{attention}.out_proj", 256, 256)
        tensors |= layer(f"{part}.linear1", 1024, 256) | layer(f"{part}.linear2", 256, 1024)
        tensors |= layer(f"{part}.norm1", 256) | layer(f"{part}.norm2", 256) | layer(f"{part}.norm3", 256)
    tensors |= layer("decoder.body.norm", 256)
    for i, num_outputs in enumerate((256, 256, 4002)):
        tensors |= layer(f"vocab_embed.layers.{i}", num_outputs, 256)
    return tensors


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def write_layout(path: Path, tensors: Mapping[str, tuple[int, ...]]) -> Path:
    """A checkpoint of the official layout that weighs little: its tensors share their numbers."""
    torch.save({"net": light_tensors(tensors)}, path)
    return path


# Weights that are only looked at are copied to nowhere.
to_nowhere = pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter:UserWarning")


def load(variant: str, weights: str | Path = "random") -> SeqTrackAdapter:
    """The variant without memory for its weights: enough to see whether they fit."""
    with torch.device("meta"):
        adapter = ctsdk.load_adapter("seqtrack", variant=variant, weights=weights)
    assert isinstance(adapter, SeqTrackAdapter)
    return adapter


def narrow_adapter() -> SeqTrackAdapter:
    torch.manual_seed(0)
    return SeqTrackAdapter(SeqTrack(NARROW).eval())


def student_of(adapter: SeqTrackAdapter, stages: int, decoder_stages: int = 2) -> SeqTrack:
    config = adapter.teacher.config
    plans = {
        "encoder": StagePlan.divide(config.depth, stages),
        "decoder": StagePlan.divide(config.decoder_depth, decoder_stages),
    }
    student = ctsdk.build_student(adapter, plans)
    assert isinstance(student, SeqTrack)
    return student.eval()


def assert_same(seen: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert list(seen) == list(wanted)
    for name, value in wanted.items():
        assert seen[name].dtype == value.dtype
        assert torch.equal(seen[name], value), name


def logits_of(adapter: SeqTrackAdapter, tracker: torch.nn.Module) -> Tensor:
    with torch.inference_mode():
        return adapter.predict(tracker, adapter.example_batch(2)).outputs["logits"]


# -- layout ------------------------------------------------------------------------------------------------------------


def test_layout_is_the_recorded_one() -> None:
    recorded = [(name, tuple(shape)) for name, shape, _ in layout()["tensors"]]
    assert list(layout_of(*ARCHITECTURES["seqtrack_b256"]).items()) == recorded
    assert layout()["parameters"] == NUM_PARAMETERS["seqtrack_b256"]


@pytest.mark.parametrize("suffix", ["", "_got"])
@pytest.mark.parametrize("variant", ARCHITECTURES)
def test_layout_of_a_variant(variant: str, suffix: str) -> None:
    teacher = load(variant + suffix).teacher
    wanted = layout_of(*ARCHITECTURES[variant])
    assert list(shapes_of(teacher.state_dict()).items()) == list(wanted.items())
    count = sum(parameter.numel() for parameter in teacher.parameters())
    assert count == NUM_PARAMETERS[variant] == sum(math.prod(shape) for shape in wanted.values())


@pytest.mark.parametrize("variant", ARCHITECTURES)
@to_nowhere
def test_an_official_file_loads_under_its_variant(tmp_path: Path, variant: str) -> None:
    path = write_layout(tmp_path / "official.pth.tar", layout_of(*ARCHITECTURES[variant]))
    adapter = load(variant, path)
    assert adapter.teacher.config == VARIANTS[variant].config
    assert adapter.variant == variant


def test_the_checkpoint_of_the_official_trainer_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights beside objects of classes that are not here."""
    names = {"stats": ("AverageMeter", "StatValue"), "settings": ("Settings",), "local": ("EnvironmentSettings",)}
    objects = []
    with monkeypatch.context() as patch:
        for path_of_module in ("lib", "lib.train", "lib.train.admin", *(f"lib.train.admin.{name}" for name in names)):
            patch.setitem(sys.modules, path_of_module, types.ModuleType(path_of_module))
        for module, kinds in names.items():
            for kind in kinds:
                stand_in = type(kind, (), {"__module__": f"lib.train.admin.{module}"})
                setattr(sys.modules[f"lib.train.admin.{module}"], kind, stand_in)
                objects.append(stand_in())
                objects[-1].history = [0.5]
        path = tmp_path / "SEQTRACK_ep0500.pth.tar"
        checkpoint = {
            "epoch": 500,
            "actor_type": "SeqTrackActor",
            "net_type": "SEQTRACK",
            "net": official_weights(),
            "net_info": None,
            "constructor": None,
            "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-4}]},
            "stats": OrderedDict(train=OrderedDict({"Loss/total": objects[0], "IoU": objects[1]})),
            "settings": objects[2:],
        }
        torch.save(checkpoint, path)
    adapter = ctsdk.load_adapter("seqtrack", variant="seqtrack_b256", weights=path)
    # A third of a gigabyte: more than pytest should keep of its last runs.
    path.unlink()
    assert_same(adapter.teacher.state_dict(), official_weights())
    assert_same(adapter.to_official(adapter.teacher), official_weights())
    assert not adapter.teacher.training


def test_layout_of_a_student_of_b256() -> None:
    """It is the layout of the whole: blocks that change nothing stand for those that are gone."""
    official = b256().to_official(student_of(b256(), 4))
    assert list(shapes_of(official).items()) == list(layout_of(*ARCHITECTURES["seqtrack_b256"]).items())
    for i in range(12):
        ends = [official[f"encoder.body.blocks.{i}.{name}"] for name in ENDS]
        assert [bool(end.any()) for end in ends] == [i < 4] * 4
    for stage, source in enumerate((2, 5, 8, 11)):
        name = "mlp.fc1.weight"
        wanted = official_weights()[f"encoder.body.blocks.{source}.{name}"]
        assert torch.equal(official[f"encoder.body.blocks.{stage}.{name}"], wanted)


@pytest.mark.parametrize("decoder_stages", [1, 2])
@pytest.mark.parametrize("stages", [1, 4, 5, 12])
def test_weights_return_as_they_left(stages: int, decoder_stages: int) -> None:
    adapter = narrow_adapter()
    student = student_of(adapter, stages, decoder_stages)
    back = adapter.from_official(adapter.to_official(student))
    assert (back.config.depth, back.config.decoder_depth) == (stages, decoder_stages)
    assert_same(back.state_dict(), dict(student.state_dict()))
    # The short form has no blocks that change nothing.
    assert_same(adapter.from_official(student.state_dict()).state_dict(), dict(student.state_dict()))
    assert torch.equal(logits_of(adapter, back), logits_of(adapter, student))


@pytest.mark.parametrize("stages", [1, 4, 11])
def test_the_official_code_sees_the_student(stages: int) -> None:
    """It builds all blocks and loads strictly, whatever is in the file."""
    adapter = narrow_adapter()
    student = student_of(adapter, stages)
    whole = SeqTrack(NARROW)
    whole.load_state_dict(adapter.to_official(student), strict=True)
    assert torch.equal(logits_of(adapter, whole.eval()), logits_of(adapter, student))


def test_idle_blocks_are_found_wherever_they_are() -> None:
    """Their other weights may be anything."""
    adapter = narrow_adapter()
    official = dict(adapter.to_official(adapter.teacher))
    for i in (0, 3, 4, 11):
        for name in ENDS:
            official[f"encoder.body.blocks.{i}.{name}"] = torch.zeros_like(official[f"encoder.body.blocks.{i}.{name}"])
    back = adapter.from_official(official)
    assert back.config.depth == 8
    for block, i in zip(back.encoder.body.blocks, (1, 2, 5, 6, 7, 8, 9, 10), strict=True):
        assert_same(block.state_dict(), adapter.teacher.encoder.body.blocks[i].state_dict())


def test_an_encoder_of_idle_blocks_alone_stays_as_it_is() -> None:
    adapter = narrow_adapter()
    official = {name: torch.zeros_like(value) for name, value in adapter.teacher.state_dict().items()}
    assert adapter.from_official(official).config.depth == 12


def test_a_student_that_was_read_is_filled_up_again(tmp_path: Path) -> None:
    """A student as the teacher of a still shorter one."""
    tiny = SeqTrackAdapter.load("tiny", "random")
    torch.save({"net": tiny.to_official(student_of(tiny, 6, 1))}, tmp_path / "half.pth.tar")
    half = ctsdk.load_adapter("seqtrack", variant="tiny", weights=tmp_path / "half.pth.tar")
    assert isinstance(half, SeqTrackAdapter)
    assert half.variant == "tiny_encoder6_decoder1"
    assert (half.teacher.config.depth, half.teacher.config.decoder_depth) == (6, 1)
    assert list(half.to_official(half.teacher)) == list(tiny.to_official(student_of(tiny, 12, 1)))
    # Saved results go by the variant's name, so it must be found again.
    plans = {"encoder": StagePlan.divide(6, 3), "decoder": StagePlan.divide(1, 1)}
    student = ctsdk.build_student(half, plans)
    ctsdk.CompressionResult(student, plans, ctsdk.CompressionConfig(), half).save(tmp_path)
    assert_same(ctsdk.load_result(tmp_path).student.state_dict(), dict(student.state_dict()))


def test_names_of_parallel_training_are_understood(tmp_path: Path) -> None:
    adapter = SeqTrackAdapter.load("tiny", "random")
    official = {f"module.{name}": value for name, value in adapter.to_official(student_of(adapter, 4)).items()}
    assert adapter.from_official(official).config.depth == 4
    for name, content in (("plain", official), ("wrapped", {"net": official})):
        torch.save(content, tmp_path / name)
        assert adapter.from_official(tmp_path / name).config.depth == 4
        assert SeqTrackAdapter.load("tiny_encoder4", tmp_path / name).teacher.config.depth == 4


def test_half_precision_files_become_float32() -> None:
    adapter = narrow_adapter()
    halves = {name: value.half() for name, value in adapter.teacher.state_dict().items()}
    assert {value.dtype for value in adapter.from_official(halves).state_dict().values()} == {torch.float32}


# -- weights that do not fit -------------------------------------------------------------------------------------------


def refuse(weights: dict[str, Tensor], *named: str) -> None:
    with pytest.raises(CheckpointError) as raised:
        narrow_adapter().from_official(weights)
    for part in named:
        assert part in str(raised.value)


def test_weights_that_do_not_fit_are_refused_by_name() -> None:
    official = narrow_adapter().to_official(narrow_adapter().teacher)
    refuse({k: v for k, v in official.items() if k != "bottleneck.bias"}, "1 missing", "bottleneck.bias")
    refuse(official | {"encoder.body.cls_token": torch.zeros(1, 1, 24)}, "1 unexpected", "cls_token (1, 1, 24)")
    refuse(official | {"pos_embed": torch.zeros(1, 9, 16)}, "pos_embed is (1, 9, 16)", "(1, 16, 16)")
    refuse({k: v for k, v in official.items() if ".blocks.5." not in k}, "encoder.body.blocks.", "without a gap")
    refuse({k: v for k, v in official.items() if ".layers.0." not in k}, "decoder.body.layers.", "without a gap")
    refuse({k: v for k, v in official.items() if "body.layers." not in k}, "found []", "decoder.body.layers.")
    refuse({"conv.weight": torch.zeros(1)}, "encoder.body.blocks.", "another tracker")


@pytest.mark.parametrize(
    ("of", "under", "told"),
    [
        ("seqtrack_b256", "seqtrack_b384", r"pos_embed is \(1, 256, 256\), expected \(1, 576, 256\)"),
        ("seqtrack_l256", "seqtrack_b256", r"encoder.body.pos_embed is \(1, 512, 1024\), expected \(1, 512, 768\)"),
        ("seqtrack_b256", "seqtrack_b256_encoder4", "holds 12 encoder blocks and 2 decoder layers; .* has 4 and 2"),
        ("seqtrack_b256", "seqtrack_b256_decoder1", "holds 12 encoder blocks and 2 decoder layers; .* has 12 and 1"),
    ],
)
@to_nowhere
def test_weights_of_another_variant_are_refused(tmp_path: Path, of: str, under: str, told: str) -> None:
    path = write_layout(tmp_path / "official.pth.tar", layout_of(*ARCHITECTURES[of]))
    with pytest.raises(CheckpointError, match=told):
        load(under, path)


@to_nowhere
def test_weights_of_more_blocks_are_refused(tmp_path: Path) -> None:
    path = write_layout(tmp_path / "own.pth.tar", layout_of(768, 13, 16))
    with pytest.raises(CheckpointError, match="holds 13 encoder blocks"):
        load("seqtrack_b256", path)


def test_weights_must_be_named_or_shipped() -> None:
    with pytest.raises(CheckpointError) as raised:
        ctsdk.load_adapter("seqtrack", variant="seqtrack_b256")
    for choice in ("SEQTRACK_ep0500.pth.tar", "weights='random'"):
        assert choice in str(raised.value)


# -- variants ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "hint"),
    [
        ("seqtrack_b_256", "Did you mean 'seqtrack_b256'?"),
        ("seqtrack_b256_encoder13", "fewer encoder blocks"),
        ("seqtrack_b256_encoder0", "fewer encoder blocks"),
        ("seqtrack_b256_encoder4_", "fewer encoder blocks"),
        ("b512", "Name one of them"),
        ("", "Name one of them"),
        (None, "needs a variant"),
    ],
)
def test_unknown_variant(variant: str | None, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ctsdk.load_adapter("seqtrack", variant=variant, weights="random")
    assert hint in str(raised.value)


def test_listed_variants_are_those_that_exist() -> None:
    assert set(ctsdk_seqtrack.ctsdk_adapter().variants) == set(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_built(variant: str) -> None:
    adapter = load(variant)
    assert adapter.variant == variant
    config, spec = adapter.teacher.config, adapter.spec
    assert (spec.template_size, spec.search_size) == (config.template_size, config.search_size)
    assert spec.num_templates == 2
    assert adapter.official_depth == len(adapter.teacher.encoder.body.blocks) == config.depth
    assert len(adapter.teacher.decoder.body.layers) == config.decoder_depth == 2
    if variant == "tiny":
        return
    assert spec.template_factor == spec.search_factor == 4.0
    assert (spec.search_centre_jitter, spec.search_scale_jitter, spec.max_gap) == (3.5, 0.5, 400)
    assert (spec.template_centre_jitter, spec.template_scale_jitter) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "depths"),
    [
        ("seqtrack_b384_encoder4", (4, 2)),
        ("seqtrack_b256_got_encoder1_decoder1", (1, 1)),
        ("seqtrack_l256_decoder6", (24, 6)),
        ("seqtrack_l256_encoder23", (23, 2)),
    ],
)
def test_variants_of_other_depths(name: str, depths: tuple[int, int]) -> None:
    adapter = load(name)
    assert adapter.variant == name
    assert (len(adapter.teacher.encoder.body.blocks), len(adapter.teacher.decoder.body.layers)) == depths
    member = VARIANTS[name.partition("_encoder")[0].partition("_decoder")[0]]
    assert adapter.spec == member.spec
    assert adapter.tracking == member.tracking


def test_a_depth_that_is_spelt_out_though_it_is_the_members_own_is_left_out_of_the_name() -> None:
    assert load("seqtrack_b256_encoder12_decoder2").variant == "seqtrack_b256"
    assert find_variant("seqtrack_b256_encoder012") is None


def test_random_weights_are_always_the_same_and_leave_the_caller_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = (SeqTrackAdapter.load("tiny", "random").teacher for _ in range(2))
    assert_same(first.state_dict(), dict(second.state_dict()))
    assert torch.equal(torch.random.get_rng_state(), before)
