"""The reader of settings and recipes: types, limits, defaults, and errors that name file and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from haaqi_edge.runtime.errors import CorpusError, OptionError
from haaqi_edge.training.configuration import Check, ConfigReader, Convert, Label, Min, NonEmpty, NonNegativeInt


def check_even(number: int) -> None:
    if number % 2:
        raise ValueError(f"{number} is odd, expected an even number")


@dataclass(frozen=True)
class Inner:
    name: Annotated[str, Label()]
    size: int = 1
    even: Annotated[int, Check(check_even)] = 2


@dataclass(frozen=True)
class Settings:
    required: int
    count: NonNegativeInt = 5
    rate: float = 0.5
    limit: float | None = None
    on: bool = False
    kind: Literal["a", "b"] = "a"
    where: Path | None = None
    layers: tuple[NonNegativeInt, ...] = (1, 2)
    names: Annotated[tuple[str, ...], NonEmpty()] = ("x",)
    pair: tuple[float, int] = (0.0, 1)
    shares: Mapping[Literal["train", "test"], Annotated[float, Min(0)]] = field(default_factory=dict)
    total: Annotated[int, Convert(tuple[int, ...], sum)] = 0
    inner: Inner = field(default_factory=lambda: Inner("default", 7))
    many: tuple[Inner, ...] = ()


READER = ConfigReader(OptionError, min_int=1, min_float=0.0)


def read(**values: Any) -> Settings:
    return READER.read(Settings, {"required": 3, **values}, "s.yaml")


def test_values_of_every_type() -> None:
    found = read(
        count=0,
        rate="1e-3",
        limit=2,
        on=True,
        kind="b",
        where="a/b",
        layers=[0, 4],
        names=[" y "],
        pair=[1, 2],
        shares={"test": 0},
        total=[1, 2, 3],
        inner={"size": 9},
        many=[{"name": "one"}, {"name": "two", "even": 4}],
    )
    assert found == Settings(
        3,
        0,
        1e-3,
        2.0,
        True,
        "b",
        Path("a/b"),
        (0, 4),
        ("y",),
        (1.0, 2),
        {"test": 0.0},
        6,
        Inner("default", 9),
        (Inner("one"), Inner("two", even=4)),
    )
    assert isinstance(found.limit, float)
    assert read() == Settings(3)
    assert read(limit=None, inner=None, layers=None, shares=None) == Settings(3)


def test_a_given_default_provides_what_is_missing() -> None:
    start = Settings(8, rate=0.25, inner=Inner("mine", 3))
    assert READER.read(Settings, {"inner": {"size": 4}}, "s", start) == Settings(8, rate=0.25, inner=Inner("mine", 4))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"odd": 1, "even": 2}, r"^s\.yaml: unknown key even, odd; known keys: required, count, rate"),
        ({"required": "3"}, r"^s\.yaml: required is '3', expected a whole number, 1 or more$"),
        ({"required": 0}, r"^s\.yaml: required is 0, expected a whole number, 1 or more$"),
        ({"required": 1.0}, "required is 1.0, expected a whole number"),
        ({"required": True}, "required is True, expected a whole number"),
        ({"required": None}, "required is None, expected a whole number"),
        ({"count": -1}, r"count is -1, expected a whole number, 0 or more$"),
        ({"rate": "fast"}, "rate is 'fast', expected a number, 0 or more"),
        ({"rate": float("nan")}, "rate is nan, expected a number"),
        ({"rate": float("inf")}, "rate is inf, expected a number"),
        ({"rate": True}, "rate is True, expected a number"),
        ({"limit": -1}, "limit is -1, expected a number, 0 or more"),
        ({"on": "yes"}, "on is 'yes', expected true or false"),
        ({"on": 1}, "on is 1, expected true or false"),
        ({"kind": "c"}, "kind is 'c', expected one of a, b"),
        ({"where": 3}, "where is 3, expected a path"),
        ({"layers": 4}, "layers is 4, expected a list"),
        ({"layers": ["x"]}, r"layers\[0\] is 'x', expected a whole number, 0 or more"),
        ({"names": []}, r"names is \[\], expected a list of names that is not empty"),
        ({"names": "x"}, "names is 'x', expected a list of names"),
        ({"names": [3]}, r"names\[0\] is 3, expected a text"),
        ({"names": [" "]}, r"names\[0\] is ' ', expected a text"),
        ({"pair": [1]}, r"pair is \[1\], expected a list"),
        ({"shares": {"valid": 1}}, r"^s\.yaml: shares: unknown key valid; known keys: train, test$"),
        ({"shares": {"train": -1}}, r"^s\.yaml: shares, train is -1, expected a number, 0 or more$"),
        ({"shares": 3}, "shares is 3, expected a mapping with the keys: train, test"),
        ({"total": 3}, "total is 3, expected a list"),
        ({"inner": 3}, "inner is 3, expected a mapping with the keys: name, size, even"),
        ({"inner": {"even": 3}}, r"^s\.yaml: inner, even: 3 is odd, expected an even number$"),
        ({"many": [{"name": "one", "size": 0}]}, r"^s\.yaml: many\[0\] \(one\), size is 0, expected a whole number"),
        ({"many": [{"size": 2}]}, r"^s\.yaml: many\[0\], name is missing, expected a text$"),
    ],
)
def test_errors_name_file_and_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read(**values)


@pytest.mark.parametrize("document", [None, 3, [1], "required: 3", {1: 2}])
def test_a_document_that_is_no_mapping(document: object) -> None:
    with pytest.raises(CorpusError, match=r"^s\.yaml is .*, expected a mapping with the keys: required, "):
        ConfigReader(CorpusError).read(Settings, document, "s.yaml")


def test_a_required_key() -> None:
    with pytest.raises(OptionError, match=r"^s\.yaml: required is missing, expected a whole number, 1 or more$"):
        READER.read(Settings, {}, "s.yaml")


def test_long_values_are_cut() -> None:
    with pytest.raises(OptionError) as error:
        read(kind=["x" * 1000] * 1000)
    assert len(str(error.value)) < 500
