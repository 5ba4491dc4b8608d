"""Settings: ranges, names, the file they are kept in, and that they cost no torch."""

import ast
import math
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from ddaudio import options
from ddaudio.errors import OptionError
from ddaudio.options import (
    GOALS,
    NETWORKS,
    FitOptions,
    ModelOptions,
    TrainingOptions,
    field_docs,
    option_tables,
    read_settings,
    setting_docs,
    setting_groups,
)
from ddaudio.options.checks import LARGEST_WHOLE
from ddaudio.options.training import RATES

# name: lowest, highest, whole number
RANGES = {
    "sample_rate": (1000, 384_000, True),
    "frame_s": (0.0005, 5, False),
    "overlap": (0, 0.5, False),
    "target_snr_db": (-10, 140, False),
    "max_parameters_per_sample": (0.0001, 4, False),
    "budget": (4, LARGEST_WHOLE, True),
    "partials": (1, 10_000, True),
    "depth": (1, 24, True),
    "beam": (1, 64, True),
    "layer_decay": (0.9, 1, False),
    "omega": (0.1, 10_000, False),
    "damping_per_sample": (0, 2, False),
    "steps": (0, 10**6, True),
    "exchanges": (0, 100, True),
    "learning_rate": (1e-8, 10, False),
    "evaluate_every": (1, 10**5, True),
    "tolerance": (0, 1, False),
    "crop_s": (0.05, 60, False),
    "seed": (0, 2**31 - 1, True),
    "rate_tilt": (-2, 2, False),
    "amplitude_tilt": (-2, 2, False),
    "momentum_delay": (0, 1000, True),
    "momentum_from": (0, 10**6, True),
    "ema_from": (0, 10**6, True),
    "rise_at": (0, 0.99, False),
    "batch_steps": (1, 10**6, True),
    "epochs": (1, 10**6, True),
    "grow": (0, 16, True),
    "ema": (0.5, 0.99999, False),
    "teacher": (0, 1000, False),
    "checkpoint_every_s": (0, 86_400, False),
    "noise_steps": (0, 10_000, True),
}
DESCENT = (
    *("rates", "rate_tilt", "amplitude_tilt", "momentum_delay", "momentum_from", "grow", "crops", "ema", "ema_from", "teacher"),
    *("schedule", "rise_at", "batch_order", "batch_steps", "epochs", "teacher_model", "learning_rate"),
)
"""Settings that gauss-newton, the default, does not have, or only in part."""
NEEDED = {
    "overlap": {"frame_s": 0.05},
    "budget_split": {"model": "sine+double-dutch"},
    "base": {"ladder": "octave"},
    "grow_layers": {"local": True, "optimiser": "adam"},
    "compete": {"model": "sine+noise", "budget": 300},
    "noise_loss": {"noise_steps": 10},
    "noise_waves": {"noise_steps": 10},
} | {
    name: {"optimiser": "adam"}
    | ({"ema": 0.99} if name in ("teacher", "ema_from") else {"schedule": "rise"} if name == "rise_at" else {})
    | ({"crops": True} if name == "batch_order" else {"teacher": 0.1} if name == "teacher_model" else {})
    | ({"crops": True, "batch_order": "shuffled"} if name in ("batch_steps", "epochs") else {})
    for name in DESCENT
}
"""What else has to be given where a setting has no meaning alone."""
CHOICES = {
    "window": ("hann", "sine", "triangle", "gate"),
    "pitch": ("partials", "pyin", "none"),
    "model": tuple(options.NETWORKS),
    "initialisation": ("peaks", "random", "equal"),
    "estimator": get_args(options.EstimatorName),
    "ropes": ("cosine", "sine", "square"),
    "pair": ("opposite", "quadrature", "shifted", "sigmoid"),
    "reading": ("every", "leaf", "binary", "gates"),
    "gating": ("hard", "soft", "beam"),
    "leaves": get_args(options.LeavesName),
    "base": ("fixed", "learned"),
    "phase": ("own", "centred"),
    "activation": ("none", "tanh", "sine"),
    "positive": ("softplus", "relu", "project"),
    "optimiser": ("gauss-newton", "adam", "sgd", "lbfgs"),
    "schedule": ("cosine", "constant", "warm-up", "rise"),
    "grow_from": ("middle", "start"),
    "batch_order": ("random", "in-order", "shuffled"),
    "encoding": ("pcm16", "pcm24", "float32"),
    "noise_loss": ("erb", "mss", "mel"),
    "levels": ("linear", "log"),
}
TEXTS = {
    "losses": ["mse", "mse=1,pdl=0.5", "mss + mae=1e-3", "pdl:1:44:huber=2"],
    "penalties": ["zero", "zero:0.05=0.01"],
    "denominators": ["4096,2048,1000", "8", "1e3,2.5"],
    "transition_s": ["0.0001", "1e-6", "0.5,1"],
    "budget_split": ["1,1", "3,1"],
    "teacher_model": ["bark-fit", "fits/bark-fit/model.safetensors"],
    "from_model": ["bark-fit"],
    "rates": ["frequency=0.5", "frequency=0.5,amplitude=2", " level 1 = 0 "],
    "cut": ["learned", "0.1", "-0.5"],
    "cutoffs": ["fixed", "learned", "shared", "0.1", "-1"],
    "widths": ["100,10,1", "5,3,1"],
    "ladder": ["free", "linear", "octave", "harmonic", "above-nyquist", "440", "440,1e3,880.5"],
    "span": ["seconds", "4,7", "-100,100"],
    "quality": ["zimtohrli", "visqol,zimtohrli"],
}
SWITCHES = {
    "above_nyquist",
    "together",
    "greedy",
    "local",
    "pass_on",
    "whole",
    "crops",
    "noise_waves",
    "compete",
    "onsets",
    "grow_layers",
}


