//! Choose examples: by class, in the order of the file, or at random with the same share of every class.

use std::collections::BTreeMap;

use tch::Tensor;

use super::Dataset;
use crate::error::{Error, Result};
use crate::numeric::Rng;

/// How many examples the first part of a split gets. A bare `f64` is a fraction.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Share {
    /// This part of the examples, between 0 and 1, rounded to a whole number of them.
    Fraction(f64),
    /// So many examples.
    Examples(usize),
}

impl From<f64> for Share {
    fn from(fraction: f64) -> Self {
        Share::Fraction(fraction)
    }
}

impl Dataset {
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
        self.rows(&rows)
    }

    /// Two parts drawn at random without replacement, each in random order; the first has `share` of the examples.
    ///
    /// With labels, each class gives its share to each part, rounded up or down to a whole number of examples, so that
    /// both parts have the proportions of the whole. The same seed gives the same parts on every machine.
    ///
    /// ```
    /// # fn main() -> jarzynski::Result<()> {
    /// let digits = jarzynski::data::digits()?.select(&[2, 3], &[100, 50])?;
    /// let (train, test) = digits.split(0.8, 7)?;
    /// assert_eq!(train.counts(), [(2, 80), (3, 40)].into());
    /// assert_eq!(test.counts(), [(2, 20), (3, 10)].into());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Param`] for a fraction outside (0, 1), and where one part would have no example.
    pub fn split(&self, share: impl Into<Share>, seed: u64) -> Result<(Self, Self)> {
        let n = match share.into() {
            Share::Examples(n) => n,
            Share::Fraction(f) if f > 0.0 && f < 1.0 => (f * self.len() as f64).round() as usize,
            Share::Fraction(f) => return Err(Error::param("share", f, "a fraction between 0 and 1, both excluded")),
        };
        self.check_part(n)?;
        let order = self.permutation(seed);
        let Some(labels) = &self.labels else {
            return Ok((self.rows(&order[..n])?, self.rows(&order[n..])?));
        };
        let mut left = self.shares(n);
        let (first, rest): (Vec<i64>, Vec<i64>) = order.into_iter().partition(|&row| {
            let left = left.entry(labels[row as usize]).or_default();
            *left > 0 && {
                *left -= 1;
                true
            }
        });
        Ok((self.rows(&first)?, self.rows(&rest)?))
    }

    /// The first `n` examples and the others, in the order of the file: where that is sorted by class, the parts hold
    /// different classes ([`Dataset::split`] draws them at random).
    ///
    /// # Errors
    /// [`Error::Param`] unless both parts have an example.
    pub fn split_in_order(&self, n: usize) -> Result<(Self, Self)> {
        self.check_part(n)?;
        let part = |from: usize, to: usize| -> Result<Self> {
            let x = self.x.f_narrow(0, from as i64, (to - from) as i64)?;
            Ok(Dataset { x, labels: self.labels.as_ref().map(|l| l[from..to].to_vec()), ..self.same() })
        };
        Ok((part(0, n)?, part(n, self.len())?))
    }

    /// The same examples in an order drawn at random. The same seed gives the same order on every machine.
    ///
    /// # Errors
    /// [`Error::Torch`] if libtorch refuses, for want of memory.
    pub fn shuffled(&self, seed: u64) -> Result<Self> {
        self.rows(&self.permutation(seed))
    }

    fn permutation(&self, seed: u64) -> Vec<i64> {
        Rng::new(seed).split(0x7370_6c69).permutation(self.len())
    }

    /// How many of the first part's `n` examples each class gives: its exact share rounded down, and one more where the
    /// largest fractions were cut off (of equal ones, the smaller label's first).
    fn shares(&self, n: usize) -> BTreeMap<i64, usize> {
        let (counts, total) = (self.counts(), self.len());
        let mut shares: BTreeMap<i64, usize> = counts.iter().map(|(&label, &c)| (label, c * n / total)).collect();
        let missing = n - shares.values().sum::<usize>();
        let mut cut: Vec<(usize, i64)> = counts.iter().map(|(&label, &c)| (c * n % total, label)).collect();
        cut.sort_by_key(|&(rest, label)| (std::cmp::Reverse(rest), label));
        for (_, label) in cut.into_iter().take(missing) {
            *shares.entry(label).or_default() += 1;
        }
        shares
    }

    fn check_part(&self, n: usize) -> Result<()> {
        if n == 0 || n >= self.len() {
            let last = self.len().saturating_sub(1);
            let expected = format!("from 1 to {last} examples in the first part: {} has {}", self.name, self.len());
            return Err(Error::param("n", n, expected));
        }
        Ok(())
    }

    /// The examples of these rows, in their order.
    fn rows(&self, rows: &[i64]) -> Result<Self> {
        let x = self.x.f_index_select(0, &Tensor::f_from_slice(rows)?.f_to_device(self.x.device())?)?;
        let labels = self.labels.as_ref().map(|own| rows.iter().map(|&row| own[row as usize]).collect());
        Ok(Dataset { x, labels, ..self.same() })
    }
}
