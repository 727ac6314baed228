//! Small models, written as ONNX files.
#![allow(dead_code, reason = "each test binary uses its own part")]

use lutweave_ir::Tensor;
use lutweave_onnx::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_type, data_type,
};
use prost::Message;

/// A model in the making.
pub struct Model {
    pub proto: ModelProto,
}

impl Model {
    pub fn new(opset: i64) -> Self {
        let set = OperatorSetIdProto { domain: None, version: Some(opset) };
        let graph = GraphProto { name: Some("test".into()), ..GraphProto::default() };
        Self {
            proto: ModelProto {
                ir_version: Some(8),
                opset_import: vec![set],
                graph: Some(graph),
                ..ModelProto::default()
            },
        }
    }

    pub fn graph(&mut self) -> &mut GraphProto {
        self.proto.graph.as_mut().unwrap()
    }

    /// A float input; an extent of 0 is symbolic.
    pub fn input(self, name: &str, shape: &[i64]) -> Self {
        self.typed_input(name, data_type::FLOAT, shape)
    }

    pub fn typed_input(mut self, name: &str, element: i32, shape: &[i64]) -> Self {
        self.graph().input.push(info(name, element, shape));
        self
    }

    pub fn output(mut self, name: &str) -> Self {
        self.graph().output.push(info(name, data_type::FLOAT, &[]));
        self
    }

    /// An output of whole numbers.
    #[allow(dead_code, reason = "not every test has one")]
    pub fn integers(mut self, name: &str) -> Self {
        self.graph().output.push(info(name, data_type::INT64, &[]));
        self
    }

    /// Float constants that count up in small steps.
    pub fn floats(mut self, name: &str, shape: &[i64]) -> Self {
        let count = shape.iter().product::<i64>();
        let float_data = (0..count).map(|index| ((index * 37 % 23) as f32 - 11.0) / 16.0).collect();
        let data_type = Some(data_type::FLOAT);
        let tensor = TensorProto {
            name: Some(name.into()),
            dims: shape.to_vec(),
            data_type,
            float_data,
            ..TensorProto::default()
        };
        self.graph().initializer.push(tensor);
        self
    }

    pub fn scalar(mut self, name: &str, value: f32) -> Self {
        let data_type = Some(data_type::FLOAT);
        let tensor =
            TensorProto { name: Some(name.into()), data_type, float_data: vec![value], ..TensorProto::default() };
        self.graph().initializer.push(tensor);
        self
    }

    pub fn ints(self, name: &str, data: &[i64]) -> Self {
        self.tensor(TensorProto {
            name: Some(name.into()),
            dims: vec![data.len() as i64],
            data_type: Some(data_type::INT64),
            int64_data: data.to_vec(),
            ..TensorProto::default()
        })
    }

    /// Constants of a narrow integer type.
    pub fn narrow(self, name: &str, element: i32, shape: &[i64], data: &[i32]) -> Self {
        self.tensor(TensorProto {
            name: Some(name.into()),
            dims: shape.to_vec(),
            data_type: Some(element),
            int32_data: data.to_vec(),
            ..TensorProto::default()
        })
    }

    pub fn tensor(mut self, tensor: TensorProto) -> Self {
        self.graph().initializer.push(tensor);
        self
    }