@pytest.mark.parametrize(
    ("budget", "allowed"), [(3, "4 or more"), (3.5, "whole numbers, 4 or more"), (10**12 + 1, "4 to 1000000000000")]
)
def test_a_bound_against_overflow_is_named_only_where_it_is_exceeded(budget: object, allowed: str) -> None:
    with pytest.raises(OptionError) as caught:
        FitOptions().with_settings({"budget": budget})
    assert (caught.value.setting, caught.value.value, caught.value.allowed) == ("budget", budget, allowed)


def groups():
    """Option class of each table."""
    return option_tables()


def docs():
    """The string below each setting in the source, by class and name."""
    found = {}
    modules = Path(options.__file__).parent.glob("*.py")
    for owner in (node for module in modules for node in ast.parse(module.read_text(encoding="utf-8")).body):
        for line, below in pairwise(owner.body) if isinstance(owner, ast.ClassDef) else ():
            if isinstance(line, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                found[owner.name, line.target.id] = below.value.value
    return found


def given_with_what_it_needs(name, value):
    return FitOptions().with_settings({**needed(name), name: value})


def needed(name):
    """What has to be given with a setting: for one of a network, the network."""
    own = {name: {"model": groups[0]} for name, groups in setting_groups().items() if groups[0] in NETWORKS}
    return NEEDED.get(name, {}) | own.get(name, {"model": "cascade"} if name == "whole" else {})


def value_in(options, name):
    """The value of a setting, be it one of all fits or of a network."""
    return next(value for key, value in options.flat().items() if key.rpartition(".")[2] == name)


def refusal(name, value):
    with pytest.raises(OptionError) as caught:
        given_with_what_it_needs(name, value)
    assert "\n" not in str(caught.value)
    assert caught.value.setting == name
    return caught.value


def allowed_in(error):
    """The two ends of the range that an error states, to the last digit."""
    stated = re.search(r"(\S+) to (\S+)", error.allowed) or re.search(r"(\S+) or more()", error.allowed)
    assert stated, error
    return float(stated[1]), float(stated[2] or LARGEST_WHOLE)


# --- names and docs -------------------------------------------------------------------------------------------------


def test_every_setting_has_a_line_of_documentation():
    for home in groups().values():
        assert home.__doc__.strip().endswith(".")
        for member in fields(home):
            line = field_docs(home)[member.name]
            assert line.endswith((".", ")")), f"{home.__name__}.{member.name}"


def test_names_are_unique_but_for_those_that_networks_share_and_all_are_found():
    names = [member.name for home in groups().values() for member in fields(home)]
    assert list(setting_groups()) == list(dict.fromkeys(names))
    shared = {name: homes for name, homes in setting_groups().items() if len(homes) > 1}
    assert shared == {"widths": ("stack", "siren"), "span": ("sine", "cascade", "stack", "siren")}
    every = FitOptions().with_settings({"model": "+".join(NETWORKS)}).flat()
    plain = [name.rpartition(".")[2] for name in every]
    assert sorted(plain) == sorted(names)


def test_every_setting_is_ranged_a_choice_a_text_or_a_switch():
    assert set(RANGES) | set(CHOICES) | set(TEXTS) | SWITCHES == set(setting_groups())
    for home in groups().values():
        hints = get_type_hints(home)
        for name, hint in ((member.name, hints[member.name]) for member in fields(home)):
            kinds = {hint, *get_args(hint)}
            assert (int in kinds) == RANGES.get(name, (0, 0, False))[2], name
            assert (int in kinds or float in kinds) == (name in RANGES), name


def test_documented_ranges_are_the_ones_that_hold():
    for name, (low, high, _) in RANGES.items():
        line = setting_docs()[name]
        stated = re.search(r"(-?[\d.e-]*\d) to (\d[\d.e-]*)", line)
        if name == "budget":
            assert "4 or more" in line
        elif name != "tolerance":
            assert stated, line
            assert (float(stated[1]), float(stated[2].rstrip("."))) == (low, high), line
        else:
            assert "0 to 1." in line


def test_names_of_losses_and_models_are_those_of_the_registries():
    from ddaudio.grid.time_grid import TimeGrid  # noqa: PLC0415 - torch only where a test needs it
    from ddaudio.losses import Loss, make_loss  # noqa: PLC0415
    from ddaudio.models import make_network, network_class  # noqa: PLC0415

    grid = TimeGrid.uniform(8000, 1, 100, 0.004, 0.0)
    in_cells = [name for name, spec in NETWORKS.items() if not spec.is_noise and spec.frames != "none"]
    assert all(make_network(name, grid).name == name for name in in_cells)
    assert all(network_class(name).name == name for name in NETWORKS)
    for name, spec in NETWORKS.items():
        if spec.has_widths:
            units = network_class(name)
            assert spec.parameters_per_component == units.count([1] * len(units.default_widths(0)))
    assert all(isinstance(make_loss(name, 8000), Loss) for name, spec in options.LOSSES.items() if not spec.required)


def test_the_documented_list_of_losses_is_whole_and_names_their_page():
    assert re.search(r"of (.*?);", setting_docs()["losses"])[1].split(", ") == list(options.LOSSES)
    assert (Path(__file__).parents[2] / "docs" / "losses.md").exists()


def test_options_are_read_without_torch():
    code = "import sys, ddaudio, ddaudio.options; ddaudio.FitOptions(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# --- ranges and choices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RANGES)
def test_both_ends_of_a_range_are_allowed(name):
    for end in RANGES[name][:2]:
        assert value_in(given_with_what_it_needs(name, end), name) == end


@pytest.mark.parametrize("name", RANGES)
def test_values_beyond_the_range_are_refused_with_the_range(name):
    low, high, whole = RANGES[name]
    beyond = (low - 1, high + 1) if whole else (math.nextafter(low, -math.inf), math.nextafter(high, math.inf), low - 1)
    for value in beyond:
        error = refusal(name, value)
        assert error.value == value
        assert allowed_in(error) == (low, high)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, False, "1", [1]], ids=repr)
