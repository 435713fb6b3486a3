"""What a comparison means, in a word and in a sentence. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from agent.acceptance.compare import OWN, POOLED, Comparison
from agent.acceptance.rules import Rules
from agent.acceptance.student import t_quantile

_PARTS = itemgetter("verdict", "text", "rule", "numbers", "judge")
LEADS, ACCEPTED, BORDERLINE, REJECTED = "leading", "accepted", "borderline", "rejected"
HELD, UNMEASURED = "incumbent", "unmeasured"
"""Verdicts of what is not compared: the incumbent itself | a candidate without a value in every row."""


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What a language model says of a borderline candidate."""

    verdict: str
    """"accept" or "keep"."""
    reason: str
    call: str
    """Name of the recorded exchange."""

    def to_json(self) -> dict[str, object]:
        return {"verdict": self.verdict, "reason": self.reason, "call": self.call}


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict of one candidate of a round."""

    verdict: str
    """leading, accepted, borderline, rejected, incumbent or unmeasured."""
    why: str
    """In one sentence, with its numbers."""
    rule: str
    """Who decided: the rules' name, "judge" for a language model."""
    comparison: Comparison | None = None
    judge: Opinion | None = None
    """What the judge said, where it was asked."""

    @property
    def for_judge(self) -> bool:
        """Whether a judge may speak: borderline, and the noise does not explain the gain."""
        return self.verdict == BORDERLINE and self.comparison is not None and self.comparison.above_noise

    @property
    def thin(self) -> bool:
        """Whether it is borderline only because too little is known of the noise."""
        return self.verdict in (LEADS, BORDERLINE) and self.comparison is not None and _thin(self.comparison)

    def to_json(self) -> dict[str, object]:
        return {
            "verdict": self.verdict,
            "text": self.why,
            "rule": self.rule,
            "numbers": self.comparison.to_json() if self.comparison is not None else None,
            "judge": self.judge.to_json() if self.judge is not None else None,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Judgement:
        """A judgement as `to_json` left it. Raises KeyError or TypeError."""
        verdict, why, rule, numbers, judge = _PARTS(raw)
        found = object.__new__(cls)
        # At once, as a comparison.
        found.__dict__.update(
            verdict=verdict,
            why=why,
            rule=rule,
            comparison=Comparison.from_json(numbers) if numbers is not None else None,
            judge=Opinion(**judge) if judge is not None else None,
        )
        return found


def decide(comparison: Comparison, rules: Rules) -> Judgement:
    """The verdict by the rules, or by a person's own one.

    Raises InvalidRules where that fails or gives no verdict.
    """
    if rules.own is not None:
        verdict, reason = rules.own(comparison.to_json())
        said = f": {reason}" if reason else ""
        return Judgement(
            verdict=verdict,
            why=f"{verdict} by {rules.name}{said} ({numbers(comparison)})",
            rule=rules.name,
            comparison=comparison,
        )
    verdict, why = _decide(comparison)
    return Judgement(verdict=verdict, why=why, rule=rules.name, comparison=comparison)


def _decide(c: Comparison) -> tuple[str, str]:
    told = numbers(c)
    if c.gain < -c.most_loss:
        return REJECTED, f"rejected: {told} is a loss beyond {_number(c.most_loss)}"
    if c.threshold is None or c.noise_floor is None:
        better = LEADS if c.gain > 0 else BORDERLINE
        kept = "" if c.gain > 0 else ", the incumbent is kept"
        return better, f"{better}{kept}: {told}; noise unknown, so nothing can be accepted"
    floor = f"{c.critical:.2f} standard errors{_corrected(c)} = {_number(c.noise_floor)}"
    least = f"the least gain worth a change, {_number(c.least_gain)}"
    if c.gain >= c.threshold and c.gain > 0:
        return ACCEPTED, f"accepted: {told} reaches {floor} and {least}"
    if c.above_noise:
        return BORDERLINE, f"borderline, the incumbent is kept: {told} is more than noise ({floor}) but below {least}"
    thin = f"; {c.df:.3g} degrees of freedom are too few to tell" if _thin(c) else ""
    return BORDERLINE, f"borderline, the incumbent is kept: {told} may be noise (below {floor}){thin}"


def with_opinion(judgement: Judgement, opinion: Opinion) -> Judgement:
    """What a judge says of a borderline candidate.

    It counts where `for_judge` holds, and nowhere else: what may be noise stays what it is.
    """
    if not judgement.for_judge or judgement.comparison is None:
        return judgement
    said = f'"{opinion.reason}" ({opinion.call})'
    if opinion.verdict != "accept":
        return replace(judgement, judge=opinion, why=f"{judgement.why}; the judge keeps it so: {said}")
    c = judgement.comparison
    why = f"accepted by the judge: {numbers(c)} is more than noise, though below {_number(c.least_gain)}: {said}"
    return replace(judgement, verdict=ACCEPTED, rule="judge", judge=opinion, why=why)


def numbers(c: Comparison) -> str:
    """Gain, standard error, degrees of freedom and n, as a sentence begins."""
    percent = "" if c.gain_percent is None else f" ({_percent(c.gain_percent)} %)"
    rows = f"{c.n} {'pair' if c.paired else 'unpaired row'}{'' if c.n == 1 else 's'}"
    gain = f"gain in {c.metric} {_signed(c.gain)}{percent} over round {c.against_round} {c.against}"
    if c.standard_error is None or c.df is None:
        return f"{gain} ({rows})"
    source = {POOLED: "", OWN: " by its own spread, far above the study's"}.get(
        c.noise_from or "", " by both spreads"
    )
    return f"{gain} ({rows}, standard error {_number(c.standard_error)}{source}, {c.df:.3g} degrees of freedom)"


def _corrected(c: Comparison) -> str:
    return f" (best of {c.k}, {c.correction})" if c.k > 1 else ""


def _thin(c: Comparison) -> bool:
    """Whether a better known noise of the same size could turn it: nothing is known of it yet, or z itself, without
    t's addition for few degrees of freedom, is reached."""
    if c.standard_error is None or c.gain <= 0:
        return c.gain > 0
    return not c.above_noise and c.gain >= t_quantile(c.alpha, 1e6) * c.standard_error


def _number(value: float) -> str:
    return f"{value:.3g}"


def _percent(value: float) -> str:
    """Two digits where they matter, and never an exponent: +0.42, +3.1, +310, above a millionfold just that."""
    if abs(value) >= 1e8:
        return "above +100,000,000" if value > 0 else "below -100,000,000"
    if abs(value) >= 10:
        return f"{value:+,.0f}"
    return f"{value:+.1f}" if abs(value) >= 1 else f"{float(f'{value:.2g}'):+.10f}".rstrip("0").rstrip(".")


def _signed(value: float) -> str:
    return f"{value:+.3g}"
