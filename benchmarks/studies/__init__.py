"""Single studies: `haaqi-edge bench study NAME`. The module `boards` runs exported C on an emulated board."""

__all__ = ["accuracy", "arm64", "boards", "c", "distillation", "haaqi", "library", "mos", "sanity", "soak"]
