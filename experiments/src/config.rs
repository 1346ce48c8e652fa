//! Lay keys over an experiment's default configuration, and say of one that is unknown which was meant.

use crate::registry::Experiment;
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};

/// What `overrides` are laid over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Size {
    /// A run of seconds: the size of the tests.
    Small,
    /// The default, which fits a laptop.
    #[default]
    Usual,
    /// The published size.
    Full,
}

/// The configuration of that size with `overrides` laid over it, key by key, tables within tables.
///
/// A single value stands for a list of one, a whole number for any number, and a number without a fractional part (`1e4`)
/// for a whole number.
///
/// # Errors
/// `Param` for an unknown key or a value of the wrong type; the message names the key.
pub fn configure<E: Experiment>(overrides: &toml::Table, size: Size) -> Result<E> {
    let base = if size == Size::Full { E::full() } else { E::default() };
    let mut table = toml::Table::try_from(&base).map_err(|e| refused::<E>(&e))?;
    if size == Size::Small {
        let small = E::SMALL.parse().map_err(|e: toml::de::Error| refused::<E>(&e))?;
        overlay(&mut table, &small);
    }
    overlay(&mut table, overrides);
    table.try_into().map_err(|e| refused::<E>(&e))
}

/// A configuration as TOML.
pub(crate) fn to_toml(config: &impl Serialize) -> Result<String> {
    toml::to_string_pretty(config).map_err(|e| Error::param("config", e, "what TOML can hold"))
}

/// A configuration as JSON.
pub(crate) fn to_json(config: &impl Serialize) -> Result<serde_json::Value> {
    serde_json::to_value(config).map_err(|e| Error::param("config", e, "what JSON can hold"))
}

/// The name that was probably meant: the nearest by insertions, deletions, replacements and swaps of neighbours, if it is near.
pub(crate) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
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
fn refused<E: Experiment>(e: &dyn std::fmt::Display) -> Error {
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
    let (got, expected) = (met(got), wanted(&expected));
    Error::param(
        "configuration key",
        format!("{key} ({got})"),
        format!("{expected}; see `jarzynski config {}`", E::NAME),
    )
}

/// serde's name of what it read, in plain words.
fn met(got: &str) -> String {
    let number = got.strip_prefix("floating point `").or(got.strip_prefix("integer `"));
    match (got, number.and_then(|n| n.strip_suffix('`'))) {
        (_, Some(number)) => number.into(),
        ("map", _) => "a table".into(),
        ("sequence", _) => "a list".into(),
        (other, _) => other.strip_prefix("string ").unwrap_or(other).into(),
    }
}

/// serde's name of a type, in plain words.
fn wanted(expected: &str) -> String {
    let length = expected.strip_prefix("an array of length ").or(expected.strip_prefix("a tuple of size "));
    match (expected, length) {
        (_, Some(n)) => format!("a list of {n}"),
        ("u8" | "u16" | "u32" | "u64" | "usize", _) => "a whole number, 0 or more".into(),
        ("i8" | "i16" | "i32" | "i64" | "isize", _) => "a whole number".into(),
        ("f32" | "f64", _) => "a number".into(),
        ("a boolean", _) => "true or false".into(),
        ("a string", _) => "text".into(),
        ("a sequence", _) => "a list".into(),
        (other, _) => other.into(),
    }
}

fn overlay(base: &mut toml::Table, over: &toml::Table) {
    use toml::Value::Table;
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Table(inner)), Table(more)) => overlay(inner, more),
            (Some(old), value) => *old = like(old, value),
            (None, value) => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The largest number up to which every whole number is one of f64.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// `value` as a value of the kind of `old`, where people write one for the other: TOML tells 1 from 1.0, a list of one from
