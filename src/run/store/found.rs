//! Find the checkpoint to continue from: the newest one whose file and rows are whole.

use super::rows::{self, Seal};
use crate::error::{Error, Result};
use crate::io::Checkpoint;
use crate::run::Recorder;
use std::io::ErrorKind;
use std::path::Path;

/// The newest checkpoint.
pub(crate) const NEWEST: &str = "checkpoint.safetensors";

/// The one before it.
pub(crate) const BEFORE: &str = "checkpoint.previous.safetensors";

/// A newest one that could not be used, left for inspection.
pub(crate) const DAMAGED: &str = "checkpoint.damaged.safetensors";

/// A checkpoint and the rows that it counts.
#[derive(Debug)]
pub(crate) struct Found {
    pub checkpoint: Checkpoint,
    pub rows: Recorder,
    /// Why it is not the newest one, if it is not.
    pub note: Option<String>,
}

/// Whether a run was begun in `dir`.
pub(crate) fn holds_a_run(dir: &Path) -> bool {
    [NEWEST, BEFORE].iter().any(|name| dir.join(name).exists())
}

/// The newest checkpoint of `dir` that is whole, if there is one.
///
/// # Errors
/// None is whole; files that cannot be read for another reason than damage.
pub(crate) fn find(dir: &Path) -> Result<Option<Found>> {
    let why = match whole(dir, NEWEST) {
        Ok(found @ Some(_)) => return Ok(found),
        Ok(None) => None,
        Err(e) if !damaged(&e) => return Err(e),
        Err(e) => Some(e),
    };
    match (whole(dir, BEFORE), why) {
        (Ok(Some(mut found)), why) => {
            let why = why.map_or_else(|| format!("{} is missing", dir.join(NEWEST).display()), |e| e.to_string());
            let step: usize = found.checkpoint.json("step")?;
            found.note = Some(format!("{why}. The run goes on from the checkpoint before that one, at step {step}"));
            Ok(Some(found))
        }
        (Ok(None), None) => Ok(None),
        (Ok(None), Some(newest)) => Err(newest),
        (Err(before), None) => Err(before),
        (Err(before), Some(newest)) => {
            let expected = format!("a checkpoint that is whole. {NEWEST}: {newest}. {BEFORE}: {before}");
            Err(Error::data(dir, "both checkpoints", expected))
        }
    }
}

/// The last checkpoint that was written, for reading only: a damaged one is an error.
///
/// # Errors
/// There is none, or it is damaged.
pub(crate) fn last(dir: &Path) -> Result<Checkpoint> {
    match Checkpoint::read(&dir.join(NEWEST)) {
        // a run that is writing the next one has renamed it
        Err(e) if missing(&e) && dir.join(BEFORE).exists() => Checkpoint::read(&dir.join(BEFORE)),
        read => read,
    }
}

fn whole(dir: &Path, name: &str) -> Result<Option<Found>> {
    let checkpoint = match Checkpoint::read(&dir.join(name)) {
        Err(e) if missing(&e) => return Ok(None),
        read => read?,
    };
    let seal: Seal = checkpoint.json("seal")?;
    let rows = rows::sealed(dir, checkpoint.json("rows")?, &seal)?;
    Ok(Some(Found { checkpoint, rows, note: None }))
}

fn missing(e: &Error) -> bool {
    matches!(e, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// Whether a file is at fault, or the disk under it; not the right to read it.
fn damaged(e: &Error) -> bool {
    !matches!(e, Error::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied)
}