def test_what_is_no_number_is_refused(name, value):
    low, high, whole = RANGES[name]
    error = refusal(name, value)
    assert str(error).startswith(f"{name} is {value!r}; allowed: ")
    assert ("whole number" in error.allowed) == whole
    assert allowed_in(error) == (low, high)


@pytest.mark.parametrize("name", [name for name, (_, _, whole) in RANGES.items() if whole])
def test_fractions_are_refused_where_a_whole_number_is_wanted(name):
    assert "whole number" in refusal(name, 1000.5).allowed
    assert "whole number" in refusal(name, 1000.0).allowed


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_those_listed_and_others_are_refused_with_the_nearest(name):
    known = CHOICES[name]
    for value in known:
        assert value_in(given_with_what_it_needs(name, value), name) == value
        assert refusal(name, value + "x").hint == f"did you mean {value!r}?"
    assert refusal(name, "?").allowed.split(", ") == list(known)
    if groups()[setting_groups()[name][0]].__dataclass_fields__[name].default is not None:
        refusal(name, None)


def test_goals_exclude_and_replace_each_other():
    with refused(setting="budget", value=100, others={"partials": 3}, hint="give only one of the two"):
        FitOptions().with_settings({"budget": 100, "partials": 3})
    with refused(setting="budget", value=100, others={"partials": 3}, hint="give only one of the two"):
        ModelOptions(budget=100, partials=3)
    later = FitOptions().with_settings({"budget": 100}).with_settings({"target_snr_db": 30})
    assert (later.model.budget, later.model.target_snr_db) == (None, 30)
    assert "target_snr_db" not in FitOptions().with_settings({"budget": 100}).tables()["model"]


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    with pytest.raises(OptionError, match=r"no setting 'target_snr'; did you mean 'target_snr_db'\?"):
        FitOptions().with_settings({"target_snr": 20})


