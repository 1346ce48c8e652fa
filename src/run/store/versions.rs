//! Say which versions a result was made with.

use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

// tch says neither; a test compares with the lock file.
const TCH: &str = "0.26.0";
const LIBTORCH: &str = "2.13.0";

/// Versions of what a result depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Versions {
    /// This library.
    pub jarzynski: String,
    /// The bindings to libtorch.
    pub tch: String,
    /// The libtorch that these bindings are made for.
    pub libtorch: String,
    /// The frames.
    pub polars: String,
    /// The compiler on the path when the result was written; null where there is none.
    pub rustc: Option<String>,
}

impl Versions {
    /// Of this build.
    pub fn current() -> Self {
        // asked once: it takes longer than a short run
        static RUSTC: OnceLock<Option<String>> = OnceLock::new();
        let ask = || output("rustc", &["-V"]).and_then(|s| s.split(' ').nth(1).map(str::to_string));
        Versions {
            jarzynski: env!("CARGO_PKG_VERSION").into(),
            tch: TCH.into(),
            libtorch: LIBTORCH.into(),
            polars: polars::VERSION.into(),
            rustc: RUSTC.get_or_init(ask).clone(),
        }
    }
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let out = std::process::Command::new(program).args(args).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&out.stdout).trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        for (name, version) in [("tch", TCH), ("polars", polars::VERSION)] {
            assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"")), "{name} {version}");
        }
    }
}
