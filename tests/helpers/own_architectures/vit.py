"""Plain vision transformers: ViT (arXiv:2010.11929), DeiT (arXiv:2012.12877) and CaiT (arXiv:2103.17239)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from own_architectures.layers import Mlp, tokens


class FusedAttention(nn.Module):
    """One projection makes queries, keys and values; the product is written out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.depth = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, N, C) to (B, N, C)."""
        batch, count, width = x.shape
        qkv = self.qkv(x).reshape(batch, count, 3, self.heads, self.depth).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        attention = (query * self.depth**-0.5) @ key.transpose(-2, -1)
        y = attention.softmax(dim=-1) @ value
        return self.projection(y.transpose(1, 2).reshape(batch, count, width))


class ChunkedAttention(FusedAttention):
    """The same with `chunk`, heads split off afterwards, and torch's own attention function."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, N, C) to (B, N, C)."""
        batch, count, width = x.shape
        query, key, value = (self._heads(each) for each in self.qkv(x).chunk(3, dim=-1))
        y = functional.scaled_dot_product_attention(query, key, value)
        return self.projection(y.transpose(1, 2).reshape(batch, count, width))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, self.depth).transpose(1, 2)


class SeparateAttention(nn.Module):
    """Three projections, the keys without bias, and torch's own attention function."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.projection = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, N, C) to (B, N, C)."""
        y = functional.scaled_dot_product_attention(
            self._heads(self.query(x)), self._heads(self.key(x)), self._heads(self.value(x))
        )
        return self.projection(y.transpose(1, 2).flatten(2))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class TorchAttention(nn.Module):
    """`nn.MultiheadAttention`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, N, C) to (B, N, C)."""
        return self.attention(x, x, x, need_weights=False)[0]


ATTENTIONS = {
    "chunked": ChunkedAttention,
    "fused": FusedAttention,
    "separate": SeparateAttention,
    "torch": TorchAttention,
}


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, width: int, heads: int, attention: str) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attention = ATTENTIONS[attention](width, heads)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, N, C) to (B, N, C)."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Patches, one class token (two where it is distilled), blocks, and a head for each token."""

    def __init__(
        self, pixels: int, patch: int, width: int, depth: int, heads: int, attention: str, distilled: bool, classes: int
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        extra = 2 if distilled else 1
        self.cls = nn.Parameter(0.02 * torch.randn(1, extra, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, (pixels // patch) ** 2 + extra, width))
        self.blocks = nn.Sequential(*(Block(width, heads, attention) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.heads = nn.ModuleList(nn.Linear(width, classes) for _ in range(extra))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, 3, H, W) to logits (B, classes), the mean over the heads."""
        x = tokens(self.patches(x))
        x = torch.cat((self.cls.expand(x.shape[0], -1, -1), x), dim=1) + self.position
        x = self.norm(self.blocks(x))
        logits = [head(x[:, index]) for index, head in enumerate(self.heads)]
        return logits[0] if len(logits) == 1 else (logits[0] + logits[1]) / 2


def vit(
    attention: str = "fused",
    pixels: int = 64,
    patch: int = 8,
    width: int = 192,
    depth: int = 4,
    heads: int = 6,
    classes: int = 100,
) -> VisionTransformer:
    """Makes a ViT."""
    return VisionTransformer(pixels, patch, width, depth, heads, attention, False, classes)


def deit(attention: str = "fused") -> VisionTransformer:
    """Makes a DeiT with its distillation token."""
    return VisionTransformer(64, 8, 192, 4, 3, attention, True, 100)


class TalkingHeads(FusedAttention):
    """Attention whose maps are mixed between the heads before and after the softmax (CaiT, section 4)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.before, self.after = nn.Linear(heads, heads), nn.Linear(heads, heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, N, C) to (B, N, C)."""
        batch, count, width = x.shape
        query, key, value = self.qkv(x).reshape(batch, count, 3, self.heads, self.depth).permute(2, 0, 3, 1, 4)
        attention = (query * self.depth**-0.5) @ key.transpose(-2, -1)
        attention = self.before(attention.permute(0, 2, 3, 1)).softmax(dim=2)
        attention = self.after(attention).permute(0, 3, 1, 2)
        return self.projection((attention @ value).transpose(1, 2).reshape(batch, count, width))


class ClassAttention(nn.Module):
    """The class token alone asks (CaiT, equation 4)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.projection = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, N, C) to (B, 1, C)."""
        split = [
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for each in (self.query(x[:, :1]), self.key(x), self.value(x))
        ]
        y = functional.scaled_dot_product_attention(*split)
        return self.projection(y.transpose(1, 2).flatten(2))


class Scaled(nn.Module):
    """A pre-norm branch with layer scale."""

    def __init__(self, width: int, inner: nn.Module) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width), inner
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, N, C) to (B, N or 1, C)."""
        return self.gamma * self.inner(self.norm(x))


class Cait(nn.Module):
    """Talking heads in the patches' blocks, then class attention."""

    def __init__(self, width: int = 192, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.position = nn.Parameter(0.02 * torch.randn(1, 64, width))
        self.cls = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.attentions = nn.ModuleList(Scaled(width, TalkingHeads(width, heads)) for _ in range(depth))
        self.mlps = nn.ModuleList(Scaled(width, Mlp(width, 4 * width)) for _ in range(depth))
        self.class_attention = Scaled(width, ClassAttention(width, heads))
        self.class_mlp = Scaled(width, Mlp(width, 4 * width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, 3, 64, 64) to logits (B, 100)."""
        x = tokens(self.patches(x)) + self.position
        for attention, mlp in zip(self.attentions, self.mlps, strict=True):
            x = x + attention(x)
            x = x + mlp(x)
        cls = self.cls.expand(x.shape[0], -1, -1)
        cls = cls + self.class_attention(torch.cat((cls, x), dim=1))
        cls = cls + self.class_mlp(cls)
        return self.head(self.norm(cls)[:, 0])


def cait() -> Cait:
    """Makes a small CaiT."""
    return Cait()
