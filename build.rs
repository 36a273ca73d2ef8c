//! Compiles kernels/*.cu with nvcc into fatbins, which the library embeds with the names of the kernels in them
//! (src/device/cuda/embedded.rs).
//!
//! nvcc is run by itself, one kernel file at a time: the `cc` crate's CUDA mode makes objects to be linked with the CUDA
//! runtime, and here nothing is linked; `cc` finds the host compiler that nvcc needs. Each fatbin holds machine code for the
//! architectures that this nvcc knows and PTX for what comes later, uncompressed, so that the tests' emulator can read it.
//!
//! Cargo reruns this file as a whole; a kernel is compiled again only when the hash of its text, the headers it includes, the
//! flags and nvcc's version differs from the one kept beside its fatbin in OUT_DIR.
//!
//! Environment: NVCC, CUDA_HOME or CUDA_PATH, NVCC_CCBIN, and CONVNET_CUDA_ARCHS, a list such as `80` or `75,80,90a` that
//! takes the place of all architectures. Without nvcc the build succeeds, without kernels.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::sync::Mutex;

/// Architectures that get machine code, where nvcc knows them. 90a: Hopper with its own instructions.
const MACHINE_CODE: [&str; 7] = ["75", "80", "86", "89", "90a", "100", "120"];
/// Architectures that get PTX, which the driver compiles for cards without machine code.
const PTX: [&str; 2] = ["75", "80"];
/// Kernel files of one architecture's own instructions: they get machine code and PTX for it alone, and are left out where it
/// is not compiled for. (The PTX is for the tests' emulator.)
const OWN: [(&str, &str); 1] = [("conv_hopper", "90a")];
const FLAGS: [&str; 6] = ["-fatbin", "-O3", "-lineinfo", "-std=c++17", "--no-compress", "--expt-relaxed-constexpr"];

