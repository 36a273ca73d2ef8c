//! `convnet export`.

use super::{Failure, Result, import, table, test::Which};
use crate::data::Normalisation;
use crate::device::Shape;
use crate::device::cpu::CpuDevice;
use crate::net::{Graph, Net, Purpose};
use crate::port::{self, Format, onnx};
use crate::train::{self, Run, files};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// The arguments of `export`.
#[derive(Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// The run's folder
    run: PathBuf,
    /// The file to write; its ending says the format
    file: PathBuf,
    /// What to write: caffe, darknet, pytorch or onnx [default: what the file's ending says]
    #[arg(long, value_name = "FORMAT", value_parser = import::format)]
    format: Option<Format>,
    /// The layer whose output is an ONNX model's [default: the net's prediction]
    #[arg(long, value_name = "LAYER")]
    output: Option<String>,
    #[command(flatten)]
    which: Which,
}

const AFTER: &str = "Weights are named after the layers, in the order of the other program: channels first. Images are red, green, \
blue. What is subtracted from the pixels and what they are multiplied by is printed; an ONNX model does it itself, and takes \
values of 0 to 255, images × channels × rows × columns. Batch normalisations are folded into its other layers.";

pub(super) fn run(a: Arguments) -> Result {
    let format = import::format_of(&a.file, a.format)?;
    let spec = super::config::load_run(&Run::config(&a.run)?, &[])?;
    let (found, path) = a.which.load(&a.run)?;
    let normalisation = train::normalisation_of(&found, &path)?;
    let [h, w, c] = found.state.data.shape;
    let images = Shape::new(1, h, w, c);
    let mut graph = Graph::new(&spec, images, found.state.data.labels())?;
    let fault = |what: String| Failure::new(format!("cannot export {}: {what}", a.run.display()));
    let file = if format == Format::Onnx {
        let output = output(&graph, a.output.as_deref())?;
        // A layer whose output is asked for stays as it is.
        graph.shown.push(output);
        let device = Box::new(CpuDevice::<f32>::new(1));
        let made = Net::new(graph, device, Purpose::Infer, images, &normalisation.mean, normalisation.scale);
        let mut net = made.map_err(|(e, _)| e)?;
        train::load_parameters(&mut net, &found, &path)?;
        let mut values = Vec::with_capacity(net.graph.parameters.len());
        for k in 0..net.graph.parameters.len() {
            values.push(net.read(net.plan.kept.parameters[k])?.into_iter().map(|v| v as f32).collect());
        }
        let Normalisation { mean, scale } = &normalisation;
        let folded = &net.fold_graph();
        onnx::write(onnx::Written { graph: &net.graph, folded, values: &values, mean, scale: *scale, output }).map_err(fault)?
    } else {
        let values = train::parameter_values(&graph, &found, &path)?;
        port::write(format, &graph, &values).map_err(fault)?
    };
    let mean: Vec<String> = normalisation.mean.iter().take(4).map(f32::to_string).collect();
    let mean = if normalisation.mean.len() > 4 { "a mean image".to_owned() } else { mean.join(", ") };
    eprintln!("images: pixels less {mean}, times {}", normalisation.scale);
    files::replace(&a.file, &file)?;
    eprintln!("{}: {}", a.file.display(), table::bytes(file.len() as u64));
    Ok(ExitCode::SUCCESS)
}

/// The layer whose output is the model's: a named one with its neuron, or the net's prediction.
fn output(graph: &Graph, name: Option<&str>) -> Result<usize> {
    let Some(name) = name else {
        return graph.prediction().ok_or_else(|| Failure::new("the net has no output; name a layer by --output"));
    };
    let Some(i) = graph.nodes.iter().position(|n| n.name == name && !n.is_cost()) else {
        let names: Vec<&str> = graph.nodes.iter().filter(|n| !n.is_cost()).map(|n| n.name.as_str()).collect();
        return Err(Failure::usage(format!("no layer is called '{name}'; there are: {}", names.join(", "))));
    };
    let riding = |j: &usize| graph.nodes[*j].name == format!("{name}.neuron");
    Ok(Some(i + 1).filter(|j| *j < graph.nodes.len() && riding(j)).unwrap_or(i))
}
