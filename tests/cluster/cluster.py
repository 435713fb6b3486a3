"""A private SLURM: its own munge, MariaDB, slurmdbd, slurmctld and slurmd, on free ports of 127.0.0.1.

    with Cluster(ClusterConfig(nodes=2)) as cluster:
        cluster.run(["sbatch", "--wrap", "true"])

Nothing is written outside the state directory (but step cgroups and a lock with `cgroup_memory`) and no cluster that
is already there is touched. Every daemon runs in the foreground as a child of this process, so its pid is known;
`stop()` ends them, the steps they started and the directory. When this process dies without calling `stop()`, a
watchdog does the same (see processes.py).
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

from tests.cluster import processes, programs
from tests.cluster.config import CLUSTER_NAME, ClusterConfig, StatePaths
from tests.cluster.daemon import Daemon
from tests.cluster.state import reserve_ports, write_state

T = TypeVar("T")

START_LIMIT_S = 60.0
#: A cluster with cgroups stands for as long as the tests of one file take.
CGROUPS_LIMIT_S = 600.0
CGROUPS_LOCK = Path(tempfile.gettempdir()) / "rt-slurm-cgroups.lock"
# Variables that change what SLURM's programs do or which cluster they ask.
SLURM_PREFIXES = (
    "SLURM_",
    "SBATCH_",
    "SRUN_",
    "SALLOC_",
    "SQUEUE_",
    "SACCT_",
    "SINFO_",
    "SCONTROL_",
    "SCANCEL_",
)


class ClusterError(Exception):
    """The test cluster cannot start, or did not do in time what was waited for."""


class Cluster:
    """One private SLURM. `start()` or a `with` block starts it; it starts once."""

    def __init__(self, config: ClusterConfig | None = None, *, base: Path | None = None) -> None:
        """base: an existing directory for the state directory; the system's temporary directory when None."""
        self.config = config or ClusterConfig()
        self._base = base or Path(tempfile.gettempdir())
        self._paths: StatePaths | None = None
        self._daemons: dict[str, Daemon] = {}
        self._reserved: list[socket.socket] = []
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._cgroups: IO[str] | None = None

    # -- what is needed ---------------------------------------------------------------------------------------------

    @staticmethod
    def missing(config: ClusterConfig | None = None) -> list[str]:
        """What this machine lacks for such a cluster, each with its remedy; empty when it can start."""
        return programs.missing(config or ClusterConfig())

    # -- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts everything and returns once all nodes are idle.

        Raises ClusterError with the tails of the daemons' logs; whatever had started is ended before.
        """
        if self._paths is not None:
            raise ClusterError("this cluster was started before; make a new one")
        if problems := self.missing(self.config):
            raise ClusterError("; ".join(problems))
        atexit.register(self.stop)
        try:
            if self.config.cgroup_memory:
                self._take_cgroups()
            self._start()
        except BaseException:
            self.stop()
            raise

    def _take_cgroups(self) -> None:
        """Waits until no other test cluster has cgroups: their names come from the nodes' alone."""
        deadline = time.monotonic() + CGROUPS_LIMIT_S
        with contextlib.ExitStack() as opened:
            lock = opened.enter_context(CGROUPS_LOCK.open("a"))
            while not self._cgroups_are_free(lock):
                if time.monotonic() > deadline:
                    raise ClusterError("another cluster with cgroups uses the same node names on this machine")
                time.sleep(0.2)
            self._cgroups = lock
            opened.pop_all()

    def _cgroups_are_free(self, lock: IO[str]) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return not any(list(path.glob("uid_*")) for path in programs.node_cgroups(self.config))

    def _leave_cgroups(self) -> None:
        if self._cgroups is not None:
            programs.remove_cgroups(self.config)
            self._cgroups.close()
            self._cgroups = None

    def _start(self) -> None:
        root = Path(tempfile.mkdtemp(prefix="rt-slurm-", dir=self._base.resolve()))
        try:
            self._paths = paths = StatePaths(root)
        except ValueError as error:
            root.rmdir()
            raise ClusterError(str(error)) from error
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", processes.__file__, str(paths.root)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        ports, self._reserved = reserve_ports(self.config)
        write_state(self.config, paths, ports)
        self._start_daemon("munged", programs.munged(paths), self._munge_answers)
        if self.config.accounting:
            self._start_accounting(paths)
        self._start_daemon("slurmctld", ["slurmctld", "-D"], self._controller_answers)
        for node in self.config.node_names:
            self._start_daemon(f"slurmd-{node}", ["slurmd", "-D", "-N", node], None)
        self._await("all nodes idle", self._nodes_idle)

    def stop(self) -> None:
        """Ends every process of the cluster and removes its directory. Harmless when repeated.

        Raises ClusterError when a process survives even SIGKILL.
        """
        atexit.unregister(self.stop)
        if self._paths is None or not self._paths.root.exists():
            self._leave_cgroups()
            return
        # Those who would wait for another daemon go before it: slurmctld flushes to slurmdbd, slurmdbd to MariaDB.
        for daemon in reversed(self._daemons.values()):
            daemon.end(patience_s=3.0)
        left = processes.end_all(self._paths.root, patience_s=0.0)
        self._leave_cgroups()
        for reserved in self._reserved:
            reserved.close()
        processes.remove_state(self._paths.root)
        if self._watchdog is not None:
            self._watchdog.communicate()
        if left:
            raise ClusterError(f"still running after SIGKILL: {left}")

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- use --------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> Path:
        """The private state directory."""
        if self._paths is None:
            raise ClusterError("the cluster was not started")
        return self._paths.root

    @property
    def slurm_conf(self) -> Path:
        return self.state / "slurm.conf"

    @property
    def daemons(self) -> tuple[str, ...]:
        """Names for pause, resume and restart, in starting order."""
        return tuple(self._daemons)

    def pid(self, daemon: str) -> int | None:
        """Process id of a daemon; None while it does not run."""
        return self._daemon(daemon).pid

    def environment(self) -> dict[str, str]:
        """This process's environment without its own SLURM settings, with those that reach the cluster."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(SLURM_PREFIXES)}
        return {**kept, "SLURM_CONF": str(self.slurm_conf)}

    @contextlib.contextmanager
    def exported(self) -> Iterator[None]:
        """`os.environ` reaches the cluster inside the block and is restored after it.

        Raises ClusterError when SLURM_CONF is set: it may be a person's real cluster, which is not overruled.
        """
        if standing := os.environ.get("SLURM_CONF"):
            raise ClusterError(f"SLURM_CONF={standing} is set; unset it to let a test cluster take its place")
        removed = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(SLURM_PREFIXES)}
        os.environ["SLURM_CONF"] = str(self.slurm_conf)
        try:
            yield
        finally:
            del os.environ["SLURM_CONF"]
            os.environ.update(removed)

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = False,
        timeout: float = 60.0,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program against the cluster. env: further variables. check: ClusterError on a failure."""
        done = subprocess.run(
            list(argv),
            env={**self.environment(), **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise ClusterError(f"{' '.join(argv)}: return code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def wait_for(self, predicate: Callable[[], T], timeout: float = 60.0, *, interval: float = 0.1) -> T:
        """Polls until `predicate` is true and returns its value; ClusterError with the queue after `timeout` s."""
        deadline = time.monotonic() + timeout
        while not (value := predicate()):
            if time.monotonic() > deadline:
                queue = self.run(["squeue", "-r", "-t", "all"]).stdout
                raise ClusterError(
                    f"{getattr(predicate, '__name__', predicate)}: not true after {timeout} s\n{queue}"
                )
            time.sleep(interval)
        return value

    def _queue(self) -> str:
        try:
            return self.run(["squeue", "-r", "-t", "all"], timeout=5).stdout
        except subprocess.TimeoutExpired:
            return "(squeue does not answer)"

    def wait_for_jobs(self, timeout: float = 60.0) -> None:
        """Waits until no job is pending, running or completing."""

        def queue_empty() -> bool:
            return self.run(["squeue", "-h"], check=True).stdout == ""

        self.wait_for(queue_empty, timeout)

    def drain(self, timeout: float = 30.0) -> None:
        """Cancels all jobs and waits until they are gone."""
        self.run(["scancel", "--user=root"], check=True)
        self.wait_for_jobs(timeout)

    def processes(self) -> list[processes.Process]:
        """Every living process of the cluster: daemons, step daemons, jobs."""
        return processes.cluster_processes(self.state)

    def pause(self, daemon: str) -> None:
        """Freezes a daemon (SIGSTOP): its port still accepts, nothing answers."""
        self._daemon(daemon).signal(signal.SIGSTOP)

    def resume(self, daemon: str) -> None:
        """Lets a paused daemon go on (SIGCONT)."""
        self._daemon(daemon).signal(signal.SIGCONT)

    def kill(self, daemon: str) -> None:
        """Ends a daemon at once (SIGKILL), as a crashed machine would; `restart` brings it back."""
        self._daemon(daemon).end(patience_s=0.0)

    def halt(self, daemon: str) -> None:
        """Ends a daemon as an administrator would (SIGTERM), so that it saves its state; `restart` brings it back."""
        self._daemon(daemon).end(patience_s=30.0)

    def save_state(self, job_id: str, timeout: float = 60.0) -> None:
        """Waits until slurmctld has saved all that happened so far; it does so seconds after a change of this job.

        Killed before, it comes back without the jobs it started since, and slurmd ends those as unknown.
        """
        saved = self.state / "slurmctld" / "job_state"
        before = saved.stat().st_mtime_ns if saved.exists() else 0
        self.run(["scontrol", "update", f"JobId={job_id}", "Comment=changed"], check=True)
        self.wait_for(lambda: saved.exists() and saved.stat().st_mtime_ns > before, timeout)

    def lose(self, node: str) -> None:
        """A node loses its power: slurmd, step daemons and jobs end at once. `restart` brings its slurmd back."""
        self.kill(f"slurmd-{node}")
        for process in processes.node_processes(self.state, node):
            processes.send(process, signal.SIGKILL)

    def restart(self, daemon: str) -> None:
        """Ends a daemon and starts it again with its state; returns once it answers."""
        found = self._daemon(daemon)
        found.end(patience_s=5.0)
        found.start()
        self._await(f"{daemon} answering after its restart", found.answers or self._nodes_idle)

    def log_tails(self, lines: int = 12) -> str:
        """The ends of all daemons' logs."""
        return "\n".join(daemon.log_tail(lines) for daemon in self._daemons.values())

    def _daemon(self, name: str) -> Daemon:
        if name not in self._daemons:
            raise ClusterError(f"no daemon {name!r}; there are {', '.join(self._daemons)}")
        return self._daemons[name]

    # -- starting, piece by piece -----------------------------------------------------------------------------------

    def _start_accounting(self, paths: StatePaths) -> None:
        install = programs.mariadb_install(paths)
        self.run(install, check=True, env={"PATH": programs.DAEMON_PATH})
        self._start_daemon("mariadbd", programs.mariadbd(paths), lambda: _accepts(paths.database_socket))
        add = ["sacctmgr", "-i", "add", "cluster", CLUSTER_NAME]
        self._start_daemon("slurmdbd", ["slurmdbd", "-D"], lambda: self.run(add).returncode == 0)
        self._daemons["slurmdbd"].answers = lambda: self.run(["sacctmgr", "-n", "list", "cluster"]).returncode == 0

    def _daemon_environment(self) -> dict[str, str]:
        """What a daemon sees: nothing of this process, so that nothing leaks into jobs."""
        return {
            "PATH": programs.DAEMON_PATH,
            "LANG": "C.UTF-8",
            "HOME": "/root",
            "SLURM_CONF": str(self.slurm_conf),
            # libmariadb takes the default socket from here, slurmdbd.conf cannot name one.
            "MYSQL_UNIX_PORT": str(self.state / "mariadb.socket"),
            processes.MARK: str(self.state),
        }

    def _start_daemon(self, name: str, argv: Sequence[str], answers: Callable[[], bool] | None) -> None:
        program = programs.find(argv[0])
        if program is None:
            raise ClusterError(f"{argv[0]} is gone: {programs.PACKAGES}")
        log = self.state / "log" / f"{name}.log"
        daemon = Daemon(
            name=name, argv=[program, *argv[1:]], env=self._daemon_environment(), log=log, answers=answers
        )
        self._daemons[name] = daemon
        daemon.start()
        if answers is not None:
            self._await(f"{name} answering", answers)

    def _await(self, what: str, answers: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while not answers():
            dead = [daemon.name for daemon in self._daemons.values() if not daemon.alive()]
            if dead or time.monotonic() > deadline:
                reason = f"{', '.join(dead)} ended" if dead else f"not within {START_LIMIT_S:.0f} s"
                raise ClusterError(f"{what}: {reason}\n{self.log_tails()}")
            time.sleep(0.05)

    def _munge_answers(self) -> bool:
        return self.run(["munge", "-n", "-S", str(self.state / "munge" / "socket")]).returncode == 0

    def _controller_answers(self) -> bool:
        return self.run(["scontrol", "ping"]).returncode == 0

    def _nodes_idle(self) -> bool:
        """Every node is registered and takes jobs; after a restart it may be busy with some."""
        done = self.run(["sinfo", "-h", "-N", "-o", "%N %t"])
        states = {tuple(line.split()) for line in done.stdout.splitlines()}
        return {name for name, state in states if state in ("idle", "mix", "alloc", "comp")} == set(
            self.config.node_names
        )


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return client.recv(1) != b""
