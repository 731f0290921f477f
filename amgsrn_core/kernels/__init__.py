"""CPU kernels in C++: the same results as PyTorch, several times faster.

Nothing here imports the compiled library before :func:`load`; where there is none, PyTorch does
the work.
"""

from amgsrn_core.kernels.loader import ISA_VARIABLE, LIBRARY_VARIABLE, KernelLibrary, load

__all__ = ["ISA_VARIABLE", "LIBRARY_VARIABLE", "KernelLibrary", "load"]
