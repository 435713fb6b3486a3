"""From a round's manifest and a profile to its scripts: pure, the caller writes what is returned.

train_T_roundN.sh ROW [ATTEMPT] holds the job's body once; train_T_roundN.slurm is a header, the index lookup and that
script. eval_T_roundN.{sh,slurm} are the same for the evaluation: one task for all candidates, or one each where
models run on test data.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import resources
from agent.errors import InvalidPlugin, InvalidScript, InvalidTrainer
from agent.launch.base import SlurmSettings
from agent.launch.environment import secret_pattern
from agent.launch.lint import lint_script
from agent.launch.options import log_pattern, quote_value
from agent.launch.profile import REQUEUES, Kind, Profile
from agent.launch.profile_checks import unsafe_characters
from agent.launch.states import chunks, compact, offset_for
from agent.launch.training import job_module
from agent.pasteable import quoted
from trainers.layout import RoundFiles
from trainers.manifest import Manifest
from trainers.plugins import PluginProblem
from trainers.registry import RegisteredTrainer, registered, trainer_names

PREPARE_JOB, TRAIN_JOB = "P", "J"
"""Shell variables that keep a job's id in the lines for a person."""


@dataclass(frozen=True, kw_only=True)
class Array:
    """The scripts of one kind of task and what its array looks like."""

    kind: Kind
    script: Path
    """The body: `bash script ITEM [ATTEMPT]`."""
    array_script: Path | None
    """The .slurm around it, None when no array scripts were asked for."""
    count: int
    """Tasks: rows (train), one (prepare, eval) or candidates (eval that tests models); items are 0 to count - 1."""
    parallel: int | None
    """At most so many at a time."""
    clusters: bool = False
    """Whether the profile names `clusters`: then sbatch --parsable prints "ID;CLUSTER"."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A round's scripts. `texts` holds every file to write, in no order that matters."""

    texts: Mapping[Path, str]
    train: Array
    evaluation: Array
    preparation: Array | None = None
    """Only where the trainer prepares data that all trials share."""


class Quoted(str):
    """Text that a filter made safe for where it stands; the only kind a template may put out."""


def render_round(
    files: RoundFiles,
    *,
    slug: str,
    round: int,
    manifest: Manifest,
    profile: Profile,
    python: Path,
    import_root: Path | None,
    slurm: bool = True,
    template: str | None = None,
    secrets: Iterable[str] = (),
) -> Rendered:
    """The scripts of one round.

    files.root and python must be absolute; slug is the task's name as file names have it. import_root is the folder
    that holds the `trainers` package when Roundtable runs from a checkout, else None. slurm: also the array scripts.
    template: a folder of templates/slurm instead of the trainer's own. secrets: variables that a person named for
    keys, which no task keeps, whoever submits the scripts.

    Raises InvalidScript (a value that may not stand in a script, or a lint problem) and InvalidTrainer (an
    unknown trainer). Writes nothing.
    """
    _check_values(files, slug=slug, python=python, import_root=import_root, manifest=manifest)
    folder = _template_folder(manifest, template)
    environment = _environment(resources.templates() / "slurm")
    texts: dict[Path, str] = {}
    arrays: dict[Kind, Array] = {}
    together = manifest.evaluation == "job"
    counts: list[tuple[Kind, str, int]] = [
        ("train", "ROW", len(manifest.rows)),
        ("eval", "0" if together else "POSITION", len(manifest.evaluation_items())),
    ]
    if prepares(manifest):
        counts.append(("prepare", "0", 1))
    for kind, item, count in counts:
        stem = f"{kind}_{slug}_round{round}"
        script, array_script = files.root / f"{stem}.sh", files.root / f"{stem}.slurm"
        resources_of_kind = profile.resources(kind, inference=not together)
        context = {
            "array_name": array_script.name,
            "count": count,
            "cpus": resources_of_kind.cpu_count,
            "env": tuple(profile.variables(kind).items()),
            "import_root": import_root,
            "item": item,
            "job": job_module(import_root),
            "last": count - 1,
            "python": python,
            "requeues": REQUEUES if kind == "train" and profile.requeue_on_timeout else 0,
            "round": round,
            "round_dir": files.root,
            "script": script,
            "secrets": secret_pattern(secrets),
            "script_name": script.name,
            "setup": profile.setup,
            "study": manifest.study,
            "together": together,
        }
        texts[script] = _render(environment, f"{folder}/{kind}.sh.j2", context, script)
        array = Array(
            kind=kind,
            script=script,
            array_script=array_script if slurm else None,
            count=count,
            parallel=resources_of_kind.max_parallel,
            clusters=any(name == "clusters" for name, _ in profile.settings("train").directives),
        )
        if slurm:
            settings = profile.settings(kind, inference=not together)
            context["directives"] = _header(files, stem, array, settings)
            texts[array_script] = _render(environment, "base_array.slurm.j2", context, array_script)
        arrays[kind] = array
    _lint(texts)
    return Rendered(texts=texts, train=arrays["train"], evaluation=arrays["eval"], preparation=arrays.get("prepare"))


