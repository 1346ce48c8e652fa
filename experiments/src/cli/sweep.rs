//! Plan a sweep over processes, run its shards and collect their tables.

use super::arguments::Request;
use jarzynski::io::write_atomic;
use jarzynski::sweep::Claim;
use jarzynski::{Error, Result};
use jarzynski_experiments::Size;
use jarzynski_experiments::sweep::{self, Plan};
use std::path::Path;
use std::time::Duration;

/// A whole number of the command line, taken out of the settings.
fn count(request: &mut Request, key: &'static str) -> Result<Option<usize>> {
    let Some(value) = request.overrides.remove(key) else { return Ok(None) };
    let number = value.as_integer().and_then(|n| usize::try_from(n).ok());
    number.map(Some).ok_or_else(|| Error::param(key, value, "a whole number, 0 or more"))
}

fn nothing_left(overrides: &toml::Table) -> Result<()> {
    match overrides.keys().next() {
        Some(key) => {
            Err(Error::param("arguments", format!("--{key}"), "no setting here: those of a sweep are in its plan"))
        }
        None => Ok(()),
    }
}

/// Plans a sweep and says how its shards are started.
pub fn plan(file: &Path, mut request: Request) -> Result<()> {
    let shards = count(&mut request, "shards")?;
    let shards =
        shards.ok_or_else(|| Error::param("shards", "missing", "--shards N, how many processes share the work"))?;
    if request.size != Size::Usual {
        return Err(Error::param("arguments", "--small or --full", "`size` in the sweep's file"));
    }
    let device = request.device.as_deref().unwrap_or("cpu");
    let plan = Plan::read_file(file, &request.overrides, device, shards)?;
    let dir = request.out.unwrap_or_else(|| Path::new("results").join(file.file_stem().unwrap_or_default()));
    let dir = std::path::absolute(&dir).map_err(|e| Error::io(&dir, e))?;
    plan.write(&dir)?;
    let program = std::env::current_exe().map_err(|e| Error::io("jarzynski", e))?;
    let scripts = [
        ("shards.slurm", sweep::slurm(&plan, &dir, &program)),
        ("parallel.sh", sweep::parallel(&plan, &dir, &program)),
    ];
    for (name, text) in &scripts {
        let path = dir.join(name);
        write_atomic(&path, |out| out.write_all(text.as_bytes()).map_err(|e| Error::io(&path, e)))?;
    }
    println!(
        "{} members of {} in {} shards\non Slurm:        sbatch {}\non this machine: bash {}\none by one:      jarzynski sweep run {} --shard 0",
        plan.members.len(),
        plan.experiment,
        plan.shards,
        dir.join("shards.slurm").display(),
        dir.join("parallel.sh").display(),
        dir.display()
    );
    Ok(())
}

/// Runs one shard of a sweep.
pub fn shard(dir: &Path, mut request: Request) -> Result<()> {
    let shard = count(&mut request, "shard")?;
    let shard =
        shard.ok_or_else(|| Error::param("shard", "missing", "--shard I, from 0 to the number of shards less 1"))?;
    let stale = count(&mut request, "stale")?.map_or(Claim::STALE, |s| Duration::from_secs(s as u64));
    nothing_left(&request.overrides)?;
    let done = sweep::work(dir, shard, stale)?;
    let elsewhere = match done.elsewhere {
        0 => "none is left to compute".to_string(),
        n => format!("{n} are in the hands of other processes"),
    };
    println!("shard {shard}: computed {} members, {} of them failed; {elsewhere}", done.computed, done.failed);
    Ok(())
}

/// Puts the members' tables together.
///
/// # Errors
/// Members that are missing; what cannot be read or written.
pub fn collect(dir: &Path, request: &Request) -> Result<()> {
    nothing_left(&request.overrides)?;
    let names = sweep::collect(dir)?;
    println!("tables {} in {}", names.join(", "), dir.join("collected").display());
    Ok(())
}
