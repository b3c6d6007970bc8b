import pytest

from metatune.errors import ConfigurationError
from metatune.networks.settings import Settings


def test_values_are_read_as_they_stand() -> None:
    settings = Settings({"rate": 1, "depth": 3, "nesterov": True, "name": "mlp"})
    assert settings.number("rate") == 1.0
    assert settings.whole("depth") == 3
    assert settings.flag("nesterov") is True
    assert settings.choice("name", ("mlp", "cnn")) == "mlp"
    settings.check_all_read()


def test_a_missing_name_is_told_with_what_it_may_have_been_misspelled_as() -> None:
    settings = Settings({"learning_rat": 0.1}, "best.toml")
    with pytest.raises(ConfigurationError) as error:
        settings.number("learning_rate")
    assert str(error.value) == (
        "best.toml: learning_rate is missing (is 'learning_rat' misspelled?)"
    )


def test_a_name_that_nothing_reads_is_told() -> None:
    settings = Settings({"depth": 1, "colour": "red"})
    settings.whole("depth")
    with pytest.raises(ConfigurationError, match=r"colour = 'red' is misspelled .*\['depth'\]"):
        settings.check_all_read()


@pytest.mark.parametrize("value", [True, "0.1", None, float("nan"), float("inf"), -0.1, 1.1])
def test_what_is_no_number_in_range_is_refused(value: float) -> None:
    with pytest.raises(ConfigurationError, match=r"dropout = .* must be a"):
        Settings({"dropout": value}).number("dropout", 0.0, 1.0)


@pytest.mark.parametrize("value", [True, 2.0, "2", 0])
def test_what_is_no_whole_number_from_one_is_refused(value: int) -> None:
    with pytest.raises(ConfigurationError, match=r"depth = .* must be a whole number"):
        Settings({"depth": value}).whole("depth")


def test_other_words_and_other_than_booleans_are_refused() -> None:
    settings = Settings({"activation": "rely", "nesterov": 1})
    with pytest.raises(ConfigurationError, match=r"activation = 'rely' must be one of \['relu'\]"):
        settings.choice("activation", ["relu"])
    with pytest.raises(ConfigurationError, match="nesterov = 1 must be true or false"):
        settings.flag("nesterov")
