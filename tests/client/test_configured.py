"""Servers by the names of the configuration file."""

import pytest

import penult
from penult.connecting import configured
from penult.connection.configured import ConfiguredServer, config_file, token_in


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the file of servers."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("PENULT_ADDRESS", raising=False)
    monkeypatch.delenv("PENULT_TOKEN", raising=False)

    def write(content: str) -> None:
        config_file().parent.mkdir(exist_ok=True)
        config_file().write_text(content)

    return write


def test_a_name_stands_for_address_certificate_and_token(write, tmp_path):
    write('[servers.lab]\naddress = "gpu-box:7711"\ntls_ca = "lab.pem"\ntoken_file = "/secrets/lab"\n')
    beside = str(tmp_path / "penult" / "lab.pem")
    assert configured("lab") == ConfiguredServer(address="gpu-box:7711", tls_ca=beside, token_file="/secrets/lab")


def test_an_address_needs_no_file(write):
    assert configured("gpu-box:1") == ConfiguredServer(address="gpu-box:1")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "names none"),
        ('[servers.other]\naddress = "a:1"', "it names other"),
        ("servers = 3", "servers must be a table"),
        ("[servers]\nlab = 3", "servers.lab must be a table"),
        ("[servers.lab]\ntls = true", "needs address"),
        ('[servers.lab]\naddress = "a:1"\nport = 3', "has no key 'port'; one of address, tls, tls_ca, token_file"),
        ('[servers.lab]\naddress = "a:1"\ntls = "yes"', "tls must be a bool, got 'yes'"),
        ('[servers.lab]\naddress = "nowhere"', "an address is host:port"),
        ("[servers.lab", "cannot be used"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(write, content, said):
    write(content)
    with pytest.raises(penult.InvalidRequest) as raised:
        configured("lab")
    assert said in str(raised.value)


def test_a_token_that_others_may_read_is_refused(tmp_path):
    token = tmp_path / "token"
    token.write_text("secret\n")
    token.chmod(0o644)
    with pytest.raises(penult.InvalidRequest, match="chmod 600"):
        token_in(str(token))
    token.chmod(0o600)
    assert token_in(str(token)) == "secret"
    with pytest.raises(penult.InvalidRequest, match="token_file must be a file"):
        token_in(str(tmp_path / "none"))


def test_the_environment_names_the_default(write, monkeypatch):
    write('[servers.lab]\naddress = "localhost:9"\n')
    monkeypatch.setenv("PENULT_ADDRESS", "lab")
    with pytest.raises(penult.Unavailable, match="no penult server answers at localhost:9"):
        penult.connect(timeout=1)
