"""What has moved since an earlier version, so that its `config.json` files stay buildable."""

_DATASETS = ("cifar", "cinic10", "digits", "femnist", "glyphs", "hugging_face", "image_folder", "mnist", "svhn")
_PARTITIONS = ("label_skew", "natural", "quantity_skew")

MOVED: dict[str, str] = {
    **{f"fedpers.data.{name}": f"fedpers.data.datasets.{name}" for name in _DATASETS},
    **{f"fedpers.data.{name}": f"fedpers.data.partitions.{name}" for name in _PARTITIONS},
    "fedpers.data.partition": "fedpers.data.partitions.base",
    "fedpers.engines.ray.RayEngine": "fedpers.engines.ray.engine.RayEngine",
    "fedpers.engines.flower.FlowerEngine": "fedpers.engines.flower.engine.FlowerEngine",
}
"""Where modules, or single names, lie that lay elsewhere in an earlier version: old dotted prefix to new one.

The `config.json` of an old run stays buildable by it. The last name, that of a class or function, is part of a run's
identity and stays as it is.
"""


def current(path: str) -> str:
    """Return what a dotted path is called in this version."""
    for old in sorted(MOVED, key=len, reverse=True):
        if isinstance(path, str) and f"{path}.".startswith(f"{old}."):
            return MOVED[old] + path[len(old) :]
    return path
