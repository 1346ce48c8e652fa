//! Lay keys over an experiment's default configuration, and say of one that is unknown which was meant.

use super::Experiment;
use crate::error::{Error, Result};

/// The default (or full) configuration with `overrides` laid over it, key by key, tables within tables.
///
/// A single value stands for a list of one. Errors: an unknown key, a value of the wrong type; the message names the key.
pub fn configure<E: Experiment>(overrides: &toml::Table, full: bool) -> Result<E> {
    let base = if full { E::full() } else { E::default() };
    let mut table = toml::Table::try_from(&base).map_err(|e| refused::<E>(&e))?;
    overlay(&mut table, overrides);
    table.try_into().map_err(|e| refused::<E>(&e))
}

/// The name that was probably meant: the nearest by insertions, deletions, replacements and swaps of neighbours, if it is near.
pub(super) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = (word.chars().count() / 3).max(1);
    names.map(|n| (edits(word, n), n)).filter(|(d, _)| *d <= far).min_by_key(|(d, _)| *d).map(|(_, n)| n)
}

fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(table[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(table[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        table.push(row);
    }
    table[a.len()][b.len()]
}

/// serde's ``what, expected this`` and toml's second line ``in `key` `` as one line that begins with the key.
pub(super) fn refused<E: Experiment>(e: &dyn std::fmt::Display) -> Error {
    let text = e.to_string();
    let (what, place) = text.trim().split_once("\nin `").unwrap_or((text.trim(), ""));
    let (got, expected) = what.rsplit_once(", expected ").unwrap_or((what, "the keys and types of the default"));
    let mut key = place.trim_end_matches('`').to_string();
    let mut got = got.replace('\n', " ");
    let mut expected = expected.replace('\n', " ");
    if let Some(unknown) = got.strip_prefix("unknown field `").and_then(|k| k.strip_suffix('`')) {
        let known = expected.split('`').skip(1).step_by(2).map(str::to_string).collect::<Vec<_>>();
        if let Some(near) = nearest(unknown, known.iter().map(String::as_str)) {
            expected = format!("`{near}`? Else {expected}");
        }
        key = if key.is_empty() { unknown.into() } else { format!("{key}.{unknown}") };
        got = "unknown".into();
    }
    let got = got.strip_prefix("invalid type: ").or(got.strip_prefix("invalid value: ")).unwrap_or(&got);
    Error::param(
        "configuration key",
        format!("{key} ({got})"),
        format!("{expected}; see `jarzynski config {}`", E::NAME),
    )
}

fn overlay(base: &mut toml::Table, over: &toml::Table) {
    use toml::Value::{Array, Float, Integer, Table};
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Table(inner)), Table(more)) => overlay(inner, more),
            // `--h 1` for a float: TOML tells integers from floats, people do not.
            (Some(Float(f)), Integer(i)) => *f = *i as f64,
            // `--h 0.1` for a list of one.
            (Some(Array(list)), one) if !matches!(one, Array(_) | Table(_)) => *list = vec![one.clone()],
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}
