//! ONNX (onnx.ai, `onnx/onnx.proto`): a net as a graph of operators with its weights. [`write()`] writes the layers that it has
//! operators for; [`read()`] makes a config and weights of the operators that have layers here. Tensors are images × channels ×
//! rows × columns, or images × channels.

mod read;
mod write;

pub use read::{Imported, read, read_weights};
pub use write::{Model as Written, write};

use super::{Tensor, shown};
use crate::format::protobuf::{Value, fields};
use half::{bf16, f16};
use std::collections::HashMap;

/// Operators of a file, at most.
const MAX_NODES: usize = 100_000;
/// The types of elements: TensorProto.DataType.
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// What is used of a file.
#[derive(Debug, Default)]
struct Model {
    name: String,
    nodes: Vec<Operator>,
    constants: HashMap<String, Constant>,
    /// The inputs with their extents, as far as these are known.
    inputs: Vec<(String, Vec<Option<i64>>)>,
    outputs: Vec<String>,
}

/// A node of the graph.
#[derive(Debug, Default)]
struct Operator {
    kind: String,
    name: String,
    domain: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    attributes: HashMap<String, Attribute>,
}

#[derive(Clone, Debug)]
enum Attribute {
    Float(f32),
    Int(i64),
    Text(String),
    Ints(Vec<i64>),
    Tensor(Constant),
    Other,
}

/// A tensor whose values are in the file.
#[derive(Clone, Debug)]
struct Constant {
    shape: Vec<usize>,
    numbers: Numbers,
}

#[derive(Clone, Debug)]
enum Numbers {
    Reals(Vec<f32>),
    Ints(Vec<i64>),
}

impl Constant {
    /// Its reals, as a tensor.
    fn tensor(&self, name: &str) -> Result<Tensor, String> {
        match &self.numbers {
            Numbers::Reals(values) => Ok(Tensor { name: shown(name), shape: self.shape.clone(), values: values.clone() }),
            Numbers::Ints(_) => Err(format!("'{}' has whole numbers where reals are due", shown(name))),
        }
    }

    fn reals(&self) -> Option<&[f32]> {
        match &self.numbers {
            Numbers::Reals(values) => Some(values),
            Numbers::Ints(_) => None,
        }
    }

    fn ints(&self) -> Option<&[i64]> {
        match &self.numbers {
            Numbers::Ints(values) => Some(values),
            Numbers::Reals(_) => None,
        }
    }
}

/// A name like the wanted one that none of `names` is; these know how often each was wanted.
fn unlike(names: &mut HashMap<String, usize>, wanted: &str) -> String {
    let mut name = wanted.to_owned();
    while let Some(&n) = names.get(wanted).filter(|_| names.contains_key(&name)) {
        names.insert(wanted.to_owned(), n + 1);
        name = format!("{wanted}-{}", n + 1);
    }
    names.insert(name.clone(), 1);
    name
}

/// Reads a ModelProto.
fn parse(file: &[u8]) -> Result<Model, String> {
    let no_model = |_| "it is no whole ONNX file: a message in it is cut short or damaged".to_owned();
    let mut graph = None;
    for field in fields(file) {
        let field = field.map_err(no_model)?;
        if field.number == 7 {
            graph = Some(field.bytes()?);
        }
    }
    let mut model = Model::default();
    for field in fields(graph.ok_or("it is no ONNX file: it has no graph")?) {
        let field = field.map_err(no_model)?;
        match field.number {
            1 if model.nodes.len() == MAX_NODES => return Err(format!("it has more than {MAX_NODES} operators")),
            1 => model.nodes.push(operator(field.bytes()?)?),
            2 => model.name = field.text()?,
            5 => {
                let (name, constant) = constant(field.bytes()?)?;
                model.constants.insert(name, constant);
            }
            11 => model.inputs.push(input(field.bytes()?)?),
            12 => model.outputs.push(input(field.bytes()?)?.0),
            _ => {}
        }
    }
    Ok(model)
}

/// A NodeProto.
fn operator(message: &[u8]) -> Result<Operator, String> {
    let mut node = Operator::default();
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => node.inputs.push(field.text()?),
            2 => node.outputs.push(field.text()?),
            3 => node.name = field.text()?,
            4 => node.kind = field.text()?,
            5 => {
                let (name, attribute) = attribute(field.bytes()?)?;
                node.attributes.insert(name, attribute);
            }
            7 => node.domain = field.text()?,
            _ => {}
        }
    }
    Ok(node)
}

