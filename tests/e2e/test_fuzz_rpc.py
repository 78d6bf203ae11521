"""Structured messages of every RPC: an answer that is sane, or a refusal that has a kind; never a bug, never a hang.

A few hundred examples by default, the same ones every time. Many:
``PENULT_FUZZ_EXAMPLES=20000 python -m pytest tests/e2e/test_fuzz_rpc.py -s -o timeout=0``; other ones:
``PENULT_FUZZ_SEED=7``. What is drawn is described in `message_strategies`; what an answer must hold, in
`answer_checks`. A new RPC fails `test_every_rpc_has_a_valid_request` until it has one in `fuzzed_server`.
"""

import os
import re
import sys
from collections import Counter
from pathlib import Path

import answer_checks
import grpc
import pytest
from fuzzed_server import METHODS, FuzzedServer
from hypothesis import HealthCheck, Phase, given, seed, settings
from message_strategies import nearly, nearly_upload

EXAMPLES = int(os.environ.get("PENULT_FUZZ_EXAMPLES", "250"))
SEED = int(os.environ.get("PENULT_FUZZ_SEED", "0"))
SHARES = {"ComputeRefits": 9, "ComputeSpectra": 5, "UploadFeatures": 4, "CreateJob": 3}
SHARES |= dict.fromkeys(
    (
        "ComputeDescriptors",
        "ComputePrincipalAngles",
        "ReadCoordinates",
        "ReadEigenvectors",
        "ReadFeatures",
        "ReadNeighbours",
    ),
    2,
)
SHARES |= {"DiscoverGroups": 3, "Evaluate": 3, "EvaluateMixtures": 3}
"""Of the examples; 1 for every other RPC."""


@pytest.fixture(scope="module")
def client(client_alone):
    """Its logs are searched, and all of it is listed and deleted."""
    return client_alone


@pytest.fixture(scope="module")
def server(client, table, tiny):
    with FuzzedServer(client, table, tiny) as server:
        yield server


def examples_of(method: str) -> int:
    total = sum(SHARES.get(one.name, 1) for one in METHODS.values())
    return max(1, EXAMPLES * SHARES.get(METHODS[method].name, 1) // total)


@pytest.mark.parametrize("method", METHODS)
def test_nearly_valid_messages_are_answered_or_refused(server: FuzzedServer, method: str, capsys):
    outcomes: Counter[str] = Counter()
    vocabulary, seeds = server.vocabulary(method), server.seeds[method]
    strategy = (nearly_upload if METHODS[method].client_streaming else nearly)(seeds, vocabulary)

    @settings(
        max_examples=examples_of(method),
        deadline=None,
        database=None,
        derandomize=SEED == 0,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(request=strategy)
    def hold(request):
        try:
            outcomes.update(server.ask(method, request))
        except grpc.RpcError as error:
            outcomes[answer_checks.refusal(error)] += 1

    (seed(SEED)(hold) if SEED else hold)()
    counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    with capsys.disabled():
        sys.stdout.write(f"\n{METHODS[method].full_name}: {sum(outcomes.values())} examples: {counts} ")


@pytest.mark.parametrize("method", METHODS)
def test_every_rpc_has_a_valid_request(server: FuzzedServer, method: str):
    """What messages are derived from is answered."""
    for request in server.seeds[method]:
        server.ask(method, request)


def test_the_server_lives_and_has_met_no_bug(server: FuzzedServer):
    root = Path(server.client.info().root)
    for log in [root / "server.log", *sorted((root / "logs").iterdir())]:
        found = re.search(r"Traceback.*", log.read_text(errors="replace"), re.DOTALL)
        assert found is None, f"{log.name}: {found[0][:4000]}"
