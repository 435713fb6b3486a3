"""Contexts to render: an ordinary one, and one whose every free value tries to break out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from agent.launch.profile import Profile, Resources, default_profile
from agent.launch.render import Rendered, render_round
from trainers.layout import RoundFiles
from trainers.manifest import Manifest, Row

HOSTILE = 'it\'s "quoted" $(touch pwned) `id` 100% %A ünï日本 #x; & | > * ? ~ \u2019'


def a_manifest(*, candidates: int = 3, folds: int = 2, **changes: object) -> Manifest:
    names = [f"c{number:02d}" for number in range(candidates)]
    trials = [(name, fold) for name in names for fold in range(folds)]
    manifest = Manifest(
        study="digits",
        task="digits",
        trainer="resnet9",
        round=2,
        objective="accuracy",
        direction="maximize",
        folds=folds,
        epochs=8,
        data={},
        cpus=1,
        gpus=0,
        candidates=dict.fromkeys(names, "0" * 64),
        rows=tuple(Row(row=n, candidate=name, fold=fold, seed=0) for n, (name, fold) in enumerate(trials)),
    )
    return replace(manifest, **changes)  # type: ignore[arg-type]


def rendered_round(root: Path, profile: Profile, manifest: Manifest | None = None, **changes: object) -> Rendered:
    arguments: dict[str, object] = {
        "slug": "digits",
        "round": 2,
        "manifest": manifest or a_manifest(),
        "profile": profile,
        "python": Path("/opt/training/bin/python"),
        "import_root": None,
    }
    return render_round(RoundFiles(root), **(arguments | changes))  # type: ignore[arg-type]


def plain() -> Rendered:
    return rendered_round(Path("/scratch/alice/runs/digits/round_2_20260101T000000"), default_profile())


def requeue() -> Rendered:
    profile = Profile(time="02:00:00", requeue_on_timeout=True)
    return rendered_round(Path("/scratch/alice/runs/digits/round_2_20260101T000000"), profile)


def with_test_data() -> Rendered:
    """Models that run on test data: an evaluation of each candidate, with what the training has."""
    profile = Profile(partition="gpu", gpus=1, cpus=8, time="02:00:00")
    manifest = a_manifest(use_test=True, evaluation="array")
    return rendered_round(Path("/scratch/alice/runs/digits/round_2_t"), profile, manifest)


def prepared() -> Rendered:
    """A trainer whose trials share data that a job prepares before the array."""
    profile = Profile(partition="gpu", gpus=1, cpus=8, prepare=Resources(partition="cpu", cpus=16))
    return rendered_round(Path("/scratch/alice/runs/digits/round_2_p"), profile, a_manifest(trainer="nnunet"))


def hostile() -> Rendered:
    profile = Profile(
        partition="gpu",
        account=HOSTILE,
        gres="gpu:a100:2",
        cpus=8,
        mem="32G",
        time="1-12:00:00",
        max_parallel=4,
        setup=("module load cuda/12.4", 'export SITE="$HOME/site"\t# kept as it stands'),
        env={"HOSTILE": HOSTILE, "EMPTY": ""},
        extra={"comment": HOSTILE + " back\\slash", "exclusive": True},
        eval=Resources(gpus=0, time="30"),
    )
    return rendered_round(
        Path(f"/scratch/{HOSTILE}/round_2"),
        profile,
        a_manifest(study=HOSTILE, trainer="mine", trainer_file="trainer.json"),
        python=Path(f"/opt/{HOSTILE}/bin/python"),
        import_root=Path(f"/src/{HOSTILE}"),
    )
