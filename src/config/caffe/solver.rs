//! Caffe's solver → `[train]`. Caffe counts updates and knows no epochs: `max_iter` is `steps`.

use super::message::{Field, Message};
use crate::config::error::{did_you_mean, list, quote};
use crate::config::tree::{Builder, Notes};
use crate::config::{ConfigError, Node, Sources, Span, Value};

/// Fields that say how Caffe goes about it, and their notes.
const NOTED: [(&str, &str); 7] = [
    ("snapshot_prefix", "snapshot_prefix has no effect: --out names the run's folder"),
    ("solver_mode", "solver_mode has no effect: --device says what a net runs on"),
    ("device_id", "device_id has no effect: --device says what a net runs on"),
    ("test_iter", "test_iter has no effect: a test goes over all test images"),
    ("test_net", "test_net has no effect: the net that is trained is tested"),
    ("test_net_param", "test_net_param has no effect: the net that is trained is tested"),
    ("test_state", "test_state has no effect beyond the first"),
];
/// Fields without any meaning here.
const IGNORED: [&str; 8] = [
    "average_loss",
    "debug_info",
    "layer_wise_reduce",
    "snapshot_after_train",
    "snapshot_diff",
    "snapshot_format",
    "test_compute_loss",
    "test_initialization",
];
/// Fields of other ways to learn than by stochastic gradient descent.
const OTHER_SOLVERS: [&str; 3] = ["delta", "momentum2", "rms_decay"];
const POLICIES: [&str; 7] = ["fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid"];

/// `[train]` out of a solver and the batch that its net goes through at once.
pub fn translate(m: &Message, batch: Option<(i64, Span)>, sources: &Sources, notes: &mut Notes) -> Result<Builder, ConfigError> {
    let at = m.get("base_lr").or_else(|| m.get("net")).map_or(m.span, Field::whole);
    let mut train = Builder::new(at);
    let solver = Solver { m, sources, at };
    solver.kind(&mut train)?;
    solver.length(&mut train)?;
    batches(&mut train, batch, m.get("iter_size"), sources)?;
    train.put("learning_rate", solver.rate()?, m.get("lr_policy").map_or(at, Field::whole));
    for (name, key) in [("momentum", "momentum"), ("weight_decay", "weight_decay")] {
        let field = m.get(name);
        let key = match m.text("regularization_type").unwrap_or("L2") {
            "L1" if name == "weight_decay" => "l1_decay",
            "L1" | "L2" => key,
            other => {
                let span = m.get("regularization_type").map_or(at, |f| f.span);
                let error = ConfigError::new(format!("unknown regularization_type {}", quote(other))).at(sources, span, "");
                return Err(error.help("known types: L1, L2"));
            }
        };
        let (place, span) = field.map_or((at, at), |f| (f.key, f.span));
        train.put_at(key, place, field.map_or(0.0, Field::as_float), span);
    }
    if train.table.contains_key("l1_decay") {
        train.put("weight_decay", 0.0, m.get("regularization_type").map_or(at, Field::whole));
    }
    if let Some(clip) = m.get("clip_gradients").filter(|f| f.as_float() >= 0.0) {
        // Caffe clips the sum over its iter_size parts, we the average.
        let parts = m.int("iter_size").unwrap_or(1).max(1);
        train.put_at("clip_norm", clip.key, clip.as_float() / parts as f64, clip.span);
    }
    for (name, key) in [("test_interval", "test_every"), ("snapshot", "checkpoint_every"), ("display", "log_every")] {
        if let Some(field) = m.get(name).filter(|f| f.as_int() != 0) {
            train.put_at(key, field.key, field.as_int(), field.span);
        }
    }
    if let Some(seed) = m.get("random_seed").filter(|f| f.as_int() >= 0) {
        train.put_at("seed", seed.key, seed.as_int(), seed.span);
    }
    for (name, note) in NOTED {
        let field = if name == "test_state" { m.all(name).nth(1) } else { m.get(name) };
        if let Some(field) = field {
            notes.say(sources, field.whole(), note);
        }
        m.all(name).for_each(Field::ignore);
    }
    m.ignore(&IGNORED);
    Ok(train)
}

/// The batch, and the parts of it that go through the net at once.
pub fn batches(
    train: &mut Builder,
    batch: Option<(i64, Span)>,
    parts: Option<&Field>,
    sources: &Sources,
) -> Result<(), ConfigError> {
    let Some((batch, span)) = batch else {
        if let Some(parts) = parts.filter(|f| f.as_int() != 1) {
            let error = ConfigError::new("iter_size without a batch_size in the net's data layer").at(sources, parts.whole(), "");
            return Err(error.help("add batch_size, or remove iter_size and set train.batch and train.micro_batch"));
        }
        return Ok(());
    };
    match parts.filter(|f| f.as_int() != 1) {
        None => train.put("batch", batch, span),
        Some(parts) => {
            let times = parts.as_int();
            let whole = batch.checked_mul(times).filter(|_| times > 0);
            let Some(whole) = whole else {
                let error =
                    ConfigError::new(format!("iter_size must be at least 1, and not {times}")).at(sources, parts.whole(), "");
                return Err(error.help("1 is the default"));
            };
            train.put_at("batch", parts.key, whole, parts.span).put("micro_batch", batch, span)
        }
    };
    Ok(())
}

