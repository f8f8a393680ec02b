"""A retraining with its records in PostgreSQL: MLflow with a password and artifacts through the server, Prefect, and what `make up` starts."""

import os
import pwd
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PARAMS, free_port, make_project
from tests.pipeline.projects import Project
from tests.pipeline.stacks import stack
from tests.pipeline.test_servers import start, stop

DEBIANS = [str(folder) for folder in Path("/usr/lib/postgresql").glob("*/bin")]
POSTGRES = shutil.which("postgres", path=os.pathsep.join([os.environ["PATH"], *DEBIANS]))
BINARIES = Path(POSTGRES or "").parent


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL on loopback with a password; its address without a database, `user:password@host:port`."""
    if POSTGRES is None:
        pytest.skip("there is no PostgreSQL: apt-get install postgresql")
    folder, port = Path("/tmp") / f"segmodels-postgres-{os.getpid()}", free_port()  # a socket's path must be short
    folder.mkdir()
    (folder / "password").write_text("for tests")
    as_user: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        user = pwd.getpwnam("postgres")
        for path in (folder, folder / "password"):
            os.chown(path, user.pw_uid, user.pw_gid)
        as_user = ["runuser", "-u", "postgres", "--"]
    data = folder / "data"
    made = [
        str(BINARIES / "initdb"),
        "-D",
        str(data),
        "-U",
        "segmodels",
        "--auth",
        "scram-sha-256",
        f"--pwfile={folder / 'password'}",
    ]
    subprocess.run([*as_user, *made], check=True, capture_output=True, cwd=folder)
    command = [
        POSTGRES,
        "-D",
        str(data),
        "-p",
        str(port),
        "-c",
        "listen_addresses=127.0.0.1",
        "-k",
        str(folder),
        "-c",
        "fsync=off",
    ]
    with (
        (folder.parent / f"{folder.name}.log").open("w") as log,
        subprocess.Popen([*as_user, *command], stderr=log, cwd=folder) as process,
    ):
        try:
            address = f"segmodels:for%20tests@127.0.0.1:{port}"
            for name in ("mlflow", "auth", "prefect"):
                create(name, address)
            yield address
        finally:
            process.terminate()
            process.wait(30)
            shutil.rmtree(folder)
            Path(log.name).unlink()


def create(name: str, address: str) -> None:
    """A database, once the server answers."""
    import psycopg2

    until = time.monotonic() + 30
    while True:
        try:
            connection = psycopg2.connect(f"postgresql://{address}/postgres")
        except psycopg2.OperationalError:
            assert time.monotonic() < until
            time.sleep(0.2)
        else:
            break
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    connection.close()


@pytest.mark.slow
def test_servers_with_postgres_and_a_password_have_it_all(postgres: str, drawn: Path, tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("mlflow", "prefect")}
    folders = {name: tmp_path / name for name in ports}
    for folder in folders.values():
        folder.mkdir()
    (folders["mlflow"] / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
        f"database_uri = postgresql://{postgres.replace('%', '%%')}/auth\n"
        "admin_username = trainer\nadmin_password = a long password\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    binaries = Path(sys.prefix) / "bin"
    processes = []
    try:
        processes.append(
            start(
                *(str(binaries / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(ports["mlflow"]), "--workers", "1"),
                *("--app-name", "basic-auth", "--backend-store-uri", f"postgresql://{postgres}/mlflow"),
                *("--artifacts-destination", str(folders["mlflow"] / "artifacts")),
                health=f"http://127.0.0.1:{ports['mlflow']}/health",
                folder=folders["mlflow"],
                MLFLOW_AUTH_CONFIG_PATH=str(folders["mlflow"] / "auth.ini"),
                MLFLOW_FLASK_SERVER_SECRET_KEY="for tests",
            )
        )
        processes.append(
            start(
                *(str(binaries / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(ports["prefect"])),
                health=f"http://127.0.0.1:{ports['prefect']}/api/health",
                folder=folders["prefect"],
                PREFECT_API_DATABASE_CONNECTION_URL=f"postgresql+asyncpg://{postgres}/prefect",
                PREFECT_SERVER_API_AUTH_STRING="trainer:another password",
            )
        )
        mlflow = f"http://127.0.0.1:{ports['mlflow']}"
        environment = {
            "MLFLOW_TRACKING_URI": mlflow,
            "MLFLOW_TRACKING_USERNAME": "trainer",
            "MLFLOW_TRACKING_PASSWORD": "a long password",
            "PREFECT_API_URL": f"http://127.0.0.1:{ports['prefect']}/api",
            "PREFECT_API_AUTH_STRING": "trainer:another password",
        }
        project = Project(make_project(tmp_path / "project", PARAMS))
        project.make("data", f"SOURCE={drawn}", environment=environment)
        assert "models:/tiny/1 is the champion" in project.make("retrain", environment=environment)
        assert "first champion" in project.make("history", environment=environment)
        assert not (project.folder / "mlflow.db").exists()
        assert any((folders["mlflow"] / "artifacts").rglob("model.safetensors"))  # through the server
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{mlflow}/api/2.0/mlflow/registered-models/search")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{ports['prefect']}/api/admin/version")
        said = project.make("retrain", environment=environment | {"MLFLOW_TRACKING_PASSWORD": "wrong"}, code=2)
        assert "MLflow at" in said and "Traceback" not in said
    finally:
        for process in processes:
            stop(process)


@pytest.mark.slow
def test_make_up_keeps_its_records_in_postgres_where_it_is_told_to(postgres: str, drawn: Path, tmp_path: Path) -> None:
    import psycopg2

    for name in ("mlflow_up", "prefect_up"):
        create(name, postgres)
    environment = {
        "MLFLOW_BACKEND_STORE_URI": f"postgresql://{postgres}/mlflow_up",
        "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{postgres}/prefect_up",
    }
    with stack(tmp_path / "project", PARAMS + "schedule: {cron: null, watch_seconds: 1}\n") as servers:
        servers.project.make("up", environment=environment)
        servers.project.make("data", f"SOURCE={drawn}")
        servers.wait(servers.outcomes)
        servers.down()
    with psycopg2.connect(f"postgresql://{postgres}/mlflow_up") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT name, version FROM model_versions")
        assert cursor.fetchall() == [("tiny", 1)]
    with psycopg2.connect(f"postgresql://{postgres}/prefect_up") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM flow_run WHERE deployment_id IS NOT NULL AND state_type = 'COMPLETED'")
        assert cursor.fetchone() == (1,)
