"""Export with a data set of your own, here noisy stripes. Usage: python custom_dataset.py [folder]."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import agfedge


class Stripes(Dataset):
    classes = ("horizontal", "vertical")  # the bundle calls its classes so

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __len__(self) -> int:
        return 600  # agfedge reads the data whole, so it must know its length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.rand(1, 12, 12, generator=torch.Generator().manual_seed(1000 * self.seed + index))
        label = index % 2
        image[:, :: 2 - label, :: 1 + label] += 0.2
        return image, label  # (input, label); PIL images and NumPy arrays will do too


torch.manual_seed(0)
data = {part: Stripes(seed) for seed, part in enumerate(["train", "calibration", "test"])}
model = nn.Sequential(nn.Conv2d(1, 16, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 5 * 5, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for _ in range(4):
    for x, y in DataLoader(data["train"], batch_size=50, shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples")
print(agfedge.export(model, data, folder / "stripes", keep=0.5, epochs=4, epsilon=0.02))
