"""Losses and penalties by name: what a name says, and what is refused."""

import re
from pathlib import Path

import pytest
from ddaudio_cli.refusals import in_flags
from refusals import refused

from ddaudio.errors import OptionError
from ddaudio.options import LOSSES, PENALTIES, Choice, TrainingOptions, check_lags, parse_loss, parse_penalties, parse_terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("mse", {"mse": 1.0}),
        ("mse=2", {"mse": 2.0}),
        ("mse=1,pdl=0.5", {"mse": 1.0, "pdl": 0.5}),
        ("pdl+mse", {"pdl": 1.0, "mse": 1.0}),
        (" mss = 1e-3 , mae ", {"mss": 1e-3, "mae": 1.0}),
    ],
)
def test_terms_are_read_in_their_order(text, terms):
    assert list(parse_terms(text).items()) == list(terms.items())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "",
            "known: auraloss, axis, correlation, delta-frequency, delta-time, dft, first-difference, huber, mae, mel, mse, mss",
        ),
        ("mse,", "known: "),
        ("msee", "did you mean 'mse'"),
        ("mse=1,pld=2", "did you mean 'pdl'"),
        ("MSE", "known: "),
        ("mse+mse", "twice"),
        ("mse=1,pdl=1,mse=2", "twice"),
        ("mse=x", "numbers above 0"),
        ("mse=1=2", "numbers above 0"),
        ("mse=0", "above 0"),
        ("mse=-1", "above 0"),
        ("mse=nan", "finite weights above 0"),
        ("mse=inf", "finite weights above 0"),
        ("mse=1e400", "finite weights above 0"),
        ("pdl+pdl:near", "twice"),
        ("pdl:5:1,pdl:1:5", "twice"),
        ("pdl:neer", "unknown variant 'neer'; did you mean 'near'?"),
        ("pdl:far-to-nea=0.5", "did you mean 'far-to-near'?"),
        ("pdl:by-inverse", "did you mean 'by-inverse-distance'?"),
        ("pdl:near:all-pairs", "two choices of lags; give near or all-pairs"),
        ("pdl:squared:absolute", "two choices of distance; give squared or absolute"),
        ("pdl:near:3", "two choices of lags; give near or lags in samples"),
        ("pdl:3:near", "two choices of lags; give near or lags in samples"),
        ("pdl:0", "lags of 1 to 1000000000 samples"),
        ("pdl:-2", "lags of 1 to 1000000000 samples, whole numbers"),
        ("pdl:1.5", "lags of 1 to 1000000000 samples, whole numbers"),
        ("pdl:inf", "lags of 1 to 1000000000 samples, whole numbers"),
        ("pdl:1e10", "lags of 1 to 1000000000 samples, whole numbers"),
        ("pdl:nan", "unknown variant 'nan'"),
        ("pdl:4:4", "a lag twice"),
        ("pdl:", "unknown variant ''"),
        ("pdl:all-pairs:by-distance:absolute", "all-pairs, by-distance, absolute cannot be combined"),
        ("mss:dsp", "did you mean 'ddsp'?"),
        ("mss:ddsp:smooth", "two choices of preset; give ddsp or smooth"),
        ("mse:near", "unknown variant 'near'; mse has none"),
        ("huber:x", "unknown variant 'x'; give a number, as in huber:0.1"),
        ("huber:0", "one number above 0"),
        ("huber:-1", "one number above 0"),
        ("huber:inf", "one number above 0"),
        ("huber:1:2", "one number above 0"),
        ("auraloss", "without a class; known: DCLoss, ESRLoss"),
        ("auraloss:ESRLos", "did you mean 'ESRLoss'?"),
        ("auraloss:MelSTFTLoss", "needs librosa; use mel"),
        ("auraloss:RandomResolutionSTFTLoss", "could not be repeated"),
        ("zero", "known: "),
    ],
)
def test_bad_terms_are_refused_where_they_are_given(text, said):
    with pytest.raises(OptionError, match=re.escape(said)):
        parse_terms(text)
    with pytest.raises(OptionError, match=re.escape(said)) as caught:
        TrainingOptions(losses=text)
    assert caught.value.setting == "losses"
    assert in_flags(caught.value) == f"--{caught.value}", "words of the message that are settings' names as well"


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("pdl", Choice("pdl", {"lags": "near", "weights": "equal", "distance": "squared"})),
        ("pdl:huber:all-pairs", Choice("pdl", {"lags": "all-pairs", "weights": "equal", "distance": "huber"})),
        ("pdl:44:1:by-distance", Choice("pdl", {"lags": "given", "weights": "by-distance", "distance": "squared"}, (1, 44))),
        ("huber:0.2", Choice("huber", {}, (0.2,))),
        ("mss", Choice("mss", {"preset": "default"})),
        ("auraloss:ESRLoss", Choice("auraloss", {"class": "ESRLoss"})),
    ],
)
def test_a_name_says_all_of_a_loss(name, choice):
    assert parse_loss(name) == choice


