"""What `agfedge profile` is asked for beside the measurement: checked before it, and a table written after it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.account.graphs import bundle_that_ran, stage_graphs
from agfedge.account.prediction import GENERIC, device_of, device_that_ran
from agfedge.account.table import table_of
from agfedge_profiles import load_cost_model, write_table
from agfedge_profiles.cost import TABLE_SUFFIX
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from agfedge_runtime import Bundle
    from agfedge_runtime.profile.samples import Samples


def check_asked(path: Path | None, device: str | None) -> None:
    """Refuses what could not be predicted or written after minutes of measuring.

    Args:
        path: of the table, or None where none is saved.
        device: a device profile or, where no table is saved, a table; None for the generic profile.

    Raises:
        InputError: the device is none, or the file's name or folder is no good.
    """
    model = load_cost_model(device or GENERIC)
    if path is None:
        return
    if path.suffix != TABLE_SUFFIX:
        raise InputError(f"--save-table {path}: expected a name that ends in {TABLE_SUFFIX}, by which a table is known")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--save-table {path}: there is no folder {path.parent}; make it first")
    device_of(model)


def save_table(path: Path, samples: Samples, bundle: Bundle, device: str | None) -> None:
    """Writes the table of a run.

    Raises:
        InputError: the run timed no layers, or was of another bundle, or the file cannot be written.
    """
    if samples.bundle_digest != bundle.digest:
        raise InputError(
            f"--save-table: the samples are of bundle {samples.bundle_digest[:12]}, asked for {bundle.digest[:12]}: "
            "their layers are not its; give the bundle that was measured"
        )
    graphs = stage_graphs(bundle_that_ran(samples, bundle))
    write_table(path, table_of(samples, graphs, device_that_ran(samples, device)))