def prepares(manifest: Manifest) -> bool:
    """Whether this round's trainer prepares data that all trials share."""
    if manifest.trainer_file is not None:
        return False
    trainer = _registered(manifest)
    return trainer is not None and trainer.preparer is not None


def _registered(manifest: Manifest) -> RegisteredTrainer | None:
    try:
        return registered(manifest.trainer)
    except PluginProblem as error:
        raise InvalidPlugin(str(error)) from error


def _header(files: RoundFiles, stem: str, array: Array, settings: SlurmSettings) -> list[tuple[str, str | None]]:
    """The #SBATCH lines: what each submission may override on its command line, then the profile's settings."""
    own = [
        ("job-name", stem),
        ("array", array_range(0, array.count - 1, array.parallel)),
        ("output", log_pattern(str(files.logs))),
        ("export", "ALL"),
    ]
    return [*own, *settings.directives]


def array_range(first: int, last: int, parallel: int | None) -> str:
    """sbatch's --array value: "0-7%4", or "3" for a single index without a limit."""
    indices = f"{first}-{last}" if last > first else f"{first}"
    return f"{indices}%{parallel}" if parallel else indices


def manual_commands(
    rendered: Rendered,
    *,
    slurm: bool,
    max_array_size: int | None = None,
    shell: Mapping[str, str] | None = None,
    rows: Sequence[int] | None = None,
    evaluate: Sequence[int] | None = None,
    prepared: bool = False,
) -> list[str]:
    """The lines a person runs, in order, in bash: pasted as they stand, the evaluation waits for the training.

    max_array_size: SLURM's MaxArraySize or the profile's cap, whichever is smaller; larger arrays become several
    lines with an offset. shell: the person's environment, to say which SBATCH_* variables beat the header. rows,
    evaluate: the rows to train and the items of the evaluation; None for all. prepared: whether the data that all
    trials share is ready.
    """
    train = range(rendered.train.count) if rows is None else rows
    evaluated = range(rendered.evaluation.count) if evaluate is None else evaluate
    preparation = rendered.preparation if train and not prepared else None
    if not slurm:
        first = _local_lines(preparation, range(1)) if preparation is not None else []
        return [*first, *_local_lines(rendered.train, train), *_local_lines(rendered.evaluation, evaluated)]
    # Measured: SBATCH_TIMELIMIT beats #SBATCH --time, silently.
    leaking = sorted(name for name in shell or {} if name.startswith("SBATCH_"))
    lines = [f"unset {' '.join(leaking)}  # they would beat the scripts' own settings"] if leaking else []
    before: list[str] = []
    if preparation is not None:
        made, before = _numbered(_submissions(preparation, range(1), None, after=()), PREPARE_JOB)
        lines += made
    made, jobs = _numbered(_submissions(rendered.train, train, max_array_size, after=before), TRAIN_JOB)
    return [*lines, *made, *_submissions(rendered.evaluation, evaluated, max_array_size, after=jobs)]


