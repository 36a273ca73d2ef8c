//! `convnet report`.

use super::test::Which;
use super::{DeviceArguments, Result, progress};
use crate::config::NetSpec;
use crate::device::Shape;
use crate::net::{Graph, Purpose};
use crate::report::filters::Filters;
use crate::report::page::{self, Subject};
use crate::report::study::Study;
use crate::train::checkpoint::Checkpoint;
use crate::train::{self, Line, Run, Setup, files, read_lines};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Images that go through the net at once, at most.
const BATCH: usize = 64;

/// The arguments of `report`.
#[derive(Args)]
pub struct Arguments {
    /// The run's folder
    run: PathBuf,
    /// The page [default: report.html in the run's folder]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
    /// Leave out what needs the test images: hidden units, confusion and errors
    #[arg(long)]
    no_test: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

/// A run, read.
pub(super) struct Record {
    /// Its config.
    pub spec: NetSpec,
    /// Its metrics.
    pub lines: Vec<Line>,
    /// The checkpoint, and its folder.
    pub checkpoint: Checkpoint,
    path: PathBuf,
    /// The net's graph, for one image.
    pub graph: Graph,
}

impl Record {
    /// Reads a run's config, metrics and a checkpoint.
    pub(super) fn read(run: &Path, which: &Which) -> Result<Self> {
        let spec = super::config::load_run(&Run::config(run)?, &[])?;
        let lines = read_lines(&run.join("metrics.jsonl"))?;
        let (checkpoint, path) = which.load(run)?;
        let [h, w, c] = checkpoint.state.data.shape;
        let graph = Graph::new(&spec, Shape::new(1, h, w, c), checkpoint.state.data.labels())?;
        Ok(Self { spec, lines, checkpoint, path, graph })
    }

    /// What the net does with its test images.
    pub(super) fn study(&self, device: &DeviceArguments) -> Result<Study> {
        let normalisation = train::normalisation_of(&self.checkpoint, &self.path)?;
        let setup = Setup::with_normalisation(self.spec.clone(), |_| Ok(normalisation))?;
        let device = device.open(setup.spec.train.precision)?;
        let mut net = setup.net(setup.micro_batch().min(BATCH), device, Purpose::Infer)?;
        train::load_parameters(&mut net, &self.checkpoint, &self.path)?;
        let mut bar = progress::bar("testing");
        let study = Study::of(&mut net, &setup, &mut |i, n| bar.at(i, n))?;
        bar.finish();
        Ok(study)
    }

    /// The filters that it learned.
    pub(super) fn filters(&self) -> Vec<Filters<'_>> {
        Filters::of(&self.spec, &self.checkpoint)
    }

    /// Whether its first cost counts errors.
    pub(super) fn errors(&self) -> bool {
        self.graph.costs().next().is_some_and(|i| self.graph.nodes[i].layer.counts().errors)
    }

    /// The page.
    pub(super) fn page(&self, run: &Path, study: std::result::Result<&Study, &str>, live: bool) -> Result<String> {
        let data = Path::new(&self.spec.data.source).file_name().unwrap_or_default().to_string_lossy();
        Ok(page::of_run(&Subject {
            folder: &run.display().to_string(),
            data: &data,
            step: self.checkpoint.state.step,
            graph: &self.graph,
            errors: self.errors(),
            lines: &self.lines,
            filters: &self.filters(),
            classes: &self.checkpoint.state.data.class_names,
            study,
            live,
        })?)
    }
}

pub(super) fn run(a: Arguments) -> Result {
    let record = Record::read(&a.run, &a.which)?;
    if record.lines.is_empty() {
        eprintln!("warning: there are no metrics yet, so no curves");
    }
    let study = match a.no_test {
        true => {
            Err("Made without the test images: `convnet report` without --no-test shows hidden units and errors too.".to_owned())
        }
        // A run whose images are elsewhere by now still has curves and filters.
        false => record.study(&a.device).map_err(|f| {
            let why = f.message.trim().trim_start_matches("error: ").to_owned();
            eprintln!("warning: the page has no errors and no hidden units, for the net cannot be tested: {why}");
            format!("There are no errors and no hidden units here, for the net could not be tested: {why}")
        }),
    };
    let text = record.page(&a.run, study.as_ref().map_err(String::as_str), false)?;
    let out = a.out.unwrap_or_else(|| a.run.join("report.html"));
    files::replace(&out, text.as_bytes())?;
    super::print(out.display());
    Ok(ExitCode::SUCCESS)
}
