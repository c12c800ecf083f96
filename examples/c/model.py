"""A small network, trained from C by the program beside it.

graphc compile examples/c/model.py -o waves
cc -O2 -I waves examples/c/main.c waves/waves.so -Wl,-rpath,$PWD/waves -lm -o main
./main waves/weights.safetensors
"""

import graphc as G
from graphc import nn, optim


def model(batch=32, hidden=16):
    """Two inputs, one hidden layer, one output."""
    x = G.input("x", (batch, 2))
    y = G.input("y", (batch, 1))
    prediction = nn.Dense(1)(nn.Dense(hidden, activation="tanh")(x))
    loss = nn.losses.mean_squared_error(y, prediction)
    return G.Model(predict=prediction, train=optim.Adam(0.01).minimize(loss))
