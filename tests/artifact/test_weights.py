"""safetensors files: read strictly, written so that others read them."""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from graphc.artifact.runtime import weights
from graphc.artifact.runtime.spec import STORAGE, TensorSpec
from graphc.errors import GraphcValueError


def tensors_of_every_dtype() -> tuple[list[TensorSpec], dict[str, np.ndarray]]:
    specs = [TensorSpec(f"part/{name}", name, (2, 3)) for name in STORAGE]
    specs += [
        TensorSpec("scalar", "float32", ()),
        TensorSpec("empty", "int8", (0, 4)),
        TensorSpec('q"\n é', "bool", (1,)),
    ]
    random = np.random.default_rng(0)
    values = {spec.name: random.integers(0, 2, spec.shape).astype(spec.storage) for spec in specs}
    return specs, values


def test_the_safetensors_package_reads_what_is_written(tmp_path: Path) -> None:
    specs, values = tensors_of_every_dtype()
    path = tmp_path / "w.safetensors"
    weights.save(path, specs, values, {"graphc_build": "abc"})
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == {"graphc_build": "abc"}
        assert set(file.keys()) == set(values)
        for spec in specs:
            found = file.get_tensor(spec.name)
            if spec.dtype == "bfloat16":
                assert found.dtype == ml_dtypes.bfloat16
                found = found.view(np.uint16)
            assert found.dtype == spec.storage
            np.testing.assert_array_equal(found, values[spec.name])
    data = path.read_bytes()
    assert (8 + struct.unpack("<Q", data[:8])[0]) % 64 == 0


def test_files_of_the_safetensors_package_are_read() -> None:
    specs, values = tensors_of_every_dtype()
    typed = {
        spec.name: values[spec.name].view(ml_dtypes.bfloat16) if spec.dtype == "bfloat16" else values[spec.name]
        for spec in specs
    }
    tensors, metadata = weights.decode(safetensors.numpy.save(typed, {"who": "me"}), "f")
    assert metadata == {"who": "me"}
    arrays = weights.select(tensors, specs, "f")
    for spec in specs:
        np.testing.assert_array_equal(arrays[spec.name], values[spec.name])


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    specs, values = tensors_of_every_dtype()
    weights.save(tmp_path / "a", specs, values, {"x": "1", "y": "2"})
    weights.save(tmp_path / "b", specs[::-1], values, {"y": "2", "x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def file_of(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(begin: object, end: object, shape: object = (2,), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HOSTILE = {
    "empty": b"",
    "short": b"\0\0\0",
    "no header": struct.pack("<Q", 0),
    "length past the end": file_of({}, length=1000),
    "length 2^63": file_of({}, length=2**63),
    "length 2^64-1": file_of({}, length=2**64 - 1),
    "not JSON": file_of(b"{]"),
    "not UTF-8": file_of(b'{"\xff":1}'),
    "a list": file_of([1]),
    "deep": file_of(b"[" * 200_000),
    "huge number": file_of(b'{"a":{"dtype":"F32","shape":[' + b"9" * 10_000 + b'],"data_offsets":[0,8]}}', bytes(8)),
    "twice": file_of(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":1}', bytes(8)),
    "NaN": file_of(b'{"a":NaN}'),
    "no fields": file_of({"a": {}}),
    "extra field": file_of({"a": tensor(0, 8) | {"x": 1}}, bytes(8)),
    "unknown dtype": file_of({"a": tensor(0, 8, dtype="F31")}, bytes(8)),
    "dtype a list": file_of({"a": tensor(0, 8, dtype=["F32"])}, bytes(8)),
    "negative shape": file_of({"a": tensor(0, 8, shape=(-2,))}, bytes(8)),
    "negative shapes": file_of({"a": tensor(0, 8, shape=(-2, -1))}, bytes(8)),
    "float shape": file_of({"a": tensor(0, 8, shape=(2.0,))}, bytes(8)),
    "bool shape": file_of({"a": tensor(0, 4, shape=(True,))}, bytes(4)),
    "overflowing shape": file_of({"a": tensor(0, 0, shape=(2**62, 4))}),
    "negative begin": file_of({"a": tensor(-8, 0)}, bytes(8)),
    "begin after end": file_of({"a": tensor(8, 0)}, bytes(8)),
    "past the end": file_of({"a": tensor(0, 8)}, bytes(4)),
    "far past the end": file_of({"a": tensor(2**62, 2**62 + 8)}, bytes(8)),
    "rest": file_of({"a": tensor(0, 8)}, bytes(9)),
    "overlap": file_of({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)),
    "same place": file_of({"a": tensor(0, 8), "b": tensor(0, 8)}, bytes(8)),
    "gap": file_of({"a": tensor(0, 8), "b": tensor(12, 20)}, bytes(20)),
    "gap at the start": file_of({"a": tensor(4, 12)}, bytes(12)),
    "size not the shape's": file_of({"a": tensor(0, 12)}, bytes(12)),
    "three offsets": file_of({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8]}}, bytes(8)),
    "metadata a number": file_of({"__metadata__": 3}),
    "metadata of numbers": file_of({"__metadata__": {"a": 3}}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name: str) -> None:
    with pytest.raises(GraphcValueError, match="cannot use the weights 'f'") as caught:
        weights.decode(HOSTILE[name], "f")
    assert caught.value.code == "E566"


@given(st.data())
def test_random_damage_never_escapes_the_error(data: st.DataObject) -> None:
    specs, values = tensors_of_every_dtype()
    whole = bytearray(weights.encode_header(specs, {"k": "v"}))
    for spec in weights.layout(specs):
        whole += values[spec.name].tobytes()
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(whole) - 1))
        whole[position] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(whole) - 1)))
    try:
        tensors, _ = weights.decode(bytes(whole[:cut]), "f")
        weights.select(tensors, specs, "f")
    except GraphcValueError as fault:
        assert fault.code == "E566"
    else:
        assert cut is None