def test_settings_replace_only_what_they_name_and_leave_the_original():
    before = FitOptions()
    after = before.with_settings({"crop_s": 0.25, "steps": 3, "window": "sine"})
    assert before == FitOptions()
    changed = {name: value for name, value in after.flat().items() if value != before.flat()[name]}
    assert changed == {"crop_s": 0.25, "steps": 3, "window": "sine"}
    assert before.with_settings({}) == before
    with pytest.raises(FrozenInstanceError):
        after.grid.overlap = 0.5


def test_an_overlap_other_than_half_needs_a_frame_length():
    """Frames that are as long as the sound asks for fade over half of the shorter one, so there is nothing to choose."""
    with refused(setting="overlap", value=0.3, hint="give {frame_s} as well") as caught:
        FitOptions().with_settings({"overlap": 0.3})
    assert str(caught.value) == "overlap is 0.3, but frame lengths are adaptive; give frame_s as well"
    assert FitOptions().with_settings({"overlap": 0.5}).grid.frame_s is None
    both = FitOptions().with_settings({"frame_s": 0.02, "overlap": 0.3})
    assert (both.grid.frame_s, both.grid.overlap) == (0.02, 0.3)


def test_gauss_newton_is_for_losses_with_a_curvature():
    for losses, flat in (
        ("mse=1,pdl:far-to-near=0.5", "pdl:far-to-near"),
        ("phase", "phase"),
        ("mse,auraloss:ESRLoss", "auraloss:ESRLoss"),
    ):
        with refused(setting="optimiser", value="gauss-newton", others={"losses": losses}, hint="use {optimiser=adam}") as caught:
            TrainingOptions(optimiser="gauss-newton", losses=losses)
        assert f"but {flat} has no curvature" in caught.value.problem
    with refused(setting="optimiser", others={"losses": "mse=1", "penalties": "zero=0.1"}, hint="use {optimiser=adam}"):
        TrainingOptions(optimiser="gauss-newton", penalties="zero=0.1")
    for losses in ("mse=3", "mae", "mse=1,pdl=0.5,mss=0.1"):
        assert TrainingOptions(optimiser="gauss-newton", losses=losses).resolved(2).optimiser == "gauss-newton"


