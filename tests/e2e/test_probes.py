"""What tools that know nothing of penult can ask: health and schema, without a token."""

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from penult_proto import PROTOCOL


def test_health_and_reflection_are_open(serve):
    server = serve()
    with grpc.insecure_channel(server.record["address"]) as channel:
        probe = health_pb2_grpc.HealthStub(channel)
        for service in ("", "penult.v1.JobService"):
            # The whole server once its compute worker is there, too.
            answers = probe.Watch(health_pb2.HealthCheckRequest(service=service), timeout=60)
            assert any(answer.status == health_pb2.HealthCheckResponse.SERVING for answer in answers)
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]), timeout=10)
        names = {service.name for service in next(answers).list_services_response.service}
    assert {
        f"penult.v1.{name}Service" for name in ("Info", "Dataset", "Run", "Job", "Feature", "Spectra", "Refit")
    } < names


def call(address: str, method: MethodDescriptor, metadata: dict[str, str], **fields):
    """One call as a client of another language makes it: what grpcurl does."""
    request, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    with grpc.insecure_channel(address) as channel:
        unary = channel.unary_unary(path, request.SerializeToString, answer.FromString)
        return unary(request(**fields), metadata=list(metadata.items()), timeout=30)


def test_a_client_that_knows_only_the_schema(serve):
    record = serve().record
    with grpc.insecure_channel(record["address"]) as channel:
        schema = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        method = schema.FindServiceByName("penult.v1.InfoService").FindMethodByName("GetInfo")
    said = {"authorization": f"Bearer {record['token']}", "penult-protocol": str(PROTOCOL)}
    assert call(record["address"], method, said).root == record["root"]
    for missing in said:
        with pytest.raises(grpc.RpcError) as refused:
            call(record["address"], method, {name: value for name, value in said.items() if name != missing})
        # The message names what is to be sent, not what is to be installed.
        assert f"send the metadata '{missing}: " in refused.value.details()
        assert "install" not in refused.value.details()
    with pytest.raises(grpc.RpcError, match="install the same version"):
        call(record["address"], method, said | {"penult-protocol": "1"})
