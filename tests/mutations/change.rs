//! Random damage: to bytes, to lines and numbers of text, to the structure of a model.

use crate::random::Random;
use lutweave_onnx::proto::{GraphProto, ModelProto};
use prost::Message;

/// Numbers that are rarely thought of.
const NUMBERS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "2",
    "255",
    "65536",
    "1e308",
    "-1e308",
    "1e-320",
    "nan",
    "inf",
    "0.5",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
];

/// Extents and attributes that are rarely thought of.
const INTEGERS: [i64; 14] = [0, -1, 1, 2, 3, 5, 7, 16, 255, 4096, 65_536, 1 << 20, 1 << 31, i64::MAX];

/// Bytes with some of them changed, removed, repeated, or replaced by another file's.
pub fn bytes(random: &mut Random, mut data: Vec<u8>, other: &[u8]) -> Vec<u8> {
    for _ in 0..=random.below(4) {
        if data.is_empty() {
            data.push(random.next() as u8);
        }
        let at = random.below(data.len());
        let length = 1 + random.below(1 + (data.len() - at).min(64));
        let end = (at + length).min(data.len());
        match random.below(8) {
            0 => data[at] = random.next() as u8,
            1 => data[at] ^= 1 << random.below(8),
            2 => data.truncate(at),
            3 => drop(data.drain(at..end)),
            4 => {
                let piece = data[at..end].to_vec();
                data.splice(at..at, piece);
            }
            5 => data[at..end].fill(*random.pick(&[0, 0xff, 0x7f, 0x80])),
            6 if !other.is_empty() => {
                let from = random.below(other.len());
                let piece = other[from..(from + length).min(other.len())].to_vec();
                data.splice(at..at, piece);
            }
            _ => drop(data.splice(at..at, (0..random.below(12)).map(|_| 0xff).collect::<Vec<u8>>())),
        }
    }
    data
}

/// Text with lines removed, repeated or swapped, words misspelt, and numbers replaced; now and then
/// bytes of it.
pub fn text(random: &mut Random, data: &[u8]) -> Vec<u8> {
    if random.once_in(4) {
        return bytes(random, data.to_vec(), b"[input]\n\"\\ = {},");
    }
    let whole = String::from_utf8_lossy(data);
    let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
    for _ in 0..=random.below(3) {
        if lines.is_empty() {
            break;
        }
        let at = random.below(lines.len());
        let other = random.below(lines.len());
        match random.below(6) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(other, lines[at].clone()),
            2 => lines.swap(at, other),
            3 => lines[at] = with_number(random, &lines[at]),
            4 => lines[at] = misspelt(random, &lines[at]),
            _ => {
                let numbered: Vec<usize> =
                    (0..lines.len()).filter(|&line| lines[line].contains(|c: char| c.is_ascii_digit())).collect();
                if let Some(&line) = numbered.get(random.below(numbered.len().max(1))) {
                    lines[line] = with_number(random, &lines[line]);
                }
            }
        }
    }
    lines.join("\n").into_bytes()
}

/// A line with one of its numbers replaced.
fn with_number(random: &mut Random, line: &str) -> String {
    let part_of_number = |c: char| c.is_ascii_digit() || c == '.';
    let starts: Vec<usize> = line
        .char_indices()
        .filter(|&(at, c)| part_of_number(c) && !line[..at].ends_with(part_of_number))
        .map(|(at, _)| at)
        .collect();
    let Some(&start) = starts.get(random.below(starts.len().max(1))) else { return line.to_owned() };
    let end = line[start..].find(|c| !part_of_number(c)).map_or(line.len(), |length| start + length);
    format!("{}{}{}", &line[..start], random.pick(&NUMBERS), &line[end..])
}

/// A line with a character changed.
fn misspelt(random: &mut Random, line: &str) -> String {
    let mut characters: Vec<char> = line.chars().collect();
    if characters.is_empty() {
        return "x".to_owned();
    }
    let at = random.below(characters.len());
    match random.below(3) {
        0 => drop(characters.remove(at)),
        1 => characters[at] = *random.pick(&['a', 'Z', '[', ']', '"', '=', '%', '\u{1b}', 'ß', '9', '-']),
        _ => characters.insert(at, characters[at]),
    }
    characters.into_iter().collect()
}

