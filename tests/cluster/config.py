"""What a test cluster looks like, and the configuration files that make SLURM agree.

The settings follow slurm.conf(5), slurmdbd.conf(5), gres.conf(5) and cgroup.conf(5); reasons and measurements
(Debian 12, slurm-wlm 22.05.8) stand beside the lines they explain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CLUSTER_NAME = "roundtable"
MAIN_PARTITION = "main"
GPU_PARTITION = "gpu"
URGENT_PARTITION = "urgent"

# The longest names below the state directory are slurmd's step sockets (spool/n1/n1_<job>.<step>); a Unix socket's
# path ends at 107 bytes.
MAX_STATE_PATH = 64


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """One test cluster. Counts are per node unless said otherwise."""

    nodes: int = 1
    """1 or 2: that many slurmd (n1, n2) on this machine."""
    cpus: int = 8
    """CPUs a node claims; may exceed what the machine has."""
    gpus: int = 4
    """Fake GPUs: tasks get distinct CUDA_VISIBLE_DEVICES, no device is behind them."""
    memory_mb: int = 20_000
    """Memory a node claims, in MiB."""
    max_array_size: int = 1001
    """MaxArraySize; the highest array index is one less."""
    min_job_age_s: int = 300
    """Seconds that slurmctld remembers a finished job (at least 2); squeue and scontrol do not know it afterwards."""
    requeue_delay_s: int = 5
    """Seconds a requeued job waits before it may start again. SLURM's own default is 120."""
    accounting: bool = True
    """slurmdbd and MariaDB. Without it sacct ends with return code 1."""
    preemption: bool = False
    """A third partition `urgent`, whose jobs push out those of `main` and `gpu`."""
    preempt_mode: str = "REQUEUE"
    """What becomes of them: REQUEUE (those that may not be requeued are cancelled) or CANCEL."""
    cgroup_memory: bool = False
    """Memory limits are enforced through cgroup v1: a job over its --mem ends OUT_OF_MEMORY."""
    extra_slurm_conf: tuple[str, ...] = ()
    """Further lines for slurm.conf, such as "MaxJobCount=20"."""

    def __post_init__(self) -> None:
        if self.preempt_mode not in ("REQUEUE", "CANCEL"):
            raise ValueError(f"preempt_mode = {self.preempt_mode!r}: REQUEUE or CANCEL is possible")
        if self.nodes not in (1, 2):
            raise ValueError(f"nodes = {self.nodes}: 1 or 2 are possible")
        least = {
            "cpus": 1,
            "gpus": 0,
            "memory_mb": 1,
            "max_array_size": 2,
            "min_job_age_s": 2,
            "requeue_delay_s": 5,
        }
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} = {getattr(self, name)}: at least {low} is needed")
        if any("\n" in line for line in self.extra_slurm_conf):
            raise ValueError("extra_slurm_conf: one line per entry, no newline inside")

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(f"n{number}" for number in range(1, self.nodes + 1))

    @property
    def partitions(self) -> tuple[str, ...]:
        return (MAIN_PARTITION, GPU_PARTITION, *((URGENT_PARTITION,) if self.preemption else ()))


@dataclass(frozen=True, kw_only=True)
class Ports:
    """TCP ports on 127.0.0.1. slurmd: one per node."""

    slurmctld: int
    slurmdbd: int
    slurmd: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Host:
    """This machine as SLURM's daemons see it."""

    name: str
    """gethostname(2) up to the first dot."""
    is_loopback: bool
    """Its full name resolves to 127.0.0.1."""

    @property
    def listening(self) -> tuple[str, ...]:
        """CommunicationParameters that keep the daemons off other interfaces.

        NoInAddrAny binds to what the machine's name resolves to. Only where that is 127.0.0.1 does it reach the aim;
        with an unknown name, 127.0.1.1 or a container's address, the daemons would not start or not be found. They
        then listen everywhere and munge's private key keeps strangers out.
        """
        return ("CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",) if self.is_loopback else ()


class StatePaths:
    """Every file and directory of one cluster, below its private state directory."""

    def __init__(self, root: Path) -> None:
        if not re.fullmatch(r"[A-Za-z0-9/._-]+", str(root)):
            raise ValueError(f"{root}: SLURM's configuration cannot hold this path; use letters, digits, / . _ -")
        if len(str(root)) > MAX_STATE_PATH:
            raise ValueError(f"{root}: over {MAX_STATE_PATH} characters, too long for sockets; use a shorter base")
        self.root = root
        self.slurm_conf = root / "slurm.conf"
        self.slurmdbd_conf = root / "slurmdbd.conf"
        self.gres_conf = root / "gres.conf"
        self.cgroup_conf = root / "cgroup.conf"
        self.munge_key = root / "munge" / "key"
        self.munge_socket = root / "munge" / "socket"
        self.database = root / "database"
        self.database_socket = root / "mariadb.socket"
        self.controller_state = root / "slurmctld"
        self.spool = root / "spool"
        self.devices = root / "devices"
        self.logs = root / "log"

    def directories(self) -> tuple[Path, ...]:
        return (
            self.munge_key.parent,
            self.controller_state,
            self.spool,
            self.devices,
            self.logs,
        )

    def device(self, node: str, index: int) -> Path:
        return self.devices / f"{node}-gpu{index}"


