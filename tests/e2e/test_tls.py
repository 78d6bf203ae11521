"""Every mistake with TLS is told as itself, by both ends; the certificate of `penult tls-init` serves a team."""

import json
import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

import penult
from penult.certificates import make_certificate
from penult.cli.main import main

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command for certificates")


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def tls_server(serve, root, certificate, key, **connect):
    return serve(root, "--tls-cert", str(certificate), "--tls-key", str(key), tls_ca=certificate, **connect)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A certificate for this machine, and its key."""
    return make_certificate(["localhost", "127.0.0.1", "::1"], tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(serve, tmp_path, pair):
    return tls_server(serve, tmp_path / "store", *pair)


@pytest.mark.parametrize(("days", "warned"), [(20, True), (200, False)])
def test_doctor_says_when_a_certificate_ends(serve, tmp_path, capsys, days, warned):
    certificate, key = make_certificate(["localhost", "127.0.0.1"], tmp_path / "tls", days=days)
    server = tls_server(serve, tmp_path / "store", certificate, key)
    place = ["--server", server.record["address"], "--tls-ca", str(certificate), "--token", server.record["token"]]
    assert main(["doctor", *place]) == 0
    said = capsys.readouterr().out
    assert ("make another on the server with penult tls-init" in said) == warned
    assert main(["doctor", *place, "--json"]) == 0
    end = datetime.fromisoformat(json.loads(capsys.readouterr().out)["certificate_end"])
    assert abs(end - datetime.now(UTC) - timedelta(days=days)) < timedelta(days=1)
    assert main(["doctor", "--server", server.record["address"]]) == 1
    assert "pass --tls, or --tls-ca" in capsys.readouterr().out


def refusal(address: str, **options) -> str:
    with pytest.raises(penult.Unavailable) as raised:
        penult.connect(address, timeout=5, **options)
    assert raised.value.kind == "unreachable"
    return str(raised.value)


def test_the_certificate_made_here_serves(server, pair):
    with server.connect(tls_ca=pair[0]) as client:
        assert client.features.list() == []
    assert stat.S_IMODE(pair[1].stat().st_mode) == 0o600


def test_plain_on_tls(server):
    assert "speaks TLS and this client did not: pass tls=True, or tls_ca=" in refusal(server.record["address"])


def test_tls_on_plain(serve, tmp_path, pair):
    address = serve(tmp_path / "plain").record["address"]
    for options in ({"tls": True}, {"tls_ca": pair[0]}):
        assert "does not speak TLS and this client did" in refusal(address, **options)


def test_an_authority_that_nobody_trusts(server, tmp_path):
    address = server.record["address"]
    other, _ = make_certificate(["localhost"], tmp_path / "other")
    for options, trusted in (({"tls": True}, "the authorities of this machine"), ({"tls_ca": other}, str(other))):
        said = refusal(address, **options)
        assert "is signed by nobody" in said
        assert trusted in said
        assert "pass tls_ca=" in said


def test_a_name_that_the_certificate_does_not_hold(serve, tmp_path):
    certificate, key = make_certificate(["gpu-box"], tmp_path / "tls")
    with pytest.raises(penult.Unavailable, match=r"is not for '127\.0\.0\.1'.*penult tls-init 127\.0\.0\.1"):
        tls_server(serve, tmp_path / "store", certificate, key)


def test_a_certificate_that_has_expired(serve, tmp_path):
    key, request, certificate, names = (tmp_path / name for name in ("k.pem", "r.pem", "c.pem", "names"))
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(request))
    openssl(
        *("x509", "-req", "-in", str(request), "-signkey", str(key), "-days", "-1", "-extfile", str(names)),
        *("-out", str(certificate)),
    )
    with pytest.raises(penult.Unavailable, match="has expired: make another on the server"):
        tls_server(serve, tmp_path / "store", certificate, key)


def test_nobody_there_is_not_a_matter_of_tls(serve, tmp_path):
    server = serve(tmp_path / "store")
    address = server.record["address"]
    server.stop()
    for options in ({}, {"tls": True}):
        assert "no penult server answers" in refusal(address, **options)


def test_a_server_says_what_is_wrong_with_its_pair(serve, tmp_path, pair):
    _, other = make_certificate(["localhost"], tmp_path / "other")
    protected, damaged = tmp_path / "protected.pem", tmp_path / "damaged.pem"
    openssl("rsa", "-aes256", "-passout", "pass:secret", "-in", str(pair[1]), "-out", str(protected))
    damaged.write_text("-----BEGIN PRIVATE KEY-----\n")
    for key in (other, protected, damaged, pair[0]):
        with pytest.raises(AssertionError, match="are not a certificate and its key"):
            tls_server(serve, tmp_path / "store", pair[0], key)


@pytest.mark.parametrize("names", [[], [""], ["gpu box"], ["gpu-box,DNS:evil"], ["-x"], ["a" * 300]])
def test_names_that_are_none(tmp_path, names):
    with pytest.raises(penult.InvalidRequest, match="name"):
        make_certificate(names, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_is_never_replaced(tmp_path):
    certificate, key = make_certificate(["gpu-box", "10.0.0.5"], tmp_path, days=30)
    before = certificate.read_bytes(), key.read_bytes()
    with pytest.raises(penult.InvalidRequest, match=r"cert\.pem exists and is not replaced"):
        make_certificate(["gpu-box"], tmp_path)
    assert (certificate.read_bytes(), key.read_bytes()) == before
    with pytest.raises(penult.InvalidRequest, match="days must be from 1 to 3650"):
        make_certificate(["gpu-box"], tmp_path / "new", days=0)


def test_a_server_by_its_name_in_the_configuration(server, pair, tmp_path, monkeypatch):
    config = tmp_path / "config" / "penult"
    config.mkdir(parents=True)
    token = config / "lab.token"
    token.write_text(server.record["token"])
    token.chmod(0o600)
    shutil.copy(pair[0], config / "lab.pem")
    (config / "config.toml").write_text(
        f'[servers.lab]\naddress = "{server.record["address"]}"\ntls_ca = "lab.pem"\ntoken_file = "lab.token"\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config.parent))
    with penult.connect("lab") as client:
        assert client.info().root == str(server.root)
    token.write_text("wrong")
    with pytest.raises(penult.Unauthenticated):  # the configuration's token, not the one that the server left here
        penult.connect("lab")