fn main() {
    for name in ["NVCC", "CUDA_HOME", "CUDA_PATH", "NVCC_CCBIN", "CONVNET_CUDA_ARCHS"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=kernels");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let Some(nvcc) = find_nvcc(&root) else {
        println!(
            "cargo::warning=nvcc was not found: this build trains on the CPU only. For CUDA run scripts/install-nvcc.sh \
             (no root, no GPU needed), or set NVCC or CUDA_HOME, and build again."
        );
        return embed(&out, None, &[], &[], &[]);
    };
    println!("cargo::rerun-if-changed={}", nvcc.display());
    let version = nvcc_version(&nvcc);
    let (machine_code, ptx) = architectures(&nvcc);
    let host = host_compiler();
    let mut kernels = kernels(&root.join("kernels"));
    kernels.retain(|kernel| kernel.own().is_none_or(|own| machine_code.iter().any(|arch| arch == own)));

    let mut flags: Vec<String> = FLAGS.map(String::from).to_vec();
    if let Some(host) = &host {
        flags.extend(["-ccbin".into(), host.display().to_string()]);
    }

    let jobs = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1).max(1);
    flags.push(format!("--threads={jobs}"));
    let queue = Mutex::new(kernels.iter());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(kernels.len()) {
            scope.spawn(|| {
                loop {
                    let Some(kernel) = queue.lock().expect("no thread panics").next() else { return };
                    let flags = [&flags[..], &targets(kernel, &machine_code, &ptx)].concat();
                    if let Err(message) = compile(&nvcc, &version, &flags, kernel, &out) {
                        failures.lock().expect("no thread panics").push(message);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no thread panics");
    if !failures.is_empty() {
        fail(&failures.join("\n"));
    }
    embed(&out, Some(&version), &machine_code, &ptx, &kernels);
}

/// Ends the build with a message; cargo prints it.
fn fail(message: &str) -> ! {
    eprintln!("{message}");
    for line in message.lines() {
        println!("cargo::error={line}");
    }
    exit(1)
}

/// NVCC, else nvcc in CUDA_HOME or CUDA_PATH, in PATH, where scripts/install-nvcc.sh puts it, or in its usual place.
fn find_nvcc(root: &Path) -> Option<PathBuf> {
    if let Some(nvcc) = env::var_os("NVCC") {
        let nvcc = PathBuf::from(nvcc);
        if Command::new(&nvcc).arg("--version").output().is_err() {
            fail(&format!("NVCC is set to {}, which does not run", nvcc.display()));
        }
        return Some(nvcc);
    }
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os).map(|home| PathBuf::from(home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let own = [root.join(".cuda/nvidia/cu13/bin"), PathBuf::from("/usr/local/cuda/bin")];
    let folders: Vec<PathBuf> = homes.chain(env::split_paths(&path)).chain(own).collect();
    folders.into_iter().map(|folder| folder.join(format!("nvcc{}", env::consts::EXE_SUFFIX))).find(|nvcc| nvcc.is_file())
}

/// The release, such as 13.0.
fn nvcc_version(nvcc: &Path) -> String {
    let text = output(nvcc, "--version");
    match text.split("release ").nth(1).and_then(|rest| rest.split(',').next()) {
        Some(version) => version.to_owned(),
        None => fail(&format!("{} --version does not name its release:\n{text}", nvcc.display())),
    }
}

fn output(program: &Path, argument: &str) -> String {
    match Command::new(program).arg(argument).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => fail(&format!("{} {argument}: {}", program.display(), String::from_utf8_lossy(&output.stderr))),
        Err(error) => fail(&format!("{} {argument}: {error}", program.display())),
    }
}

/// What to compile for: machine code, and PTX. There always is PTX, of the lowest architecture asked for where neither 75 nor
/// 80 is.
fn architectures(nvcc: &Path) -> (Vec<String>, Vec<String>) {
    let text = output(nvcc, "--list-gpu-code");
    let known: BTreeSet<&str> = text.split_whitespace().filter_map(|name| name.strip_prefix("sm_")).collect();
    // nvcc lists 90, and means 90a too.
    let knows = |arch: &str| known.contains(arch.trim_end_matches(|c: char| c.is_ascii_lowercase()));
    let Some(asked) = env::var("CONVNET_CUDA_ARCHS").ok().filter(|list| !list.trim().is_empty()) else {
        let known = |list: &[&str]| list.iter().filter(|arch| knows(arch)).map(|arch| (*arch).to_owned()).collect();
        return (known(&MACHINE_CODE), known(&PTX));
    };
    let asked: Vec<String> = asked.split([',', ' ']).filter(|a| !a.is_empty()).map(str::to_owned).collect();
    for arch in &asked {
        if !knows(arch) {
            let known = known.iter().copied().collect::<Vec<_>>().join(" ");
            fail(&format!("CONVNET_CUDA_ARCHS asks for {arch}, which this nvcc does not know; it knows {known}"));
        }
    }
    let mut ptx: Vec<String> = asked.iter().filter(|arch| PTX.contains(&arch.as_str())).cloned().collect();
    if ptx.is_empty() {
        ptx.push("80".into());
    }
    (asked, ptx)
}

/// The flags that say what a kernel file is compiled for.
fn targets(kernel: &Kernel, machine_code: &[String], ptx: &[String]) -> Vec<String> {
    let target = |arch: &str, kind: &str| ["-gencode".to_owned(), format!("arch=compute_{arch},code={kind}_{arch}")];
    match kernel.own() {
        Some(arch) => [target(arch, "sm"), target(arch, "compute")].concat(),
        None => machine_code.iter().map(|a| target(a, "sm")).chain(ptx.iter().map(|a| target(a, "compute"))).flatten().collect(),
    }
}

/// The host compiler for nvcc, unless NVCC_CCBIN names one, which nvcc reads by itself.
fn host_compiler() -> Option<PathBuf> {
    if env::var_os("NVCC_CCBIN").is_some() {
        return None;
    }
    let compiler = cc::Build::new().cpp(true).cargo_metadata(false).try_get_compiler();
    let path = compiler.as_ref().map(|compiler| compiler.path().to_path_buf());
    match path {
        Ok(path) if Command::new(&path).arg("--version").output().is_ok() => Some(path),
        _ => fail(
            "nvcc was found, but no host C++ compiler, which it needs. Install one (Debian: apt-get install g++), or set \
             CXX or NVCC_CCBIN to one.",
        ),
    }
}

/// One kernel file.
struct Kernel {
    name: String,
    source: PathBuf,
    /// Its text and those of the headers that it includes, in an order that depends on nothing else.
    text: String,
}

impl Kernel {
    /// The architecture that it is for alone, if it is.
    fn own(&self) -> Option<&'static str> {
        OWN.iter().find(|(name, _)| *name == self.name).map(|(_, arch)| *arch)
    }
}

/// All kernel files, the longest first, so that the work ends evenly.
fn kernels(folder: &Path) -> Vec<Kernel> {
    let files = fs::read_dir(folder).unwrap_or_else(|error| fail(&format!("{}: {error}", folder.display())));
    let mut kernels: Vec<Kernel> = files
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "cu"))
        .map(|source| {
            let mut seen = BTreeSet::new();
            let text = with_headers(&source, &mut seen);
            Kernel { name: source.file_stem().expect("it ends in .cu").to_string_lossy().into_owned(), source, text }
        })
        .collect();
    kernels.sort_by_key(|kernel| (std::cmp::Reverse(kernel.text.len()), kernel.name.clone()));
    kernels
}

/// A file's text followed by those of the files that it includes by `#include "…"`, each once.
fn with_headers(file: &Path, seen: &mut BTreeSet<PathBuf>) -> String {
    if !seen.insert(file.to_path_buf()) {
        return String::new();
    }
    let mut text = fs::read_to_string(file).unwrap_or_else(|error| fail(&format!("{}: {error}", file.display())));
    let names: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("#include \"")?.split('"').next().map(str::to_owned))
        .collect();
    for name in names {
        let header = file.with_file_name(name);
        text += &with_headers(&header, seen);
    }
    text
}

