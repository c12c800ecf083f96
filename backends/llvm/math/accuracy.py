"""x"""
MAX_ULP: dict[str, dict[str, float]] = {}
