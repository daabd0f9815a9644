"""`--executor dask` over TLS: the files are dask's, and a wrong one is named before anything starts."""

import shutil
import subprocess
import sys

import pytest
from support.cluster import two_workers
from support.runs import mprun, write

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="on Linux alone so far"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
]


def make_certificate(directory, name):
    """A certificate that has signed itself, and its key."""
    cert, key = directory / f"{name}.pem", directory / f"{name}-key.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}"
    )
    subprocess.run([*command.split(), "-out", cert, "-keyout", key], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cluster")
    cert, key = make_certificate(directory, "cluster")
    make_certificate(directory, "stranger")
    tls = {"CA_FILE": cert}
    for role in ("SCHEDULER", "WORKER"):
        tls |= {f"{role}__CERT": cert, f"{role}__KEY": key}
    env = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name, path in tls.items()}
    with two_workers(directory, {"DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME": "tls", **env}) as found:
        yield found


@pytest.fixture
def run(cluster, tmp_path):
    """Runs a job with files of the cluster's directory, by the options' last words, or in the environment."""

    def run(*more, scheduler=cluster.address, env=None, **files):
        write(tmp_path, job='tasks: [{name: one, command: "echo one"}, {name: two, command: "echo two"}]')
        options = [f"--tls-{name}={cluster.directory / file}" for name, file in files.items()]
        options += [*more, "--scheduler", scheduler] if scheduler else more
        return mprun("job.yaml", "--executor", "dask", *options, cwd=tmp_path, env=env or {})

    return run


def test_a_run_over_tls(run, cluster):
    assert cluster.address.startswith("tls://")
    found = run(ca="cluster.pem", cert="cluster.pem", key="cluster-key.pem")
    assert found.code == 0, found.stderr
    assert {host["worker"][:6] for host in found.one("run_started")["hosts"]} == {"tls://"}
    files = {"CA": "cluster.pem", "CERT": "both.pem"}
    both = [cluster.directory / name for name in ("cluster-key.pem", "cluster.pem")]
    (cluster.directory / "both.pem").write_text("".join(path.read_text() for path in both))
    found = run(env={f"MPRUN_TLS_{name}": str(cluster.directory / file) for name, file in files.items()})
    assert found.code == 0, found.stderr
    configured = {"CA_FILE": "cluster.pem", "CLIENT__CERT": "both.pem"}
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    found = run(env={prefix + name: str(cluster.directory / file) for name, file in configured.items()})
    assert found.code == 0, found.stderr


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"ca": "no.pem", "cert": "cluster.pem"}, ["cannot read", "no.pem (`--tls-ca`): No such file"]),
        ({"ca": "scheduler.json", "cert": "cluster.pem"}, ["scheduler.json (`--tls-ca`)", "--tls-ca-file"]),
        ({"ca": "cluster.pem"}, ["TLS needs `--tls-cert`, or"]),
        ({"cert": "cluster.pem"}, ["TLS needs `--tls-ca`, or"]),
        ({"ca": "cluster.pem", "cert": "cluster.pem"}, ["name the file of the key with `--tls-key`"]),
        (
            {"ca": "cluster.pem", "cert": "cluster.pem", "key": "stranger-key.pem"},
            ["cluster.pem (`--tls-cert`) and", "stranger-key.pem (`--tls-key`)", "key values mismatch"],
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named(run, files, said):
    found = run(**files)
    assert (found.code, found.directory) == (2, None), found.stderr
    for words in said:
        assert words in found.stderr
    assert found.stderr.startswith("error: ")
    assert "Traceback" not in found.stderr


def test_files_of_another_cluster_are_refused(run):
    found = run(ca="stranger.pem", cert="cluster.pem", key="cluster-key.pem")
    assert (found.code, found.directory) == (2, None), found.stderr
    assert "cannot connect to dask at tls://" in found.stderr
    assert "check that `--tls-ca` and `--tls-cert` belong to this cluster" in found.stderr


def test_files_are_refused_without_the_address_of_a_cluster_that_has_them(run, cluster):
    files = {"ca": "cluster.pem", "cert": "cluster.pem", "key": "cluster-key.pem"}
    found = run(scheduler=None, **files)
    assert (found.code, found.directory) == (2, None), found.stderr
    assert "add `--scheduler tls://HOST:PORT`" in found.stderr
    found = run(scheduler=cluster.address.replace("tls", "tcp"), **files)
    assert (found.code, found.directory) == (2, None), found.stderr
    assert "the address begins with `tls://`" in found.stderr
    found = run(scheduler=cluster.address)
    assert (found.code, found.directory) == (2, None), found.stderr
    assert "TLS needs `--tls-ca`, or" in found.stderr
