//! Write weighted draws as JSON in the groups of ArviZ: `docs/python.md` reads it.

use super::write_atomic;
use crate::error::{Error, Result};
use std::io::Write;
use std::path::Path;

/// Draws `x`, d numbers each, as the variable `x` of the group `posterior` (one chain), and named numbers of each draw in
/// `sample_stats`.
///
/// # Errors
/// `Io` with the path.
pub(crate) fn write(path: &Path, d: usize, x: &[f64], stats: &[(&str, Vec<f64>)]) -> Result<()> {
    write_atomic(path, |out| {
        let mut all = || -> std::io::Result<()> {
            write!(out, "{{\"posterior\": {{\"x\": [[")?;
            for (i, row) in x.chunks(d).enumerate() {
                write!(out, "{}", if i > 0 { ", " } else { "" })?;
                list(out, row)?;
            }
            write!(out, "]]}}, \"sample_stats\": {{")?;
            for (i, (name, values)) in stats.iter().enumerate() {
                write!(out, "{}\"{name}\": [", if i > 0 { ", " } else { "" })?;
                list(out, values)?;
                write!(out, "]")?;
            }
            writeln!(out, "}}}}")
        };
        all().map_err(|e| Error::io(path, e))
    })
}

/// Python's JSON has the words NaN and Infinity.
fn list(out: &mut dyn Write, values: &[f64]) -> std::io::Result<()> {
    write!(out, "[")?;
    for (i, v) in values.iter().enumerate() {
        write!(out, "{}", if i > 0 { ", " } else { "" })?;
        match v {
            v if v.is_nan() => write!(out, "NaN")?,
            v if v.is_infinite() => write!(out, "{}", if *v > 0.0 { "Infinity" } else { "-Infinity" })?,
            v => write!(out, "{v}")?,
        }
    }
    write!(out, "]")
}