    pub fn node(self, operator: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> Self {
        self.node_of("", operator, inputs, outputs, attributes)
    }

    pub fn node_of(
        mut self,
        domain: &str,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> Self {
        let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        self.graph().node.push(NodeProto {
            input: own(inputs),
            output: own(outputs),
            op_type: Some(operator.into()),
            domain: Some(domain.into()),
            attribute,
            ..NodeProto::default()
        });
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }
}

pub fn info(name: &str, element: i32, shape: &[i64]) -> ValueInfoProto {
    let dim = |&extent: &i64| DimensionProto {
        dim_value: (extent != 0).then_some(extent),
        dim_param: (extent == 0).then(|| "symbol".to_owned()),
    };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor_type = TensorTypeProto { elem_type: Some(element), shape: Some(shape) };
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(attribute_type::INT),
        i: Some(value),
        ..AttributeProto::default()
    }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(attribute_type::INTS),
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

pub fn text(name: &str, value: &'static str) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(attribute_type::STRING),
        s: Some(bytes::Bytes::from_static(value.as_bytes())),
        ..AttributeProto::default()
    }
}

/// A float tensor with reproducible content.
pub fn sample(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    Tensor::f32(shape.to_vec(), (0..count).map(|index| ((index * 29 % 31) as f32 - 15.0) / 8.0).collect::<Vec<_>>())
}

/// A small convolutional network in the model's own layout, with a bit of everything.
pub fn network() -> Model {
    Model::new(13)
        .input("x", &[0, 3, 8, 8])
        .floats("w1", &[8, 3, 3, 3])
        .floats("b1", &[8])
        .floats("w2", &[8, 1, 3, 3])
        .floats("fc", &[5, 32])
        .ints("flat", &[1, -1])
        .node("Conv", &["x", "w1", "b1"], &["c1"], vec![ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 2])])
        .node("Relu", &["c1"], &["r1"], vec![])
        .node("Conv", &["r1", "w2"], &["c2"], vec![int("group", 8), text("auto_pad", "SAME_UPPER")])
        .node("Sigmoid", &["c2"], &["s2"], vec![])
        .node("Mul", &["c2", "s2"], &["m2"], vec![])
        .node("Add", &["m2", "r1"], &["a2"], vec![])
        .node("Split", &["a2"], &["p", "q"], vec![int("axis", 1)])
        .node("Concat", &["q", "p"], &["cat"], vec![int("axis", 1)])
        .node("MaxPool", &["cat"], &["mp"], vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])])
        .node("Reshape", &["mp", "flat"], &["f"], vec![])
        .node("Gemm", &["f", "fc"], &["g"], vec![int("transB", 1)])
        .node("Softmax", &["g"], &["y"], vec![])
        .output("y")
}

/// A quantized network as exporters write it, with an integer input.
pub fn quantized() -> Model {
    let weights: Vec<i32> = (0..4 * 2 * 9).map(|index| index * 53 % 255 - 127).collect();
    Model::new(13)
        .typed_input("x", data_type::UINT8, &[1, 2, 6, 6])
        .scalar("xs", 0.05)
        .narrow("xz", data_type::UINT8, &[], &[7])
        .narrow("w", data_type::INT8, &[4, 2, 3, 3], &weights)
        .tensor(TensorProto {
            name: Some("ws".into()),
            dims: vec![4],
            data_type: Some(data_type::FLOAT),
            float_data: vec![0.01, 0.02, 0.005, 0.03],
            ..TensorProto::default()
        })
        .narrow("wz", data_type::INT8, &[4], &[0, 0, 0, 0])
        .scalar("ys", 0.1)
        .narrow("yz", data_type::UINT8, &[], &[128])
        .node("DequantizeLinear", &["x", "xs", "xz"], &["xf"], vec![])
        .node("DequantizeLinear", &["w", "ws", "wz"], &["wf"], vec![int("axis", 0)])
        .node("Conv", &["xf", "wf"], &["c"], vec![ints("pads", &[1, 1, 1, 1])])
        .node("Relu", &["c"], &["r"], vec![])
        .node("QuantizeLinear", &["r", "ys", "yz"], &["q"], vec![])
        .node("DequantizeLinear", &["q", "ys", "yz"], &["d"], vec![])
        .node("GlobalAveragePool", &["d"], &["y"], vec![])
        .output("y")
}

/// Shape arithmetic as exporters write it.
pub fn shape_arithmetic() -> Model {
    Model::new(11)
        .input("x", &[0, 6, 4, 4])
        .ints("zero", &[0])
        .ints("minus", &[-1])
        .ints("permutation", &[1, 3, 5, 0, 2, 4])
        .node("Shape", &["x"], &["shape"], vec![])
        .node("Gather", &["shape", "zero"], &["batch"], vec![int("axis", 0)])
        .node("Cast", &["batch"], &["cast"], vec![int("to", 7)])
        .node("Mul", &["cast", "cast"], &["square"], vec![])
        .node("Concat", &["square", "minus"], &["target"], vec![int("axis", 0)])
        .node("Gather", &["x", "permutation"], &["gathered"], vec![int("axis", 1)])
        .node("Reshape", &["gathered", "target"], &["y"], vec![])
        .output("y")
}
