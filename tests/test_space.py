import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import spaces, vectors

from metatune import Categorical, Float, Integer, SearchSpace
from metatune.errors import ConfigurationError, SpaceError
from metatune.parameters import LARGEST_INTEGER, Parameter, Value

TREE = """
[optimizer]
type = "categorical"
choices = ["sgd", "adamw"]
[learning_rate]
type = "float"
low = 1e-5
high = 1e-1
log = true
[momentum]
type = "float"
low = 0.0
high = 0.99
when = { optimizer = ["sgd"] }
[nesterov]
type = "categorical"
choices = [true, false]
when = { optimizer = ["sgd"] }
"""


@given(spaces(), st.data())
def test_built_configurations_encode_and_decode_to_themselves(
    space: SearchSpace, data: st.DataObject
) -> None:
    for vector in data.draw(vectors(space)):
        config = space.decode(vector)
        encoded = space.encode(config)
        assert space.decode(encoded) == config
        assert space.check(config) == config
        inside = encoded[~np.isnan(encoded)]
        assert ((inside >= 0) & (inside <= 1)).all()


@given(spaces())
def test_a_written_toml_is_read_back_equal(space: SearchSpace) -> None:
    again = SearchSpace.from_toml(space.to_toml())
    assert again == space
    assert again.id == space.id
    assert again.names == space.names


@given(spaces(), st.data())
def test_a_whole_column_is_decoded_as_its_entries_are(
    space: SearchSpace, data: st.DataObject
) -> None:
    batch = data.draw(vectors(space))
    for column, parameter in zip(batch.T, space.parameters.values(), strict=True):
        if isinstance(parameter, Float):
            continue
        cells = [int(cell) for cell in parameter.cells(column)]
        choices = parameter.choices if isinstance(parameter, Categorical) else None
        values = [choices[cell] for cell in cells] if choices else cells
        assert values == [parameter.from_unit(float(u)) for u in column]


@given(spaces(), st.data())
def test_active_equals_build(space: SearchSpace, data: st.DataObject) -> None:
    batch = data.draw(vectors(space))
    mask = space.active(batch)
    for vector, row in zip(batch, mask, strict=True):
        config = space.decode(vector)
        assert [name in config for name in space.names] == row.tolist()
        assert (~np.isnan(space.encode(config))).tolist() == row.tolist()


@given(spaces(), st.integers(0, 2**32 - 1))
def test_samples_fit_and_keep_what_is_given(space: SearchSpace, seed: int) -> None:
    config = space.sample(np.random.default_rng(seed))
    assert space.check(config) == config
    assert space.sample(np.random.default_rng(seed)) == config
    other = space.sample(np.random.default_rng(seed + 1), given=config)
    assert other == config


@given(
    st.integers(-LARGEST_INTEGER, LARGEST_INTEGER),
    st.integers(-LARGEST_INTEGER, LARGEST_INTEGER),
    st.data(),
)
def test_integers_survive_the_unit_interval(a: int, b: int, data: st.DataObject) -> None:
    low, high = min(a, b), max(a, b, min(a, b) + 1)
    if high > LARGEST_INTEGER:
        low, high = low - 1, high - 1
    value = data.draw(st.integers(low, high))
    for log in (False, True)[: 1 + (low > 0)]:
        parameter = Integer(low, high, log)
        assert parameter.from_unit(parameter.to_unit(value)) == value


@settings(max_examples=30)
@given(spaces())
def test_a_space_keeps_its_id_in_another_process(space: SearchSpace) -> None:
    assert SearchSpace.from_dict(space.to_dict()).id == space.id


def test_conditions_hide_children() -> None:
    space = SearchSpace.from_toml(TREE)
    config = space.decode(np.array([0.9, 0.5, 0.5, 0.5]))
    assert config == {"optimizer": "adamw", "learning_rate": 1e-3}
    assert np.isnan(space.encode(config)[2:]).all()


