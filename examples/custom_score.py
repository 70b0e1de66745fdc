"""Rank channels by a score of your own, and prune by it. Usage: python custom_score.py [folder]."""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import agfedge
from agfedge.scores import gradient_score

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples")
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)


@gradient_score("peak")
def peak(at):
    """The strongest pull on the loss at any one position: at.y and at.dy are (batch, channels, positions)."""
    return (at.y * at.dy).abs().amax(dim=2)  # (batch, channels): agfedge averages over the samples


digits = load_digits()
x, y = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(digits.target)
layers = [nn.Conv2d(1, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU()]
model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 4 * 4, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(30):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()

# A registered score has a name like any other, here and for `export`, `search` and `compare`.
scored = agfedge.score(model, TensorDataset(x, y), score=["peak", "agf", "l1"])
print(scored)
# Scores are plain arrays: what prunes may also be computed from them.
print(f"\n{agfedge.prune(scored.model, folder / 'light.onnx', score=scored.scores['peak'], keep=0.5)}")
