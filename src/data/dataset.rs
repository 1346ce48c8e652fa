//! Hold examples as one tensor with their labels, and check what its fields promise.

use std::collections::BTreeMap;
use std::fmt;

use tch::{Kind, Tensor};

use super::check_range;
use crate::error::{Error, Result};

/// Examples as the rows of one tensor, on the CPU unless moved ([`Dataset::on`]).
///
/// Every method returns a new data set; none changes the one it is called on. Make one with [`Dataset::new`] or with a
/// reader: both check what the fields promise. `Display` gives name, size, classes and notes.
///
/// # Kinds of number
/// One rule: the examples are `Float` or `Double`, and whatever trains on them converts them to the kind of its own
/// parameters. Other kinds are converted on entry, by [`Dataset::new`] and by every reader, where no value changes:
/// `Half`, `BFloat16`, truth values and integers up to 2^24 become `Float`, larger integers `Double`. Integers above 2^53,
/// complex and quantised numbers are refused.
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
#[non_exhaustive]
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
    /// The names of the classes where a file has text for labels: label `i` is `classes[i]`, in alphabetical order.
    pub classes: Option<Vec<String>>,
    /// What a reader left out or put in: row names, rows with missing values, means in their place.
    pub notes: Vec<String>,
}

impl Dataset {
    /// A data set of your own: `x` is `[n, d]`, of any kind of real number (converted as the type's rule says); `shape`
    /// becomes `[d]`, and there are no labels.
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` is not `[n, d]` with n, d ≥ 1, [`Error::Param`] on complex or quantised numbers and on
    /// integers above 2^53, [`Error::NonFinite`] if a value is NaN or infinite.
    pub fn new(name: impl Into<String>, x: Tensor) -> Result<Self> {
        let size = x.size();
        let &[_, d] = size.as_slice() else { return Err(not_a_table(size)) };
        if size.contains(&0) {
            return Err(not_a_table(size));
        }
        let x = floating(x)?;
        let bad = x.f_isfinite()?.f_logical_not()?.f_nonzero()?;
        if bad.size()[0] > 0 {
            let place = format!("at row {}, column {}", bad.f_int64_value(&[0, 0])?, bad.f_int64_value(&[0, 1])?);
            return Err(Error::NonFinite { what: "x", place });
        }
        Ok(Dataset {
            x,
            labels: None,
            shape: vec![d],
            range: None,
            name: name.into(),
            classes: None,
            notes: Vec::new(),
        })
    }

    /// The same examples with one label each, and no names of classes.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not n labels.
    pub fn with_labels(&self, labels: Vec<i64>) -> Result<Self> {
        if labels.len() != self.len() {
            let expected = format!("[{}], one label per example of {}", self.len(), self.name);
            return Err(Error::Shape { name: "labels", got: vec![labels.len() as i64], expected });
        }
        Ok(Dataset { labels: Some(labels), classes: None, ..self.same() })
    }

    /// The same examples, each seen as a tensor of this shape.
    ///
    /// # Errors
    /// [`Error::Shape`] if its product is not d.
    pub fn with_shape(&self, shape: &[i64]) -> Result<Self> {
        let product = shape.iter().try_fold(1_i64, |p, &s| if s < 1 { None } else { p.checked_mul(s) });
        if product != Some(self.dim() as i64) {
            let expected = format!("positive sides with product {}, the width of {}", self.dim(), self.name);
            return Err(Error::Shape { name: "shape", got: shape.to_vec(), expected });
        }
        Ok(Dataset { shape: shape.to_vec(), ..self.same() })
    }

    /// The same examples with values declared to lie in `[lo, hi]`.
    ///
    /// # Errors
    /// [`Error::Param`] if one does not.
    pub fn with_range(&self, lo: f64, hi: f64) -> Result<Self> {
        check_range("range", (lo, hi))?;
        let (min, max) = (self.x.f_min()?.f_double_value(&[])?, self.x.f_max()?.f_double_value(&[])?);
        if min < lo || max > hi {
            let expected = format!("an interval that holds [{min}, {max}], the values of {}", self.name);
            return Err(Error::param("range", format!("[{lo}, {hi}]"), expected));
        }
        Ok(Dataset { range: Some((lo, hi)), ..self.same() })
    }

    /// The same examples as `Float` or `Double`.
    ///
    /// # Errors
    /// [`Error::Param`] on any other kind.
    pub fn with_kind(&self, kind: Kind) -> Result<Self> {
        if !matches!(kind, Kind::Float | Kind::Double) {
            return Err(Error::param("kind", format!("{kind:?}"), "Float or Double"));
        }
        Ok(Dataset { x: self.x.f_to_kind(kind)?, ..self.same() })
    }

    /// The same on a device.
    #[must_use]
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

    /// Another handle on the same examples.
    pub(super) fn same(&self) -> Self {
        Dataset {
            x: self.x.shallow_clone(),
            labels: self.labels.clone(),
            shape: self.shape.clone(),
            range: self.range,
            name: self.name.clone(),
            classes: self.classes.clone(),
            notes: self.notes.clone(),
        }
    }
}

/// Name, size, classes and notes on one line each.
impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} examples of {} numbers", self.name, self.len(), self.dim())?;
        if self.labels.is_some() {
            let name = |label: i64| {
                let names = self.classes.as_ref().zip(usize::try_from(label).ok());
                names.and_then(|(names, i)| names.get(i).cloned()).unwrap_or_else(|| label.to_string())
            };
            let counts: Vec<String> = self.counts().iter().map(|(&l, n)| format!("{} {n}", name(l))).collect();
            write!(f, "; classes: {}", counts.join(", "))?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}

fn not_a_table(got: Vec<i64>) -> Error {
    Error::Shape { name: "x", got, expected: "[n, d] with n, d ≥ 1".into() }
}

/// As `Float`, or as `Double` where integers need it; floats of both kinds as they are.
fn floating(x: Tensor) -> Result<Tensor> {
    match x.f_kind()? {
        Kind::Float | Kind::Double => Ok(x),
        Kind::Half | Kind::BFloat16 | Kind::Bool => Ok(x.f_to_kind(Kind::Float)?),
        Kind::Uint8 | Kind::Int8 | Kind::Int16 | Kind::Int | Kind::Int64 => {
            let (min, max) = (x.f_min()?.f_int64_value(&[])?, x.f_max()?.f_int64_value(&[])?);
            let largest = min.unsigned_abs().max(max.unsigned_abs());
            if largest > 1 << 53 {
                let far = if min.unsigned_abs() == largest { min } else { max };
                return Err(Error::param("x", far, "integers of at most 2^53, which a Double holds exactly"));
            }
            Ok(x.f_to_kind(if largest > 1 << 24 { Kind::Double } else { Kind::Float })?)
        }
        other => Err(Error::param("kind", format!("{other:?}"), "real numbers: floats, integers or truth values")),
    }
}
