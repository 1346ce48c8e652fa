//! Collect the labels of a file, whole numbers or text, and number the classes of the latter in alphabetical order.

use std::collections::HashMap;

use super::short;

/// The labels read so far: all whole numbers, or all text.
#[derive(Default)]
pub(super) struct Labels {
    /// Where the first label was.
    first: String,
    /// Numbers, or places in `names`.
    values: Vec<i64>,
    /// In the order in which they came.
    names: HashMap<String, i64>,
}

impl Labels {
    /// Adds a label; the error says what was expected. A quoted number counts as a number.
    pub(super) fn push(&mut self, text: &str, place: impl FnOnce() -> String) -> Result<(), String> {
        let (whole, number) = (whole(text), text.parse::<f64>().is_ok());
        if self.values.is_empty() {
            self.first = place();
        } else if whole.is_some() != self.names.is_empty() {
            let kind = if self.names.is_empty() { "an integer label" } else { "a label of text" };
            return Err(format!("{kind} as at {}, found {}", self.first, short(text)));
        }
        match whole {
            Some(value) => self.values.push(value),
            None if number => return Err(format!("an integer label or text, found {}", short(text))),
            None => {
                let next = self.names.len() as i64;
                let known = self.names.get(text).copied();
                self.values.push(known.unwrap_or(next));
                if known.is_none() {
                    self.names.insert(text.to_string(), next);
                }
            }
        }
        Ok(())
    }

    /// The labels, and the names of the classes where they are text.
    pub(super) fn finish(self) -> (Vec<i64>, Option<Vec<String>>) {
        if self.names.is_empty() {
            return (self.values, None);
        }
        let mut sorted: Vec<(String, i64)> = self.names.into_iter().collect();
        sorted.sort();
        let mut rank = vec![0; sorted.len()];
        for (i, (_, old)) in sorted.iter().enumerate() {
            rank[*old as usize] = i as i64;
        }
        let labels = self.values.into_iter().map(|old| rank[old as usize]).collect();
        (labels, Some(sorted.into_iter().map(|(name, _)| name).collect()))
    }
}

/// A whole number, as `3` or as `3.0`, which is how a column that had gaps is written.
fn whole(text: &str) -> Option<i64> {
    let exact = |v: &f64| v.fract() == 0.0 && v.abs() <= (1_u64 << 53) as f64;
    text.parse().ok().or_else(|| text.parse().ok().filter(exact).map(|v| v as i64))
}