/// its element, and has `1e4` for a fraction.
fn like(old: &toml::Value, value: &toml::Value) -> toml::Value {
    use toml::Value::{Array, Float, Integer, Table};
    match (old, value) {
        (Float(_), Integer(i)) => Float(*i as f64),
        (Integer(_), Float(f)) if f.fract() == 0.0 && f.abs() <= WHOLE => Integer(*f as i64),
        (Array(old), Array(new)) => Array(new.iter().map(|v| old.first().map_or(v.clone(), |o| like(o, v))).collect()),
        (Array(old), one) if !matches!(one, Table(_)) => Array(vec![old.first().map_or(one.clone(), |o| like(o, one))]),
        _ => value.clone(),
    }
}

/// A value as written on the command line: `3`, `.5`, `1e4`, `true`, `[.1, .2]`; anything else is text.
pub fn value(text: &str) -> toml::Value {
    let read = |text: &str| format!("v = {text}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
    read(text).or_else(|| read(&spelled_out(text))).unwrap_or_else(|| toml::Value::String(text.into()))
}

/// Numbers that TOML does not know, such as `.5` and `5.`, as TOML writes them; all else as it is.
fn spelled_out(text: &str) -> String {
    let (mut out, mut word, mut quoted) = (String::new(), String::new(), false);
    let finish = |word: &mut String, out: &mut String| {
        let number = word.parse::<f64>().ok().filter(|_| word.contains(|c: char| c.is_ascii_digit()));
        let plain = number.filter(|v| v.is_finite() && word.parse::<i64>().is_err()).map(|v| format!("{v:?}"));
        out.push_str(&plain.unwrap_or_else(|| word.clone()));
        word.clear();
    };
    for c in text.chars() {
        quoted ^= c == '"' || c == '\'';
        if !quoted && (c.is_whitespace() || "[],".contains(c)) {
            finish(&mut word, &mut out);
            out.push(c);
        } else {
            word.push(c);
        }
    }
    finish(&mut word, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::Value::{Array, Boolean, Float, Integer, String};

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, read) in [
            ("3", Integer(3)),
            ("0.5", Float(0.5)),
            (".05", Float(0.05)),
            ("-.5", Float(-0.5)),
            ("5.", Float(5.0)),
            ("1e4", Float(1e4)),
            ("+3", Integer(3)),
            ("[.1, 1e-3,2]", Array(vec![Float(0.1), Float(1e-3), Integer(2)])),
            ("[[.1], [1.]]", Array(vec![Array(vec![Float(0.1)]), Array(vec![Float(1.0)])])),
            ("[\".5\", .5]", Array(vec![String(".5".into()), Float(0.5)])),
            ("true", Boolean(true)),
            ("bars", String("bars".into())),
            (".", String(".".into())),
            ("1.2.3", String("1.2.3".into())),
        ] {
            assert_eq!(value(text), read, "{text}");
        }
    }

    #[test]
    fn a_number_takes_the_kind_of_what_it_replaces() {
        let base =
            || "n = 3\nx = 0.5\nlist = [1, 2]\nrates = [[0.1], [0.2]]\nname = \"a\"".parse::<toml::Table>().unwrap();
        let laid = |over: &str| {
            let mut table = base();
            overlay(&mut table, &over.parse().unwrap());
            table
        };
        assert_eq!(laid("n = 1e4")["n"], Integer(10_000));
        assert_eq!(laid("x = 2")["x"], Float(2.0));
        assert_eq!(laid("list = 1e2")["list"], Array(vec![Integer(100)]));
        assert_eq!(laid("list = [1e2, 3]")["list"], Array(vec![Integer(100), Integer(3)]));
        assert_eq!(laid("rates = [[1], [2]]")["rates"], Array(vec![Array(vec![Float(1.0)]), Array(vec![Float(2.0)])]));
        // what is no whole number, or too large to be known exactly, stays what it is and is refused by name
        assert_eq!(laid("n = 1.5")["n"], Float(1.5));
        assert_eq!(laid("n = 1e300")["n"], Float(1e300));
        assert_eq!(laid("n = \"x\"")["n"], String("x".into()));
    }
}
