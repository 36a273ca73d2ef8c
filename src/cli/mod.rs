//! The command line: one file a subcommand.

mod bench;
mod check;
mod compare;
mod config;
mod convert;
mod data;
mod devices;
mod diagnose;
mod export;
mod features;
mod find_lr;
mod import;
mod layers;
mod predict;
mod progress;
mod report;
mod resume;
mod show;
mod summary;
mod table;
mod test;
mod train;
mod verify;
mod watch;

use crate::device::{self, Device, Precision};
use crate::train::Error;
use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;

/// What every command returns: its exit status.
type Result<T = ExitCode, E = Failure> = std::result::Result<T, E>;

/// Why a command failed: a message for stderr and an exit status, 1 for what went wrong and 2 for wrong arguments or
/// configs.
struct Failure {
    message: String,
    status: u8,
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        let message = match &e {
            Error::Config(c) => c.render(std::io::IsTerminal::is_terminal(&std::io::stderr())),
            other => format!("error: {other}"),
        };
        Self { message, status: e.exit_status() }
    }
}

macro_rules! failures {
    ($($e:ty),*) => { $(impl From<$e> for Failure {
        fn from(e: $e) -> Self {
            Error::from(e).into()
        }
    })* };
}
failures!(crate::config::ConfigError, crate::data::Error, device::Error);

impl Failure {
    /// A failure with exit status 1.
    fn new(message: impl std::fmt::Display) -> Self {
        Self { message: format!("error: {message}"), status: 1 }
    }

    /// Wrong arguments: exit status 2.
    fn usage(message: impl std::fmt::Display) -> Self {
        Self { message: format!("error: {message}"), status: 2 }
    }
}

/// Trains convolutional networks from config files, on an NVIDIA GPU or on the CPU.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "`convnet train configs/lenet.toml` is a good first run: it needs no data but what is built in."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a net from a config
    Train(train::Arguments),
    /// Go on with a run from its newest whole checkpoint, bit for bit
    Resume(resume::Arguments),
    /// Measure a run's loss and error on its test set, by one view or many
    Test(test::Arguments),
    /// Classify image files with a run's net, or draw where in an image it sees a class
    Predict(predict::Arguments),
    /// Write what a layer of a run's net makes of images to a .npy or .safetensors file
    Features(features::Arguments),
    /// Draw a run's curves and filters as PNG files
    Show(show::Arguments),
    /// Make a page of a run: curves, filters, hidden units, errors, the net
    Report(report::Arguments),
    /// Serve a run's page on this machine while it trains
    Watch(watch::Arguments),
    /// Compare runs: a table, and a page of their curves
    Compare(compare::Arguments),
    /// Find a learning rate: start large, and halve it until the loss does not diverge
    FindLr(find_lr::Arguments),
    /// Look for what may be wrong with a run, point by point
    Diagnose(diagnose::Arguments),
    /// Print a config's layers, parameters, multiply-adds and memory
    Summary(summary::Arguments),
    /// Check every layer's gradients by finite differences in f64
    Check(check::Arguments),
    /// List the layer types, or print one's keys, shape and formula
    Layers(layers::Arguments),
    /// Write a config of any kind as TOML
    Convert(convert::Arguments),
    /// Make a run of another program's weights
    Import(import::Arguments),
    /// Write a run's weights for another program
    Export(export::Arguments),
    /// Time a config's training step, its forward pass and each layer
    Bench(bench::Arguments),
    /// Check every operation of a device against the CPU in f64
    Verify(verify::Arguments),
    /// Look at a data set, split it, or pack it into shards
    Data(data::Arguments),
    /// List the devices that nets can run on
    Devices(devices::Arguments),
}

/// The arguments that choose a device.
#[derive(Args)]
struct DeviceArguments {
    /// Where to run: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", value_name = "DEVICE", value_parser = device_name)]
    device: String,
    /// CPU threads [default: one for each core]
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    threads: usize,
}

/// A name that a device may have, here or elsewhere: any other is a wrong argument.
fn device_name(name: &str) -> Result<String, &'static str> {
    let known = ["auto", "cpu", "cuda"].contains(&name) || name.starts_with("cuda:");
    if known { Ok(name.to_owned()) } else { Err("there are: auto, cpu, cuda, cuda:N") }
}

impl DeviceArguments {
    /// Opens the device, and answers what to say of it: its name and why it is that one.
    fn found(&self) -> Result<(Box<dyn Device>, String)> {
        let (device, why) = device::open(&self.device, self.threads)?;
        let name = format!("{}{why}", device.name());
        Ok((device, name))
    }

    /// Opens the device in the precision that the config asks for, and says which it is and why.
    fn open(&self, wanted: Option<Precision>) -> Result<Box<dyn Device>> {
        let (mut device, name) = self.found()?;
        let precision = match (wanted, device.set_precision(wanted)) {
            (Some(wanted), given) if wanted != given => format!("; it multiplies in {given}, not {wanted}"),
            (None, Precision::F32) => String::new(),
            (_, given) => format!("; it multiplies in {given}"),
        };
        eprintln!("device: {name}{precision}");
        Ok(device)
    }

    /// Opens the device once more, saying nothing: for all nets of a command but the first.
    fn open_again(&self, wanted: Option<Precision>) -> device::Result<Box<dyn Device>> {
        let (mut device, _) = device::open(&self.device, self.threads)?;
        device.set_precision(wanted);
        Ok(device)
    }
}

/// Runs the command of this process's arguments. Exit status: 0 done, 1 failed, 2 wrong arguments or config, 130
/// interrupted.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Train(a) => train::run(a),
        Command::Resume(a) => resume::run(a),
        Command::Test(a) => test::run(a),
        Command::Predict(a) => predict::run(a),
        Command::Features(a) => features::run(a),
        Command::Show(a) => show::run(a),
        Command::Report(a) => report::run(a),
        Command::Watch(a) => watch::run(a),
        Command::Compare(a) => compare::run(a),
        Command::FindLr(a) => find_lr::run(a),
        Command::Diagnose(a) => diagnose::run(a),
        Command::Summary(a) => summary::run(a),
        Command::Check(a) => check::run(a),
        Command::Layers(a) => layers::run(a),
        Command::Convert(a) => convert::run(a),
        Command::Import(a) => import::run(a),
        Command::Export(a) => export::run(a),
        Command::Bench(a) => bench::run(a),
        Command::Verify(a) => verify::run(a),
        Command::Data(a) => data::run(a),
        Command::Devices(a) => devices::run(a),
    };
    done.unwrap_or_else(|f| {
        eprintln!("{}", f.message.trim_end());
        ExitCode::from(f.status)
    })
}

/// Prints a line on stdout; a reader that has gone away (`| head`) is no error.
fn print(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a document as JSON on stdout.
fn print_json(value: &impl serde::Serialize) {
    print(serde_json::to_string_pretty(value).expect("a report has a form in JSON"));
}
