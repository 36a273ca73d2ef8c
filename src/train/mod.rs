//! Training: the loop of steps, its tests, metrics and checkpoints, and the folder of a run.

pub mod checkpoint;
mod error;
pub mod events;
pub(crate) mod files;
mod metrics;
pub mod pretrain;
mod run;
pub mod start;
mod trainer;
pub mod trial;

pub use error::Error;
pub use metrics::{CostLine, Line, Split, WeightLine, cost_lines, read_lines};
pub use run::Run;
pub use trainer::{
    Event, Outcome, Setup, Trainer, bytes_of, evaluate, first_checkpoint, load_parameters, normalisation_of, open_data,
    parameter_values, total_steps,
};

pub(crate) use trainer::test_step;

/// What training returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
