"""The test cluster itself: it runs jobs as a real one does, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import fixtures
from tests.cluster.cluster import Cluster, ClusterError
from tests.cluster.config import ClusterConfig, Host
from tests.cluster.fixtures import require_cluster
from tests.cluster.processes import cluster_processes

ROOT = Path(__file__).parents[2]
NO_ACCOUNTING = ClusterConfig(accounting=False)


def assert_accounted(cluster: Cluster, job: str, expected: dict[str, tuple[str, str]], *options: str) -> None:
    """JobID -> (state, exit code) in sacct becomes `expected`.

    Becomes: slurmctld hands finished array tasks on up to 5 s later, and until then sacct shows one of them as `7`
    instead of `7_0` and none of the others (measured).
    """
    deadline = time.monotonic() + 20
    while True:
        argv = ["sacct", "-n", "-P", "-j", job, "-o", "JobID,State,ExitCode", *options]
        fields = [line.split("|") for line in cluster.run(argv, check=True).stdout.splitlines()]
        rows = {name: (state, code) for name, state, code in fields}
        if rows == expected or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert rows == expected


def submit(cluster: Cluster, *options: str, script: str) -> str:
    return cluster.run(["sbatch", "--parsable", *options, "--wrap", script], check=True).stdout.strip()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path leaves room for sockets below it, unlike pytest's tmp_path."""
    with tempfile.TemporaryDirectory(prefix="rt-") as name:
        yield Path(name)


@pytest.fixture
def empty(slurm: Cluster) -> Iterator[Cluster]:
    slurm.drain()
    yield slurm
    slurm.drain()


@pytest.mark.cluster
class TestJobs:
    def test_a_throttled_array_runs_to_its_end(self, empty: Cluster, tmp_path: Path) -> None:
        script = "i=$SLURM_ARRAY_TASK_ID; date +%s%N > began-$i; sleep 0.5; date +%s%N > ended-$i"
        job = submit(empty, "--array=0-7%3", f"--chdir={tmp_path}", "--output=log-%a", script=script)
        empty.wait_for_jobs()
        assert_accounted(empty, job, {f"{job}_{index}": ("COMPLETED", "0:0") for index in range(8)}, "-X")
        spans = [
            (int((tmp_path / f"began-{i}").read_text()), int((tmp_path / f"ended-{i}").read_text())) for i in range(8)
        ]
        assert len({began for began, _ in spans}) == 8
        together = max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)
        assert 2 <= together <= 3

    def test_simultaneous_tasks_get_distinct_gpus(self, empty: Cluster, tmp_path: Path) -> None:
        script = 'echo "gpu $CUDA_VISIBLE_DEVICES"; while [ ! -e go ]; do sleep 0.1; done'
        submit(
            empty,
            "--array=0-4",
            "--gres=gpu:1",
            "--partition=gpu",
            f"--chdir={tmp_path}",
            "--output=log-%a",
            script=script,
        )

        def said() -> list[str]:
            return sorted(text for log in tmp_path.glob("log-*") if (text := log.read_text()))

        def four_said() -> bool:
            return len(said()) == 4

        empty.wait_for(four_said, 20)
        assert said() == [f"gpu {index}\n" for index in range(4)]
        assert len(empty.run(["squeue", "-h", "-r", "-t", "pending"], check=True).stdout.splitlines()) == 1
        (tmp_path / "go").touch()
        empty.wait_for_jobs()
        assert len(said()) == 5

    def test_a_failing_task_keeps_its_exit_code(self, empty: Cluster) -> None:
        job = submit(empty, "--array=0-1", "--output=/dev/null", script="exit $((SLURM_ARRAY_TASK_ID * 7))")
        empty.wait_for_jobs()
        assert_accounted(empty, job, {f"{job}_0": ("COMPLETED", "0:0"), f"{job}_1": ("FAILED", "7:0")}, "-X")

    def test_the_session_reaches_the_cluster_through_os_environ(self, slurm: Cluster) -> None:
        assert os.environ["SLURM_CONF"] == str(slurm.slurm_conf)
        done = subprocess.run(["sinfo", "-h", "-o", "%P"], capture_output=True, text=True, check=True, timeout=30)
        assert done.stdout.split() == ["main*", "gpu"]

    def test_ports_are_private(self, slurm: Cluster) -> None:
        """None of SLURM's own ports (6817 to 6819), where another cluster of this machine may listen."""
        shown = slurm.run(["scontrol", "show", "config"], check=True).stdout
        ports = [
            line.split("=")[1].strip()
            for line in shown.splitlines()
            if line.startswith(("SlurmctldPort", "AccountingStoragePort"))
        ]
        assert len(set(ports)) == 2
        assert not {"6817", "6818", "6819"} & set(ports)