@pytest.mark.parametrize(
    ("given", "optimiser", "steps"),
    [
        ({}, "gauss-newton", 6),
        ({"losses": "mse=0.5"}, "gauss-newton", 6),
        ({"losses": "mse,pdl"}, "gauss-newton", 6),
        ({"losses": "mae,mss"}, "gauss-newton", 6),
        ({"losses": "mse,phase"}, "adam", 80),
        ({"losses": "mse", "penalties": "zero=0.1"}, "adam", 80),
        ({"optimiser": "sgd"}, "sgd", 80),
        ({"optimiser": "adam", "steps": 6}, "adam", 6),
        ({"steps": 0}, "gauss-newton", 0),
        ({"steps": 500}, "gauss-newton", 500),
    ],
)
def test_optimiser_and_steps_follow_the_losses_unless_given(given, optimiser, steps):
    before = TrainingOptions(**given)
    assert {name: getattr(before, name) for name in ("optimiser", "steps")} == {"optimiser": None, "steps": None} | {
        name: value for name, value in given.items() if name in ("optimiser", "steps")
    }
    resolved = before.resolved(5)
    assert (resolved.optimiser, resolved.steps, resolved.exchanges) == (optimiser, steps, 5)
    assert resolved.resolved(7) == resolved, "what is there stays"
    filled = {name: getattr(before, name) for name in ("optimiser", "steps", "exchanges", "learning_rate")}
    assert resolved.learning_rate == (None if optimiser == "gauss-newton" else 0.02)
    assert replace(resolved, **filled) == before, "nothing else is changed"


def test_documented_defaults_of_optimiser_and_steps_are_the_ones_taken():
    plain, other = TrainingOptions().resolved(2), TrainingOptions(losses="phase").resolved(2)
    found = docs()
    assert (
        f"default: {plain.optimiser} for losses that have a curvature, without penalties" in found["TrainingOptions", "optimiser"]
    )
    assert f"{other.optimiser} otherwise" in found["TrainingOptions", "optimiser"]
    assert f"default: {plain.steps} for {plain.optimiser}, {other.steps} otherwise" in found["TrainingOptions", "steps"]


# --- settings files -------------------------------------------------------------------------------------------------


def values_of(name):
    if name in RANGES:
        low, high, whole = RANGES[name]
        # Whole numbers, as a hand-written file may have them, where a fraction is allowed too.
        inside = st.sampled_from([number for number in (0, 1, 2) if low <= number <= high] or [low])
        return st.integers(low, high) if whole else st.floats(low, high) | inside
    if name in SWITCHES:
        return st.booleans()
    return st.sampled_from(CHOICES[name] if name in CHOICES else TEXTS[name])


def without_starts(chosen):
    """Settings without others than the model that determine the start, if there is one."""
    if "from_model" not in chosen:
        return chosen
    others = ("initialisation", "estimator", "partials", "compete", "model")
    return {name: value for name, value in chosen.items() if name not in others}


def combined(chosen):
    """Settings as chosen, and what they need besides."""
    chosen = without_starts(chosen)
    owned = [name for name in chosen if name == "whole" or setting_groups()[name][0] in NETWORKS]
    if owned:  # networks that have them, all of them
        chosen = {name: value for name, value in chosen.items() if name not in ("budget_split", "initialisation")}
        chosen["model"] = "+".join(NETWORKS)
    if chosen.get("model") in ("noise", "siren") or chosen.get("reading") in (
        "binary",
        "gates",
    ):  # which have no other initialisation
        chosen = {name: value for name, value in chosen.items() if name != "initialisation"}
    if "rise_at" in chosen:
        chosen = {**chosen, "schedule": "rise"}
    if "teacher_model" in chosen and not chosen.get("teacher"):
        chosen = {name: value for name, value in chosen.items() if name != "teacher"}  # which needs a weight
    if {"batch_order", "batch_steps", "epochs"} & set(chosen):
        chosen = {name: value for name, value in chosen.items() if name != "steps"} | {"crops": True, "batch_order": "in-order"}
    if "compete" in chosen:  # which finds shares itself
        chosen = {name: value for name, value in chosen.items() if name not in ("budget_split", "max_parameters_per_sample")}
    needed = {name: value for key in chosen for name, value in NEEDED.get(key, {}).items()}
    if owned:
        needed.pop("model", None)
    if chosen.get("optimiser") == "gauss-newton" and not set(DESCENT) & set(chosen):
        needed["losses"] = "mse"
        chosen = {name: value for name, value in chosen.items() if name != "penalties"}
    if chosen.get("reading") == "gates":  # which have nothing but learned cutoffs
        chosen = {**chosen, "cutoffs": "learned", "pair": "opposite"}
    if chosen.get("cutoffs", "fixed") != "fixed" and chosen.get("ropes") == "square":  # which have none to learn
        chosen = {**chosen, "ropes": "sine"}
    if chosen.get("pair", "opposite") != "opposite":  # which needs waves, or levels
        needed |= {"ropes": "cosine", "reading": "every"}
    excluded = {"denominators"} if "depth" in chosen else set()
    if needed.get("model", chosen.get("model", "sine")) != "sine" or chosen.get("initialisation", "peaks") != "peaks":
        excluded.add("estimator")
    kept = {name: value for name, value in chosen.items() if name not in excluded}
    return kept | {
        name: value
        for name, value in needed.items()
        if name not in kept or name in ("losses", "optimiser", "ropes", "reading", "model", "ladder", "noise_steps", "local")
    }


