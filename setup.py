"""Each folder of code at the root is a package of `haaqi_edge`; its sub-packages are found, not listed."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGES = ("runtime", "haaqi", "model", "training", "calibration", "export", "benchmarks", "cli")

setup(
    package_dir={f"haaqi_edge.{name}": name for name in PACKAGES},
    packages=[
        "haaqi_edge",
        *(
            f"haaqi_edge.{package}"
            for name in PACKAGES
            for package in (name, *(f"{name}.{sub}" for sub in find_packages(str(Path(__file__).parent / name))))
        ),
    ],
)
