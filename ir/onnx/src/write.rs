//! Writing models: for networks that are built by a program instead of read from a file.

use crate::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_type, data_type,
};
use bytes::Bytes;
use prost::Message;

/// Version of the file format that is written; it has all that [`crate::NEWEST_OPSET`] needs.
const IR_VERSION: i64 = 10;

/// A node's attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attribute<'a> {
    /// An integer.
    Int(i64),
    /// A list of integers.
    Ints(&'a [i64]),
    /// A real.
    Float(f32),
    /// Text.
    Text(&'a str),
}

/// A model in the making. Names of values are the caller's and are not checked: the importer
/// refuses what does not fit together.
#[derive(Clone, Debug)]
pub struct Writer {
    graph: GraphProto,
    opset: i64,
}

impl Writer {
    /// An empty model of an operator set.
    pub fn new(name: &str, opset: i64) -> Self {
        Self { graph: GraphProto { name: Some(name.to_owned()), ..GraphProto::default() }, opset }
    }

    /// Adds a float input.
    pub fn input(&mut self, name: &str, shape: &[usize]) {
        self.graph.input.push(value_info(name, shape));
    }

    /// Declares a value to be a float output.
    pub fn output(&mut self, name: &str, shape: &[usize]) {
        self.graph.output.push(value_info(name, shape));
    }

    /// Adds a float constant; `values` in row-major order.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, shape, data_type::FLOAT, raw);
    }

    /// Adds a constant vector of 64-bit integers: shapes, axes, bounds.
    pub fn integers(&mut self, name: &str, values: &[i64]) {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, &[values.len()], data_type::INT64, raw);
    }

    /// Adds a node, which takes its name from its first result. An empty operand is one that is
    /// left out.
    pub fn node(&mut self, operator: &str, operands: &[&str], results: &[&str], attributes: &[(&str, Attribute)]) {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        self.graph.node.push(NodeProto {
            input: owned(operands),
            output: owned(results),
            name: results.first().map(|&name| name.to_owned()),
            op_type: Some(operator.to_owned()),
            domain: None,
            attribute: attributes.iter().map(|&(name, value)| attribute(name, value)).collect(),
        });
    }

    /// The file.
    pub fn finish(self) -> Vec<u8> {
        let model = ModelProto {
            ir_version: Some(IR_VERSION),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(self.opset) }],
            graph: Some(self.graph),
            functions: Vec::new(),
        };
        model.encode_to_vec()
    }

    fn constant(&mut self, name: &str, shape: &[usize], element: i32, raw: Vec<u8>) {
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|&extent| extent as i64).collect(),
            data_type: Some(element),
            name: Some(name.to_owned()),
            raw_data: Some(Bytes::from(raw)),
            ..TensorProto::default()
        });
    }
}

fn attribute(name: &str, value: Attribute) -> AttributeProto {
    let named = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    match value {
        Attribute::Int(i) => AttributeProto { r#type: Some(attribute_type::INT), i: Some(i), ..named },
        Attribute::Ints(ints) => AttributeProto { r#type: Some(attribute_type::INTS), ints: ints.to_vec(), ..named },
        Attribute::Float(f) => AttributeProto { r#type: Some(attribute_type::FLOAT), f: Some(f), ..named },
        Attribute::Text(text) => AttributeProto {
            r#type: Some(attribute_type::STRING),
            s: Some(Bytes::copy_from_slice(text.as_bytes())),
            ..named
        },
    }
}

fn value_info(name: &str, shape: &[usize]) -> ValueInfoProto {
    let dim = |&extent: &usize| DimensionProto { dim_value: Some(extent as i64), dim_param: None };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor_type = TensorTypeProto { elem_type: Some(data_type::FLOAT), shape: Some(shape) };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImportOptions, import};
    use lutweave_ir::{Tensor, interpret};

    #[test]
    fn what_is_written_is_imported() {
        let mut writer = Writer::new("small", 19);
        writer.input("x", &[1, 2, 2, 2]);
        writer.floats("w", &[1, 2, 1, 1], &[2.0, -1.0]);
        writer.floats("b", &[1], &[0.5]);
        writer.integers("flat", &[1, -1]);
        writer.node(
            "Conv",
            &["x", "w", "b"],
            &["c"],
            &[("group", Attribute::Int(1)), ("pads", Attribute::Ints(&[0; 4]))],
        );
        writer.node("LeakyRelu", &["c"], &["r"], &[("alpha", Attribute::Float(0.25))]);
        writer.node(
            "DepthToSpace",
            &["r"],
            &["d"],
            &[("blocksize", Attribute::Int(1)), ("mode", Attribute::Text("CRD"))],
        );
        writer.node("Reshape", &["d", "flat"], &["y"], &[]);
        writer.output("y", &[1, 4]);
        let imported = import(writer.finish(), &ImportOptions::default()).expect("the file is a model");
        assert_eq!(imported.graph.node(imported.graph.outputs()[0]).name, "y");
        let x = Tensor::f32([1, 2, 2, 2], [1.0, 2.0, 3.0, 4.0, 5.0, 4.0, 3.0, 20.0]);
        let y = interpret::run(&imported.graph, &[x]).expect("the input fits");
        assert_eq!(y, [Tensor::f32([1, 4], [-0.625, 0.5, 3.5, -2.875])]);
    }
}