@pytest.mark.cluster
class TestDaemons:
    def test_a_paused_controller_does_not_answer_until_resumed(self, empty: Cluster) -> None:
        empty.pause("slurmctld")
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                empty.run(["squeue"], timeout=1)
        finally:
            empty.resume("slurmctld")
        assert empty.run(["squeue"], timeout=30).returncode == 0

    def test_a_restarted_controller_remembers_its_jobs(self, empty: Cluster) -> None:
        job = submit(empty, "--output=/dev/null", "--hold", script="true")
        empty.restart("slurmctld")
        assert empty.run(["squeue", "-h", "-o", "%i"], check=True).stdout.strip() == job

    @pytest.mark.parametrize("daemon", ["munged", "mariadbd", "slurmdbd", "slurmd-n1"])
    def test_every_daemon_can_be_restarted(self, empty: Cluster, daemon: str) -> None:
        empty.restart(daemon)
        job = submit(empty, "--output=/dev/null", script="true")
        empty.wait_for_jobs()
        assert_accounted(empty, job, {job: ("COMPLETED", "0:0")}, "-X")

    def test_an_unknown_daemon_is_answered_with_the_known_ones(self, slurm: Cluster) -> None:
        with pytest.raises(ClusterError, match="munged, mariadbd, slurmdbd, slurmctld, slurmd-n1"):
            slurm.pause("slurmctl")


