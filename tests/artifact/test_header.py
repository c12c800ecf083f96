"""``NAME.h`` says where everything is, whatever the names."""

import re

import numpy as np

from graphc.artifact.header import c_header, identifiers
from graphc.artifact.package import init_source
from graphc.artifact.runtime.spec import EntrySpec, Spec, TensorSpec
from graphc.artifact.runtime.weights import encode_header
from graphc.artifact.spec import NativeBuild
from tests.artifact import samples


def macros(text: str) -> dict[str, str]:
    return dict(re.findall(r"^#define (\w+) (\S+)", text, re.MULTILINE))


def test_offsets_lead_to_the_weights() -> None:
    model = samples.compiled("native")
    spec, build = model.spec, model.build
    assert isinstance(build, NativeBuild)
    header = encode_header(spec.states, {"graphc_build": "0" * 64})
    found = macros(c_header(spec, build, "1", len(header)))
    data = bytearray(header)
    data += bytes(int(found["regression_WEIGHT_BYTES"]))
    start = int(found["regression_WEIGHTS_OFFSET"])
    for state, plain in (("steps", "steps"), ("b", "b"), ("layer/w", "layer_w")):
        array = model.parameters[state]
        offset = start + int(found[f"regression_OFFSET_{plain}"])
        assert offset % array.dtype.itemsize == 0
        data[offset : offset + array.nbytes] = array.tobytes()
    from graphc.artifact.runtime import weights

    tensors, _ = weights.decode(bytes(data), "f")
    for name, array in weights.select(tensors, spec.states, "f").items():
        np.testing.assert_array_equal(array, model.parameters[name])
    assert found["regression_ARENA_BYTES"] == str(build.arena_bytes)
    assert found["regression_train_INPUTS"] == "2" and found["regression_train_SIZE_OF_INPUT_x"] == "12"


NASTY = [
    "x",
    "a/b",
    "a.b",
    "a_b",
    '"""',
    "*/ int main() {",
    "\\",
    "\n#error",
    "é",
    "'",
    "%s",
    "{0}",
    "\ud800",
    "x_SIZE",
]


def nasty_spec() -> Spec:
    tensors = tuple(TensorSpec(name, "float32", (2,)) for name in NASTY)
    return Spec("plain", (EntrySpec("run", tensors, tensors, tuple(NASTY)),), tensors)


def test_names_from_outside_become_distinct_identifiers() -> None:
    made = identifiers(NASTY)
    assert len(set(made)) == len(NASTY) and all(re.fullmatch(r"\w+", name, re.ASCII) for name in made)


def test_names_from_outside_cannot_leave_comments_or_docstrings() -> None:
    spec = nasty_spec()
    build = samples.compiled("native").build
    assert isinstance(build, NativeBuild)
    text = c_header(spec, NativeBuild({"run": "plain_run"}, 0, build.target, {}, build.link), "1", 64)
    assert text.isascii()
    without_comments = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert "int main" not in without_comments and "#error" not in without_comments
    assert all(
        re.match(r"#(define|include|if|ifdef|ifndef|endif)\b", line) for line in text.split("\n") if line[:1] == "#"
    )

    source = init_source(spec, "llvm", "1", "0" * 64)
    code = compile(source, "f", "exec")
    assert source.isascii()
    assert "plain" in code.co_consts[0] and len(code.co_names) < 25
