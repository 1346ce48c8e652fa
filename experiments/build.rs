//! Let the finished program find libtorch and Rust's standard library wherever it is started from.
//!
//! The crates are built with `-Cprefer-dynamic`, to share one build with the notebooks, and in a folder that is not the one
//! the program ends up in: the relative path that rustc would write leads nowhere.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for name in ["JZ_TORCH_LIB", "LIBTORCH_LIB", "LIBTORCH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family != "unix") {
        return;
    }
    [torch(), standard_library()].iter().flatten().for_each(|dir| {
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{}", dir.display());
    });
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