SETTINGS = st.fixed_dictionaries({}, optional={name: values_of(name) for name in setting_groups() if name not in GOALS}).map(
    combined
)


@settings(deadline=None, max_examples=60)
@given(chosen=SETTINGS)
def test_options_come_back_from_their_file(chosen, tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "fit.toml"
    wanted = FitOptions().with_settings(chosen)
    path.write_text(tomli_w.dumps({"recording": {"path": "bark.wav"}} | wanted.tables()), encoding="utf-8")
    read = read_settings(path)
    assert FitOptions().with_settings(read) == wanted
    # Settings without a value are left out of the file, and all others are in it.
    assert set(read) == {name for name, value in wanted.flat().items() if value is not None}
    plain = {name.rpartition(".")[2]: value for name, value in read.items()}
    floats = [value for name, value in plain.items() if name in RANGES and not RANGES[name][2]]
    assert all(type(value) is float for value in floats)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[grid]\noverlp = 0.5", "has no setting 'overlp'; did you mean 'overlap'?"),
        ("[grid]\nsteps = 5", "has no setting 'steps'"),
        ("[gird]\noverlap = 0.5", "did you mean 'grid'?"),
        ("overlap = 0.5", "'overlap' at the top level"),
        ("grid = 3", "'grid' at the top level"),
        ("[grid\n", "cannot be read as TOML"),
    ],
)
def test_bad_files_are_refused_with_what_is_wrong(tmp_path, text, said):
    path = tmp_path / "fit.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError, match=re.escape(said)) as caught:
        read_settings(path)
    assert "fit.toml" in str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    hint = "give a TOML file such as fit.toml of a fit"
    with refused(problem=f"there is no settings file {str(tmp_path / 'absent.toml')!r}", hint=hint):
        read_settings(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    for path in (tmp_path, tmp_path / "latin.toml"):
        with refused(source=repr(str(path)), hint=hint) as caught:
            read_settings(path)
        assert caught.value.problem.startswith("cannot be read as TOML: ")
        assert str(caught.value).startswith(f"{str(path)!r}: cannot be read as TOML: ")


def test_a_number_beyond_all_floats_is_refused(tmp_path):
    (tmp_path / "huge.toml").write_text(f"[grid]\noverlap = 1{'0' * 400}\n")
    with refused(setting="overlap", allowed="0 to 0.5"):
        FitOptions().with_settings(read_settings(tmp_path / "huge.toml"))


def test_equal_settings_are_equal_however_written():
    assert (
        FitOptions().with_settings({"target_snr_db": 30}).tables() == FitOptions().with_settings({"target_snr_db": 30.0}).tables()
    )


# --- descent --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("frequency", RATES),
        ("", RATES),
        ("frequency=fast", RATES),
        ("frequency=1,frequency=2", RATES),
        ("=1", RATES),
        ("frequency=-1", "factors of 0 to 1000"),
        ("frequency=1001", "factors of 0 to 1000"),
        ("frequency=nan", "factors of 0 to 1000"),
    ],
)
def test_bad_rates_are_refused(text, allowed):
    assert refusal("rates", text).allowed == allowed


