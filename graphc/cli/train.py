"""``graphc train``: an epoch after the other through the entry point ``train``."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from graphc.cli.common import Console, ExitCode, Parser, add_common, add_model, add_settings, add_target, count, plural
from graphc.cli.progress import progress
from graphc.errors import GraphcKeyError, GraphcValueError
from graphc.interrupts import stop_on_interrupt

if TYPE_CHECKING:
    from graphc.artifact.compiled import CompiledModel
    from graphc.artifact.runtime.spec import EntrySpec, TensorSpec
    from graphc.cli.batches import Batches
    from graphc.cli.model_file import ModelFile
    from graphc.ir.graph import Module

_BATCH_NAMES = ("batch_size", "batch")


def configure(parser: Parser) -> None:
    """Add the options of ``graphc train``."""
    add_model(parser)
    parser.add_argument("--data", metavar="FILE.npz", required=True, help="arrays named as the inputs of train")
    parser.add_argument("--validation", metavar="FILE.npz", help="arrays to measure the loss and the accuracy on")
    parser.add_argument("--epochs", metavar="N", type=count, default=1, help="times through the data; default: 1")
    parser.add_argument(
        "--batch-size", metavar="N", type=count, help="sets the model's hyperparameter or dimension of that name"
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the initial values and of the order; default: 0"
    )
    parser.add_argument("-o", "--output", metavar="DIR", help="write the trained model there, as an artifact")
    parser.add_argument("--name", help="what the artifact is called; by default as its folder")
    parser.add_argument("--force", action="store_true", help="replace an artifact that is there")
    add_target(parser)
    add_settings(parser)
    add_common(parser, figures=True)
    parser.example("graphc train digits.py --data train.npz --validation test.npz --epochs 20 -o digits")


def execute(arguments: argparse.Namespace, console: Console) -> int:
    """Train, measure, write."""
    from graphc.cli import build
    from graphc.cli.arrays import read_arrays
    from graphc.cli.batches import make_batches
    from graphc.cli.model_file import ModelFile

    if arguments.seed < 0:
        raise GraphcValueError("E106", f"--seed must not be negative, got {arguments.seed}")
    if arguments.output is not None:
        build.check_artifact_folder(arguments.output, arguments.name, force=arguments.force)
    file = ModelFile(arguments.model)
    _set_batch_size(arguments, file)
    model = file.model(arguments.settings)
    _set_batch_dimension(arguments, model.module)
    if "train" not in model.module.entries:
        raise GraphcKeyError(
            "E448",
            f"the model has no entry point 'train', only {', '.join(model.module.entries)}",
            hint="e.g. graphc.Model(..., train=optim.Adam().minimize(loss))",
        )
    # What is wrong with the file is found before the model is compiled, which takes longer.
    arrays = read_arrays(arguments.data, list(model.module.input_types("train")))
    compiled = build.compile_model(arguments, model, arguments.name or file.artifact_name, seed=arguments.seed)
    data = make_batches(arguments.data, arrays, {spec.name: spec for spec in _entry(compiled).inputs})
    if arguments.batch_size not in (None, data.size):
        raise GraphcValueError(
            "E106",
            f"--batch-size {arguments.batch_size}: the model takes batches of {data.size}",
            hint=f"give the model function an argument {' or '.join(_BATCH_NAMES)}",
        )
    if data.left_over:
        console.note(
            f"each epoch leaves out {data.left_over} of {data.examples:,} examples: batches are of {data.size}"
        )
    check = Validation.of(arguments.validation, compiled) if arguments.validation is not None else None

    training = _train(compiled, data, check, arguments, console)
    path = (
        compiled.save(arguments.output, name=arguments.name, force=arguments.force)
        if arguments.output is not None
        else None
    )
    console.say(training.summary(data))
    if path is not None:
        console.say(f"wrote {os.path.relpath(path)}")
    console.figures(
        {
            "epochs": len(training.history),
            "steps": training.steps,
            "batch_size": data.size,
            "left_out": data.left_over,
            "seconds": training.seconds,
            "interrupted": training.interrupted,
            "history": training.history,
            "artifact": path,
        }
    )
    return ExitCode.INTERRUPTED if training.interrupted else ExitCode.DONE


@dataclass
class Training:
    """How it went.

    Attributes:
        history: figures of each epoch that was begun: mean ``loss``, and what was measured.
        steps: optimizer steps taken.
        seconds: spent training and measuring.
        interrupted: Ctrl-C ended it.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0
    interrupted: bool = False

    def summary(self, data: Batches) -> str:
        """One line for people."""
        figures = self.history[-1] if self.history else {}
        words = "interrupted in epoch" if self.interrupted else "trained, epochs:"
        line = f"{words} {len(self.history)}, {plural(self.steps, 'step')} of {data.size} in {self.seconds:.1f} s"
        return f"{line}: {describe(figures)}" if figures else line


def describe(figures: dict[str, float]) -> str:
    """The figures of an epoch in words."""
    parts = []
    for name, value in figures.items():
        label = name.replace("_", " ")
        parts.append(f"{label} {value:.2%}" if name.endswith("accuracy") else f"{label} {value:.4g}")
    return ", ".join(parts)


