//! What the tests share: the binary with its output, small nets, and what compares results.

// Each test binary has this module to itself and uses a part of it.
#![allow(dead_code)]

use convnet::config::NetSpec;
use convnet::device::Device;
use convnet::device::cpu::CpuDevice;
use convnet::train::{Setup, Trainer};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

mod small;

#[allow(unused_imports)]
pub(crate) use small::classifier;
#[allow(unused_imports)]
pub use small::{COSTS, LENET, SMALL};

/// A folder that is removed after the test, with `net.toml` in it.
pub struct Folder {
    folder: TempDir,
}

impl Folder {
    pub fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("net.toml"), config).unwrap();
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `convnet` in the folder, to its end.
    pub fn convnet(&self, arguments: &[&str]) -> Ended {
        Ended::of(command(self.folder.path(), arguments).output().unwrap())
    }

    /// `convnet train net.toml --out run` on one thread of the CPU, with more arguments.
    pub fn train(&self, more: &[&str]) -> Ended {
        self.convnet(&[&TRAIN, more].concat())
    }
}

/// The arguments of [`Folder::train`].
pub const TRAIN: [&str; 8] = ["train", "net.toml", "--out", "run", "--device", "cpu", "--threads", "1"];
/// The arguments that go on with its run.
pub const RESUME: [&str; 6] = ["resume", "run", "--device", "cpu", "--threads", "1"];

/// The binary, to be run in a folder, its output to be read.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convnet"));
    command.current_dir(folder).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `convnet` where the tests run, to its end.
pub fn convnet(arguments: &[&str]) -> Ended {
    Ended::of(command(Path::new("."), arguments).output().unwrap())
}

/// A process that has ended.
pub struct Ended {
    /// Its exit status; -1 where a signal ended it.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Fails, showing what was said, unless it ended with this status.
    #[track_caller]
    pub fn ended(self, status: i32) -> Self {
        assert_eq!(self.status, status, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Fails unless it ended with this status and exactly one error message, which says all of `parts`.
    #[track_caller]
    pub fn failed(self, status: i32, parts: &[&str]) -> Self {
        let this = self.ended(status);
        let messages = this.stderr.lines().filter(|l| l.starts_with("error: ") || l.starts_with("  × ")).count();
        assert_eq!(messages, 1, "not one message: {}", this.stderr);
        for part in parts {
            assert!(this.stderr.contains(part), "no '{part}' in: {}", this.stderr);
        }
        for trace in ["panicked", "backtrace", "RUST_BACKTRACE", "src/"] {
            assert!(!this.stderr.contains(trace), "'{trace}' in: {}", this.stderr);
        }
        this
    }
}

/// Runs a shell script in a mount namespace of its own, with a tmpfs of these options on ./disk; the binary is `$CONVNET`.
pub fn on_a_disk(folder: &Folder, options: &str, script: &str) -> Ended {
    std::fs::create_dir(folder.path("disk")).unwrap();
    let script = format!("mount -t tmpfs -o {options} tmpfs disk || exit 99\n{script}");
    let mut unshare = Command::new("unshare");
    unshare.args(["-rm", "sh", "-c", &script]).current_dir(folder.path("")).env("CONVNET", env!("CARGO_BIN_EXE_convnet"));
    let ended = Ended::of(unshare.output().expect("this test needs `unshare`, of util-linux"));
    let may = "this test mounts a tmpfs in a namespace of its own: it needs root or unprivileged user namespaces";
    assert!(ended.status != 99 && !ended.stderr.starts_with("unshare"), "{may}: {}", ended.stderr);
    ended
}

/// What a config and changes to it make.
pub fn setup(config: &str, sets: &[&str]) -> Setup {
    let folder = Folder::new(config);
    let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
    Setup::new(NetSpec::load(folder.path("net.toml"), &sets).unwrap()).unwrap()
}

/// A trainer in f32 on so many threads of the CPU. It stays on the thread that makes it.
pub fn trainer(setup: Setup, threads: usize) -> Trainer {
    Trainer::new(setup, f32_device(threads)).unwrap()
}

pub fn f32_device(threads: usize) -> Box<dyn Device> {
    Box::new(CpuDevice::<f32>::new(threads))
}

pub fn f64_device() -> Box<dyn Device> {
    Box::new(CpuDevice::<f64>::new(1))
}

/// All parameters of a trainer's net, one after the other.
pub fn parameters(trainer: &mut Trainer) -> Vec<f64> {
    let net = trainer.net();
    (0..net.plan.kept.parameters.len()).flat_map(|i| net.read(net.plan.kept.parameters[i]).unwrap()).collect()
}

/// Fails, showing the worst element, where two lists differ by more than `bound` · (1 + |b|).
#[track_caller]
pub fn close(a: &[f64], b: &[f64], bound: f64) {
    assert_eq!(a.len(), b.len());
    let error = |i: usize| (a[i] - b[i]).abs() / (1.0 + b[i].abs());
    let Some(worst) = (0..a.len()).max_by(|&i, &j| error(i).total_cmp(&error(j))) else { return };
    assert!(error(worst) <= bound, "element {worst}: {} and {}, error {:e}, bound {bound:e}", a[worst], b[worst], error(worst));
}
