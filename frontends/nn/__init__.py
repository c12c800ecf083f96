"""Layers, losses, metrics, activations and initializers under their Keras names."""

from graphc.frontends.nn import activations, callbacks, initializers, losses, metrics
from graphc.frontends.nn.conv import Conv1D,Conv2D,Conv3D
from graphc.frontends.nn.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
)
from graphc.frontends.nn.core import Activation, Dense, Embedding, Flatten, Permute, Reshape
from graphc.frontends.nn.regularization import Dropout
from graphc.frontends.nn.functional import Input, Model
from graphc.frontends.nn.history import History
from graphc.frontends.nn.layer import Layer
from graphc.frontends.nn.recurrent import GRU, LSTM, RNN, SimpleRNN
from graphc.frontends.nn.sequential import Sequential
from graphc.frontends.nn.wrappers import Bidirectional

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "Bidirectional",
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "History",
    "Input",
    "Layer",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "Model",
    "Permute",
    "RNN",
    "Reshape",
    "Sequential",
    "SimpleRNN",
    "activations",
    "callbacks",
    "initializers",
    "losses",
    "metrics",
]
