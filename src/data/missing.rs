//! Hold the rows of a table while a file is read, and refuse, drop or fill in what is missing.

use tch::Tensor;

use super::Dataset;
use super::labels::Labels;
use crate::error::Result;

/// What to do with a value that a file lacks: an empty field, `NA`, `NaN`, `null`, `?` in CSV, a null in Parquet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Missing {
    /// An error with its place.
    #[default]
    Refuse,
    /// The row is left out; [`Dataset::notes`] says how many were.
    DropRow,
    /// The mean of the column's other values takes its place; [`Dataset::notes`] says how often. A missing label is
    /// refused.
    Mean,
}

/// What an error about a missing value adds.
pub(super) const MISSING_HELPS: &str = "a missing value: option `missing` drops the row or takes the column's mean";

/// Whether a field of text stands for a value that is not there.
pub(super) fn is_missing(text: &str) -> bool {
    const WORDS: [&str; 13] = ["", "NA", "N/A", "#N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL", "None", "NaT", "?"];
    WORDS.contains(&text)
}

/// Rows read so far, checked to be finite and in range where they are not missing.
pub(super) struct Rows {
    policy: Missing,
    d: usize,
    /// Row by row, NaN where missing.
    values: Vec<f64>,
    /// Row and coordinate of what is missing in rows that are kept.
    missing: Vec<(usize, usize)>,
    dropped: usize,
    /// Where the first missing value was.
    first: Option<String>,
}

impl Rows {
    pub(super) fn new(d: usize, policy: Missing) -> Self {
        Rows { policy, d, values: Vec::new(), missing: Vec::new(), dropped: 0, first: None }
    }

    pub(super) fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    /// A missing coordinate; false where the policy refuses it.
    pub(super) fn push_missing(&mut self, place: impl FnOnce() -> String) -> bool {
        if self.policy == Missing::Refuse {
            return false;
        }
        self.first.get_or_insert_with(place);
        if self.policy == Missing::Mean {
            self.missing.push((self.values.len() / self.d, self.values.len() % self.d));
        }
        self.values.push(f64::NAN);
        true
    }

    /// A missing label; false where the policy refuses it.
    pub(super) fn miss_label(&mut self, place: impl FnOnce() -> String) -> bool {
        let drops = self.policy == Missing::DropRow;
        if drops {
            self.first.get_or_insert_with(place);
        }
        drops
    }

    /// Takes back the values of the row just read.
    pub(super) fn drop_row(&mut self) {
        self.dropped += 1;
        self.values.truncate(self.values.len() - self.d);
    }

    /// The data set; `nothing` makes the error where no row or no value of a column is left.
    pub(super) fn finish(
        mut self,
        name: String,
        labels: Option<Labels>,
        range: Option<(f64, f64)>,
        mut notes: Vec<String>,
        nothing: impl Fn(String) -> crate::error::Error,
    ) -> Result<Dataset> {
        let n = self.values.len() / self.d;
        let first = self.first.take().unwrap_or_default();
        if n == 0 {
            return Err(nothing(format!("a row without missing values, all {} have some", self.dropped)));
        }
        if self.dropped > 0 {
            let all = n + self.dropped;
            notes.push(format!("left out {} of {all} rows for a missing value, the first at {first}", self.dropped));
        }
        if !self.missing.is_empty() {
            self.fill().map_err(nothing)?;
            let count = self.missing.len();
            notes.push(format!("put the column's mean for {count} missing values, the first at {first}"));
        }
        let x = Tensor::f_from_slice(&self.values)?.f_view([n as i64, self.d as i64])?;
        let (labels, classes) = labels.map(Labels::finish).unzip();
        let classes = classes.flatten();
        Ok(Dataset { x, labels, shape: vec![self.d as i64], range, name, classes, notes })
    }

    fn fill(&mut self) -> std::result::Result<(), String> {
        let mut columns: Vec<usize> = self.missing.iter().map(|&(_, j)| j).collect();
        columns.sort_unstable();
        columns.dedup();
        let mut means = std::collections::HashMap::new();
        for j in columns {
            let there: Vec<f64> =
                self.values.iter().skip(j).step_by(self.d).copied().filter(|v| v.is_finite()).collect();
            if there.is_empty() {
                return Err(format!("a value in coordinate {}, all are missing", j + 1));
            }
            // divided before they are added, which cannot overflow; rounding must not leave the range of the values
            let mean: f64 = there.iter().map(|v| v / there.len() as f64).sum();
            let (lo, hi) = there.iter().fold((f64::MAX, f64::MIN), |(lo, hi), &v| (lo.min(v), hi.max(v)));
            means.insert(j, mean.clamp(lo, hi));
        }
        for (i, j) in &self.missing {
            self.values[i * self.d + j] = means[j];
        }
        Ok(())
    }
}
