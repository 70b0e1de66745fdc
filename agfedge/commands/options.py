"""The options of the functions and commands, each declared once: its type, and its help.

A default stands in the signature of the function that takes the option. What the command line accepts is narrower than
what Python does: a path is text there, a model the name of its factory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast, get_type_hints, overload

from cyclopts import Parameter, Token

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import onnx
    import torch
    from numpy.typing import NDArray

    from agfedge.data.arrays import DataLike as DataLike
    from agfedge.data.arrays import PathLike as PathLike

    ModelLike = torch.nn.Module | str
    GraphLike = onnx.ModelProto | PathLike
    BareScoreLike = str | Mapping[str, NDArray[Any]]
    Paths = PathLike | Sequence[PathLike]
    Names = str | Sequence[str]
    Numbers = float | Sequence[float]
    Seeds = int | Sequence[int]
    Duration = float | str
    Shares = float | str | Sequence[float | str]
    DeviceLike = PathLike
    HostLike = PathLike
    HostsLike = PathLike | Sequence[PathLike]
else:  # what can be typed on a command line
    PathLike = GraphLike = Path
    ModelLike = DataLike = BareScoreLike = DeviceLike = HostLike = str
    Paths = list[Path]
    Names = Shares = tuple[str, ...]
    HostsLike = list[str]
    Numbers = tuple[float, ...]
    Seeds = tuple[int, ...]
    Duration = str

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])
_UNITS = {"s": 1, "m": 60, "h": 3600}


def _commas(kind: Callable[[str], T]) -> Callable[[Any, Sequence[Token]], tuple[T, ...]]:
    """Reads `0.5,0.25`: values of one kind with commas between them; empty ones are dropped."""

    def read(_: Any, tokens: Sequence[Token]) -> tuple[T, ...]:
        return tuple(kind(word) for token in tokens for part in token.value.split(",") if (word := part.strip()))

    return read


def _whole(_: Any, tokens: Sequence[Token]) -> int:
    """Reads a whole number: 8.5 is none, and not 8."""
    return int(tokens[-1].value)


# Converters of the command line: whole numbers, and several values with commas between them.
WHOLE: dict[str, Any] = {"converter": _whole, "n_tokens": 1}
NUMBERS: dict[str, Any] = {"converter": _commas(float), "n_tokens": 1}
INTEGERS: dict[str, Any] = {"converter": _commas(int), "n_tokens": 1}
NAMES: dict[str, Any] = {"converter": _commas(str), "n_tokens": 1}

# A flag that is off unless it is given.
FLAG: dict[str, Any] = {"negative": (), "show_default": False}
# What may be given several times.
REPEATED: dict[str, Any] = {"show_default": False, "negative_iterable": ()}

# The model and its data.
Model = Annotated[
    ModelLike,
    Parameter(help="The trained classifier: package.module:factory or file.py:factory, which returns a torch module."),
]
Data = Annotated[
    DataLike,
    Parameter(
        help="Labelled data: a folder of class folders with images, an .npz file with x and y, or "
        "package.module:factory."
    ),
]
MeasuredData = Annotated[
    DataLike | None, Parameter(help="Labelled inputs, as for export. Without it there is no accuracy.")
]
Weights = Annotated[
    PathLike | None, Parameter(help="Weights of the model: .safetensors, or .pt that holds a state dict.")
]
Mean = Annotated[
    Numbers | None, Parameter(help="Mean of each channel, after scaling to [0, 1]: 0.485,0.456,0.406.", **NUMBERS)
]
Std = Annotated[Numbers | None, Parameter(help="Standard deviation of each channel, likewise.", **NUMBERS)]
Seed = Annotated[int, Parameter(help="Seed of everything that is drawn.", **WHOLE)]

# How much stays.
_AMOUNT = {"group": "How much stays"}
Keep = Annotated[float | None, Parameter(help="Share of the channels that stays (default 0.5).", **_AMOUNT)]
Budget = Annotated[
    float | None, Parameter(help="Instead of --keep: the share of the model's cost that stays, such as 0.3.", **_AMOUNT)
]
Of = Annotated[
    Literal["width", "macs", "parameters", "latency"] | None,
    Parameter(help="What the budget counts (default: width, or latency where --target is given).", **_AMOUNT),
]
Target = Annotated[
    DeviceLike | None,
    Parameter(
        help="Device whose latency is predicted: a profile such as jetson-orin-nano-8 or jetson-orin-nano-8:super (see "
        "agfedge devices), a TOML file, or a table of profile --save-table (.json)."
    ),
]
TargetPrecision = Annotated[
    Literal["fp16", "int8"] | None,
    Parameter(help="Precision of the predicted latency (default: fp16, or the table's).", **_AMOUNT),
]
AllocationKind = Annotated[
    Literal["uniform", "global"] | None,
    Parameter(
        help="The same share of every group, or groups compete by normalised scores (default: uniform; global for a "
        "budget of latency).",
        **_AMOUNT,
    ),
]
Floor = Annotated[
    float | None, Parameter(help="Least share that any group keeps under a budget (default 0.1).", **_AMOUNT)
]
DropBranches = Annotated[
    bool | None,
    Parameter(
        help="Let residual branches go whole (default: for a budget of latency where groups compete).", **_AMOUNT
    ),
]
Align = Annotated[int, Parameter(help="Round what stays to multiples of this, such as 8.", **WHOLE, **_AMOUNT)]
Exclude = Annotated[
    Names,
    Parameter(
        help="Group or parameter that stays whole, or a glob of either (see agfedge inspect); may be repeated.",
        **_AMOUNT,
        **REPEATED,
    ),
]
Only = Annotated[
    Names,
    Parameter(
        help="Group or parameter that alone may shrink, or a glob of either; may be repeated.", **_AMOUNT, **REPEATED
    ),
]
PerLayer = Annotated[
    PathLike | None,
    Parameter(help='TOML file of lines such as "conv1.weight" = 0.25, or = 24; 0 drops a residual branch.', **_AMOUNT),
]

# Scores.
SCORES = "agf, fisher, flap, l1, l2, lamp, random, ria, taylor, wanda"
Score = Annotated[str, Parameter(help=f"Channel score: one of {SCORES}.")]
Scores = Annotated[Names, Parameter(help=f"Channel scores, with commas: some of {SCORES}.", **NAMES)]
BareScore = Annotated[
    BareScoreLike, Parameter(help="l1, l2, lamp, random, or FILE.npz[:NAME] with scores of your own.")
]
Samples = Annotated[int, Parameter(help="Training inputs that scores look at.", **WHOLE)]

# Recovery.
_RECOVERY = {"group": "Recovery"}
Epochs = Annotated[int, Parameter(help="Epochs of fine-tuning; 0 for none.", **WHOLE, **_RECOVERY)]
BatchSize = Annotated[int, Parameter(help="Inputs in a batch.", **WHOLE, **_RECOVERY)]
LearningRate = Annotated[float, Parameter(help="Learning rate at its highest.", **_RECOVERY)]
Distillation = Annotated[float, Parameter(help="Weight of the heavy expert's answers in the loss.", **_RECOVERY)]
Augment = Annotated[
    Literal["none", "flip", "flip-crop"],
    Parameter(help="Augmentation; flip mirrors left to right, which is wrong for digits and letters.", **_RECOVERY),
]
Patience = Annotated[
    int | None, Parameter(help="Stop after so many epochs without a better one.", **WHOLE, **_RECOVERY)
]
TrainingPrecision = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"], Parameter(help="Precision of the training.", **_RECOVERY)
]

# The cascade.
_CASCADE = {"group": "Cascade"}
Light = Annotated[
    PathLike | None,
    Parameter(
        help="ONNX classifier that becomes the light expert as it is: nothing is scored, pruned or recovered.",
        **_CASCADE,
    ),
]
Lights = Annotated[
    Paths,
    Parameter(help="ONNX classifier to try as a light expert, as it is; may be repeated.", **_CASCADE, **REPEATED),
]
ShareTrunk = Annotated[
    str,
    Parameter(
        help="Last stage that both experts share and run once, such as layer1; auto tries a few with short "
        "recoveries; none shares nothing.",
        **_CASCADE,
    ),
]
ShareTrunks = Annotated[
    Names,
    Parameter(
        help="Where the experts part, with commas: none, stages such as layer1, or auto for a few.", **_CASCADE, **NAMES
    ),
]
Epsilon = Annotated[float, Parameter(help="Accuracy that the cascade may lose to the heavy expert.", **_CASCADE)]
Delta = Annotated[float, Parameter(help="Probability with which it may lose more.", **_CASCADE)]
OldEpsilon = Annotated[
    float | None, Parameter(help="Accuracy that the cascade may lose (default: as before).", **_CASCADE)
]
OldDelta = Annotated[
    float | None, Parameter(help="Probability with which it may lose more (default: as before).", **_CASCADE)
]
Precisions = Annotated[
    Names,
    Parameter(
        help="Precisions of the graphs in the bundle, with commas: fp16, int8. fp32 is always there; each has "
        "thresholds of its own.",
        **_CASCADE,
        **NAMES,
        show_default=False,
    ),
]

# What runs, and where.
Bundle = Annotated[PathLike, Parameter(help="Folder of the bundle.")]
On = Annotated[HostLike, Parameter(help="Where: [user@]host[:path], or a folder on this machine.")]
Hosts = Annotated[
    HostsLike,
    Parameter(help="Where: [user@]host[:path], or a folder on this machine; one or more."),
]
Backend = Annotated[str, Parameter(help="What runs the graphs; auto takes the best that can.")]
Precision = Annotated[
    str, Parameter(help="Precision of the graphs that run: fp32, fp16, int8, or best for the lowest.")
]

# Files that are written.
Page = Annotated[PathLike | None, Parameter(help="Write a page for people to this .html file.")]


def documented(function: F) -> F:
    """Puts the help of a function's options into its docstring, where `help()` and a notebook look for it."""
    lines = ["Args:"]
    for name, hint in get_type_hints(function, include_extras=True).items():
        helps = [each.help for each in getattr(hint, "__metadata__", ()) if isinstance(each, Parameter)]
        if helps:
            text = re.sub(r"--([a-z][a-z-]*)", lambda flag: flag[1].replace("-", "_"), helps[-1] or "")
            lines.append(f"    {name}: {text}")
    head, *rest = re.split(r"^    (?=Returns:|Raises:|Example:)", function.__doc__ or "", maxsplit=1, flags=re.M)
    options = "".join(f"    {line}\n" for line in lines)
    function.__doc__ = "\n    ".join([f"{head}{options}", *rest]) if len(lines) > 1 else function.__doc__
    return function


