"""What a schedule needs to know of a machine; the backend fills it in."""

from __future__ import annotations

from dataclasses import dataclass

COLLIDING_BYTES = 4096
"""What lies this far apart (or a multiple of it) shares so few cache sets that it drives itself out."""


@dataclass(frozen=True, slots=True)
class Target:
    """A CPU.

    Attributes:
        triple: LLVM target triple.
        cpu: LLVM's name of it.
        features: LLVM feature string.
        vector_bits: width of a vector register.
        vector_registers: how many there are.
        has_fma: fused multiply-add in hardware.
        has_half_conversion: float16 ↔ float32 conversion in hardware.
        l1_bytes, l2_bytes: data caches a core.
    """

    triple: str
    cpu: str
    features: str
    vector_bits: int
    vector_registers: int
    has_fma: bool
    has_half_conversion: bool
    l1_bytes: int = 32 * 1024
    l2_bytes: int = 512 * 1024

    def lanes(self, bits: int) -> int:
        """Elements of ``bits`` bits in a vector register."""
        return max(1, self.vector_bits // bits)
