"""The graph IR: types, nodes, graphs, and what works on any graph.  Knows no op by itself: ``graphc.ops`` fills the
registry.
"""
