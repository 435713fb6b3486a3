"""The Python face of Roundtable: `tune(...)` runs rounds, `Study` reads and drives one.

from agent.api import TuneOptions, tune
outcome = tune(TuneOptions(task="digits", trainer="resnet9", auto_train=True, max_iterations=3))
"""

from agent.api.options import TuneOptions
from agent.api.run import Outcome, tick_once, tune
from agent.api.runs import Run, Trial
from agent.api.study import State, Study

__all__ = ["Outcome", "Run", "State", "Study", "Trial", "TuneOptions", "tick_once", "tune"]
