"""Code for any number of rows and steps as an artifact, from the command line and from C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as G
from graphc.artifact.loader import load
from graphc.cli.main import main
from tests.c_programs import run_c
from tests.frontends.test_any_length import same

MODEL = """
import graphc as G
from graphc import nn, optim

x, y = G.input("x", ("batch", "time", 3)), G.input("y", ("batch", 4))
h = nn.GRU(4, return_sequences=True)(x)
loss = ((h[:, -1] - y) ** 2).mean()
model = G.Model(predict={"h": h, "loss": loss}, train=optim.SGD(0.1).minimize(loss))
"""

PROGRAM = r"""
#include "both.h"
#include <math.h>
int main(int argc, char **argv)
{
    static float x[both_MAX_time * both_MAX_batch * both_train_SIZE_OF_INPUT_x];
    static float y[both_MAX_batch * both_train_SIZE_OF_INPUT_y];
    static float h[both_MAX_time * both_MAX_batch * both_predict_SIZE_OF_OUTPUT_h];
    float loss;
    int64_t error[4], batch = 3, time = 2, room = both_ROOM_batch(batch);
    const void *in[both_train_INPUTS + 2];
    void *results[both_predict_OUTPUTS];
    both_model model;
    FILE *file = fopen(argv[argc - 1], "rb");
    int t, b, i;
    if (both_open(&model) != 0 || both_load_weights(&model, file) != 0)
        return 3;
    if (room < batch || both_ROOM_batch(0) != 0 || both_ROOM_batch(both_MAX_batch + 1) != 0)
        return 4;
    for (t = 0; t < time; t++)
        for (b = 0; b < room; b++)
            for (i = 0; i < 3; i++)
                x[(t * room + b) * 3 + i] = b < batch ? (float)(t + b + i) / 8 : NAN;
    for (b = 0; b < room; b++)
        for (i = 0; i < 4; i++)
            y[b * 4 + i] = b < batch ? 1 : NAN;
    in[both_train_INPUT_x] = x;
    in[both_train_INPUT_y] = y;
    in[both_train_SIZE_batch] = &batch;
    in[both_train_SIZE_time] = &time;
    results[0] = &loss;
    if (both_train(in, results, model.states, model.arena, error) != 0)
        return 5;
    results[both_predict_OUTPUT_h] = h;
    results[both_predict_OUTPUT_loss] = &loss;
    if (both_parallel(2, both_ENTRY_predict(batch), in, results, model.states, model.arena, error) != 0)
        return 6;
    printf("%.9g\n", loss);
    for (b = 0; b < batch; b++)
        for (t = 0; t < time; t++)
            for (i = 0; i < 4; i++)
                printf("%.9g\n", h[(t * room + b) * 4 + i]);
    batch = both_MAX_batch + 1;
    if (both_train(in, results, model.states, model.arena, error) != 1 || error[0] != -1 || error[1] != 1)
        return 7;
    if (error[2] != batch || error[3] != both_MAX_batch || both_ENTRY_predict(batch) != -1)
        return 8;
    batch = 1;
    time = both_MAX_time + 1;
    if (both_train(in, results, model.states, model.arena, error) != 1 || error[0] != -1 || error[1] != 0)
        return 9;
    return error[2] == time && error[3] == both_MAX_time ? 0 : 10;
}
"""


def test_artifact_command_line_and_c(tmp_path: Path) -> None:
    source, folder = tmp_path / "both.py", tmp_path / "both"
    source.write_text(MODEL)
    assert main(["compile", str(source), "-o", str(folder), "--max-dim", "time=6", "--max-dim", "batch=5,2"]) == 0
    model = load(folder)
    data = np.fromfunction(lambda b, t, i: (t + b + i) / 8, (3, 2, 3)).astype("float32")
    ones = np.ones((3, 4), "float32")
    names: dict[str, Any] = {}
    with G.graph():
        exec(MODEL, names)
    fixed = G.compile(names["model"], dims={"batch": 3, "time": 2})
    for name, value in model.parameters.items():
        fixed.parameters[name] = value
    np.testing.assert_allclose(model.train(data, ones), fixed.train(data, ones), rtol=1e-5)
    made = model.predict(data, ones)
    same(made, fixed.predict(data, ones), "artifact")
    with pytest.raises(ValueError, match=r"'batch' must be 1 to 5, got 6"):
        model.predict(np.zeros((6, 2, 3), "float32"), np.zeros((6, 4), "float32"))
    np.save(tmp_path / "x.npy", data)
    np.save(tmp_path / "y.npy", ones)
    given = [f"--input={name}={tmp_path / name}.npy" for name in "xy"]
    assert main(["run", str(folder), "predict", *given]) == 0
    printed = run_c(PROGRAM, folder, tmp_path)
    if printed is None:
        return
    loss, *h = printed
    np.testing.assert_allclose(loss, made["loss"], rtol=1e-5)
    np.testing.assert_allclose(h, made["h"].reshape(-1), rtol=1e-5)