def test_a_chain_of_conditions_needs_every_link() -> None:
    space = SearchSpace(
        {"a": Categorical(("x", "y")), "b": Integer(1, 3), "c": Float(0, 1)},
        {"b": {"a": ("x",)}, "c": {"b": (2, 3)}},
    )
    shapes = set()
    for corner in itertools.product((0.1, 0.9), repeat=3):
        shapes.add(tuple(space.decode(np.array(corner))))
    assert shapes == {("a",), ("a", "b"), ("a", "b", "c")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[x]\ntype='float'\nlow=1.0\nhigh=0.5", "[x] low = 1.0 must be below high = 0.5"),
        ("[x]\ntype='float'\nlow=1\nhigh=1", "[x] low = 1.0 must be below high = 1.0"),
        ("[x]\ntype='float'\nlow=0.0\nhigh=1\nlog=true", "[x] low = 0.0 must be above 0"),
        ("[x]\ntype='integer'\nlow=0\nhigh=1\nlog=true", "[x] low = 0 must be above 0"),
        ("[x]\ntype='integer'\nlow=0.5\nhigh=1", "[x] low = 0.5 must be a whole number"),
        ("[x]\ntype='float'\nlow=0\nhigh=inf", "[x] high = inf must be finite"),
        ("[x]\ntype='float'\nlow='a'\nhigh=1", "[x] low = 'a' must be a number"),
        (f"[x]\ntype='float'\nlow=0\nhigh=1{400 * '0'}", "0 must be finite"),
        (f"[x]\ntype='float'\nlow=0\nhigh=1{5000 * '0'}", "not TOML"),
        ("[x]\ntype='float'\nlow=-1e308\nhigh=1e308", "high - low = inf must be finite"),
        (f"[x]\ntype='integer'\nlow=0\nhigh={10**12 + 1}", "must lie within 10**12"),
        (f"[x]\ntype='integer'\nlow={-(10**12) - 1}\nhigh=0", "must lie within 10**12"),
        ("[x]\ntype='float'\nlow=0\nhigh=1\nstep=2", "[x] 'step' is unknown"),
        ("[x]\ntype='float'\nlow=0", "[x] high is missing"),
        ("[x]\ntype='float'\nlow=0\nhigh=1\nlog=1", "[x] log = 1 must be true or false"),
        ("[x]\ntype='real'\nlow=0\nhigh=1", "[x] type = 'real' must be one of"),
        ("[x]\ntype=['float']\nlow=0\nhigh=1", "[x] type = ['float'] must be one of"),
        ("x = 1", "x = 1 must be a table"),
        ("[x]\ntype='categorical'\nchoices=[]", "choices = [] must hold"),
        ("[x]\ntype='categorical'\nchoices='ab'", "choices = 'ab' must be a list"),
        ("[x]\ntype='categorical'\nchoices=[1,1]", "must be distinct"),
        ("[x]\ntype='categorical'\nchoices=[[1]]", "choice [1] must be"),
        (TREE + "[z]\ntype='float'\nlow=0\nhigh=1\nwhen={nope=[1]}", "'nope' is no parameter"),
        (TREE + "[z]\ntype='float'\nlow=0\nhigh=1\nwhen=3", "when = 3 must be a table"),
        (TREE + "[z]\ntype='float'\nlow=0\nhigh=1\nwhen={optimizer='sgd'}", "must be a list"),
        (TREE + "[z]\ntype='float'\nlow=0\nhigh=1\nwhen={optimizer=['x']}", "is never 'x'"),
        (TREE + "[z]\ntype='float'\nlow=0\nhigh=1\nwhen={momentum=[0.5]}", "is a float"),
        (TREE + "[z]\ntype='float'\nlow=0\nhigh=1\nwhen={z=[0.5]}", "must stand before"),
        ("", "at least one parameter"),
        ("[x", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(SpaceError) as caught:
        SearchSpace.from_toml(text, "my.toml")
    assert str(caught.value).startswith("my.toml: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"optimizer": "adamw"}, "learning_rate is missing"),
        ({"optimizer": "adamw", "learning_rate": 1.0}, "learning_rate = 1.0 is not in"),
        ({"optimizer": "adamw", "learning_rate": 0.01, "x": 1}, "x is no parameter"),
        ({"optimizer": "adamw", "learning_rate": 0.01, "momentum": 0.5}, "does not exist when"),
        ({"optimizer": "adamw", "learning_rate": True}, "learning_rate = True"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(config: dict[str, Value], said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"best\.toml: ") as caught:
        SearchSpace.from_toml(TREE).check(config, "best.toml")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "parameter", [Float(0, 1), Integer(0, 3), Categorical(("a", "b")), Float(1e-3, 1, log=True)]
)
@pytest.mark.parametrize("u", [-0.1, 1.1, float("nan")])
def test_positions_outside_the_unit_interval_are_refused(parameter: Parameter, u: float) -> None:
    with pytest.raises(ConfigurationError):
        parameter.from_unit(u)


def test_types_are_told_apart() -> None:
    flags = Categorical((True, 1, 1.0, "1", None))
    assert [flags.to_unit(c) for c in flags.choices] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    with pytest.raises(SpaceError, match="None"):
        SearchSpace({"x": flags}).to_toml()


def test_restrict_drops_children_that_cannot_exist() -> None:
    space = SearchSpace.from_toml(TREE).restrict("optimizer", ["adamw"])
    assert space.names == ["optimizer", "learning_rate"]
    with pytest.raises(SpaceError, match="none is in"):
        space.restrict("optimizer", ["rmsprop"])
    with pytest.raises(SpaceError, match="not categorical"):
        space.restrict("learning_rate", [1])


def test_restrict_drops_grandchildren_in_whatever_order_conditions_stand() -> None:
    space = SearchSpace(
        {"a": Categorical(("x", "y")), "b": Integer(1, 3), "c": Float(0, 1)},
        {"c": {"b": (2, 3)}, "b": {"a": ("x",)}},
    )
    assert space.restrict("a", ["y"]).names == ["a"]
    assert space.restrict("a", ["x"]).names == ["a", "b", "c"]


def test_a_missing_file_names_the_shipped_spaces(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"no such file.*'cnn',.*'mlp'"):
        SearchSpace.load("resnetz")
    with pytest.raises(SpaceError, match="no such file"):
        SearchSpace.load(tmp_path / "x.toml")
    file = tmp_path / "x.toml"
    file.write_text(TREE)
    assert SearchSpace.load(file) == SearchSpace.from_toml(TREE)
