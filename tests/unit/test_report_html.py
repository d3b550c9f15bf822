"""The page of a trial: whole in itself, well-formed, and harmless whatever guests have said."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from gridvisor.probe.outcome import Outcome, ProbeResult
from gridvisor.report.html import render
from gridvisor.trial.model import (
    Blame,
    Change,
    Finding,
    Guilty,
    LoadJob,
    Measure,
    Stage,
    StageResult,
    Step,
    Trial,
    Verdict,
    Weight,
)
from sample_trial import not_ready, ready

HOSTILE = (
    """</script></style></title><script>alert("1")</script>'"><img src=https://evil.test/x onerror=alert(1)>"""
    "{{7*7}}\x00\x1b[31m&amp;"
)
VOID = {"meta", "br", "img"}


class Page(HTMLParser):
    """What a page consists of; complains where tags do not fit together."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style",):
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def hostile() -> Trial:
    """A trial in which every text is an attack."""
    probe = ProbeResult(HOSTILE, HOSTILE, Outcome.FAILED, 0.1, HOSTILE, HOSTILE)
    step = Step(HOSTILE, 1.0, 1.0, (probe,), HOSTILE)
    finding = Finding(Blame.MIDDLEWARE, Weight.NO, Stage.UPGRADE, HOSTILE, HOSTILE, f"{HOSTILE}\n" * 9, (HOSTILE,))
    return Trial(
        HOSTILE,
        HOSTILE,
        HOSTILE,
        HOSTILE,
        0.0,
        ended_s=9.0,
        stages=(StageResult(Stage.UPGRADE, 1.0, 1.0, (step,), (finding,)),),
        changes=(Change(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1), Change(*(HOSTILE,) * 5)),
        before=(Measure(HOSTILE, HOSTILE, (1.0,)),),
        after=(Measure(HOSTILE, HOSTILE, (2.0,)),),
        guilty=(Guilty(HOSTILE, (HOSTILE,), 0.5, (HOSTILE,), (HOSTILE,)),),
        verdict=Verdict.NOT_READY,
        lock={HOSTILE: {HOSTILE: HOSTILE}},
    )


TRIALS = {
    "not-ready": not_ready(),
    "ready": ready(),
    "hostile": hostile(),
    "empty": Trial("id", "s", "c", "", 0.0),
    "partial": replace(not_ready(), stages=not_ready().stages[:2], verdict=None, ended_s=None, after=()),
    "none": replace(ready(), verdict=Verdict.NONE, stages=ready().stages[:1]),
}


@pytest.fixture(params=TRIALS.values(), ids=TRIALS)
def page(request: pytest.FixtureRequest) -> Page:
    return Page(render(request.param))


def test_tags_fit_together_and_ids_are_unique(page: Page) -> None:
    ids = Counter(attrs["id"] for _, attrs in page.tags if "id" in attrs)
    assert [name for name, count in ids.items() if count > 1] == []


def test_links_within_the_page_lead_somewhere(page: Page) -> None:
    ids = {attrs.get("id") for _, attrs in page.tags}
    aims = {str(attrs["href"])[1:] for attrs in page.all("a") if str(attrs["href"]).startswith("#")}
    named = {word for _, attrs in page.tags for word in str(attrs.get("aria-labelledby", "")).split()}
    assert aims | named <= ids


def test_nothing_is_loaded_and_nothing_runs(page: Page) -> None:
    loading = {"script", "link", "img", "iframe", "object", "base", "form", "embed"}
    assert {tag for tag, _ in page.tags} & loading == set()
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on") or name in ("src", "srcset", "action")], tag
        if "href" in attrs:
            assert re.match(r"[#]|\./", str(attrs["href"])), attrs
    policies = [attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs]
    assert policies[0]
    assert policies[0].startswith("default-src 'none'")


@pytest.mark.parametrize("trial", [ready(), not_ready()], ids=["ready", "not-ready"])
def test_no_address_of_the_network_is_in_the_page(trial: Trial) -> None:
    text = render(trial)
    assert re.findall(r"https?:|url\(|@import", text) == []


def test_hostile_words_are_but_words() -> None:
    text = render(replace(hostile(), jobs=(LoadJob(HOSTILE, 1.0, 1.0, HOSTILE),)))
    page = Page(text)
    assert "<script" not in text
    assert "<img" not in text
    assert "{{7*7}}" in text
    assert "\x00" not in text
    assert "\x1b" not in text
    assert '<script>alert("1")</script>' in page.words
    assert "&amp;" in page.words, "escaped once more than it was"


def test_tables_have_heads_and_captions(page: Page) -> None:
    for attrs in page.all("th"):
        assert attrs.get("scope") in ("col", "row", "colgroup")
    for attrs in page.all("svg"):
        assert attrs["role"] == "img"
        assert attrs.get("aria-label") or attrs.get("aria-labelledby")


def test_what_scrolls_can_be_reached_by_keyboard() -> None:
    page = Page(render(not_ready()))
    regions = [attrs for attrs in page.all("div") if "tabindex" in attrs]
    assert regions
    assert all(attrs["role"] == "region" and attrs["aria-label"] for attrs in regions)


@pytest.mark.parametrize(
    ("trial", "says"),
    [
        (not_ready(), ["Not ready", "Production must not have it", "sid-middleware", "kiam-test", "15 min 21 s"]),
        (not_ready(), ["8 against it, 2 known, 1 remark", "slurm-wlm + slurmctld", "95 % sure", "5 tries"]),
        (not_ready(), ["job 17 of the load", "blame: middleware", "+113 %", "goes away", "7.1.1-1"]),
        (
            not_ready(),
            ["gridvisor report show 20261123-164500-sid-middleware", "gridvisor ssh --site kiam-test-trial ce"],
        ),
        (ready(), ["Ready", "Nothing speaks against it", "All passed, wherever they were asked."]),
        (TRIALS["empty"], ["Not finished", "did not run"]),
        (TRIALS["none"], ["No verdict", "Nothing can be said", "The stage 'upgrade' did not run."]),
        (replace(ready(), wanted=tuple(Stage)[:3]), ["The stage 'rollback' was not asked for."]),
        (replace(not_ready(), guilty=(Guilty("a", (), 0.0),)), ["not found out"]),
    ],
)
def test_the_page_says(trial: Trial, says: list[str]) -> None:
    words = Page(render(trial)).words
    assert [one for one in says if one not in words] == []


def test_bad_cells_lead_to_their_findings_and_say_so_in_words() -> None:
    text = render(not_ready())
    row = re.search(r"<tr><th[^>]*><span class=\"name\">slurm_has_nodes\[ce\].*?</tr>", text, re.DOTALL)
    assert row
    cell = re.search(r'<td class="failed" title="AssertionError: wn1 and wn2 are down\*">(.*?)</td>', row[0])
    assert cell
    target = re.search(r'href="#(finding-\d+)"', cell[1])
    assert target
    assert '<span class="hidden">failed</span>' in cell[1]
    assert f'<li id="{target[1]}">' in text
    assert "slurm_has_nodes[ce]" in text.partition(f'<li id="{target[1]}">')[2][:400]


def test_what_is_green_is_folded_and_what_is_not_is_open() -> None:
    before, _, after = render(not_ready()).partition("<h3>All green</h3>")
    assert "slurm_daemon_runs[wn1]" in before
    assert "clock_agrees[wn1]" not in before
    assert "clock_agrees[wn1]" in after
    assert after.lstrip().startswith("<details><summary>")


def test_evidence_with_odd_names_is_linked_beside_the_page() -> None:
    finding = replace(not_ready().findings[0], evidence=("evidence/a b#c?.tar.gz", "javascript:alert(1)"))
    stage = replace(not_ready().stages[1], findings=(finding,))
    page = Page(render(replace(not_ready(), stages=(stage,))))
    links = [str(attrs["href"]) for attrs in page.all("a") if str(attrs["href"]).startswith("./")]
    assert links == ["./evidence/a%20b%23c%3F.tar.gz", "./javascript%3Aalert%281%29"]


def test_words_that_would_be_more_than_one_are_quoted_for_the_shell() -> None:
    words = Page(render(replace(not_ready(), site="a; b", id="x y"))).words
    assert "gridvisor report show 'x y'" in words
    assert "gridvisor status 'a; b-trial'" in words
