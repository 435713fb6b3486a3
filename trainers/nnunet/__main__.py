"""nnU-Net's own commands with the configurable trainer class:

    python -m trainers.nnunet train   4 3d_fullres 0 -tr nnUNetTrainerRoundtable
    python -m trainers.nnunet predict -i IN -o OUT -d 4 -c 3d_fullres -tr nnUNetTrainerRoundtable

The arguments after the first are those of nnUNetv2_train and nnUNetv2_predict; NNUNET_HP_REF names the reference that
`train` obeys. Trials of a study do not come this way: trainers.job calls trainers.nnunet.train.
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Run one of nnU-Net's entry points. Returns the exit code."""
    if not arguments or arguments[0] not in ("train", "predict"):
        sys.stderr.write("usage: python -m trainers.nnunet {train,predict} ARGUMENTS (as nnUNetv2_train, _predict)\n")
        return 2
    from nnunetv2.inference.predict_from_raw_data import predict_entry_point
    from nnunetv2.run.run_training import run_training_entry

    from trainers.nnunet.predict import class_found

    sys.argv = [f"python -m trainers.nnunet {arguments[0]}", *arguments[1:]]
    with class_found():
        (run_training_entry if arguments[0] == "train" else predict_entry_point)()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
