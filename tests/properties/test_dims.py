"""Symbolic dimensions are integer polynomials: their arithmetic agrees with sympy's."""

from __future__ import annotations

import pickle

import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from graphc.ir.dim import Dim, Poly, divide_exact, parse_dim, product, substitute, symbol, to_sympy

NAMES = ("batch", "time", "n")
SMALL = st.integers(-6, 6)
LEAVES: st.SearchStrategy[Dim] = st.one_of(SMALL, st.sampled_from(NAMES).map(symbol))


def _combined(inner: st.SearchStrategy[Dim]) -> st.SearchStrategy[Dim]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda p: p[0] + p[1]), pairs.map(lambda p: p[0] - p[1]), pairs.map(lambda p: p[0] * p[1])
    )


DIMS = st.recursive(LEAVES, _combined, max_leaves=6)


def expanded(dim: Dim) -> sympy.Expr:
    return sympy.expand(to_sympy(dim))


@given(DIMS, DIMS)
def test_arithmetic_is_that_of_sympy(left: Dim, right: Dim) -> None:
    assert expanded(left + right) == sympy.expand(to_sympy(left) + to_sympy(right))
    assert expanded(left - right) == sympy.expand(to_sympy(left) - to_sympy(right))
    assert expanded(left * right) == sympy.expand(to_sympy(left) * to_sympy(right))


@given(DIMS, DIMS, DIMS)
def test_ring_laws_hold_by_identity(a: Dim, b: Dim, c: Dim) -> None:
    """Equal polynomials are one object (integers are equal)."""
    for left, right in (
        (a + b, b + a),
        (a * b, b * a),
        ((a + b) + c, a + (b + c)),
        ((a * b) * c, a * (b * c)),
        (a * (b + c), a * b + a * c),
        (a - a, 0),
        (a + 0, a),
        (a * 1, a),
        (a * 0, 0),
        (product([a, b, c]), a * b * c),
    ):
        assert left is right if isinstance(left, Poly) else left == right
        assert not isinstance(left, Poly) or left.symbols, "a polynomial without symbols is an integer"


@given(DIMS)
def test_text_and_pickle_are_read_back(dim: Dim) -> None:
    assert parse_dim(str(dim)) is dim if isinstance(dim, Poly) else parse_dim(str(dim)) == dim
    assert pickle.loads(pickle.dumps(dim)) == dim


@given(DIMS, st.fixed_dictionaries({name: st.integers(0, 9) for name in NAMES}))
def test_substituting_numbers_evaluates(dim: Dim, values: dict[str, int]) -> None:
    known = {sympy.Symbol(name, integer=True, positive=True): value for name, value in values.items()}
    assert substitute(dim, values) == int(to_sympy(dim).subs(known, simultaneous=True))


@given(DIMS, st.dictionaries(st.sampled_from(NAMES), DIMS, max_size=2))
def test_substituting_polynomials_is_that_of_sympy(dim: Dim, values: dict[str, Dim]) -> None:
    known = {sympy.Symbol(name, integer=True, positive=True): to_sympy(value) for name, value in values.items()}
    assert expanded(substitute(dim, values)) == sympy.expand(to_sympy(dim).subs(known, simultaneous=True))


@given(DIMS, DIMS)
def test_an_exact_quotient_is_exact(dividend: Dim, divisor: Dim) -> None:
    quotient = divide_exact(dividend, divisor)
    assert quotient is None or quotient * divisor == dividend


@given(DIMS, st.one_of(SMALL, st.sampled_from(NAMES).map(symbol)))
def test_products_divide_by_their_single_factors(quotient: Dim, divisor: Dim) -> None:
    assume(divisor != 0)
    assert divide_exact(quotient * divisor, divisor) == quotient
