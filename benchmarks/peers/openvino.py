"""OpenVINO on the CPU, in float32; inference only."""

from __future__ import annotations

import openvino

from benchmarks.peers.base import Outputs, Peer, Session, Unsupported
from benchmarks.peers.onnx_kit import OnnxKit, input_arrays, output_array
from benchmarks.spec import TRAIN, Workload


class OpenVinoPeer(Peer):
    """A request whose inputs are shared, so that a call copies nothing."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._core = openvino.Core()

    def versions(self) -> dict[str, str]:
        """OpenVINO's."""
        return {"openvino": openvino.__version__}

    def prepare(self, workload: Workload, mode: str) -> Session:
        """Export and compile for latency; processors with bfloat16 would otherwise be given that."""
        if mode == TRAIN:
            raise Unsupported("OpenVINO does not train")
        model = self._core.read_model(OnnxKit().model(workload))
        options = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }
        request = self._core.compile_model(model, "CPU", options).create_infer_request()
        tensors = {name: openvino.Tensor(value, shared_memory=True) for name, value in input_arrays(workload).items()}
        for name, tensor in tensors.items():
            request.set_tensor(name, tensor)

        def call(kept: object = tensors) -> None:  # the request does not keep the arrays alive
            request.infer()

        def outputs() -> Outputs:
            call()
            return {"output": output_array(workload, request.get_output_tensor(0).data).copy()}

        return Session(call, outputs)
