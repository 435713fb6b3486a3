"""One round, step by step, from disk: `tick` does as much as it can now and returns."""

from agent.orchestrator.context import Report, StepResult, Tools, Work
from agent.orchestrator.engine import tick

__all__ = ["Report", "StepResult", "Tools", "Work", "tick"]
