"""Other people on the machine: their code is not run, their links are not followed, and a group shares a study."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.acceptance.rules_file import load_rules
from agent.api.begin import begin
from agent.api.dry_run import dry_run
from agent.api.replay import replay_round
from agent.api.study import Study
from agent.cli.main import run
from agent.errors import InvalidRules, InvalidStudy, StorageError
from agent.launch import local_queue
from agent.launch.doctor.finding import Finding, Level
from agent.launch.doctor.permissions import check_permissions
from agent.ownership import other_readers, other_writers
from agent.store.disk import Disk, read_text
from agent.store.events import Resumed
from agent.store.journal import Journal, first_line
from agent.store.lease import held
from agent.store.store import Store, utc_now
from agent.store.study import Settings, load_settings, load_study
from tests.agent.orchestrator.conftest import Lab
from tests.agent.orchestrator.test_accept_rounds import rounds
from tests.agent.store.test_store import config
from trainers.files import FileProblem, open_in_place, read_json_object, read_regular, write_atomic
from trainers.manifest import file_sha256


@pytest.fixture
def somebody_else(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, all that is on disk belongs to another user than the one who runs the test."""
    return lambda: monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)


# -- code of others -----------------------------------------------------------------------------------------------


def test_code_in_a_colleagues_study_is_never_run(lab: Lab, tmp_path: Path, somebody_else: Callable[[], None]) -> None:
    ran = tmp_path / "ran"
    rules = tmp_path / "mine.py"
    rules.write_text(
        f"with open({str(ran)!r}, 'a') as s:\n    s.write('x')\ndef verdict(comparison):\n    return 'accepted'\n"
    )
    lab.tune(max_rounds=1, rules=rules)
    table = tmp_path / "rules.yaml"
    table.write_text("min_gain: 0.5\n")
    round_1, times = rounds(lab)[0], len(ran.read_text())
    assert replay_round(round_1).identical
    assert len(ran.read_text()) == times, "a replay runs no code unless it is asked to"
    assert replay_round(round_1, run_rules=True).identical and len(ran.read_text()) > times

    times = len(ran.read_text())
    somebody_else()
    assert replay_round(round_1).identical
    for act in (
        lambda: replay_round(round_1, run_rules=True),
        lambda: dry_run(lab.options(max_rounds=1)),
        lambda: lab.tune(max_rounds=1),
        lambda: Study(lab.root / "demo").tick(),
    ):
        with pytest.raises(InvalidStudy, match=r"acceptance\.py.*belongs to .*not run.*--rules a table"):
            act()
    with pytest.raises(InvalidRules, match=r"mine\.py.*belongs to .*install -m 600"):
        lab.tune(max_rounds=1, rules=rules)
    assert len(ran.read_text()) == times
    # What the messages say helps.
    assert dry_run(lab.options(max_rounds=1, rules=table)).lines
    assert len(ran.read_text()) == times


@pytest.mark.parametrize(("mode", "words"), [(0o646, "everybody may write"), (0o666, "everybody may write")])
def test_code_that_others_can_write_is_not_run(tmp_path: Path, mode: int, words: str) -> None:
    rules = tmp_path / "rules.py"
    rules.write_text("def verdict(comparison):\n    return 'accepted'\n")
    assert load_rules(rules).own is not None
    rules.chmod(mode)
    with pytest.raises(InvalidRules, match=words):
        load_rules(rules)


def test_a_group_of_one_is_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o775)
    found = tmp_path.stat()

    class Entry:
        pw_name = gr_name = "alice"
        pw_gid = found.st_gid
        gr_mem: tuple[str, ...] = ()

    monkeypatch.setattr("pwd.getpwuid", lambda uid: Entry)
    monkeypatch.setattr("grp.getgrgid", lambda gid: Entry)
    assert other_writers(found) == other_readers(tmp_path) * 0 == ""
    Entry.gr_mem = ("alice", "bob")
    assert other_writers(found) == "the group alice may write to it"
    Entry.gr_mem, Entry.pw_gid = (), found.st_gid + 1
    assert other_writers(found) == "the group alice may write to it"


# -- links and pipes where a file is written in place ----------------------------------------------------------------


def append_to_journal(path: Path) -> None:
    Journal(path, Disk(), utc_now).append(Resumed(by="a"))


def take_lease(path: Path) -> None:
    with held(path.with_suffix(".json")):
        pass


def log_of_queue(path: Path) -> None:
    os.close(local_queue.open_to_append(path))


def lock_download(path: Path) -> None:
    from trainers.resnet9.sources import _lock

    with _lock(path.parent):
        pass


