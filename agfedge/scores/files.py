"""Scores in an `.npz` file, one's own or those of `agfedge score`; nothing in it is ever unpickled.

An array of a file with one score is called what it scores, `conv1.weight`; where there are several, `agf/conv1.weight`.
Which one is meant is said behind the path: `scores.npz:agf`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.factory import one_line
from agfedge.scores.group_names import did_you_mean
from agfedge_runtime.atomic import write_bytes
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups, Group

    Arrays = Mapping[str, NDArray[np.float64]]


SUFFIX = ".npz"


def split_spec(spec: str) -> tuple[Path, str | None] | None:
    """Splits `scores.npz` or `scores.npz:agf` into the file and the score in it; None for what names no such file."""
    if spec.endswith(SUFFIX):
        return Path(spec), None
    path, colon, name = spec.rpartition(":")
    return (Path(path), name) if colon and path.endswith(SUFFIX) else None


def read_scores(
    path: Path,
    groups: ChannelGroups,
    model: onnx.ModelProto,
    wanted: Collection[str],
    score: str | None = None,
) -> Scores:
    """Reads the scores of the wanted groups.

    An array is named after a parameter, and holds one score for each output channel: a group is worth the sum over its
    producing parameters that the file names. Or it is named after a group, and holds one score for each of its units.

    Args:
        path: the file.
        groups: the analysis of `model`.
        model: the graph, whose parameters may be named even where no group needs them.
        wanted: names of the groups that need scores.
        score: which of several scores in the file; None where it holds one.

    Returns:
        For each wanted group float64 (size,): higher is worth more.

    Raises:
        InputError: the file is no `.npz`, or has several scores of which none was chosen, or lacks the one that was; a
            name is of no parameter; a group has no scores, or for a part of its
            units only; an array has another size than its axis, or is not of finite numbers.
    """
    arrays = _chosen(path, _read(path), score, _known(groups, model))
    return scores_of_arrays(str(path), arrays, groups, model, wanted)


def write_scores(path: Path, scores: Mapping[str, Scores]) -> None:
    """Writes scores whole: arrays named after groups, and `score/group` where there are several scores.

    The same scores make the same bytes.

    Raises:
        InputError: the file cannot be written.
    """
    alone = len(scores) == 1
    arrays = {
        group if alone else f"{name}/{group}": values for name, each in scores.items() for group, values in each.items()
    }
    buffer = io.BytesIO()
    # Stamps every array with the earliest time that a zip archive can hold, whatever the clock says.
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # a keyword may be any name
    write_bytes(path, buffer.getvalue())


def scores_of_arrays(
    path: str,
    given: Mapping[str, NDArray[np.generic]],
    groups: ChannelGroups,
    model: onnx.ModelProto,
    wanted: Collection[str],
) -> Scores:
    """Returns the scores of the wanted groups from arrays; as `read_scores`, of which `path` is what messages name."""
    arrays = {name: _checked(path, name, np.asarray(values)) for name, values in given.items()}
    _check_names(path, arrays, groups, model)
    chosen = [group for group in groups.groups if group.name in wanted]
    by_group = _is_by_group(arrays, groups)
    scores = {group.name: arrays[group.name] if by_group else _group_scores(path, arrays, group) for group in chosen}
    missing = [name for name, values in scores.items() if values is None]
    if missing:
        raise InputError(
            f"{path} has no scores for {len(missing)} of {len(chosen)} groups ({', '.join(map(repr, missing[:3]))}"
            f"{', ...' if len(missing) > 3 else ''}): name the group or one of its producing parameters, or leave it "
            "out with --exclude"
        )
    return {name: values for name, values in scores.items() if values is not None}


def _chosen(path: Path, arrays: Arrays, score: str | None, known: Collection[str]) -> Arrays:
    """Returns the arrays of one score under their names alone."""
    several = [name.partition("/")[0] for name in arrays if name not in known and name.partition("/")[2] in known]
    listed = list(dict.fromkeys(several))
    if score is None:
        if several and len(several) == len(arrays):
            raise InputError(f"{path} holds several scores: choose one of {', '.join(f'{path}:{s}' for s in listed)}")
        return arrays
    chosen = {name[len(score) + 1 :]: values for name, values in arrays.items() if name.startswith(f"{score}/")}
    if not chosen:
        instead = f"it holds {', '.join(listed)}" if listed else f"it holds one, without a name: give {path} alone"
        raise InputError(f"{path} holds no score {score!r}: {instead}")
    return chosen


def _known(groups: ChannelGroups, model: onnx.ModelProto) -> set[str]:
    members = {member.tensor for group in groups.groups for member in group.members}
    others = {tensor.name for tensor in model.graph.initializer} | {each.tensor for each in groups.kept_whole}
    return {group.name for group in groups.groups} | members | others


def _is_by_group(arrays: Arrays, groups: ChannelGroups) -> bool:
    """Whether every group is named with its size, and nothing else: then no array is of a parameter."""
    return {name: len(values) for name, values in arrays.items()} == {each.name: each.size for each in groups.groups}


def _group_scores(path: str, arrays: Arrays, group: Group) -> NDArray[np.float64] | None:
    """Adds up what the file says of a group; None where it says nothing."""
    # A weight that several nodes read alike counts once; a bias that an exporter merged counts for each of its layers.
    producing = {(each.tensor, each.units.tobytes()): each for each in group.members if each.role == "produces"}
    named = [member for member in producing.values() if member.tensor in arrays]
    alone = {member.tensor for member in named} <= {group.name}
    if alone and group.name in arrays and len(arrays[group.name]) == group.size:
        return arrays[group.name]
    if group.name in arrays and not named:
        raise InputError(f"{path}: {group.name!r} holds {len(arrays[group.name])} scores, expected {group.size}")
    scores, covered = np.zeros(group.size), np.zeros(group.size, dtype=bool)
    for member in named:
        values, own = arrays[member.tensor], member.units >= 0
        if len(values) != len(own):
            raise InputError(
                f"{path}: {member.tensor!r} holds {len(values)} scores, expected {len(own)}, one for each index of "
                f"its axis {member.axis}" + (f" (or {group.size})" if member.tensor == group.name else "")
            )
        np.add.at(scores, member.units[own], values[own])
        covered[member.units[own]] = True
    if named and not covered.all():
        raise InputError(
            f"{path} scores {int(covered.sum())} of the {group.size} channels of group {group.name!r}: name its other "
            f"producing parameters too, or give {group.size} scores under the group's name alone"
        )
    return scores if named else None


def _check_names(path: str, arrays: Arrays, groups: ChannelGroups, model: onnx.ModelProto) -> None:
    members = {member.tensor for group in groups.groups for member in group.members}
    known = [*dict.fromkeys([*(group.name for group in groups.groups), *sorted(members)])]
    everything = _known(groups, model)
    for name in arrays:
        if name not in everything:
            raise InputError(f"{path}: {name!r} is no group and no parameter of the model{did_you_mean(name, known)}")


def _read(path: Path) -> Arrays:
    try:
        # Opened first as what an .npz is: numpy would take any other bytes for a pickle, and say so.
        with zipfile.ZipFile(path):
            pass
        with np.load(path, allow_pickle=False) as archive:
            return {name: _checked(str(path), name, archive[name]) for name in archive.files}
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each raise their own for broken bytes
        raise InputError(f"{path} cannot be read as scores: {one_line(error)}; expected an .npz of numbers") from error


def _checked(path: str, name: str, value: NDArray[np.generic]) -> NDArray[np.float64]:
    if value.ndim != 1 or value.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: {name!r} is {value.dtype} of shape {value.shape}: expected one number for each channel"
        )
    scores = value.astype(np.float64)
    if not np.isfinite(scores).all():
        raise InputError(f"{path}: {name!r} is not finite at index {int(np.argmin(np.isfinite(scores)))}")
    return scores