/// An AttributeProto.
fn attribute(message: &[u8]) -> Result<(String, Attribute), String> {
    let (mut name, mut value, mut ints, mut kind) = (String::new(), Attribute::Other, Vec::new(), 0);
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => name = field.text()?,
            2 => value = Attribute::Float(field.float()?),
            3 => value = Attribute::Int(field.int()?),
            4 => value = Attribute::Text(field.text()?),
            5 => value = Attribute::Tensor(constant(field.bytes()?)?.1),
            8 => field.ints(&mut ints)?,
            20 => kind = field.int()?,
            _ => {}
        }
    }
    // Numbers that are 0 may be left out: the type tells them from nothing.
    let value = match (kind, value) {
        (7, _) => Attribute::Ints(ints),
        (_, Attribute::Other) if !ints.is_empty() => Attribute::Ints(ints),
        (1, Attribute::Other) => Attribute::Float(0.0),
        (2, Attribute::Other) => Attribute::Int(0),
        (3, Attribute::Other) => Attribute::Text(String::new()),
        (_, value) => value,
    };
    Ok((name, value))
}

/// A ValueInfoProto: the name, and the extents of its tensor.
fn input(message: &[u8]) -> Result<(String, Vec<Option<i64>>), String> {
    let (mut name, mut extents) = (String::new(), Vec::new());
    // Of ValueInfoProto the type, of that the tensor's, of that the shape.
    let inner = |message: &'_ [u8], number: u64| -> Result<Option<Vec<u8>>, String> {
        let mut found = None;
        for field in fields(message) {
            let field = field?;
            if field.number == number {
                found = Some(field.bytes()?.to_vec());
            }
        }
        Ok(found)
    };
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => name = field.text()?,
            2 => {
                let Some(tensor) = inner(field.bytes()?, 1)? else { continue };
                let Some(shape) = inner(&tensor, 2)? else { continue };
                for dimension in fields(&shape) {
                    let dimension = dimension?;
                    if dimension.number != 1 {
                        continue;
                    }
                    let mut extent = None;
                    for field in fields(dimension.bytes()?) {
                        let field = field?;
                        if field.number == 1 {
                            extent = Some(field.int()?);
                        }
                    }
                    extents.push(extent);
                }
            }
            _ => {}
        }
    }
    Ok((name, extents))
}

/// A TensorProto and its name.
fn constant(message: &[u8]) -> Result<(String, Constant), String> {
    let (mut name, mut extents, mut kind) = (String::new(), Vec::new(), 0);
    let (mut reals, mut ints, mut raw, mut elsewhere) = (Vec::new(), Vec::new(), None, false);
    for field in fields(message) {
        let field = field?;
        match field.number {
            1 => field.ints(&mut extents)?,
            2 => kind = field.int()?,
            4 => field.floats(&mut reals)?,
            5 | 7 => field.ints(&mut ints)?,
            8 => name = field.text()?,
            9 => raw = Some(field.bytes()?),
            10 => field.doubles(&mut reals)?,
            13 => elsewhere = true,
            14 => elsewhere |= field.value == Value::Varint(1),
            _ => {}
        }
    }
    let fault = |what: &str| Err(format!("tensor '{}' {what}", shown(&name)));
    if elsewhere {
        return fault("is kept in another file; save the model with its weights in it");
    }
    fn all<const N: usize, T>(raw: &[u8], one: impl Fn([u8; N]) -> T) -> Vec<T> {
        raw.as_chunks().0.iter().map(|&b| one(b)).collect()
    }
    let half = |v: &[i64], one: fn(u16) -> f32| v.iter().map(|&v| one(v as u16)).collect::<Vec<f32>>();
    let numbers = match (kind, raw) {
        (FLOAT, Some(raw)) => Numbers::Reals(all(raw, f32::from_le_bytes)),
        (11, Some(raw)) => Numbers::Reals(all(raw, |b| f64::from_le_bytes(b) as f32)),
        (10, Some(raw)) => Numbers::Reals(all(raw, |b| f16::from_le_bytes(b).to_f32())),
        (16, Some(raw)) => Numbers::Reals(all(raw, |b| bf16::from_le_bytes(b).to_f32())),
        (INT64, Some(raw)) => Numbers::Ints(all(raw, i64::from_le_bytes)),
        (6, Some(raw)) => Numbers::Ints(all(raw, |b| i64::from(i32::from_le_bytes(b)))),
        (FLOAT | 11, None) => Numbers::Reals(reals),
        (10, None) => Numbers::Reals(half(&ints, |v| f16::from_bits(v).to_f32())),
        (16, None) => Numbers::Reals(half(&ints, |v| bf16::from_bits(v).to_f32())),
        (INT64 | 6, None) => Numbers::Ints(ints),
        // Others are no harm as long as nothing uses them.
        _ => return Ok((name, Constant { shape: vec![0], numbers: Numbers::Ints(Vec::new()) })),
    };
    let shape: Option<Vec<usize>> = extents.iter().map(|&e| usize::try_from(e).ok()).collect();
    let held = match &numbers {
        Numbers::Reals(v) => v.len(),
        Numbers::Ints(v) => v.len(),
    };
    let elements = |s: &Vec<usize>| s.iter().try_fold(1_usize, |n, &e| n.checked_mul(e)) == Some(held);
    match shape.filter(elements) {
        Some(shape) => Ok((name, Constant { shape, numbers })),
        None => fault(&format!("has {held} numbers, and not as many as its extents say")),
    }
}
