"""What a page says: what is wrong first, then the verdict; parts that were not measured say so."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from agfedge.reports.page import report_page, verdict
from agfedge.reports.runs import MeasuredRun, measured_run
from agfedge_runtime import Bundle
from agfedge_runtime.profile.samples import Samples
from made_samples import made_samples, slowing

pytestmark = pytest.mark.slow


def test_what_is_wrong_stands_before_the_verdict_and_the_numbers(samples: Samples, bundle: Bundle) -> None:
    page = report_page([measured_run("p", slowing(samples), None, bundle)], ("a warning",))
    places = [page.index(text) for text in ("a warning", "invalid</b>", 'class="verdict"', 'class="tiles"', "<svg")]
    assert places == sorted(places)
    assert "These numbers do not count" in page


def test_the_verdict_is_one_sentence_with_cost_interval_and_accuracy(profile: MeasuredRun) -> None:
    said = verdict(profile)
    assert re.fullmatch(
        r"The cascade takes [\d.]+ µs a decision on onnxruntime at fp32, 1 thread: 0\.\d{3} \(0\.\d{3} to 0\.\d{3}\) "
        r"of the heavy expert alone, where 0\.\d{3} was expected; it is right on 100\.0% of the inputs, the heavy "
        r"expert on 98\.0%\.",
        said,
    )


def test_without_labels_the_verdict_tells_how_often_both_agree(samples: Samples) -> None:
    assert "answers as the heavy expert does in 98.0% of the decisions" in verdict(measured_run("p", samples))


@pytest.mark.parametrize(
    ("light_us", "said"),
    [(300.0, "it is slower than the heavy expert, so run that alone here"), (166.0, "this run cannot say")],
)
def test_a_cascade_that_does_not_pay_is_called_so(light_us: float, said: str) -> None:
    run = made_samples(light_us=light_us, early=0, late=0.17, noise=0.3)
    assert said in verdict(measured_run("p", run))


def test_without_a_bundle_what_it_promised_is_told_as_not_known(samples: Samples) -> None:
    page = report_page([measured_run("p", samples)])
    assert page.count("the bundle was not named beside the samples") == 3
    assert "Cost against accuracy" in page


def test_power_that_was_not_measured_is_called_so(samples: Samples, bundle: Bundle) -> None:
    page = report_page([measured_run("p", replace(samples, state=None), None, bundle)])
    assert "Power: not measured (the device&#x27;s state was not recorded)." in page
    silent = {**(samples.state or {}), "series": {"t_s": [0.1, 0.2], "total_w": [None, None]}, "source": None}
    page = report_page([measured_run("p", replace(samples, state=silent), None, bundle)])
    assert "Power: not measured (this device tells none)." in page


def test_a_run_that_was_cut_short_says_so(samples: Samples, bundle: Bundle) -> None:
    page = report_page([measured_run("p", replace(samples, complete=False), None, bundle)])
    assert page.index("cut short") < page.index('class="verdict"')


def test_a_bundle_that_was_not_pruned_has_no_channels_to_show(profile: MeasuredRun) -> None:
    assert "there is no plan in the bundle" in report_page([replace(profile, plan=None)])


def test_names_are_text_and_neither_markup_nor_formulas(profile: MeasuredRun, slower: MeasuredRun) -> None:
    evil = "<script>$x^2$</script>"
    page = report_page([replace(profile, name=evil), replace(slower, name="$\\frac$")], (evil,), evil)
    assert "<script" not in page
    assert page.count("&lt;script&gt;$x^2$&lt;/script&gt;") > 5
    assert "$\\frac$" in page


def test_the_same_samples_give_the_same_page(profile: MeasuredRun, slower: MeasuredRun) -> None:
    for profiles in ([profile], [profile, slower]):
        assert report_page(profiles) == report_page(profiles)


def test_a_page_is_small_and_refers_to_nothing_outside(profile: MeasuredRun) -> None:
    page = report_page([profile])
    assert len(page) < 200_000
    assert not re.search(r"""(?:src|action|srcset|data)=|@import|https?://|href="[^#]|url\([^#]""", page)


def test_identifiers_of_a_page_are_distinct_and_what_they_name_is_there(profile: MeasuredRun) -> None:
    page = report_page([profile])
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(names)


def test_two_decisions_have_a_page(bundle: Bundle) -> None:
    run = replace(made_samples(2, early=0), bundle_digest=bundle.digest)
    page = report_page([measured_run("p", run, None, bundle)])
    assert "too few" in page
    assert "nan" not in re.sub(r"<[^>]*>", "", page).split()


def test_the_same_latency_in_every_decision_has_a_page(bundle: Bundle) -> None:
    run = made_samples(50, early=0, late=0, noise=0)
    assert np.ptp(run.cascade_us) == 0
    assert "Latency by branch" in report_page([measured_run("p", run)])


def test_many_profiles_lie_on_top_of_each_other(profile: MeasuredRun) -> None:
    many = [replace(profile, name=f"profile {number}") for number in range(9)]
    page = report_page(many)
    assert all(f">profile {number}</text>" in page for number in range(9))
