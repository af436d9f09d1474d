"""OSTrack computes what the official code computes, number by number, with the same weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import ctsdk
from ctsdk.profiling import count_macs
from ctsdk_ostrack.adapter import OSTrackAdapter, OSTrackSession
from ctsdk_ostrack.model import OSTrack, OSTrackConfig, TrunkState, decode_boxes
from ctsdk_ostrack.variants import VARIANTS
from tests.golden.synthetic_weights import image

GOLDEN = Path(__file__).parents[1] / "golden" / "ostrack"
FIGURES = json.loads((GOLDEN / "forward.json").read_text())
ELIMINATING = (3, 6, 9)
# Multiply-adds of one sample, 10^9: linear and convolutional layers, then attention products.
BILLION_MACS = {
    "vitb_256_mae_32x4_ep300": (29.02, 1.89),
    "vitb_256_mae_ce_32x4_ep300": (21.50, 1.14),
    "vitb_384_mae_ce_32x4_ep300": (48.31, 5.77),
    "compresstracker_vitb_256_2": (6.37, 0.31),
    "compresstracker_vitb_256_3": (8.64, 0.47),
    "compresstracker_vitb_256_4": (10.90, 0.63),
    "compresstracker_vitb_256_6": (15.43, 0.94),
}
MILLION_PARAMETERS = {2: 21.64, 3: 28.73, 4: 35.82, 6: 49.99}


def close(seen: Tensor, wanted: NDArray[np.float32], tolerance: float) -> None:
    assert seen.shape == wanted.shape
    np.testing.assert_allclose(seen.numpy(), wanted, rtol=0, atol=tolerance)


class Run:
    """One forward pass and what every block handed on."""

    def __init__(self, tracker: OSTrack, *, is_masked: bool) -> None:
        self.states: list[TrunkState] = []
        self.embedded: list[TrunkState] = []
        self.normed: list[Tensor] = []
        blocks = tracker.backbone.blocks
        handles = [
            blocks[0].register_forward_pre_hook(lambda _, inputs: self.embedded.append(inputs[0])),
            *(block.register_forward_hook(lambda _m, _i, state: self.states.append(state)) for block in blocks),
            tracker.backbone.norm.register_forward_hook(lambda _m, _i, x: self.normed.append(x)),
            tracker.backbone.register_forward_hook(lambda _m, _i, x: self.normed.append(x)),
        ]
        template, search = image("ostrack/template", (2, 3, 128, 128)), image("ostrack/search", (2, 3, 256, 256))
        with torch.inference_mode():
            self.outputs = tracker(template, search, tracker.centre_row if is_masked else None)
        for handle in handles:
            handle.remove()

    def removed(self, block: int) -> list[list[int]]:
        """The cells that a block dropped, per sample, in rising order."""
        before, after = self.states[block - 1].kept, self.states[block].kept
        assert after is not None
        kept = torch.arange(256).expand(2, 256) if before is None else before
        pairs = zip(kept.tolist(), after.tolist(), strict=True)
        return [sorted(set(old) - set(new)) for old, new in pairs]


@pytest.fixture(scope="module")
def golden() -> Mapping[str, NDArray[np.float32]]:
    with np.load(GOLDEN / "forward.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def run(ostrack_ce: OSTrackAdapter) -> Run:
    return Run(ostrack_ce.teacher, is_masked=True)


@pytest.fixture(scope="module")
def unmasked(ostrack_ce: OSTrackAdapter) -> Run:
    return Run(ostrack_ce.teacher, is_masked=False)


def check_tokens(tokens: Tensor, search: Tensor, golden: Mapping[str, NDArray[np.float32]], place: str) -> None:
    """Compare the statistics of all tokens, some template tokens and the first search tokens."""
    close(tokens.mean(), golden[f"{place}/mean"], 1e-5)
    close(tokens.std(correction=0), golden[f"{place}/std"], 1e-5)
    close(tokens[:, :4, :16], golden[f"{place}/tokens"], 2e-4)
    close(search[:, :4, :16], golden[f"{place}/search_tokens"], 2e-4)


def test_embedding(run: Run, golden: Mapping[str, NDArray[np.float32]]) -> None:
    (state,) = run.embedded
    assert (state.num_template, state.kept) == (64, None)
    check_tokens(state.tokens, state.tokens[:, 64:], golden, "embed")


@pytest.mark.parametrize("block", range(12))
def test_block(run: Run, golden: Mapping[str, NDArray[np.float32]], block: int) -> None:
    state = run.states[block]
    search = state.tokens[:, 64:]
    if state.kept is not None:
        order = state.kept.argsort(dim=1)
        search = search.gather(1, order[..., None].expand_as(search))
    check_tokens(state.tokens, search, golden, f"block_{block:02d}")


@pytest.mark.parametrize("block", ELIMINATING)
def test_eliminated_candidates(run: Run, unmasked: Run, golden: Mapping[str, NDArray[np.int16]], block: int) -> None:
    place, kept = f"block_{block:02d}", run.states[block].kept
    assert kept is not None
    assert kept.tolist() == golden[f"{place}/kept_order"].tolist()
    assert kept.sort(dim=1).values.tolist() == golden[f"{place}/kept_index"].tolist()
    assert run.removed(block) == golden[f"{place}/removed_index"].tolist()
    assert unmasked.removed(block) == golden[f"unmasked/{place}/removed_index"].tolist()
    assert run.removed(block) != unmasked.removed(block)


def test_no_other_block_eliminates(run: Run) -> None:
    sizes = [state.tokens.shape[1] - 64 for state in run.states]
    assert sizes == [256] * 3 + [180] * 3 + [126] * 3 + [89] * 3


def test_eliminated_cells_are_zero_after_the_norm(run: Run, golden: Mapping[str, NDArray[np.float32]]) -> None:
    normed, grid = run.normed
    check_tokens(torch.cat([normed[:, :64], grid], dim=1), grid, golden, "final")
    last = run.states[-1].kept
    assert last is not None
    is_kept = torch.zeros(2, 256, dtype=torch.bool).scatter(1, last, True)
    assert not grid[~is_kept].any()
    assert grid[is_kept].any(dim=1).all()


@pytest.mark.parametrize("prefix", ["", "unmasked/"])
def test_maps_and_boxes(
    run: Run, unmasked: Run, golden: Mapping[str, NDArray[np.float32]], ostrack_ce: OSTrackAdapter, prefix: str
) -> None:
    outputs = unmasked.outputs if prefix else run.outputs
    close(outputs["score_map"], golden[f"{prefix}score_map"], 2e-5)
    close(outputs["size_map"], golden[f"{prefix}size_map"], 2e-5)
    close(outputs["offset_map"], golden[f"{prefix}offset_map"], 1e-4)
    close(outputs["boxes"], golden[f"{prefix}pred_boxes"][:, 0], 2e-5)

    window = OSTrackSession(ostrack_ce, ostrack_ce.teacher).window
    close(window, golden["hann_window"], 1e-6)
    boxes = decode_boxes(window * outputs["score_map"], outputs["size_map"], outputs["offset_map"])
    close(boxes, golden[f"{prefix}windowed_boxes"], 2e-5)


def test_adapter_predicts_what_the_tracker_computes(run: Run, ostrack_ce: OSTrackAdapter) -> None:
    batch = ctsdk.Batch(
        image("ostrack/template", (1, 2, 3, 128, 128)),
        image("ostrack/search", (1, 2, 3, 256, 256)),
        torch.zeros(1, 2, 4),
        torch.zeros(1, 2, 4),
    )
    with torch.inference_mode():
        prediction = ostrack_ce.predict(ostrack_ce.teacher, batch)
    assert torch.equal(prediction.boxes, run.outputs["boxes"])
    assert torch.equal(prediction.outputs["score_map"], run.outputs["score_map"])


def test_the_checkpoint_of_the_official_trainer_is_read_whole(
    ostrack_file: Path, ostrack_weights: dict[str, Tensor]
) -> None:
    adapter = ctsdk.load_adapter("ostrack", variant="vitb_256_mae_ce_32x4_ep300", weights=ostrack_file)
    state = adapter.teacher.state_dict()
    assert list(state) == list(ostrack_weights)
    assert all(torch.equal(state[key], ostrack_weights[key]) for key in state)
    assert sum(parameter.numel() for parameter in adapter.teacher.parameters()) == FIGURES["parameters"]
    assert not adapter.teacher.training


def described(variant: str) -> OSTrackAdapter:
    """The variant without memory for its weights: enough to count."""
    with torch.device("meta"):
        return OSTrackAdapter.load(variant, "random")


@pytest.mark.parametrize("variant", BILLION_MACS)
def test_multiply_adds(variant: str) -> None:
    adapter = described(variant)
    batch = adapter.example_batch().to("meta")
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        adapter.predict(adapter.teacher, batch)
    flops = counter.get_flop_counts()["Global"]
    attention = sum(count for operator, count in flops.items() if "bmm" in str(operator)) // 2
    total = count_macs(adapter, adapter.teacher)
    layers, products = BILLION_MACS[variant]
    assert total - attention == pytest.approx(1e9 * layers, abs=5e6)
    assert attention == pytest.approx(1e9 * products, abs=5e6)
    if variant == "vitb_256_mae_ce_32x4_ep300":
        assert total == sum(FIGURES["macs"].values())
        assert attention == FIGURES["macs"]["attention"]


def test_multiply_adds_of_weights_that_exist(ostrack_ce: OSTrackAdapter) -> None:
    assert count_macs(ostrack_ce, ostrack_ce.teacher) == sum(FIGURES["macs"].values())


def test_parameters_of_the_variants() -> None:
    counts = {name: sum(parameter.numel() for parameter in described(name).teacher.parameters()) for name in VARIANTS}
    assert {counts[name] for name in VARIANTS if name.startswith("vitb_256")} == {92_518_533}
    assert {counts[name] for name in VARIANTS if name.startswith("vitb_384")} == {92_825_733}
    for depth, millions in MILLION_PARAMETERS.items():
        assert counts[f"compresstracker_vitb_256_{depth}"] == pytest.approx(1e6 * millions, abs=5e3)


def narrow(variant: str) -> OSTrack:
    """A network of the variant's tokens and blocks with few channels."""
    config = VARIANTS[variant].config
    return OSTrack(
        OSTrackConfig(
            template_size=config.template_size,
            search_size=config.search_size,
            depth=config.depth,
            keep_ratios=config.keep_ratios,
            width=24,
            num_heads=3,
            head_width=16,
        )
    ).eval()


