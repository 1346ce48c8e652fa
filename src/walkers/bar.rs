//! Estimate log Z_1/Z_0 from log-weights of both directions by the acceptance ratio of Bennett (1976), with the least variance.

use super::Estimate;
use crate::error::{Error, Result};

/// What [`bar`] finds.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Bar {
    /// log Z_1/Z_0, nats, with the asymptotic standard error; its warning is `overlap` where too few log-weights are as likely in
    /// one direction as in the other for that error to hold.
    pub log_ratio: Estimate,
    /// How far the two distributions of A overlap: Σ p(1 − p) over all log-weights, p the probability that one of this size is a
    /// forward one, relative to what it is where they are the same. In [0, 1].
    pub overlap: f64,
}

/// Least Σ p(1 − p) for which the standard error of [`bar`] is taken at its word: its square is below 1/Σ p(1 − p).
const FEW: f64 = 5.0;

/// Bennett's acceptance ratio: the C at which
///
/// ```text
/// Σ_F 1/(1 + (n_F/n_R) e^{C − A}) = Σ_R 1/(1 + (n_R/n_F) e^{A − C})
/// ```
///
/// with A on `forward` paths from ρ_0, and the *same* A evaluated on `reverse` paths from ρ_1 (a reverse run carries −A). It is
/// the maximum-likelihood estimate given p_F(A) e^A = (Z_1/Z_0) p_R(A) (Shirts et al. 2003), and has the least variance of all that
/// use these numbers. All log-weights are taken as independent. A = −∞ on a forward and +∞ on a reverse path are weights of zero.
///
/// ```
/// use jarzynski::{Rng, walkers::bar};
/// // one step of length 1 between N(0, 1) and N(1, 1), both normalised: A = U_0 − U_1 at the draw
/// let normal = |seed| Vec::<f64>::try_from(Rng::new(seed).normal(&[1_000], jarzynski::tch::Kind::Double, jarzynski::tch::Device::Cpu)).unwrap();
/// let forward: Vec<f64> = normal(0).iter().map(|x| x - 0.5).collect();
/// let reverse: Vec<f64> = normal(1).iter().map(|x| x + 0.5).collect();
/// let found = bar(&forward, &reverse)?;
/// assert!((found.log_ratio.value / found.log_ratio.se).abs() < 5.0 && found.overlap > 0.5);
/// # Ok::<(), jarzynski::Error>(())
/// ```
///
/// # Errors
/// No log-weight with a positive weight in one of the directions; NaN, or a weight that is infinite.
pub fn bar(forward: &[f64], reverse: &[f64]) -> Result<Bar> {
    for (name, a, wrong) in [("forward", forward, f64::INFINITY), ("reverse", reverse, f64::NEG_INFINITY)] {
        if a.iter().any(|v| v.is_nan() || *v == wrong) {
            return Err(Error::NonFinite { what: "log-weight", place: format!("among the {name} ones") });
        }
        if a.iter().all(|v| v.is_infinite()) {
            let expected = format!("at least one {name} log-weight that is finite");
            return Err(Error::param(name, format!("{} log-weights", a.len()), expected));
        }
    }
    let (n_f, n_r) = (forward.len() as f64, reverse.len() as f64);
    let shift = (n_f / n_r).ln();
    let c = solve(forward, reverse, shift);
    let s: f64 = forward.iter().chain(reverse).map(|a| both_ways(a - c - shift)).sum();
    let se = (1.0 / s - 1.0 / n_f - 1.0 / n_r).max(0.0).sqrt();
    let overlap = (s * (n_f + n_r) / (n_f * n_r)).min(1.0);
    Ok(Bar { log_ratio: Estimate::new(c, se).doubted((s < FEW).then_some("overlap")), overlap })
}

/// p(1 − p) with p = 1/(1 + e^x).
fn both_ways(x: f64) -> f64 {
    (log_sigmoid(x) + log_sigmoid(-x)).exp()
}

/// What [`bar_of_chains`] finds.
#[derive(Debug)]
pub(crate) struct Chained {
    /// Each pair of neighbours.
    pub pairs: Vec<Bar>,
    /// The sum of their log-ratios.
    pub total: Estimate,
}

/// Groups of draws by which errors are estimated, at least.
const GROUPS: usize = 40;