def names_of(given: str | Sequence[str]) -> tuple[str, ...]:
    """Returns names, of which one alone may be given as it is."""
    return (given,) if isinstance(given, str) else tuple(given)


@overload
def numbers_of(given: None) -> None: ...
@overload
def numbers_of(given: float | Sequence[float]) -> tuple[float, ...]: ...
def numbers_of(given: float | Sequence[float] | None) -> tuple[float, ...] | None:
    """Returns numbers, of which one alone may be given as it is."""
    return None if given is None else (given,) if isinstance(given, (int, float)) else tuple(given)


def path_of(given: str | os.PathLike[str] | None) -> str | None:
    """Returns a path as text."""
    return None if given is None else str(given)


def paths_of(given: PathLike | Sequence[PathLike]) -> tuple[str, ...]:
    """Returns paths as text, of which one alone may be given as it is."""
    return (str(given),) if isinstance(given, (str, PurePath)) else tuple(map(str, cast("Sequence[PathLike]", given)))


def graph_of(given: onnx.ModelProto | str | os.PathLike[str]) -> onnx.ModelProto | str:
    """Returns a graph in memory as it is, a path as text."""
    return str(given) if isinstance(given, (str, PurePath)) else cast("onnx.ModelProto", given)


def seconds_of(duration: float | str | None, option: str) -> float | None:
    """Reads seconds, or `90s`, `30m`, `1.5h`.

    Raises:
        InputError: it is neither.
    """
    if not isinstance(duration, str):
        return duration
    number, unit = duration[:-1], duration[-1:]
    try:
        return float(number) * _UNITS[unit]
    except (KeyError, ValueError) as error:
        raise InputError(f"{option} is {duration!r}: expected a duration such as 90s, 30m or 2h") from error
