//! Say when a result was made and from which commit.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

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

/// The commit of these sources, with `-dirty` for uncommitted changes; `None` where they are not in the
/// library's own repository.
pub(crate) fn revision() -> Option<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = git(here, &["rev-parse", "--show-prefix"])? == "experiments/";
    let describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"];
    ours.then(|| git(here, &describe)).flatten()
}

fn git(dir: &Path, args: &[&str]) -> Option<String> {
    let out = std::process::Command::new("git").args(args).current_dir(dir).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_string())
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
}
