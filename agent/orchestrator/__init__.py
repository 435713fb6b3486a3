"""One round, step by step, from disk: `tick` does as much as it can now and returns."""

from agent.orchestrator.engine import tick
from agent.orchestrator.work import Report, StepResult, Tools, Work

__all__ = ["Report", "StepResult", "Tools", "Work", "tick"]
