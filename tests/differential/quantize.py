"""Quantized models, by onnxruntime's static quantizer."""

import contextlib
import io
import logging
import signal
import tempfile
import warnings
from pathlib import Path

import onnx
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType

# Recipes with integers of their own; the quantizer takes real models only.
RECIPES = "differential.recipes.quantized"


# What the compiler knows in QOperator form; most models are quantized no further.
KNOWN = [
    "Add",
    "Concat",
    "Conv",
    "Flatten",
    "GlobalAveragePool",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Split",
    "Transpose",
]


class NotQuantizable(Exception):
    """The quantizer does not take the model."""


# Processor seconds for one model: the quantizer never returns from some.
LIMIT = 10


@contextlib.contextmanager
def limited(seconds):
    """Raises an exception after so much processor time."""

    def stop(signal_number, frame):
        raise NotQuantizable("the quantizer does not return")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


class Reader(CalibrationDataReader):
    """Hands samples to the quantizer."""

    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def quantized(model, feeds, rng, flavour):
    """The model with 8-bit weights and activations, calibrated on the samples."""
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    # Scales per channel came with operator set 13.
    per_channel = opset >= 13 and rng.random() < 0.5
    activation = rng.choice([QuantType.QUInt8, QuantType.QInt8])
    # Products of unsigned activations and signed weights are added in pairs in 16 bits where a
    # processor has nothing better, and saturate there: onnxruntime's advice is 7-bit weights.
    options = {
        "quant_format": QuantFormat.QDQ if flavour == "qdq" else QuantFormat.QOperator,
        "per_channel": per_channel,
        "op_types_to_quantize": KNOWN if flavour == "qoperator" and rng.random() < 0.85 else None,
        "reduce_range": flavour == "qoperator" or rng.random() < 0.2,
        "activation_type": activation,
        "weight_type": QuantType.QUInt8 if activation == QuantType.QUInt8 and rng.random() < 0.2 else QuantType.QInt8,
        "calibrate_method": rng.choice([CalibrationMethod.MinMax] * 4 + [CalibrationMethod.Entropy]),
        "extra_options": {
            "ActivationSymmetric": rng.random() < 0.2,
            "WeightSymmetric": rng.random() < 0.9,
            "AddQDQPairToWeight": rng.random() < 0.2,
            "DedicatedQDQPair": rng.random() < 0.2,
            "QuantizeBias": rng.random() < 0.9,
        },
    }
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory(prefix="quantize-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target = Path(folder) / "quantized.onnx"
            with contextlib.redirect_stdout(io.StringIO()), limited(LIMIT):
                quantization.quantize_static(model, str(target), Reader(feeds), **options)
            return onnx.load(target)
    except Exception as error:
        raise NotQuantizable(str(error)) from error
    finally:
        logging.disable(logging.NOTSET)
