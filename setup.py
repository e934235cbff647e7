"""What pyproject.toml cannot say: the packages, which are found and not listed, and the readme for PyPI."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "haaqi_edge")
"""Each folder with an `__init__.py` at the root is a package of `haaqi_edge`."""
DATA = ["demo"]
"""folders without modules of the package, whose data it uses; see package-data in pyproject.toml"""


def pypi_readme() -> str:
    """Return the readme without pictures of the repository and links into it, which PyPI cannot resolve."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"^!\[[^\]]*\]\((?!https?:)[^)]*\)\n+", "", text, flags=re.MULTILINE)
    text = re.sub(r"^<p>\s*(?:<img[^>]*>\s*)+</p>\n+", "", text, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#)[^)]*\)", r"\1", text)


setup(
    package_dir={f"haaqi_edge.{name}": name for name in [*PACKAGES, *DATA]},
    packages=[
        "haaqi_edge",
        *(
            f"haaqi_edge.{package}"
            for name in PACKAGES
            for package in (name, *(f"{name}.{sub}" for sub in find_packages(str(ROOT / name))))
        ),
        *(f"haaqi_edge.{name}" for name in DATA),
    ],
    long_description=pypi_readme(),
    long_description_content_type="text/markdown",
)
