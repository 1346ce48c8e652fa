//! Hold real data as one tensor with its labels, and read it from CSV, Parquet and IDX files.

mod csv;
mod digits;
mod idx;
mod mnist;
mod parquet;
mod source;
mod synthetic;

pub use csv::{Column, CsvOptions, read_csv};
pub use digits::digits;
pub use idx::{read_idx, read_idx_pair};
pub use mnist::{Split, fashion_mnist, mnist};
pub use parquet::read_parquet;
pub use synthetic::{Synthetic, bars_and_stripes};

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::error::{Error, Result};

/// Examples as the rows of one tensor, on the CPU unless moved ([`Dataset::on`]).
///
/// Every method returns a new data set; none changes the one it is called on. Make one with [`Dataset::new`] or with a
/// reader: both check what the fields promise.
///
/// ```
/// # fn main() -> jarzynski::Result<()> {
/// let digits = jarzynski::data::digits()?.select(&[2, 3, 6], &[160, 80, 40])?.scale(-1.0, 1.0)?;
/// assert_eq!((digits.len(), digits.dim()), (280, 64));
/// assert_eq!(digits.counts(), [(2, 160), (3, 80), (6, 40)].into());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Dataset {
    /// The examples, `[n, d]`, `Float` or `Double`, all finite, n ≥ 1, d ≥ 1.
    pub x: Tensor,
    /// One class per example, n of them.
    pub labels: Option<Vec<i64>>,
    /// The shape of one example, with product d: `[8, 8]` for an image of 8 × 8 pixels.
    pub shape: Vec<i64>,
    /// The interval in which the values are declared to lie: `(0, 255)` for bytes. [`Dataset::scale`] maps it.
    pub range: Option<(f64, f64)>,
    /// What to call it in messages and figures.
    pub name: String,
}

