"""Data for an export or a measurement: images, arrays or a user's loader, in three parts."""

from agfedge.data.arrays import Arrays, Dataset
from agfedge.data.dataset import load_arrays, load_dataset

__all__ = ["Arrays", "Dataset", "load_arrays", "load_dataset"]
