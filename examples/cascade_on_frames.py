"""Decide frames one by one, as they come from a camera. Usage: python cascade_on_frames.py [folder]."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import agfedge
from agfedge.data import load_dataset
from agfedge.demo.digits import write_digits
from agfedge.demo.network import train_heavy

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples")
folder.mkdir(parents=True, exist_ok=True)
digits, weights, bundle = folder / "digits", folder / "heavy.safetensors", folder / "cascade"

if not bundle.exists():  # made once, with the network and the images of `agfedge demo`
    write_digits(digits)
    train_heavy(load_dataset(digits, seed=0).train, weights, epochs=5)
    network = "agfedge.demo.network:digits_net"
    print(agfedge.export(network, digits, bundle, weights=weights, keep=0.25, epochs=6, epsilon=0.02))

with agfedge.Cascade.open(bundle) as cascade:
    for path in sorted(digits.glob("test/*/*.png"), key=lambda path: path.name)[:100]:
        frame = np.asarray(Image.open(path))[np.newaxis, :, :, np.newaxis]  # uint8 (1, 8, 8, 1), as a camera gives it
        decision = cascade(frame)
        label, branch = cascade.manifest.classes[decision.labels[0]], agfedge.Branch(decision.branches[0])
        print(f"{path.parent.name}/{path.name}: {label} by {branch.name} in {decision.latency_us:,.0f} us")
    stats = cascade.monitor.stats()

print(f"{stats.decisions} frames: {stats.escalation_rate:.0%} escalated; in calibration {stats.calibration_rate:.0%}")
