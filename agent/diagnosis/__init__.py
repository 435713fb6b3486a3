"""What the numbers of trials and rounds say, by rules: flags with their evidence, for people, proposers and agents.

Pure apart from `read_epochs`. Standard library only.
"""

from agent.diagnosis.epochs import EpochTable, read_epochs
from agent.diagnosis.flags import FLAGS, Flag
from agent.diagnosis.rounds import analyse_round
from agent.diagnosis.trial import analyse_trial
from agent.diagnosis.weakness import fold_outliers, weak_classes

__all__ = [
    "FLAGS",
    "EpochTable",
    "Flag",
    "analyse_round",
    "analyse_trial",
    "fold_outliers",
    "read_epochs",
    "weak_classes",
]
