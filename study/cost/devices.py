"""GPU speeds: peak rates from data sheets, and the share of them that a cell is assumed to reach.

Each share is an assumption with its reason; measured times of finished cells replace them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """Peak rates in FLOP/s, without sparsity."""

    peak_16: float
    """bfloat16 or float16 on tensor cores."""
    peak_32: float
    """float32; torch does not use TF32 by default."""


DEVICES: Mapping[str, Device] = {
    "A10G": Device(peak_16=70e12, peak_32=35e12),
    "L4": Device(peak_16=121e12, peak_32=30e12),
    "L40S": Device(peak_16=362e12, peak_32=91.6e12),
    "A100 40GB": Device(peak_16=312e12, peak_32=19.5e12),
    "A100 80GB": Device(peak_16=312e12, peak_32=19.5e12),
    "H100": Device(peak_16=989e12, peak_32=67e12),
}
"""Peaks from NVIDIA's data sheets, by the GPU's name in the price table."""

OTHER_DEVICE = Device(peak_16=121e12, peak_32=30e12)
"""Assumed for a GPU that is not in the table: an L4, the second slowest in 16 bits."""

UTILISATION = 0.32
"""Model-FLOP utilisation of passes over packed rows in 16 bits. Pretraining runs tuned for their
machine report 30 to 50 % (PaLM: 46 %, arXiv:2204.02311, table 3); cells are not tuned."""

UTILISATION_32 = 0.6
"""The same in float32, where arithmetic rather than memory limits a GPU."""

GENERATION_SHARE = 0.1
"""Factor for generation: token by token, each read of the weights serves few products."""

QUANTIZED_SHARE: Mapping[str, float] = {"none": 1.0, "nf4": 0.7, "int8": 0.5}
"""Factor by weight format. NF4 weights are unpacked before every product (QLoRA, arXiv:2305.14314,
reports up to a third of the speed lost); LLM.int8 multiplies outliers separately
(arXiv:2208.07339, appendix D: half the speed or less below 10 billion weights)."""


def useful_flop_per_second(gpu: str, *, dtype: str, quantization: str, generates: bool) -> float:
    """Returns the FLOP/s that a cell is assumed to reach on a GPU.

    Args:
        gpu: Name in the price table.
        dtype: Format of unquantized weights; quantized ones are multiplied in 16 bits.
        quantization: `none`, `nf4` or `int8`.
        generates: Whether the cell generates text.
    """
    device = DEVICES.get(gpu, OTHER_DEVICE)
    if dtype == "float32" and quantization == "none":
        rate = device.peak_32 * UTILISATION_32
    else:
        rate = device.peak_16 * UTILISATION * QUANTIZED_SHARE[quantization]
    return rate * (GENERATION_SHARE if generates else 1.0)