def test_an_unknown_schedule_is_refused_with_the_nearest():
    assert refusal("schedule", "raise").hint == "did you mean 'rise'?"
    assert refusal("schedule", "raise").allowed == "cosine, constant, warm-up, rise"
    assert refusal("grow_from", "midle").hint == "did you mean 'middle'?"
    assert refusal("crops", "yes").allowed == "true or false"


DESCENDING = {
    "rates": "amplitude=2",
    "rate_tilt": 1.0,
    "amplitude_tilt": 1.0,
    "momentum_delay": 1,
    "momentum_from": 1,
    "crops": True,
    "grow": 1,
    "ema": 0.9,
    "schedule": "rise",
    "learning_rate": 0.1,
}


@pytest.mark.parametrize("name", DESCENDING)
def test_what_needs_a_learning_rate_is_refused_with_gauss_newton(name):
    given = {name: DESCENDING[name]}
    facts = {"setting": name, "value": given[name], "others": {"optimiser": "gauss-newton"}, "hint": "use {optimiser=adam}"}
    for more, why in (({}, "the default for these losses, which"), ({"optimiser": "gauss-newton"}, "which")):
        with refused(**facts) as caught:
            FitOptions().with_settings({**given, **more})
        assert caught.value.problem.startswith(why)
    if name == "learning_rate":  # which is that of siren, or that of waves that are trained with noise
        for model in ({"model": "sine+siren"}, {"model": "sine+noise", "noise_steps": 10, "noise_waves": True}):
            assert FitOptions().with_settings({**model, **given}).training.rate == 0.1
    else:
        with refused(**facts):
            FitOptions().with_settings({"model": "sine+siren", **given})  # sine would take it
    for network in ({"model": "siren"}, {"model": "cascade", "activation": "tanh"}, {"model": "siren+stack"}):
        assert getattr(FitOptions().with_settings({**network, **given}).training, name) == given[name], "adam is the default"
    for optimiser in ("adam", "sgd"):
        assert getattr(TrainingOptions(**given, optimiser=optimiser), name) == DESCENDING[name]
    assert TrainingOptions(losses="phase", **given).resolved().optimiser == "adam"


@pytest.mark.parametrize("name", DESCENDING)
def test_lbfgs_refuses_what_it_cannot_do(name):
    given = {name: DESCENDING[name], "optimiser": "lbfgs"}
    if name in ("rates", "rate_tilt", "amplitude_tilt", "momentum_delay", "momentum_from", "crops"):
        with refused(setting=name, others={"optimiser": "lbfgs"}, hint="use {optimiser=adam}"):
            TrainingOptions(**given)
    else:
        TrainingOptions(**given)


def test_a_teacher_needs_an_average():
    with refused(setting="teacher", value=1.0, hint="give {ema} as well, as in {ema=0.99}"):
        TrainingOptions(teacher=1.0, optimiser="adam")


def test_batches_are_adjacent_crops():
    with refused(setting="batch_order", value="shuffled", hint="give {crops=True} as well"):
        TrainingOptions(batch_order="shuffled", optimiser="adam")
    for name, value in (("epochs", 3), ("batch_steps", 2)):
        hint = "use {crops=True} and {batch_order=in-order}, or shuffled"
        with refused(setting=name, value=value, others={"batch_order": "random"}, hint=hint):
            TrainingOptions(**{name: value}, crops=True, optimiser="adam")
    batches = {"crops": True, "crop_s": 0.1, "batch_order": "in-order", "optimiser": "adam"}
    with refused(setting="steps", value=5, others={"epochs": 3}, hint="give only one of the two"):
        TrainingOptions(steps=5, epochs=3, **batches)
    assert refusal("batch_order", "suffled").hint == "did you mean 'shuffled'?"
    options = TrainingOptions(epochs=3, batch_steps=4, **batches)
    assert options.with_epochs(8000, 8000) == TrainingOptions(steps=3 * 10 * 4, batch_steps=4, **batches)
    with refused(setting="epochs", value=10**6, allowed="up to 1000000 steps"):
        TrainingOptions(epochs=10**6, **batches).with_epochs(8000, 8000)


