"""Searches: ranges and draws by their definition, the better of two values, resuming, and what is refused."""

import csv
import json
import math
from pathlib import Path
from random import Random
from typing import Any

import pytest
from commands import contents, run
from comparisons import QUICK
from hypothesis import given
from hypothesis import strategies as st

import ddaudio
from ddaudio.comparing import Search, SearchOptions
from ddaudio.errors import OptionError
from ddaudio.options.search import Range, read_ranges

RANGES = """
learning_rate = { log = [0.001, 0.3] }
momentum_delay = { linear = [2, 5] }
tolerance = { linear = [0.1, 0.2] }
schedule = { choice = ["cosine", "constant"] }
"""


@pytest.fixture
def ranges(tmp_path: Path) -> Path:
    path = tmp_path / "ranges.toml"
    path.write_text(RANGES)
    return path


# Draws


def draws_of(path: Path, model: str = "sine", **how: Any) -> list[dict[str, Any]]:
    return list(SearchOptions(ranges=str(path), **how).entries({"model": model})[1].values())


def test_draws_are_within_their_ranges_and_repeat_by_seed(ranges: Path) -> None:
    found = draws_of(ranges, trials=200)
    assert len(found) == 200
    for draw in found:
        assert 0.001 <= draw["learning_rate"] <= 0.3
        assert 0.1 <= draw["tolerance"] <= 0.2
    assert {draw["momentum_delay"] for draw in found} == {2, 3, 4, 5}, "whole numbers, both ends included"
    assert {draw["schedule"] for draw in found} == {"cosine", "constant"}
    assert draws_of(ranges, trials=50) == found[:50], "more trials continue the draws"
    assert draws_of(ranges, trials=50, draw_seed=1) != found[:50]


def test_draws_are_settings_of_the_fits(ranges: Path) -> None:
    entries, draws = SearchOptions(ranges=str(ranges), trials=5).entries({"model": "sine", "losses": "mae", "steps": 7})
    assert [entry.variant for entry in entries] == list(draws) == [f"trial {place}" for place in range(1, 6)]
    for entry, draw in zip(entries, draws.values(), strict=True):
        training = entry.options.training
        assert {name: getattr(training, name) for name in draw} == draw
        assert (entry.model, training.losses, training.steps, training.optimiser) == ("sine", "mae", 7, "adam")


@pytest.mark.parametrize(
    ("one", "share_below"),
    [
        (Range("log", (0.001, 1.0)), lambda x: math.log(x / 0.001) / math.log(1000)),
        (Range("linear", (-1.0, 3.0)), lambda x: (x + 1) / 4),
        # A whole number k has the probability of the interval from k to k + 1.
        (Range("log", (1, 9), whole=True), lambda x: math.log10(math.floor(x) + 1)),
        (Range("linear", (1, 4), whole=True), lambda x: math.floor(x) / 4),
    ],
)
def test_draws_are_distributed_as_their_scale(one: Range, share_below: Any) -> None:
    """Shares of 4,000 draws have a standard deviation of at most 0.008; 0.04 is five of them."""
    random = Random(0)
    drawn = [one.draw(random) for _ in range(4000)]
    low, high = one.values
    for place in range(1, 8):
        x = low + (high - low) * (place / 8) ** (3 if one.scale == "log" else 1)
        assert sum(value <= x for value in drawn) / 4000 == pytest.approx(share_below(x), abs=0.04)


@given(
    st.sampled_from(["log", "linear"]),
    st.floats(1e-9, 1e9),
    st.floats(1e-9, 1e9),
    st.booleans(),
    st.integers(0, 99),
)
def test_no_draw_leaves_its_range(scale: Any, one: float, other: float, whole: bool, seed: int) -> None:
    low, high = sorted((one, other))
    ends = (math.ceil(low), math.ceil(high) + 1) if whole else (low, high)
    drawn = Range(scale, ends, whole).draw(Random(seed))
    assert ends[0] <= drawn <= ends[1]
    assert isinstance(drawn, int) or not whole


