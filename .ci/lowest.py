"""Print the lowest versions that pyproject.toml allows of the dependencies, or compare two results of a clip.

python .ci/lowest.py requirements [EXTRA...]      # base dependencies and extras, one `name==version` a line
python .ci/lowest.py compare A.json B.json        # outputs of `haaqi-edge score --json`: the same scores?
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

TOLERANCE = 1e-5
"""difference that another version of ONNX Runtime may cause (measured: 1e-6, from 1.20 to 1.32)"""


def lowest(extras: list[str]) -> list[str]:
    """Return the base dependencies and those of the extras, each at its lower bound."""
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    pins = []
    for requirement in wanted:
        found = re.fullmatch(r"([A-Za-z0-9._-]+)>=([0-9.]+)", requirement)
        if found is None:
            sys.exit(f"{pyproject}: {requirement!r} has no lower bound of the form name>=version")
        pins.append(f"{found[1]}=={found[2]}")
    return pins


def compare(first: Path, second: Path) -> None:
    """Exit with an error unless two results hold the same scores and frame scores."""
    results = [json.loads(path.read_text(encoding="utf-8"))["results"][0]["scores"][0] for path in (first, second)]
    scores = [[result["score"], *result["frame_scores"]] for result in results]
    if len(scores[0]) != len(scores[1]):
        sys.exit(f"{first} has {len(scores[0])} values, {second} has {len(scores[1])}")
    difference = max(abs(a - b) for a, b in zip(*scores, strict=True))
    print(f"score {scores[0][0]:.4f}; largest difference of a frame {difference:.1e}")
    if not difference <= TOLERANCE:
        sys.exit(f"{first} and {second} differ by {difference:g}, more than {TOLERANCE:g}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["requirements", *extras]:
            print("\n".join(lowest(extras)))
        case ["compare", first, second]:
            compare(Path(first), Path(second))
        case _:
            sys.exit(__doc__)