@dataclass(frozen=True)
class Validation:
    """What is measured after an epoch.

    Attributes:
        model: the model that trains.
        loss: batches for the entry point ``loss``; None where there is none.
        scores: batches for ``predict`` and its labels; None where it gives no scores of classes.
        label: name of the input that holds the labels.
    """

    model: CompiledModel
    loss: Batches | None
    scores: Batches | None
    label: str = ""

    @classmethod
    def of(cls, path: str, model: CompiledModel) -> Validation:
        """The measures that the entry points of ``model`` allow, on the arrays in ``path``."""
        entries = {entry.name: entry for entry in model.spec.entries}
        loss, predict = entries.get("loss"), entries.get("predict")
        if loss is not None and len(loss.outputs) != 1:
            loss = None
        label = _label(predict, entries["train"]) if predict is not None else None
        if loss is None and label is None:
            raise GraphcValueError(
                "E448",
                "--validation: nothing can be measured",
                hint="it takes an entry point loss with one output, or predict with a score for each class of an input",
            )
        scores = None
        if predict is not None and label is not None:
            scores = _load(path, predict, label)
        return cls(
            model, _load(path, loss) if loss is not None else None, scores, label.name if label is not None else ""
        )

    def measure(self) -> dict[str, float]:
        """The mean loss over the full batches, and the share of all examples whose best score is their label's."""
        import numpy as np

        figures = {}
        if self.loss is not None:
            figures["validation_loss"] = float(
                np.mean([_scalar(self.model.loss(**batch)) for batch in self.loss.full()])
            )
        if self.scores is not None:
            right = total = 0
            for batch, counted in self.scores.all():
                labels = batch.pop(self.label)
                chosen = np.argmax(self.model.predict(**batch), axis=-1)
                along = self.scores.axes.get(self.label, 0)
                kept = (
                    np.take(chosen == labels, np.arange(counted), axis=along) if self.scores.axes else chosen == labels
                )
                right, total = right + int(kept.sum()), total + kept.size
            figures["accuracy"] = right / total
        return figures


def _entry(compiled: CompiledModel) -> EntrySpec:
    return next(entry for entry in compiled.spec.entries if entry.name == "train")


def _set_batch_size(arguments: argparse.Namespace, file: ModelFile) -> None:
    """Pass ``--batch-size`` on as the hyperparameter of that name, where there is one."""
    if arguments.batch_size is None:
        return
    for name in _BATCH_NAMES:
        if name in file.hyperparameters:
            arguments.settings.append((name, str(arguments.batch_size)))
            return


def _set_batch_dimension(arguments: argparse.Namespace, module: Module) -> None:
    """Bind a symbolic dimension to ``--batch-size`` where it has such a name and no size."""
    from graphc.ir.bind import symbols_of

    bound = dict(arguments.dims)
    symbols = symbols_of(module)
    for name in _BATCH_NAMES if arguments.batch_size is not None else ():
        if name in symbols and name not in bound:
            arguments.dims.append((name, arguments.batch_size))


def _load(path: str, entry: EntrySpec, *more: TensorSpec) -> Batches:
    from graphc.cli.arrays import read_arrays
    from graphc.cli.batches import make_batches

    inputs = {spec.name: spec for spec in (*entry.inputs, *more)}
    return make_batches(path, read_arrays(path, list(inputs)), inputs)


def _label(predict: EntrySpec, train: EntrySpec) -> TensorSpec | None:
    """The input of ``train`` that holds the class for which ``predict`` gives a score; None where there is none."""
    if len(predict.outputs) != 1:
        return None
    scores = predict.outputs[0]
    known = {spec.name for spec in predict.inputs}
    fitting = [
        spec
        for spec in train.inputs
        if spec.name not in known
        and spec.storage.kind in "iu"
        and spec.shape == scores.shape[:-1]
        and scores.shape[-1:] > (1,)
    ]
    return fitting[0] if len(fitting) == 1 and scores.storage.kind == "f" else None


def _scalar(made: Any) -> float:
    import numpy as np

    return float(np.mean(made)) if made is not None else float("nan")


def _train(
    compiled: CompiledModel, data: Batches, check: Validation | None, arguments: argparse.Namespace, console: Console
) -> Training:
    import numpy as np

    entry = _entry(compiled)
    training = Training()
    shuffle = np.random.default_rng(arguments.seed)
    start = time.perf_counter()
    total = arguments.epochs * data.count
    with stop_on_interrupt() as stop, progress(console, "train", total) as bar:
        for _ in range(arguments.epochs):
            losses = []
            for batch in data.full(shuffle.permutation(data.examples)):
                losses.append(_first(compiled.train(**batch), entry))
                training.steps += 1
                bar.update(training.steps, describe({"loss": losses[-1]}))
                if stop.is_set():
                    break
            figures = {"loss": float(np.mean(losses))} if entry.outputs else {}
            training.history.append(figures)
            if stop.is_set():
                training.interrupted = True
                break
            if check is not None:
                figures |= check.measure()
    training.seconds = time.perf_counter() - start
    return training


def _first(made: Any, entry: EntrySpec) -> float:
    """The loss of a step: the first output, by convention."""
    return _scalar(made[entry.outputs[0].name] if isinstance(made, dict) else made)
