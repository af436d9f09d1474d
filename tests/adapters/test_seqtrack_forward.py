"""SeqTrack computes what the official code computes, number by number, with the same weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import ctsdk
from ctsdk.profiling import count_macs
from ctsdk_seqtrack.adapter import SeqTrackAdapter
from ctsdk_seqtrack.losses import words_of_boxes
from ctsdk_seqtrack.model import SeqTrack, SeqTrackConfig, boxes_of_words, write_box
from tests.golden.seqtrack.networks import FOLDER, b256
from tests.golden.synthetic_weights import image

# In SeqTrack's unit: from the centre of the first pixel to that of the last.
BOXES_XYWH = ((0.40625, 0.375, 0.25, 0.3), (-0.05, 0.6, 0.4, 0.55))


def close(seen: Tensor, wanted: NDArray[np.float32], tolerance: float) -> None:
    assert seen.shape == wanted.shape
    np.testing.assert_allclose(seen.numpy(), wanted, rtol=0, atol=tolerance)


def batch_of_two() -> ctsdk.Batch:
    """The recorded inputs."""
    names = ("template_0", "template_1", "search")
    template_0, template_1, search = (image(f"seqtrack_b256/{name}", (2, 3, 256, 256)) for name in names)
    boxes = (torch.tensor(BOXES_XYWH).double() * 255 / 256).float()
    return ctsdk.Batch(torch.stack([template_0, template_1]), search[None], torch.zeros(2, 2, 4), boxes[None])


class Run:
    """One forward pass, and what every part took or handed on, samples first."""

    def __init__(self, adapter: SeqTrackAdapter) -> None:
        tracker, self.states = adapter.teacher, dict[str, Tensor]()
        body, decoder = tracker.encoder.body, tracker.decoder
        parts = {f"block_{i:02d}": block for i, block in enumerate(body.blocks)}
        words = {f"decoder_layer_{i}": layer for i, layer in enumerate(decoder.body.layers)}
        words |= {"decoder_embedding": decoder.embedding, "decoder_norm": decoder.body.norm}
        handles = [
            body.blocks[0].register_forward_pre_hook(lambda _, inputs: self.states.update(embed=inputs[0])),
            *(part.register_forward_hook(self._keep(name)) for name, part in parts.items()),
            *(part.register_forward_hook(self._keep(name, dims=(0, 1))) for name, part in words.items()),
            tracker.bottleneck.register_forward_hook(self._keep("memory")),
        ]
        with torch.inference_mode():
            self.prediction = adapter.predict(tracker, batch_of_two())
            self.states["encoder_norm"] = body.norm(self.states["block_11"])
            self.task_loss = adapter.task_loss(self.prediction, batch_of_two())["cross_entropy"]
        for handle in handles:
            handle.remove()
        self.memory = self.states["memory"].transpose(0, 1)

    def _keep(self, name: str, dims: tuple[int, int] | None = None):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return lambda _m, _i, output: self.states.update({name: output.transpose(*dims) if dims else output})


@pytest.fixture(scope="module")
def golden() -> Mapping[str, NDArray[np.float32]]:
    with np.load(FOLDER / "forward.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def run() -> Run:
    return Run(b256())


# -- recorded figures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["embed", *(f"block_{i:02d}" for i in range(12)), "encoder_norm", "memory"])
def test_tokens(run: Run, golden: Mapping[str, NDArray[np.float32]], place: str) -> None:
    tokens = run.states[place]
    tolerance = 5e-5
    close(tokens.mean(dim=(1, 2)), golden[f"{place}/mean"], tolerance)
    close(tokens.flatten(1).std(dim=1, correction=0), golden[f"{place}/std"], tolerance)
    close(tokens[:, :4, :16], golden[f"{place}/head"], tolerance)
    close(tokens[:, -4:, -16:], golden[f"{place}/tail"], tolerance)
    if place != "memory":
        # Search tokens come first, then those of each template.
        close(tokens[:, 256:260, :16], golden[f"{place}/template_0_head"], tolerance)
        close(tokens[:, 512:516, :16], golden[f"{place}/template_1_head"], tolerance)


@pytest.mark.parametrize("place", ["decoder_embedding", "decoder_layer_0", "decoder_layer_1", "decoder_norm"])
def test_words_in_the_decoder(run: Run, golden: Mapping[str, NDArray[np.float32]], place: str) -> None:
    close(run.states[place], golden[f"teacher_forced/{place}"], 1e-5)


def test_logits(run: Run, golden: Mapping[str, NDArray[np.float32]]) -> None:
    close(run.prediction.outputs["logits"], golden["teacher_forced/logits"], 1e-5)


def test_words_of_the_true_boxes(golden: Mapping[str, NDArray[np.int32]]) -> None:
    words = words_of_boxes(torch.tensor(BOXES_XYWH), 4000).numpy()
    assert np.array_equal(words, golden["teacher_forced/input_seq"][:, 1:])
    assert np.array_equal(words, golden["teacher_forced/target_seq"][:, :-1])
    config = SeqTrackConfig()
    assert (golden["teacher_forced/input_seq"][:, 0] == config.start_word).all()
    assert (golden["teacher_forced/target_seq"][:, -1] == config.end_word).all()


def test_loss_of_the_network(run: Run) -> None:
    assert run.task_loss.item() == pytest.approx(8.777433395385742, abs=1e-5)


def test_boxes_are_of_the_likeliest_words_given_the_true_ones(run: Run) -> None:
    words = run.prediction.outputs["logits"][:, :4, :4000].argmax(dim=-1)
    # In shares of the crop's side, as boxes of a batch are.
    torch.testing.assert_close(run.prediction.boxes, words / 3999 * 255 / 256)


@pytest.mark.parametrize("place", ["greedy", "greedy_window"])
def test_box_written_word_by_word(run: Run, golden: Mapping[str, NDArray[np.float64]], place: str) -> None:
    tracker, window = b256().teacher, torch.from_numpy(np.hanning(4000)) if place == "greedy_window" else None
    with torch.inference_mode():
        words, confidences = tracker.write(run.memory, window)
        # All steps at once, because the words are known.
        logits = tracker.read(run.memory, torch.cat([torch.full((2, 1), 4001), words[:, :3]], dim=1))
    assert np.array_equal(words.numpy(), golden[f"{place}/tokens"])
    close(confidences.double(), golden[f"{place}/confidence"], 1e-8)
    assert confidences.dtype == (torch.float64 if window is not None else torch.float32)
    close(boxes_of_words(words, 4000), golden[f"{place}/box_cxcywh"], 0.0)

    shares = logits.softmax(dim=-1)[:, :, :4000].double()
    if window is not None:
        close(logits[:1, :, ::8], golden["greedy_window/logits"], 1e-5)
        shares[:, :2] *= window
    best = shares.topk(5, dim=-1)
    close(best.values, golden[f"{place}/top5_probability"], 1e-8)
    assert np.array_equal(best.indices.numpy(), golden[f"{place}/top5_tokens"])


def test_multiply_adds() -> None:
    with torch.device("meta"):
        adapter = SeqTrackAdapter.load("seqtrack_b256", "random")
    patches, blocks = 768 * 768 * 768, 12 * (768 * 12 * 768**2 + 2 * 768**2 * 768)
    # Four words, each from those before; what they see of the crop is computed once.
    layer = 256 * 2 * 256**2 + 4 * (6 * 256**2 + 2 * 256 * 1024) + 2 * 256 * (4 * 256 + 1 + 2 + 3 + 4)
    others = 256 * 768 * 256 + 4 * (2 * 256**2 + 256 * 4002)
    assert count_macs(adapter, adapter.teacher) == patches + blocks + 2 * layer + others
    assert blocks == pytest.approx(65.2e9 + 10.9e9, rel=1e-3)


# -- how a forward pass may be cut up ----------------------------------------------------------------------------------


def tiny() -> SeqTrackAdapter:
    return SeqTrackAdapter.load("tiny", "random")


def memory_of(adapter: SeqTrackAdapter, batch: ctsdk.Batch) -> Tensor:
    tracker = adapter.teacher
    return tracker.look(batch.searches[0], tracker.encoder.body.embed_templates(batch.templates))


def test_embedded_templates_can_be_kept() -> None:
    adapter, words = tiny(), torch.tensor([[401, 200, 100]] * 2)
    batch = adapter.example_batch(2)
    tracker = adapter.teacher
    with torch.inference_mode():
        kept = tracker.encoder.body.embed_templates(batch.templates)
        for name in ("one", "another"):
            search = image(name, (2, 3, 96, 96))
            assert torch.equal(tracker.read(tracker.look(search, kept), words), tracker(batch.templates, search, words))
        apart = [tracker.encoder.body.embed_templates(template[None]) for template in batch.templates]
    assert torch.equal(torch.cat(apart, dim=1), kept)


@pytest.mark.parametrize("is_windowed", [False, True])
@pytest.mark.parametrize("decoder_depth", [1, 2, 5])
def test_words_kept_in_the_decoder_change_nothing(is_windowed: bool, decoder_depth: int) -> None:
    """Every word from a run of the whole decoder over all words before, as the official code does it."""
    adapter = SeqTrackAdapter.load(f"tiny_decoder{decoder_depth}", "random")
    tracker, window = adapter.teacher, torch.from_numpy(np.hanning(400)) if is_windowed else None
    with torch.inference_mode():
        # Weights at random write one word again and again, unless positions and crop are louder.
        tracker.decoder.embedding.position_embeddings.weight.mul_(30.0)
        memory = 5 * torch.randn(144, 8, 96, generator=torch.Generator().manual_seed(0))
        words, confidences = tracker.write(memory, window)
        wanted = write_box(lambda words: tracker.read(memory, words)[:, -1], torch.full((8, 1), 401), 400, window)
    assert torch.equal(words, wanted[0])
    torch.testing.assert_close(confidences, wanted[1], rtol=1e-4, atol=1e-7)
    assert words.unique().numel() > 8


def test_a_word_knows_nothing_of_later_ones() -> None:
    adapter = tiny()
    with torch.inference_mode():
        memory = memory_of(adapter, adapter.example_batch())
        one, other = (adapter.teacher.read(memory, torch.tensor([[401, 30, 40, *rest]])) for rest in ((5, 6), (7, 8)))
    assert torch.equal(one[:, :3], other[:, :3])
    assert (one[:, 3] != other[:, 3]).any()


def test_the_box_is_made_of_coordinates() -> None:
    adapter = tiny()
    with torch.inference_mode():
        adapter.teacher.vocab_embed.layers[2].bias[-2:] = 50.0
        words, confidences = adapter.teacher.write(memory_of(adapter, adapter.example_batch(4)))
    assert words.max() < 400
    # What END and START take is not given back.
    assert confidences.max() < 1e-10


def test_the_centre_is_never_on_the_border_of_a_windowed_crop() -> None:
    adapter = tiny()
    with torch.inference_mode():
        adapter.teacher.vocab_embed.layers[2].bias[:1] = 50.0
        memory = memory_of(adapter, adapter.example_batch())
        words, _ = adapter.teacher.write(memory, torch.from_numpy(np.hanning(400)))
        unwindowed, _ = adapter.teacher.write(memory)
    assert (words[0, :2] > 0).all()
    assert words[0, 2:].tolist() == [0, 0]
    assert unwindowed.tolist() == [[0, 0, 0, 0]]


class Elsewhere(torch.nn.Module):
    """A SeqTrack in a class that this package does not know."""

    def __init__(self, tracker: SeqTrack) -> None:
        super().__init__()
        self.inner = tracker

    def forward(self, templates: Tensor, search: Tensor, words: Tensor) -> Tensor:
        logits: Tensor = self.inner(templates, search, words)
        return logits


def test_the_located_box_is_written_without_the_true_one() -> None:
    adapter = tiny()
    batch = adapter.example_batch(3)
    other = dataclasses.replace(batch, search_boxes=batch.search_boxes / 2)
    with torch.inference_mode():
        adapter.teacher.decoder.embedding.position_embeddings.weight.mul_(30.0)
        words, _ = adapter.teacher.write(memory_of(adapter, batch))
        located = adapter.locate(adapter.teacher, batch)
        assert torch.equal(located.outputs["words"], words)
        assert torch.equal(adapter.locate(adapter.teacher, other).boxes, located.boxes)
        assert torch.equal(adapter.locate(Elsewhere(adapter.teacher), batch).boxes, located.boxes)
        # A batch counts to the border of the last pixel, words to its centre.
        assert torch.equal(located.boxes, words / 399 * 95 / 96)
        assert not torch.equal(adapter.predict(adapter.teacher, batch).boxes, located.boxes)


# -- parts -------------------------------------------------------------------------------------------------------------


def test_any_number_of_templates() -> None:
    adapter = tiny()
    batch, words = adapter.example_batch(), torch.tensor([[401]])
    with torch.inference_mode():
        for number in (1, 2, 3):
            templates = batch.templates[:1].expand(number, -1, -1, -1, -1)
            assert adapter.teacher(templates, batch.searches[0], words).shape == (1, 1, 402)


def test_positions_of_the_memory_begin_as_waves() -> None:
    table = SeqTrack(SeqTrackConfig(width=24, num_heads=3, depth=1)).pos_embed.detach()[0].double()
    assert table.shape == (256, 256)
    for token, channel in ((0, 0), (0, 1), (1, 0), (3, 1), (255, 100), (255, 255)):
        angle = token / 10_000.0 ** (2 * (channel // 2) / 256)
        assert table[token, channel].item() == pytest.approx(np.cos(angle) if channel % 2 else np.sin(angle), abs=1e-4)


def test_logits_keep_their_digits_under_autocast() -> None:
    adapter = tiny()
    batch = adapter.example_batch(2)
    with torch.inference_mode():
        wanted = adapter.predict(adapter.teacher, batch).outputs["logits"]
        with torch.autocast("cpu", torch.bfloat16):
            prediction = adapter.predict(adapter.teacher, batch)
            task, guidance = (
                adapter.task_loss(prediction, batch)["cross_entropy"],
                adapter.guidance_loss(prediction, prediction, batch)["words"],
            )
            words, _ = adapter.teacher.write(memory_of(adapter, batch))
    assert prediction.outputs["logits"].dtype == task.dtype == torch.float32
    torch.testing.assert_close(prediction.outputs["logits"], wanted, rtol=0, atol=0.1)
    assert guidance.item() == 0.0
    assert words.shape == (2, 4)


def test_double_precision_stays_double() -> None:
    adapter = tiny()
    batch = adapter.example_batch()
    tracker = adapter.teacher.double()
    with torch.inference_mode():
        logits = tracker(batch.templates.double(), batch.searches[0].double(), torch.tensor([[401, 5]]))
        assert logits.dtype == torch.float64
        templates = tracker.encoder.body.embed_templates(batch.templates.double())
        words, confidences = tracker.write(tracker.look(batch.searches[0].double(), templates))
    assert confidences.dtype == torch.float64
    assert words.dtype == torch.int64
