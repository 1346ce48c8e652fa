//! Say what a result was made with: versions, the commit, the time.

use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

// tch says neither; a test compares with the lock file.
const TCH: &str = "0.26.0";
const LIBTORCH: &str = "2.13.0";

/// Versions of what a result depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
        let ask = || output("rustc", &["-V"], None).and_then(|s| s.split(' ').nth(1).map(str::to_string));
        Versions {
            jarzynski: env!("CARGO_PKG_VERSION").into(),
            tch: TCH.into(),
            libtorch: LIBTORCH.into(),
            polars: polars::VERSION.into(),
            rustc: RUSTC.get_or_init(ask).clone(),
        }
    }
}

/// `2026-01-31T12:00:00Z`; days to date by H. Hinnant's `civil_from_days`.
pub(crate) fn utc(t: SystemTime) -> String {
    let s = t.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let z = s / 86_400 + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", s / 3600 % 24, s / 60 % 60, s % 60)
}

/// The commit that the library's sources stand at, where they are the root of a git repository.
pub(crate) fn revision() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let prefix = output("git", &["rev-parse", "--show-prefix"], Some(root))?;
    if !prefix.is_empty() {
        return None;
    }
    output("git", &["describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"], Some(root))
}

fn output(program: &str, args: &[&str], dir: Option<&Path>) -> Option<String> {
    let mut command = std::process::Command::new(program);
    command.args(args);
    if let Some(dir) = dir {
        command.current_dir(dir);
    }
    let out = command.output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&out.stdout).trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn utc_knows_leap_years() {
        // date -u -d @1709164799 +%FT%TZ and neighbours
        for (s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(s)), text);
        }
    }

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        for (name, version) in [("tch", TCH), ("polars", polars::VERSION)] {
            assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"")), "{name} {version}");
        }
    }
}