def slurm_conf(config: ClusterConfig, paths: StatePaths, ports: Ports, host: Host) -> str:
    """slurm.conf for `config`."""
    lines = [
        f"ClusterName={CLUSTER_NAME}",
        f"SlurmctldHost={host.name}(127.0.0.1)",
        f"SlurmctldPort={ports.slurmctld}",
        "SlurmUser=root",
        "SlurmdUser=root",
        "AuthType=auth/munge",
        # cred_expire is also how long a requeued job waits, see AuthInfo in slurm.conf(5).
        f"AuthInfo=socket={paths.munge_socket},cred_expire={config.requeue_delay_s}",
        *host.listening,
        f"StateSaveLocation={paths.controller_state}",
        f"SlurmctldPidFile={paths.root}/slurmctld.pid",
        f"SlurmdSpoolDir={paths.spool}/%n",
        f"SlurmdPidFile={paths.root}/slurmd-%n.pid",
        f"SlurmdLogFile={paths.logs}/steps-%n.log",
        "MailProg=/bin/true",
        "ReturnToService=2",
        f"MaxArraySize={config.max_array_size}",
        f"MinJobAge={config.min_job_age_s}",
        *_fast_lines(),
        *_confinement_lines(config),
        *_preemption_lines(config),
        *_accounting_lines(config, paths, ports),
        *config.extra_slurm_conf,
        *_node_lines(config, ports, host),
        *_partition_lines(config),
    ]
    return "\n".join(lines) + "\n"


def _fast_lines() -> list[str]:
    return [
        "SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=1",
        "KillWait=2",
        "CompleteWait=0",
        "InactiveLimit=0",
        "SlurmdTimeout=20",
    ]


def _confinement_lines(config: ClusterConfig) -> list[str]:
    common = [
        "SelectType=select/cons_tres",
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=task=1",
    ]
    if not config.cgroup_memory:
        return [
            *common,
            "SelectTypeParameters=CR_Core",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
        ]
    return [
        *common,
        "SelectTypeParameters=CR_Core_Memory",
        # Without a default, a job that names no --mem takes the whole node's memory and runs alone.
        f"DefMemPerCPU={config.memory_mb // config.cpus}",
        "ProctrackType=proctrack/cgroup",
        "TaskPlugin=task/cgroup",
    ]


def _preemption_lines(config: ClusterConfig) -> list[str]:
    return ["PreemptType=preempt/partition_prio", f"PreemptMode={config.preempt_mode}"] if config.preemption else []


def _accounting_lines(config: ClusterConfig, paths: StatePaths, ports: Ports) -> list[str]:
    if not config.accounting:
        return ["AccountingStorageType=accounting_storage/none"]
    return [
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={ports.slurmdbd}",
        # Connections to slurmdbd do not read AuthInfo: their munge socket is the "password".
        f"AccountingStoragePass={paths.munge_socket}",
        "AccountingStorageTRES=gres/gpu",
    ]


def _node_lines(config: ClusterConfig, ports: Ports, host: Host) -> list[str]:
    # config_overrides: a node may claim more CPUs than it has instead of going INVAL.
    lines = ["SlurmdParameters=config_overrides"]
    if config.gpus:
        lines.append("GresTypes=gpu")
    gres = f" Gres=gpu:{config.gpus}" if config.gpus else ""
    for name, port in zip(config.node_names, ports.slurmd, strict=True):
        lines.append(
            f"NodeName={name} NodeHostname={host.name} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs={config.cpus} RealMemory={config.memory_mb}{gres} State=UNKNOWN"
        )
    return lines


def _partition_lines(config: ClusterConfig) -> list[str]:
    low = f" PriorityTier=1 PreemptMode={config.preempt_mode}" if config.preemption else ""
    common = "Nodes=ALL MaxTime=INFINITE State=UP"
    lines = [
        f"PartitionName={MAIN_PARTITION} Default=YES {common}{low}",
        f"PartitionName={GPU_PARTITION} {common}{low}",
    ]
    if config.preemption:
        lines.append(f"PartitionName={URGENT_PARTITION} {common} PriorityTier=10 PreemptMode=OFF")
    return lines


def slurmdbd_conf(paths: StatePaths, ports: Ports, host: Host) -> str:
    """slurmdbd.conf. No password: MariaDB knows root by its uid at the Unix socket."""
    lines = [
        "AuthType=auth/munge",
        f"AuthInfo=socket={paths.munge_socket}",
        f"DbdHost={host.name}",
        *host.listening,
        "DbdAddr=127.0.0.1",
        f"DbdPort={ports.slurmdbd}",
        "SlurmUser=root",
        f"PidFile={paths.root}/slurmdbd.pid",
        "StorageType=accounting_storage/mysql",
        "StorageHost=localhost",
        "StorageUser=root",
        "StorageLoc=slurm",
    ]
    return "\n".join(lines) + "\n"


def gres_conf(config: ClusterConfig, paths: StatePaths) -> str:
    """gres.conf; empty without GPUs."""
    if not config.gpus:
        return ""
    last = config.gpus - 1
    return "".join(
        f"NodeName={node} Name=gpu File={paths.device(node, 0)}\n"
        if last == 0
        else f"NodeName={node} Name=gpu File={paths.devices}/{node}-gpu[0-{last}]\n"
        for node in config.node_names
    )


def cgroup_conf(config: ClusterConfig) -> str:
    """cgroup.conf. Without limits it names a plugin all the same.

    slurmd always loads one; cgroup/v1 touches nothing until it is used, whereas what autodetection finds on a newer
    machine, cgroup/v2, asks systemd for a scope, which a container does not have.
    """
    if not config.cgroup_memory:
        return "CgroupPlugin=cgroup/v1\n"
    return (
        "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nConstrainRAMSpace=yes\nConstrainSwapSpace=no\n"
        "ConstrainCores=no\nConstrainDevices=no\n"
    )
