"""What every layer is: a name, weights made when the first input is seen, and a call."""

from __future__ import annotations

import copy
import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any, ClassVar

from graphc.errors import GraphcError, GraphcTypeError, GraphcValueError, nearest
from graphc.frontends.dsl.creation import state
from graphc.frontends.dsl.elementwise import where
from graphc.frontends.dsl.penalties import add_penalty
from graphc.frontends.dsl.reductions import element_count
from graphc.frontends.dsl.session import current_session
from graphc.frontends.dsl.tensor import Tensor, common_builder, fail, to_dtype
from graphc.frontends.nn import regularizers
from graphc.frontends.nn.blame import LayerType, blamed
from graphc.frontends.nn.checks import sample_shape
from graphc.frontends.nn.masking import MaskedTensor, mask_of, with_mask
from graphc.frontends.nn.recipes import Recipe, recipe_arguments, take_recipes
from graphc.frontends.optim.projections import constrain
from graphc.ir.builder import user_location
from graphc.ir.dim import Dim
from graphc.ir.state import State
from graphc.ir.types import DType, float32

_forced_training: ContextVar[bool | None] = ContextVar("graphc_forced_training", default=None)
"""What ``training=`` of the innermost layer call that has it says."""


def snake_case(name: str) -> str:
    """``MaxPooling2D`` → ``max_pooling2d``, as Keras names its layers."""
    apart = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", apart).lower()


@cache
def argument_names(function: Callable[..., Any]) -> frozenset[str]:
    """The names a function's arguments have."""
    return frozenset(inspect.signature(function).parameters)


