//! `convnet train`.

use super::{DeviceArguments, Failure, Result, config::ConfigArguments, progress::Progress};
use crate::config::NetSpec;
use crate::device::Device;
use crate::net::Graph;
use crate::train::checkpoint::Checkpoint;
use crate::train::pretrain::Learned;
use crate::train::start::{self, Started};
use crate::train::{Outcome, Run, Setup, Trainer};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The device, and what pretraining learned.
type Pretrained = (Box<dyn Device>, Learned);

/// The arguments of `train`.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The run's folder [default: runs/NAME, or runs/NAME-2 and so on]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Passes over the training set [config: train.epochs]
    #[arg(long, value_name = "N")]
    epochs: Option<f64>,
    /// The seed [config: train.seed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write TensorBoard's events too, in the run's folder `tensorboard` [config: train.tensorboard]
    #[arg(long)]
    tensorboard: bool,
    #[command(flatten)]
    start: StartArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

/// Where the parameters start, if not as the config says.
#[derive(Args)]
struct StartArguments {
    /// Start with the parameters of another run, of the same names and sizes: its newest checkpoint, or a checkpoint's folder
    #[arg(long, value_name = "RUN")]
    init_from: Option<PathBuf>,
    /// Make a conv layer locally connected, and those that share its filters; every place starts with a copy of them
    #[arg(long, value_name = "LAYER", value_delimiter = ',')]
    conv_to_local: Vec<String>,
    /// Give a layer a copy of the weights that it shares; LAYER[1]: of those of its second input
    #[arg(long, value_name = "LAYER", value_delimiter = ',')]
    unshare_weights: Vec<String>,
}

impl StartArguments {
    fn are_given(&self) -> bool {
        self.init_from.is_some() || !self.conv_to_local.is_empty() || !self.unshare_weights.is_empty()
    }

    /// What they change of a config, as arguments of `--set`.
    fn changes(&self, spec: &NetSpec) -> Result<Vec<String>> {
        let mut changes = Vec::new();
        for layer in &self.conv_to_local {
            changes.extend(start::to_local(spec, layer)?);
        }
        for layer in &self.unshare_weights {
            let own = start::unshared(spec, layer)?;
            if own.is_empty() {
                eprintln!("note: '{layer}' has weights of its own already");
            }
            changes.extend(own);
        }
        Ok(changes)
    }
}

/// What a net starts from in place of its initial parameters.
struct Start {
    /// The config before filters were made local and weights unshared.
    before: NetSpec,
    /// The run that has the parameters, and its checkpoint.
    from: Option<(PathBuf, Checkpoint)>,
}

impl Start {
    /// Gives the net its parameters; returns what is to be said of it.
    fn apply(&self, trainer: &mut Trainer) -> Result<Vec<String>> {
        let setup = trainer.setup();
        let before = Graph::new(&self.before, setup.images(1), setup.labels())?;
        let from = self.from.as_ref().map(|(_, checkpoint)| checkpoint);
        let Started { copied, spread, missing } = trainer.start_from(&before, from)?;
        let mut said = Vec::new();
        if let Some((run, checkpoint)) = &self.from {
            if copied.is_empty() && spread.is_empty() {
                let message = format!("no parameter of {} fits this net: {}", run.display(), missing.join(", "));
                return Err(crate::train::Error::Argument(message).into());
            }
            let number = copied.len() + spread.len();
            said.push(format!("started with {number} parameters of {}, step {}", run.display(), checkpoint.state.step));
            if !missing.is_empty() {
                said.push(format!("not there, and started as the config says: {}", missing.join(", ")));
            }
        }
        if !spread.is_empty() {
            said.push(format!("copied to each place: {}", spread.join(", ")));
        }
        Ok(said)
    }
}

