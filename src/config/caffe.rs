//! Caffe's prototxt → the tree that the TOML would have made: a net to train or to deploy, or a solver and the net that it names.
//!
//! The text becomes a tree of fields ([`text`]), which are held against Caffe's messages ([`schema`], [`message`]); old layers
//! become new ones ([`upgrade`]); blobs become layers' inputs ([`net`]), each type its counterpart ([`layers`] and the files that it
//! names), and the
//! solver the section `[train]` ([`solver`]). Everything in the tree has the place of the field that it came from. What has no
//! counterpart is an error; what only has no effect is a note.

mod data;
mod layers;
mod losses;
mod message;
mod net;
mod neurons;
mod schema;
mod solver;
mod text;
mod upgrade;
mod weights;

use super::tree::{Builder, Notes};
use super::{ConfigError, Node, SourceId, Sources, Span};
use message::{Field, Message};
use net::State;
use std::path::Path;

/// Fields that only a solver has.
const SOLVERS: [&str; 6] = ["net", "net_param", "train_net", "train_net_param", "base_lr", "max_iter"];

/// Reads a net that a solver names as a new source, with its text.
pub(super) type ReadNet<'a> = &'a dyn Fn(&str, &mut Sources) -> Result<(SourceId, String), ConfigError>;

/// Reads a net or a solver. The net that a solver names is read by `read_net`; without it, a solver must have its net in it.
pub(super) fn parse(
    text: &str,
    source: SourceId,
    sources: &mut Sources,
    read_net: Option<ReadNet>,
) -> Result<(Node, Vec<String>), ConfigError> {
    let fields = text::parse(text, source, sources)?;
    let has = |names: &[&str]| fields.fields.iter().any(|f| names.contains(&f.name.as_str()));
    let mut notes = Notes::default();
    let mut root = Builder::new(Span::new(source, 0..0));
    let net = if has(&["layer", "layers", "input"]) || !has(&SOLVERS) {
        let m = message::check(fields, schema::NET, "a net", sources)?;
        let net = net::translate(&m, State::new("TRAIN"), State::new("TEST"), sources, &mut notes)?;
        let mut train = Builder::new(root.span);
        solver::batches(&mut train, net.batch, None, sources)?;
        let at = net.batch.map_or(root.span, |(_, span)| span);
        if !train.table.is_empty() {
            root.put("train", train.table, at);
        }
        net
    } else {
        let solver = message::check(fields, schema::SOLVER, "a solver", sources)?;
        let net = net_of(&solver, sources, &mut notes, read_net)?;
        let train = solver::translate(&solver, net.batch, sources, &mut notes)?;
        if let Some((path, field)) = solver.unread() {
            let error = ConfigError::new(format!("{path} has no counterpart here")).at(sources, field.whole(), "");
            return Err(error.help("remove it"));
        }
        let span = train.span;
        root.put("train", train.table, span);
        net
    };
    if let Some((name, span)) = net.name {
        root.put("name", name, span);
    }
    let at = net.data.table.values().next().map_or(root.span, |e| e.span());
    root.put("data", net.data.table, at);
    root.imply("layer", net.layers);
    Ok((root.node(), notes.into_vec()))
}

/// The net that a solver trains.
fn net_of(
    solver: &Message,
    sources: &mut Sources,
    notes: &mut Notes,
    read_net: Option<ReadNet>,
) -> Result<net::Net, ConfigError> {
    let named: Vec<&Field> = SOLVERS[..4].iter().filter_map(|name| solver.get(name)).collect();
    let Some(&field) = named.first() else {
        let at = solver.get("base_lr").map_or(solver.span, Field::whole);
        let error = ConfigError::new("the solver names no net").at(sources, at, "");
        return Err(error.help("add net: \"train_val.prototxt\""));
    };
    if let Some(second) = named.get(1) {
        let error = ConfigError::new(format!("{} and {} both say which net is trained", field.name, second.name));
        return Err(error.at(sources, second.key, "").at(sources, field.key, "").help("keep one of them"));
    }
    let train = State::new("TRAIN").with(solver.message("train_state"));
    let test = State::new("TEST").with(solver.message("test_state"));
    if let Some(m) = field.as_message() {
        let net = net::translate(m, train, test, sources, notes);
        field.ignore();
        return net;
    }
    let Some(read_net) = read_net else {
        let error =
            ConfigError::new("a net in another file can be read only where the solver is a file").at(sources, field.span, "");
        return Err(error.help("put the net in the solver: net_param { … }"));
    };
    let (source, text) = read_net(field.as_text(), sources).map_err(|e| match e.location() {
        Some(_) => e,
        None => e.at(sources, field.span, "named here"),
    })?;
    let fields = text::parse(&text, source, sources)?;
    let m = message::check(fields, schema::NET, "a net", sources)?;
    net::translate(&m, train, test, sources, notes)
}

/// The places where a net may be that a solver in a file names: Caffe's users name it from the folder that they start Caffe in,
/// which is often one above the solver's.
pub(super) fn places(solver: &Path, net: &str) -> Vec<std::path::PathBuf> {
    let folders = solver.parent().into_iter().flat_map(Path::ancestors);
    let mut places: Vec<_> = folders.map(|folder| folder.join(net)).collect();
    places.push(net.into());
    places
}