impl Dataset {
    /// A data set of your own: `x` is `[n, d]`, `Float` or `Double`; `shape` becomes `[d]`, and there are no labels.
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` is not `[n, d]` with n, d ≥ 1, [`Error::Param`] on another kind of number,
    /// [`Error::NonFinite`] if a value is NaN or infinite.
    pub fn new(name: impl Into<String>, x: Tensor) -> Result<Self> {
        let size = x.size();
        let &[_, d] = size.as_slice() else { return Err(not_a_table(size)) };
        if size.contains(&0) {
            return Err(not_a_table(size));
        }
        check_kind(x.f_kind()?)?;
        let bad = x.f_isfinite()?.f_logical_not()?.f_nonzero()?;
        if bad.size()[0] > 0 {
            let place = format!("at row {}, column {}", bad.f_int64_value(&[0, 0])?, bad.f_int64_value(&[0, 1])?);
            return Err(Error::NonFinite { what: "x", place });
        }
        Ok(Dataset { x, labels: None, shape: vec![d], range: None, name: name.into() })
    }

    /// The same examples with one label each. [`Error::Shape`] if there are not n labels.
    pub fn with_labels(&self, labels: Vec<i64>) -> Result<Self> {
        if labels.len() != self.len() {
            let expected = format!("[{}], one label per example of {}", self.len(), self.name);
            return Err(Error::Shape { name: "labels", got: vec![labels.len() as i64], expected });
        }
        Ok(Dataset { labels: Some(labels), ..self.same() })
    }

    /// The same examples, each seen as a tensor of this shape. [`Error::Shape`] if its product is not d.
    pub fn with_shape(&self, shape: &[i64]) -> Result<Self> {
        let product = shape.iter().try_fold(1_i64, |p, &s| if s < 1 { None } else { p.checked_mul(s) });
        if product != Some(self.dim() as i64) {
            let expected = format!("positive sides with product {}, the width of {}", self.dim(), self.name);
            return Err(Error::Shape { name: "shape", got: shape.to_vec(), expected });
        }
        Ok(Dataset { shape: shape.to_vec(), ..self.same() })
    }

    /// The same examples with values declared to lie in `[lo, hi]`. [`Error::Param`] if one does not.
    pub fn with_range(&self, lo: f64, hi: f64) -> Result<Self> {
        check_range("range", (lo, hi))?;
        let (min, max) = (self.x.f_min()?.f_double_value(&[])?, self.x.f_max()?.f_double_value(&[])?);
        if min < lo || max > hi {
            let expected = format!("an interval that holds [{min}, {max}], the values of {}", self.name);
            return Err(Error::param("range", format!("[{lo}, {hi}]"), expected));
        }
        Ok(Dataset { range: Some((lo, hi)), ..self.same() })
    }

    /// The same examples as `Float` or `Double`. [`Error::Param`] on any other kind.
    pub fn with_kind(&self, kind: Kind) -> Result<Self> {
        check_kind(kind)?;
        Ok(Dataset { x: self.x.f_to_kind(kind)?, ..self.same() })
    }

    /// The same on a device.
    pub fn on(self, device: tch::Device) -> Self {
        Dataset { x: self.x.to_device(device), ..self }
    }

    /// Number of examples, n.
    pub fn len(&self) -> usize {
        self.x.size().first().map_or(0, |&n| n as usize)
    }

    /// Whether there is no example; no data set made by this module is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers per example, d.
    pub fn dim(&self) -> usize {
        self.x.size().get(1).map_or(0, |&d| d as usize)
    }

    /// Number of examples of each label, in the order of the labels; empty without labels.
    pub fn counts(&self) -> BTreeMap<i64, usize> {
        let mut counts = BTreeMap::new();
        for &label in self.labels.iter().flatten() {
            *counts.entry(label).or_default() += 1;
        }
        counts
    }

    /// The first `counts[i]` examples of each class `labels[i]`; the result keeps the order of the file.
    ///
    /// # Errors
    /// [`Error::Param`] if the data have no labels, the lists differ in length or name a class twice, nothing is asked
    /// for, or a class has too few examples (the message says how many there are).
    pub fn select(&self, labels: &[i64], counts: &[usize]) -> Result<Self> {
        let Some(own) = &self.labels else {
            return Err(Error::param("labels", "none", format!("{} with a label per example", self.name)));
        };
        if labels.len() != counts.len() {
            return Err(Error::param("counts", format!("{counts:?}"), format!("one per label of {labels:?}")));
        }
        let mut left = BTreeMap::new();
        let there = self.counts();
        for (&label, &count) in labels.iter().zip(counts) {
            let have = there.get(&label).copied().unwrap_or(0);
            if count > have {
                let expected = format!("at most {have}, the examples of label {label} in {}", self.name);
                return Err(Error::param("count", count, expected));
            }
            if left.insert(label, count).is_some() {
                return Err(Error::param("labels", format!("{labels:?}"), "each label once"));
            }
        }
        let mut rows = Vec::new();
        for (row, label) in own.iter().enumerate() {
            if let Some(count) = left.get_mut(label).filter(|count| **count > 0) {
                *count -= 1;
                rows.push(row as i64);
            }
        }
        if rows.is_empty() {
            return Err(Error::param("counts", format!("{counts:?}"), "at least one example"));
        }
        let x = self.x.f_index_select(0, &Tensor::f_from_slice(&rows)?.f_to_device(self.x.device())?)?;
        Ok(Dataset { x, labels: Some(rows.iter().map(|&row| own[row as usize]).collect()), ..self.same() })
    }

    /// The first `n` examples and the others. [`Error::Param`] unless both parts have an example.
    pub fn split(&self, n: usize) -> Result<(Self, Self)> {
        if n == 0 || n >= self.len() {
            let expected =
                format!("from 1 to {}: {} has {} examples", self.len().saturating_sub(1), self.name, self.len());
            return Err(Error::param("n", n, expected));
        }
        let part = |from: usize, to: usize| -> Result<Self> {
            let x = self.x.f_narrow(0, from as i64, (to - from) as i64)?;
            Ok(Dataset { x, labels: self.labels.as_ref().map(|l| l[from..to].to_vec()), ..self.same() })
        };
        Ok((part(0, n)?, part(n, self.len())?))
    }

    /// The values mapped from their declared range `[a, b]` onto `[lo, hi]`: x ↦ lo + (hi − lo)(x − a)/(b − a).
    ///
    /// # Errors
    /// [`Error::Param`] unless lo < hi are finite and the data declare a range ([`Dataset::with_range`]).
    pub fn scale(&self, lo: f64, hi: f64) -> Result<Self> {
        check_range("scale", (lo, hi))?;
        let Some((a, b)) = self.range else {
            return Err(Error::param("range", "none", format!("{} with a declared range", self.name)));
        };
        // divided first, so that b maps to 1 exactly
        let unit = self.x.f_sub_scalar(a)?.f_div_scalar(b - a)?;
        let x = unit.f_mul_scalar(hi - lo)?.f_add_scalar(lo)?;
        Ok(Dataset { x, range: Some((lo, hi)), ..self.same() })
    }

    /// The same examples as zeros and ones: 1 where a value lies above the middle of the declared range.
    ///
    /// # Errors
    /// [`Error::Param`] unless the data declare a range ([`Dataset::with_range`]).
    pub fn binarise(&self) -> Result<Self> {
        let Some((a, b)) = self.range else {
            return Err(Error::param("range", "none", format!("{} with a declared range", self.name)));
        };
        let x = self.x.f_gt(0.5 * (a + b))?.f_to_kind(self.x.f_kind()?)?;
        Ok(Dataset { x, range: Some((0.0, 1.0)), ..self.same() })
    }

    /// Another handle on the same examples.
    fn same(&self) -> Self {
        let (labels, shape, name) = (self.labels.clone(), self.shape.clone(), self.name.clone());
        Dataset { x: self.x.shallow_clone(), labels, shape, range: self.range, name }
    }
}

fn not_a_table(got: Vec<i64>) -> Error {
    Error::Shape { name: "x", got, expected: "[n, d] with n, d ≥ 1".into() }
}

fn check_kind(kind: Kind) -> Result<()> {
    match kind {
        Kind::Float | Kind::Double => Ok(()),
        other => Err(Error::param("kind", format!("{other:?}"), "Float or Double")),
    }
}

fn check_range(name: &'static str, (lo, hi): (f64, f64)) -> Result<()> {
    if lo.is_finite() && hi.is_finite() && lo < hi {
        return Ok(());
    }
    Err(Error::param(name, format!("[{lo}, {hi}]"), "finite ends, the first below the second"))
}

/// What a value of a file fails to be, or `None` if it is finite and in range.
fn fault(value: f64, range: Option<(f64, f64)>) -> Option<String> {
    match range {
        _ if !value.is_finite() => Some(format!("a finite number, found {value}")),
        Some((lo, hi)) if value < lo || value > hi => Some(format!("a number in [{lo}, {hi}], found {value}")),
        _ => None,
    }
}

/// The data set of a table read from a file: `values` row by row, `[n, d]`, already checked to be finite and in range.
fn table(
    name: String,
    values: &[f64],
    d: usize,
    labels: Option<Vec<i64>>,
    range: Option<(f64, f64)>,
) -> Result<Dataset> {
    let x = Tensor::f_from_slice(values)?.f_view([(values.len() / d) as i64, d as i64])?;
    Ok(Dataset { x, labels, shape: vec![d as i64], range, name })
}
