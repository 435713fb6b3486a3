"""What the numbers of trials and rounds say, by rules: flags with their evidence, for people, proposers and agents.

Pure apart from `read_epochs`. Standard library only.
"""

from agent.diagnosis.epochs import EpochTable, read_epochs
from agent.diagnosis.flag import Flag
from agent.diagnosis.flags import FLAGS
from agent.diagnosis.rounds import analyse_round, newest_trials
from agent.diagnosis.trial import analyse_trial
from agent.diagnosis.weakness import fold_outliers, weak_classes

__all__ = [
    "FLAGS",
    "EpochTable",
    "Flag",
    "analyse_round",
    "analyse_trial",
    "fold_outliers",
    "newest_trials",
    "read_epochs",
    "weak_classes",
]
