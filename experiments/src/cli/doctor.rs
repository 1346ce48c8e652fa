//! Say what this machine lacks: what the program itself sees, and what `scripts/doctor.sh` finds.

use jarzynski::tch::Cuda;
use jarzynski::{Error, Result};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Runs `scripts/doctor.sh`, which works without the program too (`make doctor`), and tells it what the program sees.
/// The code is 1 where something is missing that is needed.
///
/// # Errors
/// `Param` where the script is not there, `Io` where bash is not.
pub fn run() -> Result<ExitCode> {
    // set by the program that `make install` puts into its place
    let scripts = std::env::var_os("JARZYNSKI_SCRIPTS").map(PathBuf::from);
    let scripts = scripts.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts")));
    let script = scripts.join("doctor.sh");
    if !script.is_file() {
        let expected = "the file of the library's repository; JARZYNSKI_SCRIPTS names its folder";
        return Err(Error::param("doctor", script.display(), expected));
    }
    let gpus = if Cuda::is_available() { Cuda::device_count().max(0) } else { 0 };
    let status = Command::new("bash")
        .arg(&script)
        .env("JZ_PROGRAM_VERSION", env!("CARGO_PKG_VERSION"))
        .env("JZ_PROGRAM_GPUS", gpus.to_string())
        .status()
        .map_err(|e| Error::io("bash", e))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