def test_elimination_at_384_px() -> None:
    tracker = narrow("vitb_384_mae_ce_32x4_ep300")
    states: list[TrunkState] = []
    for block in tracker.backbone.blocks:
        block.register_forward_hook(lambda _m, _i, state: states.append(state))
    with torch.inference_mode():
        outputs = tracker(torch.randn(1, 3, 192, 192), torch.randn(1, 3, 384, 384), tracker.centre_row)
    sizes = [state.tokens.shape[1] - 144 for state in states]
    assert sizes == [576] * 3 + [404] * 3 + [283] * 3 + [199] * 3
    assert tracker.centre_row.tolist() == [65]
    assert outputs["score_map"].shape == (1, 1, 24, 24)


def test_centre_row_at_256_px() -> None:
    assert narrow("vitb_256_mae_ce_32x4_ep300").centre_row.tolist() == [27]


def test_drop_path_rises_over_the_blocks() -> None:
    rates = [block.drop_path.drop_prob for block in narrow("vitb_256_mae_32x4_ep300").backbone.blocks]
    assert rates == pytest.approx([0.1 * i / 11 for i in range(12)])


def test_maps_keep_their_digits_under_autocast() -> None:
    torch.manual_seed(0)
    tracker = narrow("vitb_256_mae_32x4_ep300")
    last = tracker.box_head.get_submodule("conv5_ctr")
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    with torch.no_grad():
        last.bias.fill_(8.0)  # a tracker that is very sure
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        outputs = tracker(torch.randn(2, 3, 128, 128), torch.randn(2, 3, 256, 256))
    assert {value.dtype for value in outputs.values()} == {torch.float32}
    assert outputs["score_map"].max() < 1.0


def test_double_precision_stays_double() -> None:
    tracker = narrow("vitb_256_mae_ce_32x4_ep300").double()
    crops = torch.randn(1, 3, 128, 128).double(), torch.randn(1, 3, 256, 256).double()
    with torch.inference_mode():
        outputs = tracker(*crops, tracker.centre_row)
    assert {value.dtype for value in outputs.values()} == {torch.float64}
