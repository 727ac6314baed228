//! Text to graph.

use super::element_bytes;
use super::lexer::Cursor;
use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, NodeId};
use crate::interpret::check_value;
use crate::op::attributes::{Given, numbers};
use crate::op::{Op, shape};
use crate::tensor::{Data, Element, Tensor, TensorType};
use std::collections::HashMap;

/// Reads a graph that [`super::print()`] wrote. Empty lines and lines that start with `#` are
/// skipped.
///
/// # Errors
/// What is wrong in the first faulty line, as a diagnostic at `line N`.
pub fn parse(text: &str) -> Result<Graph, Diagnostic> {
    let lines: Vec<Line> = text
        .lines()
        .enumerate()
        .map(|(index, text)| Line { number: index + 1, text })
        .filter(|line| !line.text.trim().is_empty() && !line.text.trim_start().starts_with('#'))
        .collect();
    let section = lines.iter().position(|line| line.text.trim() == "constants:").unwrap_or(lines.len());
    let (body, section) = lines.split_at(section);
    let constants = constants(section.get(1..).unwrap_or(&[]))?;
    let Some((header, body)) = body.split_first() else {
        return Err(Diagnostic::error("invalid-text", "the text holds no graph").at("line 1"));
    };
    let Some((outputs, nodes)) = body.split_last() else {
        return Err(header.fault("the line with the outputs is missing".to_owned()));
    };
    let mut graph = Graph::new(header.read(|cursor| {
        cursor.expect("graph")?;
        cursor.quoted()
    })?);
    let mut reader = Reader { graph: &mut graph, constants };
    for line in nodes {
        line.read(|cursor| reader.node(cursor))?;
    }
    if let Some(id) = reader.constants.keys().min() {
        return Err(outputs.fault(format!("the constants' section has {id}, which no line refers to")));
    }
    let ids = outputs.read(|cursor| {
        cursor.expect("outputs")?;
        let ids = cursor.ids()?;
        check_ids(&ids, graph.nodes().len())?;
        Ok(ids)
    })?;
    graph.set_outputs(ids);
    Ok(graph)
}

#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn fault(&self, message: String) -> Diagnostic {
        Diagnostic::error("invalid-text", message)
            .at(format!("line {}", self.number))
            .help("the text form is described in the documentation of lutweave_ir::text")
    }

    /// Reads the whole line.
    fn read<T>(&self, read: impl FnOnce(&mut Cursor<'a>) -> Result<T, String>) -> Result<T, Diagnostic> {
        let mut cursor = Cursor::new(self.text);
        let result = read(&mut cursor).and_then(|value| cursor.end().map(|()| value));
        result.map_err(|message| self.fault(message))
    }
}

fn check_ids(ids: &[NodeId], nodes: usize) -> Result<(), String> {
    match ids.iter().find(|id| id.index() >= nodes) {
        None => Ok(()),
        Some(id) => Err(format!("{id} does not come before this line")),
    }
}

/// The bytes of the constants' section.
fn constants(lines: &[Line]) -> Result<HashMap<NodeId, Vec<u8>>, Diagnostic> {
    let mut constants = HashMap::new();
    let mut current: Option<NodeId> = None;
    for line in lines {
        if line.text.starts_with('%') {
            let id = line.read(Cursor::id)?;
            if constants.insert(id, Vec::new()).is_some() {
                return Err(line.fault(format!("{id} stands twice in the constants' section")));
            }
            current = Some(id);
        } else {
            let bytes = current.and_then(|id| constants.get_mut(&id));
            let bytes = bytes.ok_or_else(|| line.fault("a constant's id is expected before its bytes".to_owned()))?;
            hexadecimal(line.text.trim(), bytes).map_err(|message| line.fault(message))?;
        }
    }
    Ok(constants)
}

fn hexadecimal(text: &str, bytes: &mut Vec<u8>) -> Result<(), String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    for pair in text.as_bytes().chunks(2) {
        let byte = match *pair {
            [high, low] => digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(byte.ok_or("the line is not a sequence of hexadecimal bytes")?);
    }
    Ok(())
}

