//! The kernels that build.rs compiled and this program carries: fatbins of machine code for known cards and PTX for later
//! ones. A build without nvcc carries none.

/// Keeps a fatbin on the boundary that the driver expects.
#[repr(C, align(16))]
pub struct Fatbin<T: ?Sized>(pub T);

/// What was compiled from one file.
pub struct File {
    /// Its name, without `.cu`.
    pub name: &'static str,
    /// The names of its kernels.
    pub kernels: &'static [&'static str],
    /// The kernels.
    pub fatbin: &'static Fatbin<[u8]>,
}

include!(concat!(env!("OUT_DIR"), "/fatbins.rs"));

/// Whether a card of this capability can run the embedded kernels: machine code of its generation and not above it (with a
/// letter: of exactly this capability), or PTX that is not above it.
pub fn runs_on(major: i32, minor: i32) -> bool {
    let capability = major * 10 + minor;
    let machine_code = MACHINE_CODE.iter().any(|arch| match arch.parse::<i32>() {
        Ok(arch) => arch / 10 == major && arch <= capability,
        Err(_) => arch.trim_end_matches(|c: char| c.is_ascii_lowercase()).parse() == Ok(capability),
    });
    machine_code || PTX.iter().any(|arch| arch.parse::<i32>().is_ok_and(|arch| arch <= capability))
}

/// The release of CUDA whose nvcc compiled the kernels, times 1000 and 10, as the driver counts: 13000, 12040.
pub fn release() -> i32 {
    let mut parts = NVCC.unwrap_or("0.0").split('.').map(|part| part.parse().unwrap_or(0));
    parts.next().unwrap_or(0) * 1000 + parts.next().unwrap_or(0) * 10
}