struct Solver<'a> {
    m: &'a Message,
    sources: &'a Sources,
    at: Span,
}

impl<'a> Solver<'a> {
    fn error(&self, span: Span, message: &str, label: &str, help: &str) -> ConfigError {
        ConfigError::new(message).at(self.sources, span, label).help(help)
    }

    fn required(&self, name: &str) -> Result<&'a Field, ConfigError> {
        self.m.get(name).ok_or_else(|| {
            let policy = self.m.get("lr_policy");
            let span = policy.map_or(self.at, Field::whole);
            let label = policy.map_or(String::new(), |p| format!("lr_policy {} needs it", quote(p.as_text())));
            self.error(span, &format!("missing field {}", quote(name)), &label, &format!("add {name}: …"))
        })
    }

    /// How a step is taken.
    fn kind(&self, train: &mut Builder) -> Result<(), ConfigError> {
        let m = self.m;
        if let (Some(new), Some(old)) = (m.get("type"), m.get("solver_type")) {
            let error = self.error(new.whole(), "type and solver_type say the same thing twice", "", "keep type");
            return Err(error.at(self.sources, old.whole(), ""));
        }
        if let Some(field) = m.get("type").or_else(|| m.get("solver_type")) {
            match field.as_text() {
                "SGD" => {}
                "Nesterov" | "NESTEROV" => {
                    train.put_at("nesterov", field.key, true, field.span);
                }
                other => {
                    let known = ["SGD", "Nesterov"];
                    let message = format!("a solver of type {} has no counterpart here", quote(other));
                    let label = did_you_mean(other, &known, "");
                    return Err(self.error(field.span, &message, &label, "known types: SGD, Nesterov"));
                }
            }
        }
        if let Some(weights) = m.get("weights") {
            let help = "remove it: training starts from the weights that the fillers make";
            return Err(self.error(weights.whole(), "Caffe's weights are not read here", "", help));
        }
        if let Some(field) = OTHER_SOLVERS.iter().find_map(|name| m.get(name)) {
            let message = format!("{} goes with solvers of other types", field.name);
            return Err(self.error(field.whole(), &message, "", "remove it"));
        }
        Ok(())
    }

    fn length(&self, train: &mut Builder) -> Result<(), ConfigError> {
        let steps = self.required("max_iter")?;
        train.put_at("steps", steps.key, steps.as_int(), steps.span);
        Ok(())
    }

    /// The learning rate as one of our schedules. `exp`, base·gamma^iter, is a fall at every step.
    fn rate(&self) -> Result<Value, ConfigError> {
        let m = self.m;
        let base = self.required("base_lr")?;
        let policy = self.required("lr_policy")?;
        let mut b = Builder::new(policy.span);
        let mut schedule = |name: &str| {
            b.put_at("schedule", policy.key, name, policy.span).put_at("base", base.key, base.as_float(), base.span);
        };
        let name = policy.as_text();
        let mut take: Vec<(&str, &str)> = Vec::new();
        match name {
            "fixed" => {}
            "step" => {
                schedule("step");
                take = vec![("stepsize", "every"), ("gamma", "gamma")];
            }
            "exp" => {
                schedule("step");
                b.put("every", 1i64, policy.span);
                take = vec![("gamma", "gamma")];
            }
            "inv" => {
                schedule("inv");
                take = vec![("gamma", "gamma"), ("power", "power")];
            }
            "multistep" => {
                schedule("multistep");
                let first = self.required("stepvalue")?;
                let at: Vec<Node> = m.all("stepvalue").map(|f| Node::new(f.as_int().into(), f.span)).collect();
                let span = at.last().map_or(first.span, |last| first.span.to(last.span));
                b.put_at("at", first.key, Value::Array(at), span);
                take = vec![("gamma", "gamma")];
            }
            "poly" => {
                schedule("poly");
                take = vec![("power", "power")];
            }
            "sigmoid" => {
                schedule("sigmoid");
                take = vec![("gamma", "gamma"), ("stepsize", "at")];
            }
            other => {
                let label = did_you_mean(other, &POLICIES, "not a policy that is known here");
                let help = format!("known policies: {}", list(&POLICIES));
                return Err(self.error(policy.span, &format!("unknown lr_policy {}", quote(other)), &label, &help));
            }
        }
        for (field, key) in take {
            let field = self.required(field)?;
            let value = if field.name == "stepsize" { Value::Integer(field.as_int()) } else { Value::Float(field.as_float()) };
            b.put_at(key, field.key, value, field.span);
        }
        // Those of other policies are common, and without effect.
        m.ignore(&["gamma", "power", "stepsize", "stepvalue"]);
        Ok(if name == "fixed" { Value::Float(base.as_float()) } else { Value::Table(b.table) })
    }
}
