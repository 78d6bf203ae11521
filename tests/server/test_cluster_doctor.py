"""What `penult doctor --cluster` makes of what nodes say; a real cluster is looked at in tests/e2e."""

import socket
from contextlib import closing

import pytest

from penult_proto.errors import ErrorKind
from penult_server.__main__ import main
from penult_server.cluster.judging import CLOCK_SECONDS, FREE_BYTES, HEADINGS, Seen, judged
from penult_server.cluster.look import Look
from penult_server.errors import ServiceError
from penult_server.jobs.fleets import on_nodes
from penult_server.machine.probes import probe_in


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """What this machine says of itself, as a node that was started with a token."""
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch, probe_in(root) as probe:
        patch.setenv("RAY_AUTH_MODE", "token")
        said = Look().look({"root": str(root), "probe": probe, "registry": None})
    assert list((root / "cache").iterdir()) == []
    return said


def wrong(here, **changes):
    """What is said of a node that differs in these."""
    fields = {name: changes.pop(name) for name in ("clock", "slack") if name in changes}
    found = judged(here, [Seen(name="seven (10.0.0.7)", said=here | changes, **fields)])
    assert [len(row) for row in found.rows] == [len(HEADINGS)]
    return [one.removeprefix("seven (10.0.0.7) ") for one in found.wrong]


def test_a_node_like_this_machine_is_well(here):
    assert wrong(here) == []
    text = str(judged(here, [Seen(name="seven (10.0.0.7)", said=here), Seen(name="eight (10.0.0.8)", said=here)]))
    lines = text.splitlines()
    assert lines[0].split() == list(HEADINGS)
    assert lines[1].split()[:2] == ["seven", "(10.0.0.7)"]
    assert lines[1].split()[5:10] == ["same", "yes", "yes", "yes", "-"]
    assert lines[-1] == "all 2 nodes can be used"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"has_token_mode": False}, "without RAY_AUTH_MODE=token"),
        ({"root": "/r is not there", "store": "no bucket"}, "cannot use the root: /r is not there"),
        ({"store": "no bucket"}, "cannot use the store: no bucket"),
        ({"clock": -CLOCK_SECONDS - 1}, "-61 s from this machine's"),
        ({"free": {"root": FREE_BYTES - 1, "tmp": FREE_BYTES}}, "2.0 GiB free on the disk of the root"),
        ({"free": {"root": FREE_BYTES, "tmp": 0}}, "0.0 GiB free on the disk of its temporary files"),
    ],
)
def test_what_keeps_a_node_from_its_work_is_told(here, changes, said):
    (found,) = wrong(here, **changes)
    assert said in found


def test_a_node_with_another_torch_is_told(here):
    (found,) = wrong(here, versions=on_nodes.versions() | {"torch": "1.0"})
    assert found.startswith("has other versions: torch 1.0 there, ")


def test_a_clock_is_known_only_as_well_as_it_was_asked(here):
    assert wrong(here, clock=CLOCK_SECONDS + 1, slack=2.0) == []


def test_what_need_not_be_mended_is_a_note(here):
    nodes = [Seen(name=name, said=here | {"processor": name, "registry": "refused"}) for name in ("a", "b")]
    found = judged(here, nodes)
    assert found.wrong == []
    assert [one for one in found.notes if "2 kinds of processors (a; b)" in one]
    assert [one for one in found.notes if one.startswith("b does not reach the registry (refused)")]


def test_a_node_that_is_silent_is_told(here):
    found = judged(here, [Seen(name="seven", silence="nothing within 60 s")])
    assert found.wrong == ["seven does not answer: nothing within 60 s"]
    assert "does not answer" in str(found).splitlines()[1]


def test_a_machine_looks_at_its_root_and_at_the_registry(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as open_port:
        with closing(socket.create_server(("127.0.0.1", 0))) as other:
            closed = other.getsockname()
        order = {"root": str(tmp_path), "probe": "cache/none", "registry": list(open_port.getsockname())}
        said = Look().look(order)
        assert said["root"].startswith(f"{tmp_path} is not there, or not that of the server")
        assert said["registry"] == ""
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache" / "none").touch()
        said = Look().look(order | {"registry": list(closed)})
    assert said["root"] == ""
    assert "refused" in said["registry"]
    assert said["free"]["root"] > 0
    assert Look().look(order | {"root": str(tmp_path / "none")})["free"]["root"] == -1


def test_an_address_of_a_registry_has_no_password(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    pytest.importorskip("ray")
    from penult_server.cluster import doctor

    assert doctor.address_of("postgresql://user:secret@db.lab/penult") == ("db.lab", 5432)
    assert doctor.address_of("postgresql+psycopg://db.lab:7000/penult") == ("db.lab", 7000)
    assert doctor.address_of("") is doctor.address_of("postgresql:///penult?host=/run/postgresql") is None


def test_a_node_that_does_not_see_the_store_gets_no_work(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    pytest.importorskip("ray")
    from penult_server.jobs.fleets.ray_fleet.cluster import check_place

    said = {"versions": on_nodes.versions(), "host": "seven", "sees": True}
    check_place("seven", tmp_path, said)
    with pytest.raises(ServiceError, match="node seven does not see the server's root") as error:
        check_place("seven", tmp_path, said | {"sees": False})
    assert error.value.kind is ErrorKind.FILES_MISSING
    with pytest.raises(ServiceError, match="torch is missing there") as error:
        check_place("seven", tmp_path, said | {"versions": {}})
    assert error.value.kind is ErrorKind.VERSION_MISMATCH


def test_without_a_cluster_it_is_said_why(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert main(["doctor", "--cluster", "--root", str(tmp_path)]) == 1
    assert "needs RAY_ADDRESS=HOST:PORT" in capsys.readouterr().err
    assert main(["doctor", "--cluster", "--root", str(tmp_path / "none")]) == 1
    assert "--root must be the directory" in capsys.readouterr().err
