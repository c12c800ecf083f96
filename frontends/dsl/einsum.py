"""Einstein summation of any number of operands, built from the two-operand ``einsum`` op.

Labels are integers inside, so that tensordot needs no alphabet and an ellipsis gets labels of its own.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from graphc.errors import GraphcTypeError, GraphcValueError
from graphc.frontends.dsl.movement import diagonal, moveaxis, reshape, transpose
from graphc.frontends.dsl.reductions import sum
from graphc.frontends.dsl.tensor import Tensor, apply, fail, promoted
from graphc.ir.dim import Dim

Labels = list[int]

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SYMBOLIC_SIZE = 64
"""What a symbolic dimension counts as where the order of contraction is chosen."""


def einsum(subscripts: str, *operands: Any) -> Tensor:
    """NumPy's einsum: products summed over the letters that the output lacks.

    Args:
        subscripts: such as ``"ij,jk->ik"``.  Without ``->`` the output has the letters that occur once, in alphabetical
            order.  A letter that stands twice in one operand takes its diagonal; ``...`` stands for leading axes, which
            broadcast.
        operands: one tensor a term.

    Raises:
        GraphcValueError: E211 for subscripts that do not fit the operands.
    """
    if not isinstance(subscripts, str) or not operands:
        raise fail(GraphcTypeError, "E211", "einsum takes subscripts such as 'ij,jk->ik' and at least one operand")
    tensors = promoted(*operands)
    terms, output = _parse(subscripts, tensors)
    return contract(tensors, terms, output)


def _parse(subscripts: str, tensors: Sequence[Tensor]) -> tuple[list[Labels], Labels]:
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    allowed = set(_LETTERS)
    if any(set(part.replace("...", "", 1)) - allowed for part in (*terms, right)):
        raise fail(
            GraphcValueError,
            "E211",
            f"einsum subscripts have letters, commas, ... and one ->, got {subscripts!r}",
            None,
            *tensors,
        )
    if len(terms) != len(tensors):
        raise fail(
            GraphcValueError,
            "E211",
            f"einsum {subscripts!r} has {len(terms)} terms for {len(tensors)} operands",
            None,
            *tensors,
        )
    # Axes under an ellipsis are labelled -1, -2, … from the last: operands of different rank line up at the end.
    labelled = []
    widest = 0
    for term, tensor in zip(terms, tensors, strict=True):
        hidden = tensor.ndim - len(term.replace("...", ""))
        if hidden < 0 or (hidden > 0 and "..." not in term):
            raise fail(
                GraphcValueError, "E211", f"einsum term {term!r} does not fit the shape {tensor.shape}", None, tensor
            )
        widest = max(widest, hidden)
        labelled.append(_labels(term, hidden))
    if arrow:
        output = _labels(right, widest if "..." in right else 0)
    else:
        count = Counter(letter for term in terms for letter in term if letter != ".")
        once = sorted(letter for letter, times in count.items() if times == 1)
        output = [*_labels("...", widest), *(_LETTERS.index(letter) for letter in once)]
    known = set(itertools.chain.from_iterable(labelled))
    if len(set(output)) != len(output) or not set(output) <= known:
        raise fail(
            GraphcValueError,
            "E211",
            f"einsum {subscripts!r}: an output letter stands twice, or in no operand",
            None,
            *tensors,
        )
    return labelled, output


def _labels(term: str, hidden: int) -> Labels:
    before, dots, after = term.partition("...")
    letters = [[_LETTERS.index(letter) for letter in part] for part in (before, after)]
    return [*letters[0], *(range(-hidden, 0) if dots else ()), *letters[1]]


def contract(tensors: Sequence[Tensor], terms: Sequence[Labels], output: Labels) -> Tensor:
    """The sum over all labels but those of ``output`` of the product of ``tensors``, whose axes ``terms`` label."""
    sizes = _sizes(tensors, terms)
    parts = [_prepared(tensor, labels, sizes) for tensor, labels in zip(tensors, terms, strict=True)]
    while len(parts) > 1:
        first, second = _cheapest_pair(parts, output, sizes)
        others = [part for position, part in enumerate(parts) if position not in (first, second)]
        needed = set(output).union(*(labels for _, labels in others))
        parts = [*others, _contract_pair(parts[first], parts[second], needed)]
    tensor, labels = _summed(parts[0], set(output))
    return transpose(tensor, [labels.index(label) for label in output])


def _sizes(tensors: Sequence[Tensor], terms: Sequence[Labels]) -> dict[int, Dim]:
    sizes: dict[int, Dim] = {}
    for tensor, labels in zip(tensors, terms, strict=True):
        for label, dim in zip(labels, tensor.shape, strict=True):
            known = sizes.setdefault(label, dim)
            if known == 1:
                sizes[label] = dim
            elif dim not in (1, known):
                name = _LETTERS[label] if 0 <= label < len(_LETTERS) else "..."
                raise fail(
                    GraphcValueError,
                    "E211",
                    f"a contraction has {known} and {dim} for the label {name!r}",
                    None,
                    *tensors,
                )
    return sizes


def _prepared(tensor: Tensor, labels: Labels, sizes: dict[int, Dim]) -> tuple[Tensor, Labels]:
    """One operand with every label once: diagonals taken, axes of length 1 dropped where others have more."""
    labels = list(labels)
    for label in sorted({label for label in labels if labels.count(label) > 1}):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            if tensor.shape[first] != tensor.shape[second]:
                raise fail(
                    GraphcValueError, "E211", f"a diagonal needs equal lengths, got shape {tensor.shape}", None, tensor
                )
            tensor = diagonal(moveaxis(tensor, (first, second), (-2, -1)))
            labels = [other for position, other in enumerate(labels) if position not in (first, second)] + [label]
    stretched = [position for position, label in enumerate(labels) if tensor.shape[position] == 1 and sizes[label] != 1]
    if stretched:
        tensor = reshape(tensor, tuple(dim for position, dim in enumerate(tensor.shape) if position not in stretched))
        labels = [label for position, label in enumerate(labels) if position not in stretched]
    return tensor, labels


def _summed(part: tuple[Tensor, Labels], needed: set[int]) -> tuple[Tensor, Labels]:
    tensor, labels = part
    gone = tuple(position for position, label in enumerate(labels) if label not in needed)
    return (sum(tensor, axis=gone), [label for label in labels if label in needed]) if gone else part


def _cheapest_pair(parts: Sequence[tuple[Tensor, Labels]], output: Labels, sizes: dict[int, Dim]) -> tuple[int, int]:
    """The pair with the smallest product, the first of equals."""

    def cost(pair: tuple[int, int]) -> int:
        others = set(output).union(*(labels for position, (_, labels) in enumerate(parts) if position not in pair))
        kept = (set(parts[pair[0]][1]) | set(parts[pair[1]][1])) & others
        total = 1
        for label in kept:
            size = sizes[label]
            total *= size if isinstance(size, int) else _SYMBOLIC_SIZE
        return total

    return min(itertools.combinations(range(len(parts)), 2), key=cost)


def _contract_pair(
    left: tuple[Tensor, Labels], right: tuple[Tensor, Labels], needed: set[int]
) -> tuple[Tensor, Labels]:
    first, first_labels = _summed(left, needed | set(right[1]))
    second, second_labels = _summed(right, needed | set(first_labels))
    labels = [label for label in dict.fromkeys((*first_labels, *second_labels)) if label in needed]
    letter = dict(zip(dict.fromkeys((*first_labels, *second_labels)), _LETTERS, strict=False))
    text = ["".join(letter[label] for label in part) for part in (first_labels, second_labels, labels)]
    return apply("einsum", first, second, subscripts=f"{text[0]},{text[1]}->{text[2]}"), labels
