"""Compiled networks as scikit-learn estimators."""

from graphc.frontends.sklearn.estimators import GraphClassifier, GraphRegressor

__all__ = ["GraphClassifier", "GraphRegressor"]
