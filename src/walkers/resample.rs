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
        self.draws(w, w.len(), rng)
    }

    /// n ancestors, ascending, from normalised weights `w`.
    pub(super) fn draws(self, w: &[f64], n: usize, rng: &mut Rng) -> Vec<i64> {
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

    /// Σ_e Var(O_e) of the numbers O_e of offspring of families of walkers, of which `draws` are drawn: walker i belongs to
    /// `families[i]`, ascending.
    pub(super) fn offspring_variance(self, w: &[f64], draws: usize, families: &[i64]) -> f64 {
        let n = draws as f64;
        let bernoulli = |p: f64| p * (1.0 - p);
        match self {
            Scheme::Systematic => family_sums(families, w).iter().map(|w| bernoulli((n * w).fract())).sum(),
            Scheme::Stratified => {
                let mut from = 0.0;
                let one = |w: f64| {
                    let to: f64 = from + n * w;
                    // the points of the first and of the last interval that the family's share meets; those between are certain
                    let (first, last) = (f64::floor(from), to.floor());
                    let variance = match first == last {
                        true => bernoulli(to - from),
                        false => bernoulli(first + 1.0 - from) + bernoulli(to - last),
                    };
                    from = to;
                    variance
                };
                family_sums(families, w).into_iter().map(one).sum()
            }
            Scheme::Multinomial => n * family_sums(families, w).into_iter().map(bernoulli).sum::<f64>(),
            Scheme::Residual => {
                let rest: Vec<f64> = w.iter().map(|w| (n * w - (n * w + 1e-9).floor()).max(0.0)).collect();
                let missing = rest.iter().sum::<f64>().round();
                let share = |r: &f64| bernoulli(r / missing);
                if missing > 0.0 { missing * family_sums(families, &rest).iter().map(share).sum::<f64>() } else { 0.0 }
            }
        }
    }
}

/// Σ of v over the members of each family; families ascending.
pub(super) fn family_sums(families: &[i64], v: &[f64]) -> Vec<f64> {
    let (mut sums, mut last) = (Vec::new(), None);
    for (family, v) in families.iter().zip(v) {
        match sums.last_mut() {
            Some(sum) if last == Some(family) => *sum += v,
            _ => sums.push(*v),
        }
        last = Some(family);
    }
    sums
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offspring_vary_as_they_should() {
        let w: Vec<f64> = Rng::new(1).uniforms(17).iter().map(|u| (-2.0 * u).exp() * -(1.0 - u).ln()).collect();
        let total: f64 = w.iter().sum();
        let w: Vec<f64> = w.iter().map(|w| w / total).collect();
        let alone: Vec<i64> = (0..17).collect();
        let families = [0, 0, 0, 3, 4, 4, 4, 4, 8, 8, 10, 11, 12, 12, 12, 15, 15];
        for scheme in [Scheme::Systematic, Scheme::Stratified, Scheme::Residual, Scheme::Multinomial] {
            for families in [&alone[..], &families] {
                let mut rng = Rng::new(2);
                let expected: Vec<f64> = family_sums(families, &w);
                let squares: Vec<f64> = (0..20_000)
                    .map(|_| {
                        let mut counts = [0.0; 17];
                        scheme.ancestors(&w, &mut rng).iter().for_each(|a| counts[*a as usize] += 1.0);
                        let counts = family_sums(families, &counts);
                        counts.iter().zip(&expected).map(|(c, w)| (c - 17.0 * w).powi(2)).sum()
                    })
                    .collect();
                let (mean, se) = crate::io::frame::mean_se(&squares);
                let told = scheme.offspring_variance(&w, 17, families);
                assert!((mean - told).abs() < 5.0 * se, "{scheme:?}: {mean} ± {se}, {told}");
            }
        }
        // fewer draws than walkers
        for scheme in [Scheme::Systematic, Scheme::Stratified, Scheme::Residual, Scheme::Multinomial] {
            let mut rng = Rng::new(3);
            let expected: Vec<f64> = family_sums(&families, &w);
            let squares: Vec<f64> = (0..20_000)
                .map(|_| {
                    let mut counts = [0.0; 17];
                    scheme.draws(&w, 5, &mut rng).iter().for_each(|a| counts[*a as usize] += 1.0);
                    let counts = family_sums(&families, &counts);
                    counts.iter().zip(&expected).map(|(c, w)| (c - 5.0 * w).powi(2)).sum()
                })
                .collect();
            let (mean, se) = crate::io::frame::mean_se(&squares);
            let told = scheme.offspring_variance(&w, 5, &families);
            assert!((mean - told).abs() < 5.0 * se, "{scheme:?}, 5 draws: {mean} ± {se}, {told}");
        }
        // what is due exactly does not vary, but under independent draws
        let (even, alone) = ([0.25; 4], &alone[..4]);
        assert_eq!(Scheme::Systematic.offspring_variance(&even, 4, alone), 0.0);
        assert_eq!(Scheme::Stratified.offspring_variance(&even, 4, alone), 0.0);
        assert_eq!(Scheme::Residual.offspring_variance(&even, 4, alone), 0.0);
        assert_eq!(Scheme::Multinomial.offspring_variance(&even, 4, alone), 3.0);
    }
}