@pytest.mark.cluster
class TestOtherClusters:
    """Clusters beside the session's one, which also shows that two stand side by side."""

    def test_stop_leaves_no_process_and_no_file(self, tmp_path: Path, short_path: Path) -> None:
        require_cluster(NO_ACCOUNTING)
        cluster = Cluster(NO_ACCOUNTING, base=short_path)
        cluster.start()
        state = cluster.state
        submit(
            cluster,
            "--array=0-3",
            f"--output={tmp_path}/log-%a",
            script="echo began; setsid sleep 1000 & sleep 1000",
        )

        def four_run() -> bool:
            return sum(log.stat().st_size > 0 for log in tmp_path.glob("log-*")) == 4

        cluster.wait_for(four_run, 20)
        names = [process.name for process in cluster.processes()]
        assert names.count("slurmstepd") == 4
        assert names.count("sleep") == 8
        cluster.pause("slurmctld")
        cluster.stop()
        assert cluster_processes(state) == []
        assert not state.exists()
        cluster.stop()

    def test_without_accounting_sacct_fails(self) -> None:
        require_cluster(NO_ACCOUNTING)
        with Cluster(NO_ACCOUNTING) as cluster:
            job = submit(cluster, "--output=/dev/null", script="exit 3")
            cluster.wait_for_jobs()
            assert cluster.run(["sacct", "-j", job]).returncode == 1
            assert "ExitCode=3:0" in cluster.run(["scontrol", "show", "job", job], check=True).stdout

    def test_two_nodes_and_preemption(self, tmp_path: Path) -> None:
        config = ClusterConfig(nodes=2, cpus=2, preemption=True)
        require_cluster(config)
        with Cluster(config) as cluster:
            low = submit(cluster, "--nodes=2", "--exclusive", "--requeue", "--output=/dev/null", script="sleep 3")
            cluster.wait_for(lambda: "RUNNING" in cluster.run(["squeue", "-h", "-o", "%T"]).stdout, 20)
            submit(
                cluster,
                "--partition=urgent",
                "--nodes=2",
                f"--output={tmp_path}/log",
                script="srun -n2 -N2 printenv SLURMD_NODENAME",
            )
            cluster.wait_for_jobs(90)
            assert sorted((tmp_path / "log").read_text().split()) == ["n1", "n2"]
            shown = cluster.run(["sacct", "-n", "-P", "-D", "-X", "-j", low, "-o", "State"], check=True).stdout
            assert shown.split() == ["PREEMPTED", "COMPLETED"]

    def test_memory_limits_are_enforced_with_cgroups(self) -> None:
        config = ClusterConfig(cgroup_memory=True)
        if not Path("/sys/fs/cgroup/memory/cgroup.procs").exists():
            pytest.skip("needs cgroup v1's memory controller, which this kernel does not offer")
        require_cluster(config)
        with Cluster(config) as cluster:
            eater = f"{sys.executable} -S -c 'bytearray(400 << 20)'"
            job = submit(cluster, "--mem=100", "--output=/dev/null", script=eater)
            cluster.wait_for_jobs()
            killed = ("OUT_OF_MEMORY", "0:125")
            assert_accounted(cluster, job, {job: killed, f"{job}.batch": killed})
        assert not list(Path("/sys/fs/cgroup").glob("*/slurm_n1"))

    def test_a_failed_start_shows_the_logs_and_leaves_nothing(self, short_path: Path) -> None:
        config = ClusterConfig(accounting=False, extra_slurm_conf=("SelectType=select/nonsense",))
        require_cluster(config)
        with pytest.raises(ClusterError, match=r"(?s)slurmctld ended.*--- slurmctld .*select/nonsense"):
            Cluster(config, base=short_path).start()
        assert not list(short_path.iterdir())

    def test_accounting_without_room_in_memory(self, monkeypatch: pytest.MonkeyPatch, short_path: Path) -> None:
        require_cluster()
        monkeypatch.setattr("tests.cluster.state.MEMORY_NEEDED", 1 << 62)
        with Cluster(base=short_path) as cluster:
            assert (cluster.state / "database" / "mysql").is_dir()
            assert not (cluster.state / "database").is_symlink()
            assert cluster.run(["sacct"]).returncode == 0
        assert not list(short_path.iterdir())

    def test_a_base_that_slurm_cannot_name_is_refused(self, short_path: Path) -> None:
        require_cluster(NO_ACCOUNTING)
        spaced = short_path / "a b"
        spaced.mkdir()
        with pytest.raises(ClusterError, match="a b"):
            Cluster(NO_ACCOUNTING, base=spaced).start()
        assert not list(spaced.iterdir())

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)])
    def test_by_hand_until_interrupted_or_killed(self, number: signal.Signals, code: int) -> None:
        require_cluster(NO_ACCOUNTING)
        argv = [sys.executable, "-m", "tests.cluster", "--no-accounting"]
        environment = {name: value for name, value in os.environ.items() if name != "SLURM_CONF"}
        with subprocess.Popen(
            argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as shell:
            assert shell.stdout is not None
            line = shell.stdout.readline().strip()
            assert line.startswith("export SLURM_CONF=")
            conf = Path(line.removeprefix("export SLURM_CONF="))
            reached = {**environment, "SLURM_CONF": str(conf)}
            assert (
                subprocess.run(["sinfo"], env=reached, capture_output=True, check=False, timeout=30).returncode == 0
            )
            shell.send_signal(number)
            assert shell.wait(timeout=30) == code
        deadline = time.monotonic() + 20
        while conf.parent.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not conf.parent.exists()
        assert cluster_processes(conf.parent) == []


class TestRefusals:
    """Without a SLURM."""

    def test_what_is_missing_names_the_packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tests.cluster.programs.find", lambda program: None)
        assert any("apt-get install -y slurm-wlm slurmdbd munge mariadb-server" in text for text in Cluster.missing())
        with pytest.raises(ClusterError, match="apt-get install"):
            Cluster().start()

    def test_missing_is_a_skip_or_where_required_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Cluster, "missing", staticmethod(lambda config=None: ["needs a SLURM: apt-get install"]))
        monkeypatch.delenv(fixtures.REQUIRE, raising=False)
        with pytest.raises(pytest.skip.Exception, match="apt-get install"):
            require_cluster()
        monkeypatch.setenv(fixtures.REQUIRE, "1")
        with pytest.raises(pytest.fail.Exception, match="apt-get install"):
            require_cluster()

    def test_a_standing_slurm_conf_is_not_overwritten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
        with (
            pytest.raises(ClusterError, match=r"SLURM_CONF=/etc/slurm/slurm\.conf is set"),
            Cluster().exported(),
        ):
            pass
        assert os.environ["SLURM_CONF"] == "/etc/slurm/slurm.conf"

    def test_daemons_keep_to_loopback_only_where_the_name_of_the_machine_does(self) -> None:
        assert Host(name="vm", is_loopback=True).listening == ("CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",)
        assert Host(name="vm", is_loopback=False).listening == ()

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            ({"nodes": 3}, "nodes"),
            ({"cpus": 0}, "cpus"),
            ({"max_array_size": 1}, "max_array_size"),
            ({"extra_slurm_conf": ("a\nb",)}, "newline"),
        ],
    )
    def test_impossible_settings_are_refused(self, wrong: dict[str, object], named: str) -> None:
        with pytest.raises(ValueError, match=named):
            ClusterConfig(**wrong)  # type: ignore[arg-type]
