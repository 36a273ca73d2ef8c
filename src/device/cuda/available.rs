//! Which cards there are, and why one cannot be used: each reason its own message, with what to do about it.

use super::driver::{self, Absent, Card, Failure};
use super::embedded;
use crate::device::{Error, Result};
use cudarc::driver::sys::CUresult;

/// A card as it was found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DeviceInfo {
    /// Its number: the 0 of `cuda:0`.
    pub ordinal: usize,
    /// Its name, as in `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its compute capability, as (9, 0).
    pub capability: (i32, i32),
    /// Its multiprocessors.
    pub multiprocessors: usize,
    /// Its memory, in bytes.
    pub memory: usize,
    /// Why this program cannot use it; `None` where it can.
    pub unusable: Option<String>,
}

/// The cards, or why there is none that this program could use.
pub fn available() -> Result<Vec<DeviceInfo>> {
    let cards = start()?;
    let all: Result<Vec<_>, Failure> = (0..cards).map(|ordinal| info(ordinal).map(|(_, info)| info)).collect();
    all.map_err(|failure| Error::Unavailable(format!("the NVIDIA driver does not describe its cards: {failure}")))
}

/// Starts the driver and answers how many cards there are, at least one.
fn start() -> Result<usize> {
    let unavailable = |text: String| Err(Error::Unavailable(text));
    if embedded::FILES.is_empty() {
        return unavailable(
            "this convnet was built without CUDA kernels, because nvcc was not found: run scripts/install-nvcc.sh (it needs \
             neither root nor a GPU) and build again"
                .into(),
        );
    }
    let version = match driver::load() {
        Ok(version) => version,
        Err(Absent::Library) => {
            return unavailable(
                "there is no NVIDIA driver: libcuda.so.1 cannot be loaded. Install the driver, until nvidia-smi lists the \
                 card, or train with --device cpu"
                    .into(),
            );
        }
        Err(Absent::Function(name)) => {
            return unavailable(format!("the NVIDIA driver is too old: its libcuda has no {name}. Install a newer one"));
        }
        Err(Absent::Init(failure)) if failure.code == CUresult::CUDA_ERROR_NO_DEVICE => return unavailable(no_card()),
        Err(Absent::Init(failure)) => {
            return unavailable(format!(
                "the NVIDIA driver does not start: {failure}. See whether nvidia-smi works; after an update of the driver \
                 the machine must be restarted"
            ));
        }
    };
    let release = embedded::release();
    if version / 1000 < release / 1000 {
        return unavailable(format!(
            "the NVIDIA driver is too old: it runs CUDA {}.{}, and the kernels were compiled by nvcc {}.{}. Install a driver for \
             CUDA {} or later, or build with an older nvcc (set NVCC)",
            version / 1000,
            version % 1000 / 10,
            release / 1000,
            release % 1000 / 10,
            release / 1000,
        ));
    }
    match driver::count() {
        Ok(0) => unavailable(no_card()),
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        Err(failure) => unavailable(format!("the NVIDIA driver does not count its cards: {failure}")),
    }
}

fn no_card() -> String {
    "the NVIDIA driver finds no card. See whether nvidia-smi lists one and CUDA_VISIBLE_DEVICES hides none; in a container, \
     it must be started with GPUs (--gpus all)"
        .into()
}

fn info(ordinal: usize) -> Result<(Card, DeviceInfo), Failure> {
    let card = Card::get(i32::try_from(ordinal).unwrap_or(i32::MAX))?;
    let capability = card.capability()?;
    let (major, minor) = capability;
    let unusable = (!embedded::runs_on(major, minor)).then(|| {
        format!(
            "its capability is {major}.{minor}, and this program has machine code for {} and PTX for {}: build with \
             CONVNET_CUDA_ARCHS={major}{minor} and an nvcc that knows it",
            embedded::MACHINE_CODE.join(", "),
            embedded::PTX.join(", "),
        )
    });
    let info = DeviceInfo {
        ordinal,
        name: card.name()?,
        capability,
        multiprocessors: usize::try_from(card.multiprocessors()?).unwrap_or(1).max(1),
        memory: card.memory()?,
        unusable,
    };
    Ok((card, info))
}

/// The card of this number, if this program can use it.
pub(super) fn open(ordinal: usize) -> Result<(Card, DeviceInfo)> {
    let cards = start()?;
    if ordinal >= cards {
        let last = cards - 1;
        return Err(Error::Unavailable(format!("there is no cuda:{ordinal}: the cards are numbered 0 to {last}")));
    }
    let (card, info) = info(ordinal).map_err(|failure| Error::Unavailable(format!("cuda:{ordinal}: {failure}")))?;
    match &info.unusable {
        None => Ok((card, info)),
        Some(why) => Err(Error::Unavailable(format!("cuda:{ordinal} ({}) cannot be used: {why}", info.name))),
    }
}
