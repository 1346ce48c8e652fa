//! Let the finished program find libtorch and Rust's standard library wherever it is started from, and keep the settings of
//! this build for the crates that `jarzynski new` makes.
//!
//! The crates are built with `-Cprefer-dynamic`, to share one build with the notebooks, and in a folder that is not the one
//! the program ends up in: the relative path that rustc would write leads nowhere.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

/// Variables that say which libtorch is used.
const TORCH: [&str; 5] =
    ["LIBTORCH", "LIBTORCH_USE_PYTORCH", "LIBTORCH_INCLUDE", "LIBTORCH_LIB", "LIBTORCH_BYPASS_VERSION_CHECK"];
/// Variables that decide where dependencies are built and how libtorch's threads wait.
const BUILD: [&str; 5] =
    ["JZ_TORCH_LIB", "CARGO_BUILD_BUILD_DIR", "CARGO_BUILD_TARGET", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for name in TORCH.iter().chain(&BUILD) {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let unix = std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "unix");
    let folders: Vec<PathBuf> =
        if unix { [torch(), standard_library()].into_iter().flatten().collect() } else { vec![] };
    if unix {
        // beside the program, where `make install` puts a copy
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,$ORIGIN");
    }
    for dir in &folders {
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{}", dir.display());
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    std::fs::write(out.join("cargo-config.toml"), settings(&folders)).expect("OUT_DIR can be written");
}

/// `.cargo/config.toml` for a crate that uses the dependencies as they were compiled for this one.
fn settings(folders: &[PathBuf]) -> String {
    let value = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let mut text = String::from(
        "# Written by `jarzynski new`: the settings with which the library's dependencies were compiled. With the same ones\n\
         # cargo takes what is compiled; with others it compiles them again, which takes ten minutes.\n\n[build]\n",
    );
    if let Some(target) = value("CARGO_BUILD_TARGET") {
        let _ = writeln!(text, "target = {target:?}");
    }
    if let Some(dir) = value("CARGO_BUILD_BUILD_DIR") {
        let _ = writeln!(text, "# dependencies; finished programs go to target/\nbuild-dir = {dir:?}");
    }
    let flags = value("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let flags: Vec<&str> = flags.split('\u{1f}').filter(|f| !f.is_empty()).collect();
    let _ = writeln!(text, "rustflags = {flags:?}\n\n[env]");
    for name in TORCH.iter().chain(&["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"]) {
        if let Some(v) = value(name) {
            let _ = writeln!(text, "{name} = {v:?}");
        }
    }
    let paths = std::env::join_paths(folders).unwrap_or_default();
    let _ = writeln!(
        text,
        "# where a finished program looks for libtorch and Rust's standard library: read by build.rs\n\
         JARZYNSKI_RPATH = {:?}",
        paths.to_string_lossy()
    );
    text
}

/// The folder with libtorch's shared libraries, where the environment names one.
fn torch() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let below = || named("LIBTORCH_LIB").or(named("LIBTORCH")).map(|dir| dir.join("lib"));
    named("JZ_TORCH_LIB").or_else(below).filter(|dir| dir.is_dir())
}

/// The folder with `libstd-….so` of the target.
fn standard_library() -> Option<PathBuf> {
    let mut rustc = Command::new(std::env::var_os("RUSTC")?);
    rustc.args(["--print", "target-libdir", "--target"]).arg(std::env::var_os("TARGET")?);
    let out = rustc.output().ok().filter(|out| out.status.success())?;
    Some(PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()))
}
