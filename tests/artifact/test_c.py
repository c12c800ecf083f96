"""C and C++ programs use an artifact's header and shared object.  (Collected where there is a C compiler.)"""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np

import graphc as G
from graphc.artifact.loader import load
from tests.artifact import samples
from tests.artifact.test_threads import fresh

_WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]

_PROGRAM = r"""
#include "linear.h"
int main(int argc, char **argv)
{
    float x[linear_train_SIZE_OF_INPUT_x], y[linear_train_SIZE_OF_INPUT_y], out[12], total;
    int64_t ids[2] = {1, 3}, error[4] = {-1, -1, -1, -1};
    const void *in[linear_train_INPUTS];
    void *results[linear_stats_OUTPUTS];
    linear_model model;
    FILE *file = fopen(argv[argc - 2], "rb");
    int i;
    if (linear_open(&model) != 0 || linear_load_weights(&model, file) != 0)
        return 3;
    fclose(file);
    file = fopen(argv[argc - 1], "rb");
    if (fread(x, sizeof x, 1, file) != 1 || fread(y, sizeof y, 1, file) != 1)
        return 4;
    fclose(file);
    in[linear_train_INPUT_x] = x;
    in[linear_train_INPUT_y] = y;
    results[0] = out;
    for (i = 0; i < 3; i++) {
        linear_train(in, results, model.states, model.arena, error);
        printf("%.9g\n", out[linear_train_OUTPUT_loss]);
    }
    in[linear_predict_INPUT_x] = x;
    linear_predict(in, results, model.states, model.arena, error);
    for (i = 0; i < linear_predict_SIZE_OF_OUTPUT_y; i++)
        printf("%.9g\n", out[i]);
    results[linear_stats_OUTPUT_total] = &total;
    results[linear_stats_OUTPUT_doubled] = out;
    linear_stats(in, results, model.states, model.arena, error);
    printf("%.9g\n%.9g\n", total, out[11]);
    printf("%d\n", (int)*(int64_t *)model.states[linear_STATE_steps]);
    in[linear_lookup_INPUT_ids] = ids;
    results[0] = out;
    printf("%d\n", (int)linear_lookup(in, results, model.states, model.arena, error));
    for (i = 0; i < 4; i++)
        printf("%d\n", (int)error[i]);
    linear_close(&model);
    return 0;
}
"""


def _compile(compiler: list[str], source: Path, folder: Path, target: Path) -> None:
    library = next(folder.glob("*.so"))
    link = [library, f"-Wl,-rpath,{folder}", "-lm", "-o", target]
    done = subprocess.run(
        [*compiler, *_WARNINGS, "-I", folder, source, *link], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_program_computes_what_python_does(tmp_path: Path, x: np.ndarray, y: np.ndarray) -> None:
    folder = tmp_path / "linear"
    samples.compiled("native").save(folder)
    (tmp_path / "data").write_bytes(x.tobytes() + y.tobytes())
    model = load(folder)
    expected = [model.train(x, y) for _ in range(3)]
    expected += [*model.predict(x), *(value.ravel()[-1] for value in model.stats(x).values()), 3, 1, 0, 1, 3, 3]
    model.save_weights(tmp_path / "later")
    for name, compiler in (("main.c", ["cc", "-std=c99"]), ("main.cpp", ["c++", "-std=c++11"])):
        if shutil.which(compiler[0]) is None:
            continue
        (tmp_path / name).write_text(_PROGRAM)
        _compile(compiler, tmp_path / name, folder, tmp_path / "main")
        command = [tmp_path / "main", folder / "weights.safetensors", tmp_path / "data"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert [np.float32(line) for line in done.stdout.split()] == [np.float32(value) for value in expected]
        # What save_weights writes is read as well, and what is no weights file of the model is refused.
        command[1] = tmp_path / "later"
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert np.float32(done.stdout.split()[0]) == load_and_train(folder, tmp_path / "later", x, y)
        for other in (tmp_path / "data", folder / "manifest.json"):
            command[1] = other
            assert subprocess.run(command, check=False).returncode == 3


def load_and_train(folder: Path, weights: Path, x: np.ndarray, y: np.ndarray) -> np.float32:
    model = load(folder)
    model.load_weights(weights)
    return model.train(x, y)[()]


def test_the_example_in_c_trains(tmp_path: Path, repository: Path) -> None:
    example = repository / "examples" / "c"
    model = G.compile(runpy.run_path(str(example / "model.py"))["model"]())
    model.save(tmp_path / "waves")
    _compile(["cc", "-std=c99", "-O2"], example / "main.c", tmp_path / "waves", tmp_path / "main")
    command = [tmp_path / "main", tmp_path / "waves" / "weights.safetensors"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    losses = [float(text) for text in re.findall(r"loss (\S+)", output)]
    assert len(losses) == 5 and losses[-1] < 0.01 < losses[0]
    found = re.findall(r"= (\S+), predicted (\S+)", output)
    assert len(found) == 4 and all(abs(float(right) - float(made)) < 0.2 for right, made in found)
    assert subprocess.run(command[:1], capture_output=True, check=False).returncode == 2


_TEAMS = r"""
#include "words.h"
#include <string.h>
int main(int argc, char **argv)
{
    static int64_t x[words_predict_SIZE_OF_INPUT_words];
    static float one[words_predict_SIZE_OF_OUTPUT_predict], many[words_predict_SIZE_OF_OUTPUT_predict];
    const void *in[1] = {x};
    void *out[1] = {one};
    int64_t error[4] = {-1, -1, -1, -1};
    words_model model;
    FILE *file = fopen(argv[argc - 1], "rb");
    int threads;
    size_t i;
    if (words_open(&model) != 0 || words_load_weights(&model, file) != 0)
        return 3;
    fclose(file);
    for (i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (int64_t)(i * 7 % 50);
    if (words_predict(in, out, model.states, model.arena, error) != 0)
        return 4;
    out[0] = many;
    for (threads = 5; threads > 0; threads--) {
        memset(many, 0, sizeof many);
        if (words_parallel(threads, words_ENTRY_predict, in, out, model.states, model.arena, error) != 0)
            return 5;
        if (memcmp(one, many, sizeof many) != 0)
            return 6;
        if (threads % 2)
            words_end_threads();
    }
    x[5] = 50;
    if (words_parallel(3, words_ENTRY_predict, in, out, model.states, model.arena, error) != 1 || error[1] != 5)
        return 7;
    if (words_parallel(2, 9, in, out, model.states, model.arena, error) != -1)
        return 8;
    words_end_threads();
    words_close(&model);
    return 0;
}
"""


def test_a_program_runs_on_threads(tmp_path: Path) -> None:
    folder = tmp_path / "words"
    fresh().save(folder)
    (tmp_path / "main.c").write_text(_TEAMS)
    _compile(["cc", "-std=c99"], tmp_path / "main.c", folder, tmp_path / "main")
    done = subprocess.run([tmp_path / "main", folder / "weights.safetensors"], check=False, timeout=60)
    assert done.returncode == 0
