"""An ELF linker for one object: LLVM's x86-64 relocatable file becomes a Linux shared library, in Python alone.

The machine that compiles a model needs no linker, and the bytes do not depend on which one it would have had.  The job
is small because the input is: one object, position-independent, x86-64, small code model.  Anything outside that is a
:class:`LinkError`, never a library that fails later.

The modules follow the stages: :mod:`.reader` parses and checks the object, :mod:`.relocations` finds what its
relocations demand (imports, table slots) and later applies them, :mod:`.layout` gives every section an address,
:mod:`.dynamic` builds what the loader reads, :mod:`.writer` runs the stages in order and writes the headers.

Sources, cited as "gABI" and "psABI": the System V Application Binary Interface, generic edition (chapters 4 "Object
Files" and 5 "Program Loading and Dynamic Linking"), and its AMD64 Architecture Processor Supplement.
"""

from graphc.backends.llvm.elf.errors import LinkError
from graphc.backends.llvm.elf.writer import link_shared_object

__all__ = ["LinkError", "link_shared_object"]
