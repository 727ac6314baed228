"""A differential test of lutweave against onnxruntime, on random ONNX models.

`scripts/differential --help` says how to run it. The modules, in the order in which a case passes
through them:

* `generate` draws a model and its samples from a seed (`graph` executes each node as it is added,
  `recipes` say how each operator is used, `names` are legal but odd);
* `quantize` turns some of the models into quantized ones with onnxruntime's static quantizer;
* `reference` says what a model means: onnxruntime without optimizations, or the ONNX standard
  where onnxruntime is known to deviate from it;
* `product` runs the lutweave binary, `compare` judges what it says;
* `shrink` makes a failing case small, `report` counts and prints.
"""
