"""ONNX Runtime on its CPU provider; inference only."""

from __future__ import annotations

from typing import Any

import onnxruntime

from benchmarks.peers.base import Peer, Session, Unsupported
from benchmarks.peers.onnx_kit import OnnxKit, input_arrays, output_array
from benchmarks.spec import TRAIN, Workload


class OnnxRuntimePeer(Peer):
    """A session whose inputs and output stay bound, so that a call copies nothing."""

    def versions(self) -> dict[str, str]:
        """ONNX Runtime's."""
        return {"onnxruntime": onnxruntime.__version__}

    def prepare(self, workload: Workload, mode: str) -> Session:
        """Export and load with every optimization."""
        if mode == TRAIN:
            raise Unsupported("the onnxruntime package does not train")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Its threads would otherwise spin on after a run, in the turn of the next peer.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        made = onnxruntime.InferenceSession(OnnxKit().model(workload), options, providers=["CPUExecutionProvider"])
        arrays = input_arrays(workload)
        found = made.run(["output"], dict(arrays))[0]
        binding = made.io_binding()
        for name, value in arrays.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
        result = onnxruntime.OrtValue.ortvalue_from_numpy(found)
        binding.bind_ortvalue_output("output", result)

        def call() -> Any:
            made.run_with_iobinding(binding)

        def outputs() -> dict[str, Any]:
            call()
            return {"output": output_array(workload, result.numpy()).copy()}

        return Session(call, outputs)