/// A model with its bytes or its structure damaged. `other` is another model.
pub fn model(random: &mut Random, data: &[u8], other: &[u8]) -> Vec<u8> {
    let (Ok(mut model), Ok(donor)) = (ModelProto::decode(data), ModelProto::decode(other)) else {
        return bytes(random, data.to_vec(), other);
    };
    if random.once_in(3) {
        return bytes(random, data.to_vec(), other);
    }
    for _ in 0..=random.below(3) {
        if let (Some(graph), Some(donor)) = (&mut model.graph, &donor.graph) {
            graph_part(random, graph, donor);
        }
        if random.once_in(12)
            && let Some(set) = model.opset_import.first_mut()
        {
            set.version = Some(random.below(30) as i64);
        }
    }
    model.encode_to_vec()
}

fn graph_part(random: &mut Random, graph: &mut GraphProto, donor: &GraphProto) {
    match random.below(10) {
        0 if !graph.node.is_empty() => drop(graph.node.remove(random.below(graph.node.len()))),
        1 if !graph.node.is_empty() => {
            let at = random.below(graph.node.len());
            graph.node.insert(at, graph.node[random.below(graph.node.len())].clone());
        }
        2 if !graph.node.is_empty() && !donor.node.is_empty() => {
            let at = random.below(graph.node.len());
            graph.node[at].op_type = random.pick(&donor.node).op_type.clone();
        }
        3 if !graph.node.is_empty() => {
            let names: Vec<String> = graph.node.iter().flat_map(|node| node.output.clone()).collect();
            let at = random.below(graph.node.len());
            let inputs = &mut graph.node[at].input;
            if !inputs.is_empty() && !names.is_empty() {
                let place = random.below(inputs.len());
                inputs[place] = random.pick(&names).clone();
            }
        }
        4 | 5 if !graph.node.is_empty() => {
            let at = random.below(graph.node.len());
            attribute(random, &mut graph.node[at]);
        }
        6 if !graph.initializer.is_empty() => {
            let at = random.below(graph.initializer.len());
            let tensor = &mut graph.initializer[at];
            match random.below(4) {
                0 => tensor.data_type = Some(random.below(24) as i32),
                1 if !tensor.dims.is_empty() => {
                    let axis = random.below(tensor.dims.len());
                    tensor.dims[axis] = *random.pick(&INTEGERS);
                }
                2 => tensor.dims.reverse(),
                _ => {
                    if let Some(raw) = &tensor.raw_data {
                        tensor.raw_data = Some(bytes(random, raw.to_vec(), &[]).into());
                    }
                }
            }
        }
        7 | 8 if !graph.input.is_empty() => {
            let at = random.below(graph.input.len());
            let ty = graph.input[at].r#type.as_mut().and_then(|ty| ty.tensor_type.as_mut());
            if let Some(tensor) = ty {
                if random.once_in(4) {
                    tensor.elem_type = Some(random.below(24) as i32);
                } else if let Some(shape) = &mut tensor.shape
                    && !shape.dim.is_empty()
                {
                    let axis = random.below(shape.dim.len());
                    shape.dim[axis].dim_value = Some(*random.pick(&INTEGERS));
                }
            }
        }
        _ if !graph.output.is_empty() && !graph.node.is_empty() => {
            let at = random.below(graph.output.len());
            let node = random.below(graph.node.len());
            graph.output[at].name = graph.node[node].output.first().cloned();
        }
        _ => {}
    }
}

fn attribute(random: &mut Random, node: &mut lutweave_onnx::proto::NodeProto) {
    if node.attribute.is_empty() {
        return;
    }
    let at = random.below(node.attribute.len());
    let attribute = &mut node.attribute[at];
    match random.below(4) {
        0 => drop(node.attribute.remove(at)),
        1 if attribute.i.is_some() => attribute.i = Some(*random.pick(&INTEGERS)),
        2 if attribute.f.is_some() => {
            attribute.f = Some(*random.pick(&[0.0, -1.0, f32::NAN, f32::INFINITY, 1e30, 1e-30]))
        }
        _ if !attribute.ints.is_empty() => {
            let place = random.below(attribute.ints.len());
            attribute.ints[place] = *random.pick(&INTEGERS);
        }
        _ => {}
    }
}
