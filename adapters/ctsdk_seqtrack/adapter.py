"""SeqTrack for ctsdk: where its blocks are, how it predicts, what it is trained on, how it tracks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ctsdk import (
    AdapterContractError,
    Batch,
    CheckpointError,
    Prediction,
    TrackerAdapter,
    TrackerSpec,
    TrackResult,
    Trunk,
)
from ctsdk.boxes import BoxPx
from ctsdk.family import Family, detached_tensors, unknown_variant
from ctsdk.tracking import CropSession
from ctsdk_seqtrack.losses import cross_entropy, words_divergence, words_of_boxes
from ctsdk_seqtrack.model import NUM_COORDINATES, SeqTrack, boxes_of_words, write_box
from ctsdk_seqtrack.variants import DEMO_WEIGHTS, VARIANTS, SeqTrackConfig, Tracking, find_variant, variant_name
from ctsdk_seqtrack.weights import config_of, from_official_layout, to_official_layout

__all__ = ["SeqTrackAdapter", "SeqTrackSession"]

# The end of the sentence that lists the variants.
_OTHER_DEPTHS = (
    ", and each with fewer encoder blocks or another number of decoder layers, such as "
    "'seqtrack_b256_encoder4_decoder1'"
)


class SeqTrackAdapter(TrackerAdapter):
    """A :class:`SeqTrack` teacher of any size and depth.

    Attributes:
        variant: a name that :func:`~ctsdk_seqtrack.variants.find_variant` knows, or None for a custom
            architecture.
        tracking: when sessions take a new template.
        official_depth: encoder blocks that the official code builds, whatever a file holds.
    """

    name: ClassVar[str] = "seqtrack"
    capabilities = frozenset({"session", "official"})
    teacher: SeqTrack

    def __init__(
        self,
        teacher: SeqTrack,
        *,
        spec: TrackerSpec | None = None,
        variant: str | None = None,
        tracking: Tracking | None = None,
        official_depth: int | None = None,
    ) -> None:
        super().__init__(teacher)
        config = teacher.config
        self.spec = spec or TrackerSpec(
            template_size=config.template_size, search_size=config.search_size, template_factor=4.0, num_templates=2
        )
        self.variant = variant
        self.tracking = tracking or Tracking()
        self.official_depth = official_depth or config.depth

    @classmethod
    def load(cls, variant: str | None, weights: str | Path | None) -> SeqTrackAdapter:
        """Return a variant with the weights of a file, with those it ships (None), or untrained (the word "random").

        Where a file has fewer encoder blocks or other decoder layers than the variant, the depths are the file's, and
        :attr:`variant` names them.

        Raises:
            ConfigError: there is no such variant.
            CheckpointError: the weights cannot be read, do not fit, or the variant ships none.
        """
        found = find_variant(variant or "")
        if variant is None or found is None:
            raise unknown_variant(cls.name, variant, VARIANTS, _OTHER_DEPTHS)
        family, member = found
        teacher = _FAMILY.load(variant, weights, member.config, _check_architecture)
        return cls(
            teacher,
            spec=member.spec,
            variant=variant_name(family, teacher.config),
            tracking=member.tracking,
            official_depth=VARIANTS[family].config.depth,
        )

    def for_dataset(self, name: str) -> SeqTrackAdapter:
        """Return the adapter with the update interval and threshold of a data set, as officially tested."""
        tuned, tracking = copy.copy(self), self.tracking
        tuned.tracking = replace(
            tracking,
            update_interval=tracking.update_intervals.get(name, tracking.update_interval),
            update_threshold=tracking.update_thresholds.get(name, tracking.update_threshold),
        )
        return tuned

    def trunks(self) -> dict[str, Trunk]:
        """Return the blocks of the encoder, which do nearly all of the work, and the layers of the decoder."""
        return {"encoder": Trunk("encoder.body.blocks"), "decoder": Trunk("decoder.body.layers")}

    def predict(self, tracker: nn.Module, batch: Batch) -> Prediction:
        """Ask the tracker for each word of the true box, given those before it.

        The boxes are of the likeliest word at each place; :meth:`locate` continues from the tracker's own words.
        """
        words = F.pad(self._true_words(batch), (1, 0), value=self.teacher.config.start_word)  # (B, 5)
        logits = tracker(batch.templates, batch.searches[0], words)  # (B, 5, V)
        num_bins, size = self.teacher.config.num_bins, self.spec.search_size
        likeliest = logits[:, :NUM_COORDINATES, :num_bins].argmax(dim=-1)
        return Prediction(boxes_of_words(likeliest, num_bins) * (size - 1) / size, {"logits": logits})

    def locate(self, tracker: nn.Module, batch: Batch) -> Prediction:
        """Let the tracker write the box, each word given its own words before, without a window."""
        config = self.teacher.config
        if isinstance(tracker, SeqTrack):
            words, _ = tracker.write(
                tracker.look(batch.searches[0], tracker.encoder.body.embed_templates(batch.templates))
            )
        else:
            start = torch.full((batch.size, 1), config.start_word, device=batch.searches.device)
            words, _ = write_box(
                lambda words: tracker(batch.templates, batch.searches[0], words)[:, -1], start, config.num_bins, None
            )
        size = self.spec.search_size
        return Prediction(boxes_of_words(words, config.num_bins) * (size - 1) / size, {"words": words})

    def task_loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Return the cross entropy of the words of the true box and of END."""
        words = F.pad(self._true_words(batch), (0, 1), value=self.teacher.config.end_word)  # (B, 5)
        return {"cross_entropy": cross_entropy(prediction.outputs["logits"], words)}

    def guidance_loss(self, student: Prediction, teacher: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Return the divergence of the student's words from the teacher's, both given the true words before."""
        del batch
        return {"words": words_divergence(student.outputs["logits"], teacher.outputs["logits"])}

    def stage_tokens(self, trunk: str, output: object, batch: Batch) -> tuple[Tensor, ...]:
        """Return of the encoder the tokens of the search crop (B, Nx, C) and of all templates (B, T * Nz, C).

        Of the decoder, return the words (L, B, D).
        """
        del batch
        if not isinstance(output, Tensor):
            raise AdapterContractError(
                f"a block of trunk {trunk!r} of SeqTrack returned {type(output).__name__}; expected a tensor. "
                "A block put into the encoder must take and return tokens, one put into the decoder must take words "
                "and their context and return words."
            )
        if trunk == "decoder":
            return (output,)
        num_search = self.teacher.config.search_cells**2
        return output[:, :num_search], output[:, num_search:]

    def session(self, tracker: nn.Module) -> SeqTrackSession:
        """Return a session that writes the box word by word, and takes new templates."""
        return SeqTrackSession(self, tracker)

    def to_official(self, tracker: nn.Module) -> dict[str, Tensor]:
        """Return the weights as the official code loads them, which is strict and reads an entry ``"net"``.

        It always builds all encoder blocks, so a shorter encoder is filled up with blocks that change nothing; the
        number of decoder layers is for its configuration to say.
        """
        return to_official_layout(detached_tensors(tracker), depth=self.official_depth)

    def from_official(self, weights: str | Path | Mapping[str, Tensor]) -> SeqTrack:
        """Return a tracker with the encoder blocks and decoder layers that the weights have, idle blocks left out."""
        return _FAMILY.read(weights, self.teacher.config)

    def _true_words(self, batch: Batch) -> Tensor:
        """Return the words of the true boxes, (B, 4)."""
        # A batch has shares of the crop's side, SeqTrack's words count from its first to its last pixel.
        size = self.spec.search_size
        return words_of_boxes(batch.search_boxes[0].float() * size / (size - 1), self.teacher.config.num_bins)


class SeqTrackSession(CropSession):
    """Tracks with a Hann window over the words of the centre, and with templates of the first and of later frames.

    Templates are embedded once and kept until one changes. A tracker of another class is run as a whole for each word.

    Source: microsoft/VideoX @ 1744b21, SeqTrack/lib/test/tracker/seqtrack.py.
    """

    def __init__(self, adapter: SeqTrackAdapter, tracker: nn.Module) -> None:
        super().__init__(adapter, tracker)
        self.config, self.tracking = adapter.teacher.config, adapter.tracking
        self.window = torch.from_numpy(np.hanning(self.config.num_bins))  # (F,) float64
        self._num_updates = 0
        self._template_tokens: Tensor | None = None

    def start(self, frame: NDArray[np.uint8], box_xywh_px: BoxPx) -> None:
        """Take all templates from the first frame."""
        super().start(frame, box_xywh_px)
        self._num_updates = 0
        assert self.templates is not None
        self._remember(self.templates)

    def update(self, frame: NDArray[np.uint8]) -> TrackResult:
        """Find the target in the next frame, and take a template from it if it is due and the confidence is high."""
        result = super().update(frame)
        assert self.templates is not None
        self._num_updates += 1
        is_time = self._num_updates % self.tracking.update_interval == 0
        if is_time and result.confidence > self.tracking.update_threshold and len(self.templates) > 1:
            spec = self.adapter.spec
            template = self.crop(frame, spec.template_factor, spec.template_size)[0]
            # The first one stays; of the others the oldest goes.
            self._remember(torch.cat([self.templates[:1], self.templates[2:], template]))
        return result

    def look(self, searches: Tensor) -> Prediction:
        """Return the box for a search crop (1, 1, 3, H, W), with its words and their probabilities."""
        window = self._window_on(searches.device)
        if isinstance(self.tracker, SeqTrack):
            assert self._template_tokens is not None
            words, confidences = self.tracker.write(self.tracker.look(searches[0], self._template_tokens), window)
        else:
            start = torch.full((1, 1), self.config.start_word, device=searches.device)
            words, confidences = write_box(
                lambda words: self.tracker(self.templates, searches[0], words)[:, -1],
                start,
                self.config.num_bins,
                window,
            )
        # Training counts from the first to the last pixel, tracking takes the same numbers for shares of the side.
        boxes = boxes_of_words(words, self.config.num_bins)
        return Prediction(boxes, {"words": words, "confidences": confidences})

    def decode(self, prediction: Prediction) -> tuple[Tensor, float]:
        """Return the box (4,), cxcywh, and ten times the sum of its words' probabilities."""
        confidences = prediction.outputs["confidences"][0]
        # argmax of NaNs still returns a word; mark the box NaN.
        return prediction.boxes[0].where(confidences.isfinite(), torch.nan), 10 * float(confidences.sum())

    def _remember(self, templates: Tensor) -> None:
        """Keep templates (T, 1, 3, H, W) and their embedded tokens."""
        self.templates = templates
        if isinstance(self.tracker, SeqTrack):
            with torch.inference_mode():
                self._template_tokens = self.tracker.encoder.body.embed_templates(templates)

    def _window_on(self, device: torch.device) -> Tensor:
        """Return the window, in double precision where the device has it."""
        return self.window.to(device, torch.float32 if device.type == "mps" else torch.float64)


def _check_architecture(tensors: Mapping[str, Tensor], config: SeqTrackConfig, source: str, variant: str) -> None:
    """Refuse weights of other depths than those that the variant's name spells out, or of more encoder blocks."""
    norm = tensors.get("encoder.body.norm.weight")
    if norm is None or len(norm) != config.width:
        return  # Another ViT, which the comparison of shapes refuses with a better message.
    seen = config_of(tensors, config)
    is_shorter = variant in VARIANTS and seen.depth <= config.depth
    if not is_shorter and (seen.depth, seen.decoder_depth) != (config.depth, config.decoder_depth):
        raise CheckpointError(
            f"{source} holds {seen.depth} encoder blocks and {seen.decoder_depth} decoder layers; variant {variant!r} "
            f"has {config.depth} and {config.decoder_depth}. Name the variant of the weights, such as "
            "'seqtrack_b256_encoder4' for four blocks, or read them with from_official() of a loaded adapter."
        )


_FAMILY: Family[SeqTrackConfig, SeqTrack] = Family(
    adapter=SeqTrackAdapter.name,
    network=SeqTrack,
    config_of=config_of,
    from_official_layout=from_official_layout,
    demo_weights=DEMO_WEIGHTS,
    official_file="SEQTRACK_ep0500.pth.tar",
)