def _submissions(array: Array, items: Sequence[int], limit: int | None, *, after: Sequence[str]) -> list[str]:
    """sbatch lines for these items, as many as the limit needs. after: shell variables with the ids to wait for."""
    if array.array_script is None:
        raise ValueError("no array scripts were rendered")
    largest = None if limit is None else limit - 1
    parts = chunks(items, largest, max_tasks=limit) if items else []
    lines = []
    for place, part in enumerate(parts):
        offset = offset_for(part, largest)
        # Several arrays share the throttle, as far as each needs one task at a time.
        parallel = array.parallel
        if parallel is not None:
            parallel = max(1, parallel // len(parts) + (place < parallel % len(parts)))
        throttle = f"%{parallel}" if parallel else ""
        words = ["sbatch", f"--array={compact(item - offset for item in part)}{throttle}"]
        if after:
            # afterany: the evaluation counts what failed, where afterok would wait for ever.
            ids = [f"${{{name}%%;*}}" if array.clusters else f"${name}" for name in after]
            words.append(f"--dependency=afterany:{':'.join(ids)}")
        words.append(quoted(array.array_script))
        lines.append(" ".join(words + ([str(offset)] if offset else [])))
    return lines


def _numbered(lines: Sequence[str], variable: str) -> tuple[list[str], list[str]]:
    """sbatch lines that keep their job's id in a shell variable each, and the variables."""
    names = [variable] if len(lines) == 1 else [f"{variable}{number}" for number in range(1, len(lines) + 1)]
    kept = [
        f"{name}=$(sbatch --parsable {line.removeprefix('sbatch ')})" for name, line in zip(names, lines, strict=True)
    ]
    return kept, names


def _local_lines(array: Array, items: Sequence[int]) -> list[str]:
    script = quoted(array.script)
    if len(items) < 2:
        return [f"bash {script} {item}" for item in items]
    listed = f"{{0..{items[-1]}}}" if list(items) == list(range(items[-1] + 1)) else " ".join(map(str, items))
    return [f'for item in {listed}; do bash {script} "$item"; done']


def _template_folder(manifest: Manifest, template: str | None) -> str:
    if template is not None:
        return template
    if manifest.trainer_file is not None:
        return "command"
    if (trainer := _registered(manifest)) is not None:
        return trainer.template
    message = f"is not a trainer that is installed; there are: {', '.join(trainer_names())}"
    raise InvalidTrainer.at("manifest", message, where="trainer", value=repr(manifest.trainer))


def _check_values(
    files: RoundFiles, *, slug: str, python: Path, import_root: Path | None, manifest: Manifest
) -> None:
    found: list[tuple[str, object, str]] = []
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", slug):
        found.append(("slug", slug, "must be letters, digits, _ . and -, at most 100"))
    if not manifest.rows or not manifest.candidates:
        found.append(("rows", len(manifest.rows), "a round has at least one candidate and one row"))
    for where, path in (("round folder", files.root), ("python", python), ("import root", import_root)):
        if path is None:
            continue
        if not path.is_absolute():
            found.append((where, path, "must be an absolute path: tasks start in another folder"))
        if bad := unsafe_characters(str(path)):
            found.append((where, path, f"{bad}; choose another folder"))
    if import_root is not None and ":" in str(import_root):
        found.append(("import root", import_root, "holds a colon, which PYTHONPATH takes for a separator"))
    try:
        log_pattern(str(files.logs))
    except ValueError as error:
        found.append(("round folder", files.root, str(error)))
    if found:
        raise InvalidScript.of("scripts", ((where, ascii(str(v)), message) for where, v, message in found))


def _lint(texts: Mapping[Path, str]) -> None:
    problems = [
        problem
        for path, text in texts.items()
        for problem in lint_script(text, name=path.name, kind="slurm" if path.suffix == ".slurm" else "bash")
    ]
    if problems:
        raise InvalidScript(problems)


@functools.cache
def _environment(folder: Path) -> Any:
    """Jinja's, which keeps compiled templates and looks whether their files changed: compiling them anew for each
    round was half of what rendering costs."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_only_quoted,
    )
    environment.filters.update(q=_q, comment=_comment, variable=_variable, shell_line=_shell_line, sbatch=_sbatch)
    return environment


def render_script(template: str, context: Mapping[str, object], script: Path) -> str:
    """A bash script of templates/slurm that belongs to no round. Raises InvalidScript. Writes nothing."""
    text = _render(_environment(resources.templates() / "slurm"), template, context, script)
    if problems := lint_script(text, name=script.name, kind="bash"):
        raise InvalidScript(problems)
    return text


def _render(environment: Any, name: str, context: Mapping[str, object], script: Path) -> str:
    from jinja2 import TemplateError, TemplateNotFound

    try:
        return str(environment.get_template(name).render(context))
    except TemplateNotFound as error:
        message = f"there is no template {error}: the installation is incomplete, or the folder's name misspelled"
        raise InvalidScript.at(script.name, message, where="template", value=name) from error
    except (TemplateError, ValueError) as error:
        raise InvalidScript.at(script.name, str(error), where="template", value=name) from error


def _only_quoted(value: object) -> Quoted:
    """Called by Jinja with whatever a template puts out."""
    if not isinstance(value, Quoted):
        raise ValueError(f"a template puts out {ascii(value)[:80]} without a quoting filter such as q")
    return value


def _safe(value: object) -> str:
    if not isinstance(value, str | int | Path) or isinstance(value, bool):
        # str(), because that of a variable nobody set raises and names it.
        raise ValueError(f"{ascii(str(value))[:80]} is no text, number or path")
    if bad := unsafe_characters(str(value)):
        raise ValueError(f"{ascii(str(value))[:80]} {bad}")
    return str(value)


def _q(value: object) -> Quoted:
    """One shell word."""
    return Quoted(shlex.quote(_safe(value)))


def _comment(value: object) -> Quoted:
    """Text inside a comment line."""
    return Quoted(_safe(value))


def _variable(value: object) -> Quoted:
    """The name of a shell variable."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", _safe(value)):
        raise ValueError(f"{ascii(value)[:80]} is not a variable's name")
    return Quoted(value)


def _shell_line(value: object) -> Quoted:
    """A person's own shell line, verbatim."""
    if not isinstance(value, str):
        raise ValueError(f"{ascii(value)[:80]} is no shell line")
    _safe(value.replace("\t", " "))
    return Quoted(value)


def _sbatch(value: object) -> Quoted:
    """A (name, value or None) pair as one #SBATCH line has it after the dashes."""
    if not isinstance(value, tuple) or len(value) != 2 or not re.fullmatch(r"[a-z][a-z-]*", str(value[0])):
        raise ValueError(f"{ascii(value)[:80]} is not a pair of a long option and its value")
    name, text = value
    return Quoted(name if text is None else f"{name}={quote_value(_safe(text))}")
