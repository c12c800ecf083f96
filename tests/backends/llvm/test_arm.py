"""Code for 64-bit Arm: run in an emulator, and looked at as text."""

import re

import llvmlite.binding as llvm
import numpy as np
import pytest

from graphc.backends.llvm.compile import compile_program
from graphc.backends.llvm.host import arm_target
from graphc.ir.graph import Module
from tests.backends.llvm.models import MODELS, inputs_of
from tests.backends.llvm.native_kernels import program_of
from tests.backends.llvm.test_contraction import matmul
from tests.backends_under_test import compiled, with_passes
from tests.generators import random_graph, random_loop_graph


@pytest.mark.parametrize("name", MODELS)
def test_models_predict_and_train_as_here(name: str) -> None:
    module = with_passes(MODELS[name]().module)
    here, there = compiled("llvm", module), compiled("llvm aarch64", module)
    for entry in module.entries:
        inputs = inputs_of(module, entry)
        for expected, found in zip(here(entry, inputs, None), there(entry, inputs, None), strict=True):
            assert expected.keys() == found.keys()
            for key, value in expected.items():
                np.testing.assert_allclose(found[key], value, rtol=2e-5, atol=2e-6, err_msg=f"{entry} {key}")


@pytest.mark.parametrize("make", [random_graph, random_loop_graph])
@pytest.mark.parametrize("seed", range(6))
def test_random_graphs_compute_as_here(make, seed: int) -> None:
    graph, arrays = make(seed)
    module = Module("random", {graph.name: graph})
    expected, _ = compiled("llvm", module)(graph.name, arrays, None)
    found, _ = compiled("llvm aarch64", module)(graph.name, arrays, None)
    for key, value in expected.items():
        if value.dtype.kind in "biu":
            assert (found[key] == value).all()
        else:
            np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5)


def assembly(ir: str) -> str:
    """The text that LLVM makes of a module for 64-bit Arm."""
    target = arm_target()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic"
    )
    return str(machine.emit_assembly(llvm.parse_assembly(ir)))


def test_products_are_tiles_of_neon_registers() -> None:
    """A tile's inner loop: multiply-adds of whole vectors with one lane spread, and no sum leaves its register."""
    native = compile_program(program_of(matmul(64, 64, 64), (64 * 64,) * 3), arm_target(), "test")
    blocks = re.split(r"^\.LBB\S+:.*$", assembly(native.ir), flags=re.MULTILINE)
    fullest = max(blocks, key=lambda block: block.count("fmla"))
    loop = fullest[: re.search(r"^\tb\.", fullest, flags=re.MULTILINE).start()]
    multiplies = len(re.findall(r"^\tfmla\tv\d+\.4s", loop, flags=re.MULTILINE))
    loads = len(re.findall(r"^\tld", loop, flags=re.MULTILINE))
    # 13 rows of two vectors fit in 32 registers: 26 multiply-adds for 13 numbers of the left operand and two vectors.
    assert (multiplies, loads) == (26, 14)
    assert not re.search(r"^\t(st|bl\b)", loop, flags=re.MULTILINE)