/// Compiles a kernel file unless its fatbin is there and made of the same things.
fn compile(nvcc: &Path, version: &str, flags: &[String], kernel: &Kernel, out: &Path) -> Result<(), String> {
    // How many threads compile does not change what comes out.
    let flags_that_count: Vec<&String> = flags.iter().filter(|flag| !flag.starts_with("--threads")).collect();
    let mut hasher = DefaultHasher::new();
    (version, flags_that_count, &kernel.source, &kernel.text).hash(&mut hasher);
    let hash = format!("{:016x}", hasher.finish());
    let (fatbin, stamp) = (out.join(format!("{}.fatbin", kernel.name)), out.join(format!("{}.stamp", kernel.name)));
    if fatbin.is_file() && fs::read_to_string(&stamp).is_ok_and(|old| old == hash) {
        return Ok(());
    }
    let _ = fs::remove_file(&stamp);
    let run = Command::new(nvcc).args(flags).arg("-o").arg(&fatbin).arg(&kernel.source).output();
    let run = run.map_err(|error| format!("{}: {error}", nvcc.display()))?;
    let said = String::from_utf8_lossy(&run.stderr) + String::from_utf8_lossy(&run.stdout);
    if !run.status.success() {
        return Err(format!("nvcc could not compile {}:\n{said}", kernel.source.display()));
    }
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        println!("cargo::warning={line}");
    }
    fs::write(&stamp, hash).map_err(|error| format!("{}: {error}", stamp.display()))
}

/// The names of the kernels in a fatbin: its PTX, which is not compressed, defines each by `.entry NAME(`.
fn entries(fatbin: &Path) -> Vec<String> {
    let bytes = fs::read(fatbin).unwrap_or_else(|error| fail(&format!("{}: {error}", fatbin.display())));
    let text = String::from_utf8_lossy(&bytes);
    let names: BTreeSet<String> =
        text.split(".entry ").skip(1).filter_map(|rest| rest.split_once('(').map(|(name, _)| name.trim().to_owned())).collect();
    if names.is_empty() {
        fail(&format!("{}: the PTX in it defines no kernels", fatbin.display()));
    }
    names.into_iter().collect()
}

/// Writes the Rust file that embeds what was made.
fn embed(out: &Path, version: Option<&str>, machine_code: &[String], ptx: &[String], kernels: &[Kernel]) {
    let mut text = format!(
        "pub const NVCC: Option<&str> = {version:?};\n\
         pub const MACHINE_CODE: &[&str] = &{machine_code:?};\n\
         pub const PTX: &[&str] = &{ptx:?};\n\
         pub static FILES: &[File] = &[\n"
    );
    let mut all = BTreeSet::new();
    for Kernel { name, .. } in kernels {
        let names = entries(&out.join(format!("{name}.fatbin")));
        if let Some(twice) = names.iter().find(|&kernel| !all.insert(kernel.clone())) {
            fail(&format!("two files in kernels define {twice}; one of them is {name}.cu"));
        }
        let fatbin = format!("&Fatbin(*include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.fatbin\")))");
        writeln!(text, "    File {{ name: {name:?}, kernels: &{names:?}, fatbin: {fatbin} }},").expect("strings grow");
    }
    text += "];\n";
    let file = out.join("fatbins.rs");
    if fs::read_to_string(&file).is_ok_and(|old| old == text) {
        return;
    }
    fs::write(&file, text).unwrap_or_else(|error| fail(&format!("{}: {error}", file.display())));
}