/// [`bar`] between neighbours in a row of states, and the sum of it, from the draws of chains that do not act on each other:
/// (forward, reverse) log-weights of each pair, one per round and chain, the chain running fastest.
///
/// Draws of one chain are correlated, over rounds and between pairs. So errors are those of groups, the whole of a chain or,
/// where there are few chains, long blocks of it: C moves by [Σ_F (1 − p) − Σ_R p]/Σ p(1 − p), to first order a sum over groups.
pub(crate) fn bar_of_chains(pairs: &[(&[f64], &[f64])], chains: usize) -> Result<Chained> {
    let draws = pairs.first().map_or(0, |p| p.0.len());
    let rounds = draws / chains.max(1);
    let blocks = GROUPS.div_ceil(chains.max(1)).clamp(1, rounds.max(1));
    let group = |i: usize| (i / chains * blocks / rounds) * chains + i % chains;
    let groups = chains * blocks;
    // the standard deviation of sums over groups about their mean, times √groups
    let spread = |sums: &[f64]| {
        let (mean, n) = (sums.iter().sum::<f64>() / groups as f64, groups as f64);
        (sums.iter().map(|s| (s - mean).powi(2)).sum::<f64>() * n / (n - 1.0)).sqrt()
    };
    let mut total = vec![0.0; groups];
    let (mut found, mut value, mut warning) = (Vec::with_capacity(pairs.len()), 0.0, None);
    for (forward, reverse) in pairs {
        let one = bar(forward, reverse)?;
        let c = one.log_ratio.value;
        let s: f64 = forward.iter().chain(*reverse).map(|a| both_ways(a - c)).sum();
        let mut own = vec![0.0; groups];
        for (i, (f, r)) in forward.iter().zip(*reverse).enumerate() {
            own[group(i)] += (log_sigmoid(f - c).exp() - log_sigmoid(c - r).exp()) / s;
        }
        total.iter_mut().zip(&own).for_each(|(t, o)| *t += o);
        value += c;
        warning = warning.or(one.log_ratio.warning);
        found.push(Bar { log_ratio: Estimate { se: spread(&own), ..one.log_ratio }, ..one });
    }
    Ok(Chained { pairs: found, total: Estimate::new(value, spread(&total)).doubted(warning) })
}

/// log 1/(1 + e^{−x}).
fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

/// log Σ e^{x}.
fn log_sum_exp(x: impl Iterator<Item = f64> + Clone) -> f64 {
    let top = x.clone().fold(f64::NEG_INFINITY, f64::max);
    if top.is_finite() { top + x.map(|x| (x - top).exp()).sum::<f64>().ln() } else { top }
}

