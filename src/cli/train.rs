//! `convnet train`.

use super::{DeviceArguments, Failure, Result, config::ConfigArguments, progress::Progress};
use crate::config::DataSpec;
use crate::device::Device;
use crate::train::pretrain::Learned;
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
    #[command(flatten)]
    device: DeviceArguments,
}

pub(super) fn run(a: Arguments) -> Result {
    let epochs = a.epochs.map(|epochs| format!("train.epochs={epochs}"));
    let seed = a.seed.map(|seed| format!("train.seed={}", seed as i64));
    let mut spec = a.config.load(epochs.into_iter().chain(seed))?;
    if let Ok(path) = Path::new(&spec.data.source).canonicalize()
        && !crate::data::BUILT_IN.contains(&spec.data.source.as_str())
        && spec.data.source != DataSpec::NONE
    {
        // The run's config must mean the same from any folder.
        spec.data.source = path.to_string_lossy().into_owned();
    }
    let out = a.out.unwrap_or_else(|| free_folder(&spec.name));
    if out.exists() {
        return Err(crate::train::Error::Taken { path: out }.into());
    }
    let stop = stop_on_signals()?;
    let config = spec.to_toml();
    let setup = Setup::new(spec)?;
    // Shapes are checked before a device is opened, so that a config's mistake is what is told.
    setup.graph(1)?;
    let mut said = Vec::new();
    let Some((device, learned)) = pretrain(&setup, a.device.open()?, &stop, &mut said)? else {
        eprintln!("stopped in pretraining: nothing was saved");
        return Ok(ExitCode::from(130));
    };
    let mut trainer = Trainer::new(setup, device)?;
    crate::train::pretrain::load(trainer.net(), &learned)?;
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