def test_classes_of_auraloss_are_all_known_or_refused_with_a_reason():
    import auraloss  # noqa: PLC0415 - it brings torch, which only a test needs

    classes = {
        name
        for module in (auraloss.time, auraloss.freq)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and name.endswith("Loss")
    }
    unfit = LOSSES["auraloss"].unfit
    assert classes <= set(LOSSES["auraloss"].words) | set(unfit)
    for name, reason in unfit.items():
        with pytest.raises(OptionError, match=re.escape(reason)):
            parse_loss(f"auraloss:{name}")


@pytest.mark.parametrize("losses", ["pdl:100", "mse,pdl:1:100:absolute", "pdl:100000"])
def test_lags_as_long_as_the_signal_are_refused(losses):
    with refused(setting="losses", value=losses.split(",")[-1], allowed="lags below 100") as caught:
        check_lags(losses, 100)
    assert in_flags(caught.value) == f"--{caught.value}"
    check_lags("mse,pdl:99,pdl:far-to-near,pdl", 100)
    check_lags("pdl", 1)


@pytest.mark.parametrize(
    ("text", "penalties"),
    [(None, {}), ("zero", {"zero": 1.0}), ("zero=0.01", {"zero": 0.01}), ("zero:0.05=2", {"zero:0.05": 2.0})],
)
def test_penalties_are_read_like_losses(text, penalties):
    assert parse_penalties(text) == penalties
    assert TrainingOptions(penalties=text).penalties == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "penalties names '', which is unknown; known: zero"),
        ("zeero=1", "did you mean 'zero'?"),
        ("mse=1", "known: zero"),
        ("zero=0", "finite weights above 0"),
        ("zero=-1", "finite weights above 0"),
        ("zero=x", "numbers above 0"),
        ("zero:x", "one number above 0, as in zero:0.1"),
        ("zero:0", "one number above 0, as in zero:0.1"),
        ("zero:1:2", "one number above 0, as in zero:0.1"),
        ("zero,zero", "twice"),
        (3, "text such as 'zero=0.01'"),
    ],
)
def test_bad_penalties_are_refused(text, said):
    with pytest.raises(OptionError, match=re.escape(said)):
        TrainingOptions(penalties=text)


def test_a_penalty_needs_another_optimiser_than_gauss_newton():
    assert TrainingOptions(penalties="zero").resolved(2).optimiser == "adam"
    with refused(setting="optimiser", others={"losses": "mse=1", "penalties": "zero"}, hint="use {optimiser=adam}"):
        TrainingOptions(penalties="zero", optimiser="gauss-newton")


def test_losses_must_be_text_and_may_have_exponents():
    with pytest.raises(OptionError, match="losses is 3; allowed: text"):
        TrainingOptions(losses=3)
    assert parse_terms("mse=1e+2+pdl=0.5") == {"mse": 100.0, "pdl": 0.5}


def test_the_page_of_losses_names_every_word_and_quotes_the_benchmark():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "losses.md").read_text(encoding="utf-8")
    words = [*LOSSES, *(word for spec in LOSSES.values() for word in spec.words), *PENALTIES]
    assert [word for word in words if not re.search(rf"`[^`]*\b{word}\b[^`]*`", page)] == []
    results = (root / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    sections = [
        section for section in re.split(r"^## ", results, flags=re.MULTILINE) if section.startswith(("losses:", "clicks:"))
    ]
    assert len(sections) == 2
    quoted = re.findall(r"\d+\.\d{3}\b", page)
    assert len(quoted) > 50
    assert [figure for figure in quoted if figure not in "".join(sections)] == []
