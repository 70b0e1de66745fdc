"""Train a torch classifier, and export it as a bundle. Usage: python export_classifier.py [folder]."""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import agfedge

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples")
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # (N, 1, 8, 8), as the model takes them
dataset = TensorDataset(images, torch.tensor(digits.target))
# Calibration needs images that the model was not trained on: it is too sure of those that it knows.
train, calibration, test = random_split(dataset, [747, 600, 450])

model = nn.Sequential(
    nn.Conv2d(1, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 16, 10)
)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for _ in range(10):
    for x, y in DataLoader(train, batch_size=64, shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

data = {"train": train, "calibration": calibration, "test": test}
result = agfedge.export(model, data, folder / "bundle", keep=0.25, epochs=10, epsilon=0.02)
print(result)
