"""A real standalone cluster of Spark for tests and benchmarks: a master and two workers on loopback, and a session."""

import contextlib
import dataclasses
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NEEDS_JAVA = (
    "Spark runs on Java, and there is none: install a JDK 17 or 21 (Debian: apt-get install openjdk-17-jre-headless), "
    "or set JAVA_HOME."
)
MASTER = re.compile(r"Starting Spark master at (spark://[\d.]+:\d+)")
QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # of a JVM that lives for some seconds
ONE_AT_A_TIME = Path(tempfile.gettempdir()) / f"keras_linreg_spark_{os.getuid()}.lock"


@dataclasses.dataclass
class Cluster:
    """A running cluster: the master's address, and the processes of the workers."""

    master: str
    workers: list

    def executors(self):
        """The process ids of the executors, which the workers started."""
        return [pid for worker in self.workers for pid in children(worker.pid)]


def children(parent):
    """The process ids of the children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def parent(pid):
    """The process id of the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def has_java():
    home = os.environ.get("JAVA_HOME")
    return bool(shutil.which("java") or (home and (Path(home) / "bin" / "java").exists()))


def _wait_for(found, process, seconds=180):
    """Return the first true result of `found()`, while the process lives."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (result := found()) or process.poll() is not None:
            return result
        time.sleep(0.1)
    return None


@contextlib.contextmanager
def standalone_cluster(folder, workers=2, cores=1, memory="2G"):
    """Start a master and workers, yield the cluster, and end by process id what was started."""
    import pyspark

    folder = Path(folder)
    home = Path(pyspark.__file__).parent
    environment = {
        **os.environ,
        "SPARK_HOME": str(home),
        "SPARK_NO_DAEMONIZE": "1",
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": QUICK_START,
        "PYSPARK_PYTHON": sys.executable,
    }
    processes = []

    def start(name, host, *arguments):
        log = folder / f"{name}.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [home / "bin" / "spark-class", *map(str, arguments)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment, "SPARK_LOCAL_IP": host},
                cwd=folder,
            )
        processes.append(process)
        return process, log

    try:
        place = ("--port", 0, "--webui-port", 0)
        host = "127.0.0.1"
        master, log = start("master", host, "org.apache.spark.deploy.master.Master", "--host", host, *place)
        found = _wait_for(lambda: MASTER.search(log.read_text()), master)
        assert found, log.read_text()
        kind = "org.apache.spark.deploy.worker.Worker"
        for i in range(workers):  # each on a host of its own: Spark runs no speculative copy on the host of the first
            host = f"127.0.0.{i + 1}"
            options = ("--host", host, *place, "--cores", cores, "--memory", memory, "-d", folder / f"work{i}")
            start(f"worker{i}", host, kind, *options, found[1])
        assert _wait_for(lambda: log.read_text().count("Registering worker") == workers, master), log.read_text()
        yield Cluster(found[1], processes[1:])
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def spark_session(master, settings=None):
    """Start a driver on a cluster, yield its session, and end it with its JVM."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    defaults = {
        "spark.driver.host": "127.0.0.1",
        "spark.executor.memory": "1g",
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": "-XX:+UseSerialGC",
        "spark.executor.extraJavaOptions": "-XX:+UseSerialGC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "4",
    }
    builder = SparkSession.builder.master(master).appName("keras_linreg")
    for key, value in {**defaults, **(settings or {})}.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    gateway = session.sparkContext._gateway
    try:
        yield session
    finally:
        session.stop()
        gateway.shutdown()
        gateway.proc.stdin.close()  # the JVM of the driver ends with its standard input
        gateway.proc.wait(30)
        from pyspark import SparkContext

        SparkContext._gateway = SparkContext._jvm = None


@contextlib.contextmanager
def alone():
    """Let one process at a time have a cluster: the machine has few cores, and a cluster has five JVMs."""
    with open(ONE_AT_A_TIME, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
