"""Each folder with an `__init__.py` at the root is a package of `haaqi_edge`. Packages are found, not listed."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "haaqi_edge")

setup(
    package_dir={f"haaqi_edge.{name}": name for name in PACKAGES},
    packages=[
        "haaqi_edge",
        *(
            f"haaqi_edge.{package}"
            for name in PACKAGES
            for package in (name, *(f"{name}.{sub}" for sub in find_packages(str(ROOT / name))))
        ),
    ],
)