class Layer(metaclass=LayerType):
    """A function of tensors with weights.

    A subclass says in ``build`` which weights it has, for the shape of its first input, and in ``call`` what it
    computes.  Calling the layer again shares the weights.

    Args:
        name: prefix of the weights' names; by default the class's name, numbered where it is taken.
        trainable: False freezes the weights.
        dtype: of the weights; by default that of the first floating-point input.
        input_shape: the shape of one sample, as older Keras has it: for the first layer of a model that is built before
            its first input is seen.
        input_dim: short for ``input_shape=(input_dim,)``.
        activity_regularizer: a penalty on the output, a sample's share of it.
        options: how the weights in ``default_initializers`` are made: ``kernel_initializer``, ``kernel_regularizer``,
            ``kernel_constraint`` and so on.  Anything else is an error with the nearest name.
    """

    supports_masking: bool = False
    """Whether the mask of the input is that of the output."""

    default_initializers: ClassVar[Mapping[str, str]] = {}
    """Weight → its initializer where the arguments do not say one."""

    torch_names: ClassVar[Mapping[str, str | None]] = {}
    """PyTorch's names of arguments → the layer's own; None for what changes nothing here."""

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
        activity_regularizer: Any = None,
        **options: Any,
    ) -> None:
        session = current_session()
        self.recipes = take_recipes(self.default_initializers, options)
        self._check_options(options)
        self._made_at = user_location()
        if name is None:
            name = session.unique_name(self.default_name(), self)
        elif not isinstance(name, str) or not name or not name.isprintable():
            raise fail(GraphcValueError, "E224", f"the name of a layer must be printable text, got {name!r}")
        else:
            session.reserve_name(name, self)
        self.name = name
        self.built = False
        self._built_for: Any = None
        given = (input_dim,) if input_dim is not None else input_shape
        self.input_shape = None if given is None else sample_shape(given)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._dtype: DType | None = None if dtype is None else to_dtype(dtype)
        self._trainable = trainable
        self._weights: list[Tensor] = []
        self._penalties: list[tuple[Tensor, regularizers.Penalty]] = []

    @classmethod
    def known_arguments(cls) -> frozenset[str]:
        """The names of the arguments that make such a layer."""
        constructors = [
            vars(kind)["__init__"] for kind in cls.__mro__ if "__init__" in vars(kind) and kind is not object
        ]
        names = frozenset().union(*map(argument_names, constructors)) - {"self", "options", "arguments"}
        return names | recipe_arguments(cls.default_initializers) | frozenset(cls.torch_names)

    def _check_options(self, options: dict[str, Any]) -> None:
        for option in options:
            close = nearest(option, sorted(self.known_arguments()))
            hint = f"did you mean {close}?" if close else None
            raise fail(GraphcTypeError, "E213", f"{type(self).__name__} has no argument {option!r}", hint)

    def default_name(self) -> str:
        """The name before it is numbered."""
        return snake_case(type(self).__name__)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    # -- weights ---------------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> DType:
        """The dtype of the weights."""
        return self._dtype or float32

    def sublayers(self) -> Iterator[Layer]:
        """The layers inside this one, in order: those that its attributes are, or lists and dicts there hold."""
        seen: list[Layer] = []
        for value in vars(self).values():
            items = (
                value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
            )
            for item in items:
                if isinstance(item, Layer) and not any(item is other for other in seen):
                    seen.append(item)
                    yield item

    @property
    def weights(self) -> list[Tensor]:
        """All weights, those of the layers inside included."""
        return [*self._weights, *(weight for layer in self.sublayers() for weight in layer.weights)]

    @property
    def states(self) -> list[State]:
        """The state variables behind the weights."""
        return [weight.state for weight in self.weights if weight.state is not None]

    @property
    def trainable_weights(self) -> list[Tensor]:
        """The weights that an optimizer trains."""
        return [weight for weight in self.weights if weight.state is not None and weight.state.trainable]

    @property
    def non_trainable_weights(self) -> list[Tensor]:
        """The weights that no optimizer changes: frozen ones, and statistics."""
        return [weight for weight in self.weights if weight.state is not None and not weight.state.trainable]

    def count_params(self) -> int:
        """Number of elements of all weights."""
        return sum(state.type.static_size for state in self.states)

    @property
    def losses(self) -> list[Tensor]:
        """The penalties on trainable weights and on outputs; ``minimize`` adds them to a loss that depends on those."""
        mine = [
            penalty(weight) for weight, penalty in self._penalties if weight.state is None or weight.state.trainable
        ]
        return [*mine, *(loss for layer in self.sublayers() for loss in layer.losses)]

    @property
    def trainable(self) -> bool:
        """Whether optimizers train the weights; set it before ``minimize``."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for weight in self._weights:
            if weight.state is not None and weight.state.role == "parameter":
                weight.state.trainable = self._trainable
        for layer in self.sublayers():
            layer.trainable = self._trainable

    def add_weight(
        self,
        name: str,
        shape: Sequence[Dim],
        initializer: Any = None,
        *,
        role: str = "parameter",
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
    ) -> Tensor:
        """A weight called ``<layer>/<name>``.

        Args:
            name: within the layer.
            shape: static.
            initializer: as in :func:`graphc.nn.initializers.get`, or one of the layer's ``recipes``, which also says
                what the last two arguments would.
            role: ``parameter``, ``statistic`` for what training only observes, or ``recurrent`` for what goes from call
                to call.
            trainable: False for a weight that no optimizer changes.
            regularizer: a penalty that training adds to the loss.
            constraint: where each step of an optimizer puts the weight back.
        """
        if any(not isinstance(dim, int) for dim in shape):
            raise fail(GraphcValueError, "E214", f"{self.name}: the weight {name!r} needs a static shape, got {shape}")
        given = isinstance(initializer, Recipe)
        recipe = initializer if given else Recipe.of(initializer, regularizer, constraint)
        wanted = trainable and self._trainable and role == "parameter"
        weight = state(f"{self.name}/{name}", recipe.initializer, tuple(shape), self.dtype, role=role, trainable=wanted)
        self._weights.append(weight)
        if recipe.regularizer is not None:
            self._penalties.append((weight, recipe.regularizer))
            add_penalty(weight, recipe.regularizer)
        if recipe.constraint is not None:
            constrain(weight, recipe.constraint)
        return weight

    def fresh_copy(self) -> Layer:
        """A layer with the same arguments and weights of its own; this one must not be in use yet."""
        if self.built or any(True for _ in self.sublayers()):
            raise fail(GraphcValueError, "E224", f"{self.name} cannot be copied: make a second layer like it")
        made = copy.copy(self)
        made._weights, made._penalties = [], []
        return made

    # -- calls -----------------------------------------------------------------------------------------------------

    def build(self, shape: Any) -> None:
        """Make the weights for an input of ``shape``, a list of shapes for layers that merge."""

    def call(self, x: Any, *arguments: Any, **options: Any) -> Any:
        """What the layer computes."""
        raise fail(
            GraphcTypeError, "E213", f"{type(self).__name__} does not say what it computes: define call(self, x)"
        )

    def compute_mask(self, x: Any, mask: Any) -> Any:
        """The mask of the output from that of the input (a list where the input is one), or None."""
        return mask if self.supports_masking else None

    def __call__(self, x: Any, *arguments: Any, training: bool | None = None, **options: Any) -> Any:
        """The layer on ``x``, a tensor or (for layers that merge) a list of tensors.

        Makes the weights at the first call.

        Args:
            x: the input.
            arguments: others that ``call`` takes.
            training: True or False for a layer (and those inside it) that behaves so in every entry point; by default
                it behaves as the entry point does.
            options: for ``call``; ``mask`` takes the place of the mask that ``x`` brings along.
        """
        tensors = x if isinstance(x, (list, tuple)) else [x]
        if not tensors or any(not isinstance(tensor, Tensor) for tensor in tensors):
            raise fail(
                GraphcTypeError,
                "E213",
                f"{self.name} takes tensors, got {type(x).__name__}",
                "make one with G.input or G.constant",
            )
        names = argument_names(type(self).call)
        mask = options.get("mask")
        if mask is None and any(mask_of(tensor) is not None for tensor in tensors):
            mask = [mask_of(tensor) for tensor in tensors] if isinstance(x, (list, tuple)) else mask_of(x)
            if "mask" in names:
                options["mask"] = mask
        if training is not None and "training" in names:
            options["training"] = training
        self._check_call(names, options)
        previous = _forced_training.set(_forced_training.get() if training is None else bool(training))
        try:
            with common_builder(tensors).scope(self.name):
                self._build_once(x, tensors)
                result = self.call(x, *arguments, **options)
                return self._finished(result, x, mask)
        except GraphcError as error:
            has_weights = self._weights or any(layer._weights for layer in self.sublayers())
            seen = self._built_for if has_weights else None
            raise blamed(error, self.name, self._made_at, seen)  # noqa: B904  (it is the same error)
        finally:
            _forced_training.reset(previous)

    def _check_call(self, names: frozenset[str], options: dict[str, Any]) -> None:
        unknown = [option for option in options if option not in names]
        if unknown and not {"options", "kwargs"} & names:
            close = nearest(unknown[0], sorted(names))
            hint = f"did you mean {close}?" if close else None
            raise fail(GraphcTypeError, "E213", f"{self.name} does not take {', '.join(unknown)}", hint)

    def _build_once(self, x: Any, tensors: Sequence[Tensor]) -> None:
        if self.built:
            return
        if self._dtype is None:
            self._dtype = next((tensor.dtype for tensor in tensors if tensor.dtype.is_float), None)
        shape = [tensor.shape for tensor in tensors] if isinstance(x, (list, tuple)) else x.shape
        self.build(shape)
        self.built, self._built_for = True, shape

    def _finished(self, result: Any, x: Any, mask: Any) -> Any:
        """The result with its mask, its penalty noted."""
        outputs = list(result) if isinstance(result, (list, tuple)) else [result]
        if self.activity_regularizer is not None:
            for output in outputs:
                penalty = _per_sample(self.activity_regularizer)
                self._penalties.append((output, penalty))
                add_penalty(output, penalty)
        if all(isinstance(output, MaskedTensor) for output in outputs) and result is not x:
            return result  # a layer made of layers: the last one inside has said what the mask is
        if mask is not None and not self.supports_masking and "mask" not in argument_names(type(self).call):
            warnings.warn(f"{self.name} does not keep the mask of its input: every step counts after it", stacklevel=3)
        masks = self.compute_mask(x, mask)
        if not isinstance(result, (list, tuple)):
            return with_mask(result, masks) if isinstance(result, Tensor) else result
        each = masks if isinstance(masks, (list, tuple)) else [masks, *[None] * (len(outputs) - 1)]
        return type(result)(with_mask(output, one) for output, one in zip(outputs, each, strict=True))


def _per_sample(penalty: regularizers.Penalty) -> regularizers.Penalty:
    """A penalty on a batch, divided by its size, as Keras has it for activities."""
    return lambda x: penalty(x) / element_count(x, (0,))


def call_arguments(layer: Layer) -> frozenset[str]:
    """The names of the arguments that the layer's ``call`` has."""
    return argument_names(type(layer).call)


def training_of(x: Tensor) -> Tensor:
    """``G.training`` in the graph of ``x``."""
    return Tensor(x.builder.op("training"), x.builder)


def forced_training() -> bool | None:
    """What ``training=`` of the layer call around says; None where the entry point decides."""
    return _forced_training.get()


def while_training(x: Tensor, trained: Callable[[], Tensor], otherwise: Callable[[], Tensor]) -> Tensor:
    """One of two values: by the entry point, or as the innermost ``training=`` of a layer call says."""
    forced = _forced_training.get()
    if forced is None:
        return where(training_of(x), trained(), otherwise())
    return trained() if forced else otherwise()
