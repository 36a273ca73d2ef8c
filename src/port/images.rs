//! What a net sees of an image, where its own program shows it otherwise: channels in the order blue, green, red, as OpenCV
//! reads files and so Caffe does; or each channel divided by a deviation of its own, as torchvision does. Both are put into the
//! layers that read the images: their filters' channels are turned around, and multiplied.

use crate::layer::Part;
use crate::net::{Graph, Input};

/// The order of the channels that a net was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// Red, green, blue: as images are here.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// Makes weights that were learned on images of such channels weights for ours: `factors`, one for each channel as ours are
/// ordered, multiply what a net sees.
///
/// # Errors
/// Images are read by a layer that has no weights for each channel.
pub fn adapt(graph: &Graph, values: &mut [Vec<f32>], order: Channels, factors: &[f64]) -> Result<(), String> {
    let c = graph.images.c;
    let turned = order == Channels::Bgr && c == 3;
    if !turned && factors.iter().all(|&f| f == 1.0) {
        return Ok(());
    }
    let mut done = vec![false; graph.parameters.len()];
    for node in &graph.nodes {
        for (input, &k) in node.inputs.iter().zip(&node.parameters) {
            if *input != Input::Source(Part::Images) || done[k] {
                continue;
            }
            let rows = graph.parameters[k].spec.shape.image();
            let whole = matches!(node.kind.as_str(), "conv" | "local") && graph.parameters[k].spec.shape.c == c
                || node.kind == "fc" && rows == graph.images.image();
            if !whole {
                continue;
            }
            done[k] = true;
            for pixel in values[k].chunks_exact_mut(c) {
                if turned {
                    pixel.reverse();
                }
                pixel.iter_mut().zip(factors).for_each(|(w, f)| *w = (f64::from(*w) * f) as f32);
            }
        }
        let reads = node.inputs.iter().enumerate().filter(|(_, i)| **i == Input::Source(Part::Images));
        if let Some((_, _)) = reads.into_iter().find(|(i, _)| node.parameters.get(*i).is_none_or(|&k| !done[k])) {
            return Err(format!(
                "layer '{}' reads the images and is no conv, local or fc layer of all their channels, so that neither their order \
                 nor a deviation for each can be put into it; use --channels rgb and one deviation",
                node.name
            ));
        }
    }
    Ok(())
}