pub(super) fn run(a: Arguments) -> Result {
    let epochs = a.epochs.map(|epochs| format!("train.epochs={epochs}"));
    let seed = a.seed.map(|seed| format!("train.seed={}", seed as i64));
    let tensorboard = a.tensorboard.then(|| "train.tensorboard=true".to_owned());
    let mut sets: Vec<String> = epochs.into_iter().chain(seed).chain(tensorboard).collect();
    let start = match a.start.are_given() {
        true => {
            let before = a.config.read(sets.clone())?;
            sets.extend(a.start.changes(&before)?);
            let load = |run: PathBuf| start::load(&run, |w| eprintln!("warning: {w}")).map(|found| (run.clone(), found));
            Some(Start { before, from: a.start.init_from.map(load).transpose()? })
        }
        false => None,
    };
    let mut spec = a.config.load(sets)?;
    super::config::make_absolute(&mut spec);
    let out = a.out.unwrap_or_else(|| free_folder(&spec.name));
    if out.exists() {
        return Err(crate::train::Error::Taken { path: out }.into());
    }
    let stop = stop_on_signals()?;
    let config = spec.to_toml();
    let mut setup = Setup::new(spec)?;
    setup.data.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
    // Shapes are checked before a device is opened, so that a config's mistake is what is told.
    setup.graph(1)?;
    let mut said = Vec::new();
    if setup.spec.pretrain.is_some() && start.as_ref().is_some_and(|s| s.from.is_some()) {
        eprintln!("note: there is no pretraining where the parameters are another run's");
        setup.spec.pretrain = None;
    }
    let device = a.device.open(setup.spec.train.precision)?;
    let Some((device, learned)) = pretrain(&setup, device, &stop, &mut said)? else {
        eprintln!("stopped in pretraining: nothing was saved");
        return Ok(ExitCode::from(130));
    };
    let mut trainer = Trainer::new(setup, device)?;
    crate::train::pretrain::load(trainer.net(), &learned)?;
    if let Some(start) = start {
        let told = start.apply(&mut trainer)?;
        told.iter().for_each(|line| eprintln!("{line}"));
        said.extend(told);
    }
    eprintln!("{}", introduction(&mut trainer));
    let first = trainer.checkpoint(None, 0)?;
    let run = Run::create(&out, &config, &first)?;
    said.iter().for_each(|line| run.log(line));
    go(trainer, run, &stop)
}

/// Trains the layers of `[pretrain]`, and says of each what its reconstruction lost at first and at last.
fn pretrain(setup: &Setup, device: Box<dyn Device>, stop: &AtomicBool, said: &mut Vec<String>) -> Result<Option<Pretrained>> {
    let mut bar = super::progress::bar("pretraining");
    let mut first = None;
    let done = crate::train::pretrain::run(setup, device, stop, &mut |p| {
        bar.at(p.steps.0 as usize, p.steps.1 as usize);
        let Some(loss) = p.loss else { return };
        let begun = *first.get_or_insert(loss);
        if p.steps.0 == p.steps.1 {
            let line = format!("pretrained {}: {} steps, reconstruction loss {begun:.4} to {loss:.4}", p.layer, p.steps.1);
            bar.say(&line);
            said.push(line);
            first = None;
        }
    });
    bar.finish();
    Ok(done?)
}

/// Trains to the end, or until a signal.
pub(super) fn go(mut trainer: Trainer, mut run: Run, stop: &AtomicBool) -> Result {
    let folder = run.folder().display().to_string();
    if trainer.setup().spec.train.tensorboard {
        run.write_events()?;
    }
    let mut progress = Progress::new(&trainer, &folder);
    let outcome = trainer.run(&mut run, stop, &mut |event| progress.show(event));
    progress.finish();
    match outcome {
        Ok(Outcome::Done) => {
            eprintln!("run: {folder}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Outcome::Stopped) => {
            eprintln!("stopped after step {}, saved; go on with: convnet resume {folder}", trainer.steps_done());
            Ok(ExitCode::from(130))
        }
        Err(e) => {
            run.log(&e.to_string());
            let failure = Failure::from(e);
            Err(Failure { message: format!("{}\nrun: {folder}", failure.message), ..failure })
        }
    }
}

/// One line on the net, the data and the memory.
fn introduction(trainer: &mut Trainer) -> String {
    let (steps, batch) = (trainer.total_steps(), trainer.setup().spec.train.batch);
    let data = &trainer.setup().data;
    let (name, train, test) = (data.name.clone(), data.train.len(), data.test.len());
    let net = trainer.net();
    format!(
        "net: {}, {} parameters, {} multiply-adds an image, {} of memory\ndata: {name}, {train} training and {test} test images; {steps} steps of {batch}",
        net.graph.name,
        super::table::thousands(net.graph.parameter_count() as u64),
        super::table::thousands(net.graph.multiply_adds()),
        super::table::bytes(net.plan.bytes as u64),
    )
}

/// runs/NAME, or the first of runs/NAME-2, runs/NAME-3, … that is free.
fn free_folder(name: &str) -> PathBuf {
    let safe: String = name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let safe = if safe.trim_matches('.').is_empty() { "net".to_owned() } else { safe };
    let first = Path::new("runs").join(&safe);
    let others = (2..).map(|i| Path::new("runs").join(format!("{safe}-{i}")));
    std::iter::once(first).chain(others).find(|p| !p.exists()).expect("one of infinitely many names is free")
}

/// A flag that the first Ctrl-C or SIGTERM sets; the second ends the process at once with status 130.
pub(super) fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: at the first signal the flag is not yet set when the shutdown looks at it.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|e| Failure::new(format!("cannot watch for Ctrl-C: {e}")))?;
    }
    Ok(stop)
}