WRITERS = {
    "journal.jsonl": append_to_journal,
    "lease.lock": take_lease,
    "queue.log": log_of_queue,
    ".download.lock": lock_download,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("trap", ["link", "dangling", "pipe"])
def test_nothing_is_written_through_what_others_put_there(tmp_path: Path, name: str, trap: str) -> None:
    victim = tmp_path / "victim"
    path = tmp_path / "study" / name
    path.parent.mkdir()
    if trap == "pipe":
        os.mkfifo(path)
    else:
        if trap == "link":
            victim.write_text('{"seq": 1, "at": "2026-01-01T00:00:00+00:00", "event": "study"}\n')
        path.symlink_to(victim)
    before = victim.read_text() if victim.exists() else None
    with pytest.raises((StorageError, OSError)) as caught:
        WRITERS[name](path)
    if not isinstance(caught.value, StorageError):
        assert "link" in str(caught.value) or "regular file" in str(caught.value) or name == "queue.log"
    assert (victim.read_text() if victim.exists() else None) == before


READERS = {
    "study.yaml": load_study,
    "settings.json": load_settings,
    "journal.jsonl": lambda path: Journal(path, Disk(), utc_now),
    "journal's head": first_line,
    "reference.json": read_text,
    "result.json": read_json_object,
    "manifest.json": file_sha256,
    "rows.csv": read_regular,
}


def within(action: Callable[[], object], pipe: Path) -> BaseException | None:
    """What an action raises; a test that fails must not wait at the pipe for ever."""
    raised: list[BaseException] = []

    def act() -> None:
        try:
            action()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(10)
    if thread.is_alive():
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        pytest.fail(f"{pipe} is waited for")
    return raised[0] if raised else None


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_in_place_of_a_file_of_a_study_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    said = str(within(lambda: READERS[name](path), path))
    assert name.split()[0] in said and said.count("is no regular file: remove it") == 1 and "see the" not in said


@pytest.mark.parametrize("name", ["journal.jsonl", "study.yaml", "settings.json", "stop.json", "lease.lock"])
def test_commands_do_not_wait_at_a_pipe(
    lab: Lab, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = begin(lab.options())
    store.put_settings(Settings())
    root = store.paths.root
    path = root / name
    aside = path.rename(tmp_path / name) if path.exists() else None
    os.mkfifo(path)
    codes: list[int] = []
    for command in ("status", "tick"):
        argv = [command, "--study", str(root)]
        assert within(lambda argv=argv: codes.append(run(argv)), path) is None
    path.unlink()
    if aside is not None:
        aside.rename(path)
    said = capsys.readouterr()
    if name == "stop.json":
        assert codes == [0, 0] and "stop requested" in said.out, "the kill switch stops whatever it is"
    elif name == "lease.lock":
        assert codes == [0, 2] and f"{path}: is no regular file" in said.err
    else:
        assert codes == [2, 2] and said.err.count(f"{path}: is no regular file: remove it") == 2


def test_a_device_has_no_end_and_what_a_shell_hands_over_is_read(tmp_path: Path) -> None:
    (tmp_path / "result.json").symlink_to("/dev/zero")
    with pytest.raises(FileProblem, match=r"result\.json: is no regular file"):
        read_json_object(tmp_path / "result.json")
    reading, writing = os.pipe()
    os.write(writing, b'{"given": 1}')
    os.close(writing)
    try:
        assert read_json_object(Path(f"/dev/fd/{reading}")) == {"given": 1}
    finally:
        os.close(reading)


def test_a_file_is_opened_in_place_without_being_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("kept\n")
    with open(path, "w", opener=open_in_place):
        pass
    with open(path, "ab", opener=open_in_place) as stream:
        stream.write(b"more\n")
    assert path.read_text() == "kept\nmore\n"


def test_no_trainer_or_launcher_opens_for_writing_what_a_link_may_replace() -> None:
    """Of whoever adds a file: either a new one (mode x), or through `open_in_place`."""
    import re

    root = Path(__file__).parents[3]
    allowed = {root / "agent/launch/doctor/trial.py"}  # in a folder of its own, with no permission for others
    found = []
    for path in [*(root / "agent").rglob("*.py"), *(root / "trainers").rglob("*.py")]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            risky = re.search(r"""open\([^)]*["'](?:[wa]b?\+?|r\+b?)["']|\.write_text\(|\.touch\(|O_TRUNC""", line)
            safe = "opener=" in line or "open_to_append(" in line or "O_TRUNC)" in line
            if risky and not safe and path not in allowed:
                found.append(f"{path.relative_to(root)}:{number}: {line.strip()}")
    assert [line for line in found if "frozen.write_text" not in line] == []  # doctor's, in a temporary folder


# -- modes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def umask_002() -> Iterator[None]:
    before = os.umask(0o002)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_private_files_are_private_from_the_start_and_the_rest_follows_the_umask(
    tmp_path: Path, umask_002: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    link = os.replace
    monkeypatch.setattr("os.replace", lambda a, b: (made.append(mode(Path(a))), link(a, b))[1])
    disk = Disk()
    disk.make_folder(tmp_path / "new" / "calls", private=True)
    disk.write_json(tmp_path / "new" / "aliases.json", {}, private=True)
    disk.write_json(tmp_path / "new" / "round.json", {})
    disk.append(tmp_path / "new" / "journal.jsonl", "{}")
    with held(tmp_path / "new" / "lease.json"):
        pass
    modes = {path.name: mode(path) for path in (tmp_path / "new").iterdir()}
    private = {"calls": 0o700, "aliases.json": 0o600}
    assert modes == private | {"round.json": 0o664, "journal.jsonl": 0o664, "lease.lock": 0o664}
    assert mode(tmp_path / "new") == 0o775 and made[0] == 0o600


@pytest.mark.parametrize(("there", "then"), [(0o640, 0o640), (0o660, 0o660), (0o644, 0o600), (0o600, 0o600)])
def test_who_opened_a_private_file_to_their_group_has_done_so(tmp_path: Path, there: int, then: int) -> None:
    path = tmp_path / "aliases.json"
    path.write_text("old")
    path.chmod(there)
    write_atomic(path, "new", private=True)
    assert mode(path) == then and path.read_text() == "new"


ALICE, BOB, TEAM = 64101, 64102, 64103


def as_user(user: int, umask: int, act: Callable[[], None]) -> None:
    """Run `act` in a child process as another user of the group TEAM."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([TEAM])
            os.setgid(TEAM)
            os.setuid(user)
            os.umask(umask)
            act()
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_two_users_of_a_group_go_on_with_the_same_study(capfd: pytest.CaptureFixture[str]) -> None:
    shared = Path(tempfile.mkdtemp(prefix="roundtable-shared-"))  # pytest's own folders are its user's alone
    try:
        os.chown(shared, ALICE, TEAM)
        shared.chmod(0o2775)
        root = shared / "s"

        def begin() -> None:
            with held(Store.create(root, config(), reference="{}").paths.lease):
                Store.open(root).journal.append(Resumed(by="alice"))
            Disk().write_json(root / "aliases.json", {}, private=True)

        def go_on() -> None:
            store = Store.open(root)
            with held(store.paths.lease):
                store.journal.append(Resumed(by="bob"))
                store.disk.write_json(root / "settings.json", {})
            with pytest.raises(InvalidStudy, match=r"only user 64101 may read it.*chmod g\+rw"):
                store.record(root / "aliases.json")

        def look() -> None:
            assert [one.by for one in Store.open(root).journal.of(Resumed)] == ["alice", "bob"]
            Store.open(root).journal.append(Resumed(by="alice"))

        Store.create(shared / "first", config(), reference="{}")  # imports what those below need
        as_user(ALICE, 0o002, begin)
        as_user(BOB, 0o002, go_on)
        as_user(ALICE, 0o002, look)

        def narrow() -> None:
            root.joinpath("journal.jsonl").chmod(0o644)

        def refused() -> None:
            with pytest.raises(StorageError, match=r"belongs to user 64101.*chmod -R g\+rwX .*umask 002"):
                Store.open(root).journal.append(Resumed(by="bob"))

        as_user(ALICE, 0o002, narrow)
        as_user(BOB, 0o002, refused)
    finally:
        shutil.rmtree(shared)
    assert "Traceback" not in capfd.readouterr().err


# -- doctor ----------------------------------------------------------------------------------------------------------


def of(findings: list[Finding], part: str) -> Finding:
    return next(finding for finding in findings if part in f"{finding.looked_at} {finding.found}")


def test_doctor_looks_at_who_may_read_keys_and_exchanges(tmp_path: Path, somebody_else: Callable[[], None]) -> None:
    root = tmp_path / "it's a study"
    (root / "round_2_20260101_000000" / "calls").mkdir(parents=True)
    (root / "aliases.json").write_text("{}")
    (root / "acceptance.py").write_text("")
    (tmp_path / ".env").write_text("OPENAI_API_KEY=x\n")
    (tmp_path / ".env").chmod(0o644)
    for path in (root, root / "acceptance.py"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    found = check_permissions(root, study=True, here=tmp_path)
    assert {finding.level for finding in found} == {Level.OK, Level.WARNING}
    assert of(found, ".env").change == f"chmod 600 {tmp_path}/.env"
    for finding in found:
        if finding.change.startswith("chmod"):
            subprocess.run(["sh", "-c", finding.change], check=True)
    root.chmod(0o757)
    (root / "acceptance.py").chmod(0o664 | 0o002)
    again = check_permissions(root, study=True, here=tmp_path)
    assert of(again, ".env").level is Level.OK and "exchanges" not in str(again)
    assert of(again, "everybody may write to it, and replace").change.startswith("chmod o-w")
    assert of(again, "is code").level is Level.PROBLEM
    root.chmod(0o755)
    somebody_else()
    strange = check_permissions(root, study=True, here=tmp_path)
    assert "belongs to" in of(strange, ".env").found and "not run" in of(strange, "is code").found
