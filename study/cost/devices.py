"""How fast GPUs are: peaks of their data sheets, and the share of them that a cell is taken to use.

The shares are assumptions with a reason each; times of finished cells take their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """Peak rates in floating-point operations a second, without sparsity."""

    peak_16: float
    """In bfloat16 or float16, by tensor cores."""
    peak_32: float
    """In float32: torch keeps float32 exact and does not use TF32 unless it is told to."""


DEVICES: Mapping[str, Device] = {
    "A10G": Device(peak_16=70e12, peak_32=35e12),
    "L4": Device(peak_16=121e12, peak_32=30e12),
    "L40S": Device(peak_16=362e12, peak_32=91.6e12),
    "A100 40GB": Device(peak_16=312e12, peak_32=19.5e12),
    "A100 80GB": Device(peak_16=312e12, peak_32=19.5e12),
    "H100": Device(peak_16=989e12, peak_32=67e12),
}
"""Name of a GPU in the price table -> its peaks, as NVIDIA's data sheets give them."""

OTHER_DEVICE = Device(peak_16=121e12, peak_32=30e12)
"""Taken for a GPU that is not in the table: an L4, the slowest in 16 bits but one."""

UTILISATION = 0.32
"""Model-FLOP utilisation of passes over packed rows in 16 bits: pretraining runs tuned for
their machine report 30 to 50 % (PaLM: 46 %, arXiv:2204.02311, table 3); cells are not tuned."""

UTILISATION_32 = 0.6
"""The same in float32, where arithmetic, not memory, is what a GPU waits for."""

GENERATION_SHARE = 0.1
"""Of that rate where texts are generated: token by token, so weights are read for few products."""

QUANTIZED_SHARE: Mapping[str, float] = {"none": 1.0, "nf4": 0.7, "int8": 0.5}
"""Of that rate by format of the weights: NF4 weights are unpacked before every product (QLoRA,
arXiv:2305.14314, reports up to a third of the speed lost); LLM.int8 multiplies outliers apart
(arXiv:2208.07339, appendix D: a half or less below 10 billion weights)."""


def useful_flop_per_second(gpu: str, *, dtype: str, quantization: str, generates: bool) -> float:
    """Returns the operations a second that a GPU is taken to do of a cell's.

    Args:
        gpu: Its name in the price table.
        dtype: Of weights that are not quantized; quantized ones are multiplied in 16 bits.
        quantization: `none`, `nf4` or `int8`.
        generates: Whether answers are generated.
    """
    device = DEVICES.get(gpu, OTHER_DEVICE)
    if dtype == "float32" and quantization == "none":
        rate = device.peak_32 * UTILISATION_32
    else:
        rate = device.peak_16 * UTILISATION * QUANTIZED_SHARE[quantization]
    return rate * (GENERATION_SHARE if generates else 1.0)
