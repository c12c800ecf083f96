/* Predicts and trains with a model that graphc compiled: no Python, no library but libc and libm.
 *
 *     graphc compile examples/c/model.py -o waves
 *     cc -O2 -I waves examples/c/main.c waves/waves.so -Wl,-rpath,$PWD/waves -lm -o main
 *     ./main waves/weights.safetensors [threads]
 */
#include "waves.h"

#include <math.h>

enum { ROWS = waves_train_SIZE_OF_INPUT_y, STEPS = 1000 };

int main(int argc, char **argv)
{
    float x[waves_train_SIZE_OF_INPUT_x], y[ROWS], prediction[ROWS], loss = 0;
    int64_t error[4];
    const void *examples[waves_train_INPUTS];
    void *losses[waves_train_OUTPUTS] = {&loss};
    void *predictions[waves_predict_OUTPUTS] = {prediction};
    waves_model model;
    FILE *weights = argc == 2 || argc == 3 ? fopen(argv[1], "rb") : NULL;
    int threads = argc == 3 ? atoi(argv[2]) : 1;
    int i, step;

    if (weights == NULL) {
        fprintf(stderr, "usage: %s weights.safetensors [threads]\n", argv[0]);
        return 2;
    }
    if (waves_open(&model) != 0 || waves_load_weights(&model, weights) != 0) {
        fprintf(stderr, "%s does not hold the weights of waves\n", argv[1]);
        return 1;
    }
    fclose(weights);

    for (i = 0; i < ROWS; i++) {
        x[2 * i] = (float)i / ROWS;
        x[2 * i + 1] = (float)(i * 7 % ROWS) / ROWS;
        y[i] = sinf(3 * x[2 * i]) * x[2 * i + 1];
    }
    examples[waves_train_INPUT_x] = x;
    examples[waves_train_INPUT_y] = y;
    for (step = 0; step <= STEPS; step++) {
        waves_parallel(threads, waves_ENTRY_train, examples, losses, model.states, model.arena, error);
        if (step % 250 == 0)
            printf("step %d loss %.9g\n", step, loss);
    }
    examples[waves_predict_INPUT_x] = x;
    waves_predict(examples, predictions, model.states, model.arena, error);
    for (i = 0; i < ROWS; i += 8)
        printf("f(%.4g, %.4g) = %.4g, predicted %.9g\n", x[2 * i], x[2 * i + 1], y[i], prediction[i]);
    waves_end_threads();
    waves_close(&model);
    return 0;
}
