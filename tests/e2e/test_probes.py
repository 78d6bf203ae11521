"""What tools that know nothing of penult can ask: health and schema, without a token."""

import shutil
import subprocess

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import penult


def test_health_and_reflection_are_open(serve):
    server = serve()
    with server.connect() as client, grpc.insecure_channel(server.record["address"]) as channel:
        client.features.list()
        probe = health_pb2_grpc.HealthStub(channel)
        for service in ("", "penult.v1.JobService"):
            answer = probe.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]), timeout=10)
        names = {service.name for service in next(answers).list_services_response.service}
    assert {
        f"penult.v1.{name}Service" for name in ("Info", "Dataset", "Run", "Job", "Feature", "Spectra", "Refit")
    } < names


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command to make a certificate")
def test_tls(serve, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    server = serve(None, "--tls-cert", str(certificate), "--tls-key", str(key), tls=True, tls_ca=certificate)
    with server.connect(tls=True, tls_ca=certificate) as client:
        assert client.features.list() == []
    with pytest.raises(penult.Unavailable):
        server.connect(tls=False, timeout=2)