def test_what_begins_later_needs_what_begins():
    with refused(setting="ema_from", value=5, hint="give {ema} as well, as in {ema=0.99}"):
        TrainingOptions(ema_from=5, optimiser="adam")
    with refused(setting="rise_at", value=0.8, others={"schedule": "warm-up"}, hint="use {schedule=rise}"):
        TrainingOptions(rise_at=0.8, optimiser="adam")


# --- settings of networks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [name for name, groups in setting_groups().items() if groups[0] in NETWORKS and name not in ("widths", "span")]
)
def test_a_setting_of_a_network_that_is_not_in_the_model_is_refused_alike_for_all(name):
    """Also where it is given with its default value."""
    (owner,) = setting_groups()[name]
    own = groups()[owner]()
    first = RANGES[name][0] if name in RANGES else (CHOICES | TEXTS).get(name, [None])[0]
    value = getattr(own, name) if getattr(own, name) is not None else first
    for model in set(NETWORKS) - {owner}:
        with pytest.raises(OptionError) as caught:
            FitOptions().with_settings({"model": model, name: value})
        error = caught.value
        assert (error.setting, error.value, error.others) == (name, value, {"model": model})
        assert error.problem == f"but it is a setting of {owner}"
    assert FitOptions().with_settings({**NEEDED.get(name, {}), "model": f"sine+{owner}", name: value}).network(owner) is not None


def test_networks_that_share_a_setting_have_a_value_each():
    both = FitOptions().with_settings({"model": "stack+siren", "widths": "9,3,1", "siren.widths": "4,4"})
    assert (both.network("stack").widths, both.network("siren").widths) == ("9,3,1", "4,4")
    again = FitOptions().with_settings(
        {name: value for name, value in both.flat().items() if value is not None and "." in name} | {"model": "stack+siren"}
    )
    assert again == both


def test_options_made_by_hand_are_checked_like_others():
    with pytest.raises(OptionError, match=r"ladder is 'linear' and model is 'sine\+noise', but it is a setting of cascade"):
        FitOptions(networks={"cascade": options.CascadeOptions(ladder="linear")})
    assert FitOptions(networks={"cascade": options.CascadeOptions()}) == FitOptions()


def test_a_comparison_gives_settings_of_a_network_to_its_fits_alone():
    from ddaudio.options.compare import CompareOptions  # noqa: PLC0415 - beside its only use

    entries = CompareOptions(models="sine,double-dutch,cascade", losses="mse").entries({"depth": 5, "steps": 4})
    assert [entry.options.network("double-dutch").depth for entry in entries] == [None, 5, None]
    assert [entry.options.training.steps for entry in entries] == [4, 4, 4]
    with pytest.raises(OptionError, match="omega is 3 and model is 'sine', but it is a setting of siren"):
        CompareOptions(models="sine,cascade", losses="mse").entries({"omega": 3})


def test_settings_of_batches_and_comparisons_are_no_settings_of_networks():
    from ddaudio.options.batch import BatchOptions  # noqa: PLC0415 - beside its only use
    from ddaudio.options.compare import CompareOptions  # noqa: PLC0415
    from ddaudio.options.fit import RESERVED  # noqa: PLC0415

    assert {member.name for owner in (BatchOptions, CompareOptions) for member in fields(owner)} <= RESERVED
    assert not {member.name for spec in NETWORKS.values() for member in fields(spec.options)} & RESERVED


@pytest.mark.parametrize("split", ["0,0", "1,0", "-1,2", "-1,1", "nan,1", "inf,1"])
def test_a_split_needs_shares_above_0(split: str) -> None:
    """Two of 0 were a division by 0."""
    with pytest.raises(OptionError, match=r"budget_split is .*; allowed: finite shares above 0"):
        FitOptions(model=ModelOptions(model="sine+double-dutch", budget_split=split))
