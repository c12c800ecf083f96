"""graphc and its peers side by side: ``python -m benchmarks --help``, and README.md in this folder."""
