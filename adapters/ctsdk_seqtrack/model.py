"""SeqTrack: an encoder over a search crop and templates, and a decoder that writes the box word by word.

The whole network in one file, in the order in which it runs. Shapes at the line ends: B samples, T templates, Nx search
tokens, N tokens in all, C channels of the encoder, D of the decoder, H heads, L words of a sequence, V words there are.

Module names are those of the official code, so that a state dict has the official keys.

Source: Chen et al., SeqTrack: Sequence to Sequence Learning for Visual Object Tracking, CVPR 2023; microsoft/VideoX @
1744b21, SeqTrack/lib/models/seqtrack/{seqtrack,encoder,decoder,vit}.py, SeqTrack/lib/utils/pos_embed.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from timm import layers
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from ctsdk_seqtrack.variants import SeqTrackConfig

__all__ = ["NUM_COORDINATES", "DecoderLayer", "SeqTrack", "SeqTrackConfig", "boxes_of_words", "write_box"]

NUM_COORDINATES = 4
"""Words of a box: centre x, centre y, width, height."""

# Those of them that say where the centre is.
_NUM_CENTRE = 2


# -- encoder ----------------------------------------------------------------------------------------------------------


class EncoderBody(nn.Module):
    """Embeds the crops and runs the blocks over all their tokens."""

    def __init__(self, config: SeqTrackConfig) -> None:
        super().__init__()
        width, self.num_search = config.width, config.search_cells**2
        # One table: the positions of the search crop, then those that all templates share.
        positions = torch.empty(1, self.num_search + config.template_cells**2, width)
        self.pos_embed = nn.Parameter(layers.trunc_normal_(positions, std=0.02))
        self.patch_embed = layers.PatchEmbed(img_size=None, patch_size=config.patch_size, embed_dim=width)
        # timm asks for a class, and is content with what makes a layer.
        norm: type[nn.Module] = partial(nn.LayerNorm, eps=1e-6)  # type: ignore[assignment]
        self.blocks = nn.ModuleList(
            Block(width, config.num_heads, qkv_bias=True, norm_layer=norm) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def embed_templates(self, templates: Tensor) -> Tensor:
        """Return the tokens of templates (T, B, 3, Hz, Hz) before the first block, (B, T * Nz, C)."""
        positions = self.pos_embed[:, self.num_search :]
        # One after the other, so that a template alone gives the same digits.
        return torch.cat([self.patch_embed(template) + positions for template in templates.unbind(0)], dim=1)

    def forward(self, search: Tensor, template_tokens: Tensor) -> Tensor:
        """Return the search tokens after the last norm, (B, Nx, C), from a crop (B, 3, Hx, Hx) and template tokens."""
        searches = self.patch_embed(search) + self.pos_embed[:, : self.num_search]  # (B, Nx, C)
        x = torch.cat([searches, template_tokens], dim=1)  # (B, N, C)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x[:, : self.num_search])
        return out


class Encoder(nn.Module):
    """Holds the encoder under its official name."""

    def __init__(self, config: SeqTrackConfig) -> None:
        super().__init__()
        self.body = EncoderBody(config)

    def forward(self, search: Tensor, template_tokens: Tensor) -> Tensor:
        """Return what the body returns."""
        out: Tensor = self.body(search, template_tokens)
        return out


# -- decoder ----------------------------------------------------------------------------------------------------------


class KeysValues(NamedTuple):
    """Keys and values of an attention, (B, H, N, D / H) each."""

    keys: Tensor
    values: Tensor

    def joined(self, other: KeysValues) -> KeysValues:
        """Return this and the other, one after the other."""
        return KeysValues(torch.cat([self.keys, other.keys], dim=2), torch.cat([self.values, other.values], dim=2))


class Context(NamedTuple):
    """The inputs of every decoder layer beside the words.

    Attributes:
        memory: (Nx, B, D), what the encoder found in the search crop.
        memory_keys: (Nx, B, D), the same with its positions.
        positions: (L, 1, D), of the words.
    """

    memory: Tensor
    memory_keys: Tensor
    positions: Tensor


class PackedAttention(nn.Module):
    """Attention whose three input projections are one matrix, as in ``torch.nn.MultiheadAttention``.

    Unlike there, keys and values can be computed ahead and kept.
    """

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))  # rows of queries, keys, values
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the input projections anew."""
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.in_proj_bias)

    def prepare(self, keys: Tensor, values: Tensor) -> KeysValues:
        """Return keys and values, from (N, B, D) each."""
        return KeysValues(self._projected(keys, part=1), self._projected(values, part=2))

    def forward(self, queries: Tensor, seen: KeysValues, *, is_causal: bool = False) -> Tensor:
        """Return the attended queries, (L, B, D); if causal, query i attends to the first i + 1."""
        dropout = self.dropout if self.training else 0.0
        q = self._projected(queries, part=0)  # (B, H, L, D / H)
        attended = F.scaled_dot_product_attention(q, seen.keys, seen.values, dropout_p=dropout, is_causal=is_causal)
        out: Tensor = self.out_proj(attended.permute(2, 0, 1, 3).flatten(2))  # (L, B, D)
        return out

    def _projected(self, x: Tensor, part: int) -> Tensor:
        """Return (B, H, N, D / H) of (N, B, D)."""
        heads = F.linear(x, self.in_proj_weight.chunk(3)[part], self.in_proj_bias.chunk(3)[part])
        length, batch, width = heads.shape
        return heads.reshape(length, batch, self.num_heads, width // self.num_heads).permute(1, 2, 0, 3)


class DecoderLayer(nn.Module):
    """A post-norm layer: words attend to earlier words, then to the search crop.

    Positions enter queries and keys in every layer, never the words themselves.
    """

    def __init__(self, width: int, num_heads: int, hidden_width: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = PackedAttention(width, num_heads, dropout)
        self.multihead_attn = PackedAttention(width, num_heads, dropout)
        self.linear1 = nn.Linear(width, hidden_width)
        self.linear2 = nn.Linear(hidden_width, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout, self.dropout1, self.dropout2, self.dropout3 = (nn.Dropout(dropout) for _ in range(4))

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Return the words after this layer, (L, B, D), all at once."""
        words = self.self_attn.prepare(x + context.positions, x)
        crop = self.multihead_attn.prepare(context.memory_keys, context.memory)
        return self._attend(x, context.positions, words, crop, is_causal=True)

    def step(self, x: Tensor, position: Tensor, past: KeysValues | None, crop: KeysValues) -> tuple[Tensor, KeysValues]:
        """Return the next word after this layer, (1, B, D), and the keys and values for later words.

        Args:
            x: (1, B, D), the word.
            position: (1, 1, D), its position.
            past: keys and values of earlier words in this layer; None for the first.
            crop: keys and values of the search crop in this layer, the same for all words.
        """
        word = self.self_attn.prepare(x + position, x)
        words = word if past is None else past.joined(word)
        return self._attend(x, position, words, crop, is_causal=False), words

    def _attend(self, x: Tensor, positions: Tensor, words: KeysValues, crop: KeysValues, *, is_causal: bool) -> Tensor:
        x = self.norm1(x + self.dropout1(self.self_attn(x + positions, words, is_causal=is_causal)))
        x = self.norm2(x + self.dropout2(self.multihead_attn(x + positions, crop)))
        out: Tensor = self.norm3(x + self.dropout3(self.linear2(self.dropout(F.relu(self.linear1(x))))))
        return out


class WordEmbedding(nn.Module):
    """The words' vectors, normalised, and the positions of a sequence."""

    def __init__(self, config: SeqTrackConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.num_words, config.decoder_width)
        self.position_embeddings = nn.Embedding(NUM_COORDINATES + 1, config.decoder_width)
        self.LayerNorm = nn.LayerNorm(config.decoder_width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, words: Tensor) -> Tensor:
        """Return (L, B, D) of words (B, L), without their positions."""
        out: Tensor = self.dropout(self.LayerNorm(self.word_embeddings(words.T)))
        return out

    def positions(self, start: int, stop: int) -> Tensor:
        """Return the positions of words `start` to `stop` of a sequence, (stop - start, 1, D)."""
        places = torch.arange(start, stop, device=self.position_embeddings.weight.device)
        out: Tensor = self.position_embeddings(places[:, None])
        return out


class DecoderBody(nn.Module):
    """The layers, and a norm after the last one."""

    def __init__(self, config: SeqTrackConfig) -> None:
        super().__init__()
        width, num_heads, hidden_width = config.decoder_width, config.decoder_num_heads, config.decoder_hidden_width
        self.layers = nn.ModuleList(
            DecoderLayer(width, num_heads, hidden_width, config.dropout) for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Return the words after the norm, (L, B, D)."""
        for layer in self.layers:
            x = layer(x, context)
        out: Tensor = self.norm(x)
        return out


class Decoder(nn.Module):
    """Embeds words and runs the layers over them."""

    def __init__(self, config: SeqTrackConfig) -> None:
        super().__init__()
        self.embedding = WordEmbedding(config)
        self.body = DecoderBody(config)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, words: Tensor, memory: Tensor, memory_keys: Tensor) -> Tensor:
        """Return the decoded words (L, B, D) of words (B, L), each from itself and those before.

        Args:
            words: (B, L) int64.
            memory: (Nx, B, D), what the encoder found in the search crop.
            memory_keys: (Nx, B, D), the same with its positions.
        """
        positions = self.embedding.positions(0, words.shape[1])
        out: Tensor = self.body(self.embedding(words), Context(memory, memory_keys, positions))
        return out


class VocabularyHead(nn.Module):
    """Gives how likely each word is to come next: three linear layers with ReLUs between them."""

    def __init__(self, width: int, num_words: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, num_words)])

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (..., V) of (..., D), float32 or better: of 4000 words the best two are often close."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        logits: Tensor = self.layers[-1](x)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


# -- tracker ----------------------------------------------------------------------------------------------------------


class SeqTrack(nn.Module):
    """The tracker: encoder, bottleneck, decoder and vocabulary.

    Attributes:
        config: the architecture; a student has fewer encoder blocks and decoder layers.
    """

    def __init__(self, config: SeqTrackConfig) -> None:
        super().__init__()
        self.config = config
        # Positions of the search tokens for the decoder: sines and cosines at first, then trained.
        self.pos_embed = nn.Parameter(_waves(config.search_cells**2, config.decoder_width))
        self.encoder = Encoder(config)
        self.bottleneck = nn.Linear(config.width, config.decoder_width)
        self.decoder = Decoder(config)
        self.vocab_embed = VocabularyHead(config.decoder_width, config.num_words)

    def forward(self, templates: Tensor, search: Tensor, words: Tensor) -> Tensor:
        """Return how likely each word is to follow each of the given ones: logits (B, L, V).

        Args:
            templates: (T, B, 3, Hz, Hz), normalised: the target in the first frame, then in later ones.
            search: (B, 3, Hx, Hx), normalised.
            words: (B, L) int64, START and up to four coordinates.
        """
        return self.read(self.look(search, self.encoder.body.embed_templates(templates)), words)

    def look(self, search: Tensor, template_tokens: Tensor) -> Tensor:
        """Return the memory of a search crop (B, 3, Hx, Hx), (Nx, B, D), from embedded templates."""
        memory: Tensor = self.bottleneck(self.encoder(search, template_tokens)).transpose(0, 1)
        return memory

    def read(self, memory: Tensor, words: Tensor) -> Tensor:
        """Return logits (B, L, V) for the word after each of `words` (B, L), all at once."""
        logits: Tensor = self.vocab_embed(self.decoder(words, memory, self._keys(memory)).transpose(0, 1))
        return logits

    def write(self, memory: Tensor, window: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the likeliest box, word by word, each from those before.

        Args:
            memory: (Nx, B, D).
            window: (F,), what the probabilities of the centre's words are multiplied by; None for nothing.

        Returns:
            words (B, 4) int64, and the probability of each among all words, times the window, (B, 4).
        """
        embedding, layers = self.decoder.embedding, self.decoder.body.layers
        keys = self._keys(memory)
        # Keys and values of the crop are the same for every word, and those of a word never change: each is made once.
        crops = [layer.multihead_attn.prepare(keys, memory) for layer in layers]  # type: ignore[operator, union-attr]
        pasts: list[KeysValues | None] = [None] * len(layers)

        def next_logits(words: Tensor) -> Tensor:
            place = words.shape[1] - 1
            x, position = embedding(words[:, -1:]), embedding.positions(place, place + 1)
            for i, layer in enumerate(layers):
                x, pasts[i] = layer.step(x, position, pasts[i], crops[i])  # type: ignore[operator]
            logits: Tensor = self.vocab_embed(self.decoder.body.norm(x)[0])
            return logits

        start = torch.full((memory.shape[1], 1), self.config.start_word, device=memory.device)
        return write_box(next_logits, start, self.config.num_bins, window)

    def _keys(self, memory: Tensor) -> Tensor:
        """Return the memory with its positions, (Nx, B, D)."""
        return memory + self.pos_embed.transpose(0, 1)


def write_box(
    next_logits: Callable[[Tensor], Tensor], start: Tensor, num_bins: int, window: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the likeliest box, word by word, as :meth:`SeqTrack.write` does.

    Args:
        next_logits: given the words so far, (B, L), returns the logits (B, V) of the next one.
        start: (B, 1), START.
        num_bins: words that are coordinates, F.
        window: (F,), or None.
    """
    words, confidences = start, []
    for place in range(NUM_COORDINATES):
        # END and START keep their share of the softmax; official scores are computed this way.
        shares = next_logits(words).softmax(dim=-1)[:, :num_bins]  # (B, F)
        if window is not None and place < _NUM_CENTRE:
            shares = shares * window
        confidence, word = shares.max(dim=-1, keepdim=True)  # (B, 1) each
        words = torch.cat([words, word], dim=1)
        confidences.append(confidence)
    return words[:, 1:], torch.cat(confidences, dim=1)


def boxes_of_words(words: Tensor, num_bins: int) -> Tensor:
    """Return boxes (..., 4), cxcywh, float32, of coordinates (..., 4): the first bin is 0, the last one is 1."""
    return words / (num_bins - 1)


def _waves(num_tokens: int, width: int) -> Tensor:
    """Return (1, num_tokens, width): sines and cosines in turn, at wavelengths from 2 pi to 20 000 pi tokens."""
    rates = 10_000.0 ** -(torch.arange(0, width, 2) / width)
    angles = torch.outer(torch.arange(num_tokens, dtype=rates.dtype), rates)  # (N, D / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[None]
