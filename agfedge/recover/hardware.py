"""Where and in which number format the training runs: the device, its mixed precision, the layout of images."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import torch

# How far answers may lie apart between two layouts, relative to their scale.
_NEAR = 1e-3


@dataclass(frozen=True)
class Hardware:
    """A device and how it computes.

    Attributes:
        device: the GPU where there is one.
        dtype: of products: float32, or what autocast casts to.
        channels_last: whether images lie in memory channels last, which convolutions are faster on.
    """

    device: torch.device
    dtype: torch.dtype
    channels_last: bool = False

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """A context in which products are computed in `dtype`."""
        import torch

        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def take(self, x: torch.Tensor) -> torch.Tensor:
        """Moves a batch (B, ...) to the device, in its layout."""
        import torch

        if self.channels_last and x.ndim == 4:
            return x.to(self.device, memory_format=torch.channels_last)
        return x.to(self.device)

    def move(self, module: torch.nn.Module) -> None:
        """Moves a module to the device, in its layout, in place."""
        import torch

        module.to(self.device)
        if self.channels_last:
            _lay_out(module, torch.channels_last)


def bring_home(module: torch.nn.Module) -> None:
    """Moves a module to the CPU, laid out as torch does by default, in evaluation mode."""
    import torch

    _lay_out(module.to("cpu").eval(), torch.contiguous_format)


def _lay_out(module: torch.nn.Module, layout: torch.memory_format) -> None:
    """Lays out the weights of convolutions; the parameters stay the same objects."""
    for value in (*module.parameters(), *module.buffers()):
        if value.ndim == 4:
            value.data = value.data.contiguous(memory_format=layout)


def hardware_for(precision: str, rank: int = 0) -> Hardware:
    """Chooses the device and the number format.

    On CPUs "auto" means float32: bfloat16 products are a few percent faster there for slim networks, and cost
    accuracy.

    Args:
        precision: see `Recovery`.
        rank: of this process, which takes a GPU of its own.

    Raises:
        InputError: float16 without a GPU.
    """
    import torch

    if not torch.cuda.is_available():
        if precision == "float16":
            raise InputError("float16 needs a GPU: choose bfloat16 or float32")
        return Hardware(torch.device("cpu"), torch.bfloat16 if precision == "bfloat16" else torch.float32)
    device = torch.device("cuda", rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    if precision == "auto":
        precision = "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"
    return Hardware(device, {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision])


def laid_out(hardware: Hardware, module: torch.nn.Module, example: torch.Tensor) -> Hardware:
    """Returns the hardware with the layout that suits a module: channels last where it takes it.

    A module whose code has `view` of a feature map does not.

    Args:
        hardware: to be completed.
        module: on the CPU; left in evaluation mode.
        example: inputs (B, ...); only images, four-dimensional, have the choice.
    """
    import torch

    if example.ndim != 4 or not any(value.ndim == 4 for value in module.parameters()):
        return hardware
    module.eval()
    layouts = (torch.contiguous_format, torch.channels_last)
    try:
        with torch.no_grad():
            plain, other = (module(example.contiguous(memory_format=layout)) for layout in layouts)
    except RuntimeError:  # the module's own code does not take it
        return hardware
    near = float((plain - other).abs().max()) <= _NEAR * max(float(plain.abs().max()), 1e-30)
    return Hardware(hardware.device, hardware.dtype, channels_last=near)