/// The root C of log Σ_F − log Σ_R, which falls with C: in logarithms, so that it exists where every term underflows. By Newton's
/// method, and by bisection where that leaves the interval that holds the root.
fn solve(forward: &[f64], reverse: &[f64], shift: f64) -> f64 {
    let excess = |c: f64| {
        let of_forward = || forward.iter().map(|a| log_sigmoid(a - c - shift));
        let of_reverse = || reverse.iter().map(|a| log_sigmoid(c + shift - a));
        let (f, r) = (log_sum_exp(of_forward()), log_sum_exp(of_reverse()));
        // d log σ(x)/dx = σ(−x), averaged with the terms' shares
        let slope =
            |terms: &mut dyn Iterator<Item = f64>, of: f64| terms.map(|t| (t - of).exp() * -t.exp_m1()).sum::<f64>();
        (f - r, -slope(&mut of_forward(), f) - slope(&mut of_reverse(), r))
    };
    let finite = || forward.iter().chain(reverse).copied().filter(|a| a.is_finite());
    let (mut low, mut high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let mut reach = 1.0 + shift.abs();
    while excess(low).0 < 0.0 {
        low -= reach;
        reach *= 2.0;
    }
    while excess(high).0 > 0.0 {
        high += reach;
        reach *= 2.0;
    }
    let mut c = 0.5 * (low + high);
    for _ in 0..200 {
        let (value, slope) = excess(c);
        if value > 0.0 {
            low = c
        } else {
            high = c
        }
        let newton = c - value / slope;
        let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
        if (next - c).abs() <= 1e-14 * (1.0 + c.abs()) {
            return next;
        }
        c = next;
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::Rng;
    use tch::{Device, Kind};

    /// Log-weights that keep Crooks' identity exactly: normal around C ∓ s²/2 with variance s².
    fn crooks(c: f64, s: f64, n: (usize, usize), rng: &mut Rng) -> (Vec<f64>, Vec<f64>) {
        let mut draw = |n: usize, mean: f64| -> Vec<f64> {
            let z = Vec::<f64>::try_from(rng.normal(&[n as i64], Kind::Double, Device::Cpu)).unwrap();
            z.iter().map(|z| mean + s * z).collect()
        };
        (draw(n.0, c - 0.5 * s * s), draw(n.1, c + 0.5 * s * s))
    }

    fn mean_sd(v: &[f64]) -> (f64, f64) {
        let (mean, se) = crate::io::frame::mean_se(v);
        (mean, se * (v.len() as f64).sqrt())
    }

    #[test]
    fn the_error_is_that_of_replicates_and_of_a_bootstrap() {
        for (s, n) in [(0.5, (300, 300)), (2.0, (300, 300)), (3.0, (400, 100)), (3.5, (100, 1_000))] {
            let mut rng = Rng::new(7);
            let found: Vec<Bar> = (0..400)
                .map(|_| {
                    let (f, r) = crooks(12.5, s, n, &mut rng);
                    bar(&f, &r).unwrap()
                })
                .collect();
            let (mean, sd) = mean_sd(&found.iter().map(|b| b.log_ratio.value).collect::<Vec<_>>());
            let se = mean_sd(&found.iter().map(|b| b.log_ratio.se).collect::<Vec<_>>()).0;
            // the standard deviation of 400 normal numbers is known to 1/√800
            assert!((se / sd - 1.0).abs() < 5.0 / 800f64.sqrt(), "s = {s}: {se} against {sd}");
            assert!((mean - 12.5).abs() < 5.0 * sd / 20.0, "s = {s}: {mean}");
            assert!(found.iter().all(|b| b.log_ratio.warning.is_none()), "s = {s}");
            let (f, r) = crooks(12.5, s, n, &mut rng);
            let mut redraw = |a: &[f64]| -> Vec<f64> {
                (0..a.len()).map(|_| a[((rng.uniform() * a.len() as f64) as usize).min(a.len() - 1)]).collect()
            };
            let again: Vec<f64> = (0..400).map(|_| bar(&redraw(&f), &redraw(&r)).unwrap().log_ratio.value).collect();
            let ratio = bar(&f, &r).unwrap().log_ratio.se / mean_sd(&again).1;
            assert!((0.75..1.33).contains(&ratio), "s = {s}: {ratio}");
        }
    }

    #[test]
    fn a_wrong_sign_of_the_reverse_weights_is_noticed() {
        let (f, r) = crooks(3.0, 1.0, (4_000, 4_000), &mut Rng::new(2));
        let z = |b: Bar| (b.log_ratio.value - 3.0) / b.log_ratio.se;
        assert!(z(bar(&f, &r).unwrap()).abs() < 5.0);
        let minus: Vec<f64> = r.iter().map(|a| -a).collect();
        assert!(z(bar(&f, &minus).unwrap()).abs() > 5.0);
        // the exponential average of log-weights on reverse paths is off by their whole variance
        assert!(log_sum_exp(r.iter().copied()) - (r.len() as f64).ln() > 3.5);
    }

    #[test]
    fn what_does_not_overlap_is_said() {
        let apart = |s| {
            let (f, r) = crooks(0.0, s, (500, 500), &mut Rng::new(3));
            bar(&f, &r).unwrap()
        };
        assert_eq!(apart(2.0).log_ratio.warning, None);
        for s in [8.0, 60.0] {
            let b = apart(s);
            assert!(b.log_ratio.warning == Some("overlap") && b.overlap < 0.02, "{b:?}");
            // between the two groups, with an error that says nothing
            assert!(b.log_ratio.value.abs() < 0.5 * s * s && b.log_ratio.se > 0.3, "{b:?}");
        }
        let same = bar(&[1.0; 10], &[1.0; 20]).unwrap();
        assert!(
            (same.log_ratio.value - 1.0).abs() < 1e-12
                && same.log_ratio.se < 1e-6
                && (same.overlap - 1.0).abs() < 1e-12
        );
    }

    #[test]
    fn weights_of_zero_count_and_nonsense_is_refused() {
        // half of the forward paths end where ρ_1 is 0: Z_1/Z_0 = ½ with A = 0 elsewhere
        let forward: Vec<f64> = (0..2_000).map(|i| if i % 2 == 0 { 0.0 } else { f64::NEG_INFINITY }).collect();
        let found = bar(&forward, &[0.0; 500]).unwrap().log_ratio;
        assert!((found.value - 0.5f64.ln()).abs() < 1e-10, "{found}");
        assert!(bar(&[f64::NEG_INFINITY], &[0.0]).is_err() && bar(&[0.0], &[]).is_err());
        assert!(bar(&[0.0, f64::NAN], &[0.0]).is_err() && bar(&[0.0], &[f64::NEG_INFINITY]).is_err());
    }
}