def test_a_setting_of_one_network_is_drawn_for_that_network_only_and_draws_never_repeat(tmp_path: Path) -> None:
    path = tmp_path / "ranges.toml"
    path.write_text('model = { choice = ["sine", "siren"] }\nwidths = { choice = ["4,4", "8,8"] }\n')
    found = draws_of(path, trials=30)
    assert sorted(map(str, found)) == sorted(
        map(str, [{"model": "sine"}, {"model": "siren", "widths": "4,4"}, {"model": "siren", "widths": "8,8"}])
    )


# Refusals


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no ranges"),
        ("[", "cannot be read as TOML"),
        (
            "learning_rat = { log = [0.1, 1] }",
            "has 'learning_rat', which is not a setting of a fit; did you mean 'learning_rate'",
        ),
        ("seed = { linear = [0, 9] }", "seeds are those of the search"),
        (
            "learning_rate = 0.1",
            "the range of 'learning_rate' has another form; give a setting with log, linear or choice, as in",
        ),
        ("learning_rate = { logg = [0.1, 1] }", "as in learning_rate = { log = [0.001, 0.3] }"),
        ("learning_rate = { log = 1 }", "the range of 'learning_rate' is log = 1"),
        ("learning_rate = { log = [1, 0.1] }", "the range of 'learning_rate' is from 1 to 0.1; give the lower end first"),
        ("learning_rate = { log = [0, 1] }", "is log from 0; give ends above 0, or linear"),
        ("learning_rate = { linear = [0.1] }", "give two numbers, the lowest and the highest"),
        ("learning_rate = { linear = [0.1, inf] }", "give two numbers, the lowest and the highest"),
        ("learning_rate = { linear = [false, true] }", "give two numbers, the lowest and the highest"),
        ("momentum_delay = { linear = [0, 2.5] }", "give two whole numbers, the lowest and the highest"),
        ("schedule = { linear = [0, 1] }", "is linear, but the setting is not a number; give choice"),
        ("crops = { linear = [0, 1] }", "is linear, but the setting is not a number; give choice"),
        ("schedule = { choice = [] }", "the range of 'schedule' is choice = []"),
        ('schedule = { choice = ["rise", "rise"] }', "the range of 'schedule' has a choice twice"),
        ('schedule = { choice = ["rise", "fall"] }', "schedule is 'fall'; allowed: cosine, constant, warm-up, rise"),
        ('model = { choice = ["sine", "sien"] }', "model names 'sien'"),
        ("learning_rate = { log = [0.001, 1000] }", "learning_rate is 1000.0; allowed: 1e-08 to 10"),
        (
            'widths = { choice = ["4,4", "8,8"] }',
            "the range of 'widths' has no effect, since the model is sine; it is a setting of",
        ),
    ],
)
def test_bad_ranges_are_refused_before_anything_is_done(text: str, words: str, sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "ranges.toml"
    path.write_text(text)
    before = contents(tmp_path)
    with pytest.raises(OptionError) as refusal:
        ddaudio.search(sound, tmp_path / "out", ranges=str(path), model="sine")
    assert words in str(refusal.value)
    assert "ranges.toml" in str(refusal.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trials": 0}, "trials is 0; allowed: 1 to 1000"),
        ({"trials": 1.5}, "trials is 1.5; allowed: whole numbers from 1 to 1000"),
        ({"draw_seed": -1}, "draw_seed is -1; allowed: 0 to 2147483647"),
        ({"measure": "snrr"}, "measure is 'snrr'; allowed: erb, snr; did you mean 'snr'"),
        ({"seeds": 0}, "seeds is 0; allowed: 1 to 1000"),
        ({"seed": 1}, "seed is 1, but a search sets it itself; give seeds"),
        ({"ranges": None}, "no ranges; give a TOML file with ranges"),
        ({"ranges": "missing.toml"}, "there is no file of ranges 'missing.toml'"),
        ({"model": "sien"}, "model names 'sien'"),
        ({"modle": "sine"}, "there is no setting 'modle'; did you mean 'model'"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_done(
    settings: dict[str, Any], words: str, ranges: Path, sound: Path, tmp_path: Path
) -> None:
    before = contents(tmp_path)
    with pytest.raises(OptionError) as refusal:
        ddaudio.search(sound, tmp_path / "out", **{"ranges": str(ranges), "model": "sine", **settings})
    assert words in str(refusal.value)
    assert contents(tmp_path) == before


# Results


@pytest.mark.parametrize("measure", ["erb", "snr"])
def test_the_better_of_two_values_comes_first(measure: str, sound: Path, tmp_path: Path) -> None:
    """Untrained partials at random frequencies miss a tone, those at its peaks do not."""
    path, output = tmp_path / "ranges.toml", tmp_path / "out"
    path.write_text('initialisation = { choice = ["random", "peaks"] }\n')
    found = ddaudio.search(sound, output, ranges=str(path), trials=5, measure=measure, model="sine", **{**QUICK, "steps": 0})
    heads, cells = found.table()
    assert heads[: found.n_words] == ["trial", "initialisation"]
    assert [row[1] for row in cells] == ["peaks", "random"]
    metric = f"{measure}_db"
    values = [line.spreads[metric].median for line in found.ranked if line.spreads[metric]]
    assert values == sorted(values, reverse=measure == "snr")
    assert "2 draws with seed 0; settings of the best by" in found.in_words()
    assert found.in_words().endswith("initialisation peaks.")
    kept = json.loads((output / "compare.json").read_text())["search"]
    assert kept["ranges"] == {"initialisation": {"choice": ["random", "peaks"]}}
    assert [one["settings"]["initialisation"] for one in kept["ranked"]] == ["peaks", "random"]
    table = list(csv.DictReader((output / "table.csv").read_text().splitlines()))
    assert [row["initialisation"] for row in table] == ["peaks", "random"]
    assert (output / "search.png").read_bytes()[1:4] == b"PNG"
    page = (output / "index.html").read_text()
    assert 'src="search.png"' in page
    assert "ddaudio search" in page
    assert not (output / "curves.png").exists()
    drawn = found.figure()
    assert drawn is not None
    (axis,) = drawn.axes
    assert axis.get_xlabel() == "initialisation"
    assert sorted(float(line.get_ydata()[0]) for line in axis.lines) == pytest.approx(sorted(values))  # type: ignore[index]


def test_a_search_makes_only_what_is_missing(made: list[str], ranges: Path, sound: Path, tmp_path: Path) -> None:
    def search(**settings: Any) -> Search:
        made.clear()
        return ddaudio.search(sound, tmp_path / "out", ranges=str(ranges), **{"model": "sine", "trials": 2, **QUICK, **settings})

    def trials() -> list[str]:
        return [name.split("-")[0] for name in made]

    first = search()
    assert trials() == ["trial_1", "trial_2"]
    assert search().runs == first.runs
    assert trials() == []
    assert search(trials=4).runs[:2] == first.runs
    assert trials() == ["trial_3", "trial_4"]
    assert search(seeds=2).runs[::2] == first.runs
    assert trials() == ["trial_1", "trial_2"], "of the second seed"
    search(draw_seed=1)
    assert trials() == ["trial_1", "trial_2"], "other draws"


def test_the_command_prints_the_sorted_table(ranges: Path, sound: Path, tmp_path: Path) -> None:
    asked = ["--model", "sine", "--trials", "2", "--steps", "2", "--frame", "0.05", "--out", tmp_path / "out"]
    code, out, err = run("search", sound, "--ranges", ranges, *asked)
    assert code == 0, err
    assert "learning_rate" in out
    assert "search.png" in out
    code, out, err = run("search", sound, "--ranges", ranges, *asked, "--json")
    assert json.loads(out)["search"]["trials"] == 2
    code, _, err = run("search", sound, *asked)
    assert code == 2
    assert "no ranges; give a TOML file with --ranges" in err
    assert read_ranges(ranges)["momentum_delay"] == Range("linear", (2, 5), whole=True)