struct Reader<'g> {
    graph: &'g mut Graph,
    constants: HashMap<NodeId, Vec<u8>>,
}

/// Reads `{name=value, ..}` if it is next.
fn attributes<'a>(cursor: &mut Cursor<'a>) -> Result<Given<'a>, String> {
    let mut given = Given::default();
    if cursor.take("{") {
        loop {
            let name = cursor.word()?;
            cursor.expect("=")?;
            if given.0.iter().any(|(known, _)| *known == name) {
                return Err(format!("attribute `{name}` is given twice"));
            }
            given.0.push((name, cursor.value()?));
            if cursor.take("}") {
                break;
            }
            cursor.expect(",")?;
        }
    }
    Ok(given)
}

impl Reader<'_> {
    fn node(&mut self, cursor: &mut Cursor) -> Result<(), String> {
        let id = cursor.id()?;
        if id.index() != self.graph.nodes().len() {
            return Err(format!("{id} stands where %{} is expected", self.graph.nodes().len()));
        }
        let name = cursor.quoted()?;
        cursor.expect("=")?;
        let operator = cursor.word()?;
        match operator {
            "input" => {
                let ty = ty(cursor)?;
                self.graph.input(&name, ty);
            }
            "constant" => {
                let (value, ty) = self.constant(id, cursor)?;
                self.graph.constant(&name, value, ty);
            }
            operator => {
                let operands = cursor.ids()?;
                check_ids(&operands, id.index())?;
                let op = Op::read(operator, attributes(cursor)?)?;
                let ty = ty(cursor)?;
                self.graph.add_typed(&name, op, &operands, ty).map_err(|diagnostic| diagnostic.message)?;
            }
        }
        if self.graph.node(id).name == name {
            Ok(())
        } else {
            Err(format!("the name {name:?} is empty or that of an earlier node"))
        }
    }

    /// The rest of a constant's line.
    fn constant(&mut self, id: NodeId, cursor: &mut Cursor) -> Result<(Tensor, TensorType), String> {
        if cursor.take("#") {
            return Err("the constant was left out of this text".to_owned());
        }
        if cursor.take("@") {
            let ty = ty(cursor)?;
            let bytes = self.constants.remove(&id).ok_or("the constants' section lacks this constant")?;
            let width = element_bytes(ty.element);
            if bytes.len() != ty.count() * width {
                return Err(format!("there are {} bytes for {} elements of {width}", bytes.len(), ty.count()));
            }
            let data = bytes.chunks_exact(width);
            let value = match ty.element {
                Element::F32 => {
                    Tensor::f32(ty.shape.clone(), data.map(|bytes| f32::from_bits(word(bytes))).collect::<Vec<_>>())
                }
                Element::Int { signed, .. } => {
                    let unused = 32 - 8 * width as u32;
                    let extend = |bytes| {
                        let value = word(bytes) << unused;
                        if signed { value as i32 >> unused } else { (value >> unused) as i32 }
                    };
                    Tensor::int(ty.shape.clone(), data.map(extend).collect::<Vec<_>>())
                }
            };
            check_value(&ty, &value)?;
            return Ok((value, ty));
        }
        let words = cursor.list()?;
        let ty = ty(cursor)?;
        let data = match ty.element {
            Element::F32 => Data::F32(numbers::<f32>(&words)?.into()),
            Element::Int { .. } => Data::Int(numbers::<i32>(&words)?.into()),
        };
        let value = Tensor { shape: ty.shape.clone(), data };
        check_value(&ty, &value)?;
        Ok((value, ty))
    }
}

/// `: type` at the end of a line.
fn ty(cursor: &mut Cursor) -> Result<TensorType, String> {
    cursor.expect(":")?;
    let ty = cursor.ty()?;
    shape::check_type(&ty)?;
    Ok(ty)
}

/// Up to four bytes, little endian.
fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}
