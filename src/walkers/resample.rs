//! Draw ancestors from log-weights: systematic, stratified, residual and multinomial schemes, all unbiased.

use crate::numeric::Rng;
use serde::{Deserialize, Serialize};

/// How ancestors are drawn. Each scheme gives walker i an expected N·w_i offspring; they differ in variance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Scheme {
    /// One uniform shifts N equally spaced points: offspring counts are ⌊N w_i⌋ or ⌈N w_i⌉. The default.
    #[default]
    Systematic,
    /// One uniform in each of N equal intervals.
    Stratified,
    /// ⌊N w_i⌋ copies first, the remainder multinomially.
    Residual,
    /// N independent draws.
    Multinomial,
}

impl Scheme {
    /// Ancestors, ascending, from normalised weights `w`.
    ///
    /// `w` must be non-negative and sum to 1 up to rounding; the result has `w.len()` indices.
    ///
    /// ```
    /// use jarzynski::{Rng, Scheme};
    /// assert_eq!(Scheme::Systematic.ancestors(&[0.5, 0.0, 0.5, 0.0], &mut Rng::new(0)), [0, 0, 2, 2]);
    /// ```
    pub fn ancestors(self, w: &[f64], rng: &mut Rng) -> Vec<i64> {
        let n = w.len();
        match self {
            Scheme::Systematic => {
                let u = rng.uniform();
                comb(w, (0..n).map(|i| (i as f64 + u) / n as f64))
            }
            Scheme::Stratified => {
                let u = rng.uniforms(n);
                comb(w, u.into_iter().enumerate().map(|(i, u)| (i as f64 + u) / n as f64))
            }
            Scheme::Multinomial => {
                let mut u = rng.uniforms(n);
                u.sort_by(f64::total_cmp);
                comb(w, u.into_iter())
            }
            Scheme::Residual => {
                let mut out: Vec<i64> = Vec::with_capacity(n);
                let mut rest = Vec::with_capacity(n);
                for (i, &wi) in w.iter().enumerate() {
                    // w_i = m/N exactly must give m copies although N·w_i may round to just below m.
                    let copies = (wi * n as f64 + 1e-9).floor();
                    out.extend(std::iter::repeat_n(i as i64, copies as usize));
                    rest.push((wi * n as f64 - copies).max(0.0));
                }
                let missing = n.saturating_sub(out.len());
                let total: f64 = rest.iter().sum();
                if missing > 0 {
                    rest.iter_mut().for_each(|r| *r /= total);
                    let mut u = rng.uniforms(missing);
                    u.sort_by(f64::total_cmp);
                    out.extend(comb(&rest, u.into_iter()));
                }
                out.truncate(n);
                out.sort_unstable();
                out
            }
        }
    }
}

/// For ascending points in [0, 1), the index whose interval of cumulated weight holds each.
fn comb(w: &[f64], points: impl Iterator<Item = f64>) -> Vec<i64> {
    // Rounding can leave the cumulated weight short of the last point: the last walker with weight takes it.
    let last = w.iter().rposition(|&v| v > 0.0).unwrap_or(0);
    let (mut i, mut cumulated) = (0, w.first().copied().unwrap_or(1.0));
    points
        .map(|p| {
            while p >= cumulated && i < last {
                i += 1;
                cumulated += w[i];
            }
            i as i64
        })
        .collect()
}
