"""The table of explorations and the stories of those that lose, for the terminal and for `docs/model.md`."""

from __future__ import annotations

from functools import cache

from tests.model.cases import CASES, SECTIONS, Case
from tests.model.explore import Exploration, explore
from tests.model.story import story

START, END = "<!-- explorations -->", "<!-- /explorations -->"


@cache
def explored(case: Case) -> Exploration:
    """The exploration of the case, made once in a process."""
    return explore(case.machine, case.properties)


def _switch(case: Case) -> str:
    """What differs from the way that holds."""
    if not case.switch:
        return ""
    return f"`{case.switch}`: {getattr(case.base, case.switch)} → **{case.to}**"


def _verdict(case: Case) -> str:
    broken = explored(case).broken
    return f"not *{broken}*, {len(explored(case).trace)} steps" if broken else "holds"


def table() -> str:
    """One row an exploration."""
    lines = []
    for title, cases in SECTIONS.items():
        lines += [
            f"### {title}",
            "",
            "| what | world | switch | states | verdict |",
            "| --- | --- | --- | ---: | --- |",
        ]
        for case in cases:
            row = (case.name, case.world.name, _switch(case), f"{explored(case).states:,}", _verdict(case))
            lines.append(f"| {' | '.join(row)} |")
        lines.append("")
    return "\n".join(lines)


def stories() -> str:
    """The shortest way into every loss."""
    lines = ["## Counter-examples", ""]
    for case in CASES:
        if explored(case).broken:
            lines += [f"**{case.name}**", ""]
            lines += [f"- {line}" for line in story(case.machine, explored(case))]
            lines.append("")
    return "\n".join(lines)


def total() -> str:
    """All states together."""
    states = sum(explored(case).states for case in CASES)
    return f"{len(CASES)} explorations, {states:,} states."


def generated() -> str:
    """What stands between the marks in the document."""
    return f"{START}\n{total()}\n\n{table()}\n{stories()}{END}"


def with_explorations(document: str) -> str:
    """The document with current explorations."""
    before, _, rest = document.partition(START)
    return f"{before}{generated()}{rest.partition(END)[2]}"


def speed() -> str:
    """How fast this machine explores; never part of the document."""
    found = [explored(case) for case in CASES]
    seconds = sum(one.seconds for one in found)
    states, moves = sum(one.states for one in found), sum(one.moves for one in found)
    return f"{seconds:.1f} s, {states / seconds:,.0f} states/s, {moves / seconds:,.0f} moves/s"
