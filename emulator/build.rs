//! Gives the cdylib the name under which cudarc looks for the driver, so that a process that has loaded it by its path
//! (see `testing::load`) gets the same copy when cudarc asks for `libcuda.so`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
    }
}
