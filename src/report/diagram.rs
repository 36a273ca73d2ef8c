//! A net as a graph: a box a layer, with its shape and parameters, in rows from the images to the costs. Rows and places are
//! Sugiyama's (1981), by a crate; an edge that passes rows bends in each of them, so that it goes around their boxes.

use crate::layer::{Part, Role};
use crate::net::{Graph, Input};
use askama::Template;
use rust_sugiyama::configure::{Config, CrossingMinimization, RankingType};
use std::collections::BTreeMap;

const BOX: (f64, f64) = (176.0, 46.0);
/// Between rows, and between boxes of one.
const GAP: (f64, f64) = (28.0, 30.0);
/// The width of a place where an edge passes a row.
const PASS: f64 = 20.0;
/// Nets of more layers are not drawn: nobody could read that.
const MAX: usize = 600;
/// Above so many, crossings are looked for less thoroughly.
const LARGE: usize = 120;

/// A layer's box.
struct Layer {
    name: String,
    about: String,
    class: &'static str,
    /// The middle of its upper edge.
    at: (f64, f64),
}

#[derive(Template)]
#[template(path = "diagram.html")]
struct Drawing {
    width: f64,
    height: f64,
    size: (f64, f64),
    layers: Vec<Layer>,
    edges: Vec<String>,
}

/// The graph as SVG; nothing where there are too many layers.
pub fn svg(graph: &Graph) -> Option<String> {
    if graph.nodes.len() > MAX {
        return None;
    }
    // The images are the first box. A neuron that rides on a layer is in its box.
    let shape = graph.images;
    let about = format!("{}×{}×{}", shape.h, shape.w, shape.c);
    let mut layers = vec![Layer { name: "images".into(), about, class: "source", at: (0.0, 0.0) }];
    let mut box_of = Vec::with_capacity(graph.nodes.len());
    let mut edges: Vec<(usize, usize)> = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        if let &[Input::Node(j)] = node.inputs.as_slice()
            && node.name.strip_suffix(".neuron") == Some(&graph.nodes[j].name)
        {
            let host: usize = box_of[j];
            box_of.push(host);
            continue;
        }
        let own = graph.own_parameter_count(i);
        let output = node.layer.output();
        let mut about = format!("{} ", node.kind);
        if !node.is_cost() {
            about += &format!("{}×{}×{}", output.h, output.w, output.c);
        }
        if own > 0 {
            about += &format!(" · {}", counted(own));
        }
        let class = match node.role() {
            Role::Cost { .. } => "cost",
            _ if own > 0 => "learns",
            _ => "",
        };
        let this = layers.len();
        box_of.push(this);
        layers.push(Layer { name: node.name.clone(), about, class, at: (0.0, 0.0) });
        for input in &node.inputs {
            let from = match *input {
                Input::Source(Part::Images) => 0,
                Input::Source(Part::Labels) => continue,
                Input::Node(j) => box_of[j],
            };
            if from != this && !edges.contains(&(from, this)) {
                edges.push((from, this));
            }
        }
    }
    Some(draw(layers, &edges))
}

fn draw(mut layers: Vec<Layer>, edges: &[(usize, usize)]) -> String {
    let n = layers.len();
    let mut rank = vec![0usize; n];
    for &(from, to) in edges {
        // Edges come in the order of the layers that they end at, so those that begin there come later.
        rank[to] = rank[to].max(rank[from] + 1);
    }
    // A vertex for each box, and for each row that an edge passes.
    let mut vertices: Vec<(u32, (f64, f64))> = (0..n as u32).map(|v| (v, (BOX.0 + GAP.1, BOX.1))).collect();
    let (mut links, mut routes) = (Vec::new(), Vec::new());
    for &(from, to) in edges {
        let mut route = vec![from];
        for _ in rank[from] + 1..rank[to] {
            route.push(vertices.len());
            vertices.push((vertices.len() as u32, (PASS, BOX.1)));
        }
        route.push(to);
        links.extend(route.windows(2).map(|w| (w[0] as u32, w[1] as u32)));
        routes.push(route);
    }
    let config = Config {
        vertex_spacing: 1.0,
        dummy_vertices: false,
        ranking_type: RankingType::Up,
        c_minimization: CrossingMinimization::Barycenter,
        transpose: n <= LARGE,
        ..Config::default()
    };
    let mut x: BTreeMap<usize, f64> = BTreeMap::new();
    let mut width: f64 = BOX.0;
    for (places, ..) in rust_sugiyama::from_vertices_and_edges(&vertices, &links, &config) {
        let least = places.iter().map(|(_, (x, _))| *x).fold(f64::INFINITY, f64::min);
        x.extend(places.iter().map(|&(v, (at, _))| (v, at - least)));
        width = places.iter().map(|(_, (x, _))| x - least + BOX.0).fold(width, f64::max);
    }
    let mut row_of = rank;
    row_of.resize(vertices.len(), 0);
    for (route, &(from, _)) in routes.iter().zip(edges) {
        for (i, &v) in route.iter().enumerate() {
            if v >= n {
                row_of[v] = row_of[from] + i;
            }
        }
    }
    let place = |v: usize| (x.get(&v).copied().unwrap_or(0.0) + BOX.0 / 2.0, row_of[v] as f64 * (BOX.1 + GAP.0));
    for (v, layer) in layers.iter_mut().enumerate() {
        layer.at = place(v);
    }
    let paths = routes.iter().map(|route| {
        let (x, y) = place(route[0]);
        let mut path = format!("M{x:.1},{:.1}", y + BOX.1);
        let mut from = (x, y + BOX.1);
        for &v in &route[1..] {
            let to = place(v);
            let middle = (from.1 + to.1) / 2.0;
            path += &format!("C{:.1},{middle:.1} {:.1},{middle:.1} {:.1},{:.1}", from.0, to.0, to.0, to.1);
            if v >= n {
                path += &format!("V{:.1}", to.1 + BOX.1);
            }
            from = (to.0, to.1 + BOX.1);
        }
        path
    });
    let rows = row_of.iter().copied().max().unwrap_or(0) + 1;
    let drawing = Drawing { width, height: rows as f64 * (BOX.1 + GAP.0) - GAP.0, size: BOX, edges: paths.collect(), layers };
    super::rendered(&drawing)
}

/// 431080 → `431 k`.
fn counted(n: usize) -> String {
    match n {
        0..1000 => n.to_string(),
        1000..1_000_000 => format!("{:.1} k", n as f64 / 1e3),
        _ => format!("{:.1} M", n as f64 / 1e6),
    }
}
