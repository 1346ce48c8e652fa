//! Estimate log Z of many states from draws of all of them at once: the multistate acceptance ratio of Shirts and Chodera (2008).

use crate::error::{Error, Result};
use crate::walkers::Estimate;
use tch::{Device, Kind, Tensor};

/// What [`mbar`] finds.
#[derive(Debug)]
#[non_exhaustive]
pub struct Mbar {
    /// log Z_k, nats, with that of the first state taken as 0: `[K]`.
    pub log_z: Vec<f64>,
    /// Asymptotic covariance of `log_z`, `[K, K]`, f64; defined for differences of two.
    covariance: Tensor,
}

impl Mbar {
    /// log Z_b/Z_a with its asymptotic standard error, nats.
    ///
    /// # Errors
    /// A state that is not there.
    pub fn log_ratio(&self, from: usize, to: usize) -> Result<Estimate> {
        let states = self.log_z.len();
        if let Some(wrong) = [from, to].into_iter().find(|k| *k >= states) {
            return Err(Error::param("state", wrong, format!("below {states}")));
        }
        let c = |i: usize, j: usize| self.covariance.double_value(&[i as i64, j as i64]);
        let variance = c(from, from) - 2.0 * c(from, to) + c(to, to);
        Ok(Estimate::new(self.log_z[to] - self.log_z[from], variance.max(0.0).sqrt()))
    }
}

/// The f_k = −log Z_k that solve f_k = −log Σ_n e^{−u_k(x_n)} / Σ_j N_j e^{f_j − u_j(x_n)}: the maximum-likelihood estimate from
/// draws of all states together, with two states Bennett's acceptance ratio.
///
/// `energies` `[K, N]` holds u_k(x_n) of every draw under every state, in nats; the draws may come in any order, `counts` says how
/// many each state contributed, and only the sum over states matters. A state may have contributed none: its log Z is
/// extrapolated from the others. All draws are taken as independent.
///
/// ```
/// use jarzynski::{Rng, tch::{Device, Kind, Tensor}, walkers::mbar};
/// // N(0, s²) with s = 1, 2, 4: u = x²/2s², so that log Z_k/Z_0 = log s
/// let widths = [1.0, 2.0, 4.0];
/// let mut rng = Rng::new(0);
/// let x: Vec<Tensor> = widths.iter().map(|s| rng.normal(&[1_000], Kind::Double, Device::Cpu) * *s).collect();
/// let x = Tensor::cat(&x, 0);
/// let u: Vec<Tensor> = widths.iter().map(|s| x.square() / (2.0 * s * s)).collect();
/// let z = mbar(&Tensor::stack(&u, 0), &[1_000; 3])?.log_ratio(0, 2)?;
/// assert!(((z.value - 4f64.ln()) / z.se).abs() < 5.0);
/// # Ok::<(), jarzynski::Error>(())
/// ```
///
/// # Errors
/// Shapes that do not fit, no draw, energies that are NaN or −∞, a draw that has no density in any state that was drawn from;
/// states that do not overlap, so that the equations have no solution to rounding.
pub fn mbar(energies: &Tensor, counts: &[usize]) -> Result<Mbar> {
    let size = energies.size();
    let (states, draws) = (counts.len(), counts.iter().sum::<usize>());
    if size != [states as i64, draws as i64] || draws == 0 {
        let expected = format!("[{states}, {draws}]: the energy of every draw under every state");
        return Err(Error::Shape { name: "energies", got: size, expected });
    }
    let u = energies.detach().to_device(Device::Cpu).to_kind(Kind::Double);
    if u.isnan().logical_or(&u.eq(f64::NEG_INFINITY)).any().int64_value(&[]) != 0 {
        return Err(Error::NonFinite { what: "energy", place: "among those of the draws".into() });
    }
    let n: Vec<f64> = counts.iter().map(|n| *n as f64).collect();
    let log_n = Tensor::from_slice(&n).log().unsqueeze(-1);
    let sampled = Tensor::from_slice(&(0..states as i64).filter(|k| counts[*k as usize] > 0).collect::<Vec<_>>());
    let drawn = u.index_select(0, &sampled);
    let own = log_n.index_select(0, &sampled);
    if drawn.amin([0], false).isinf().any().int64_value(&[]) != 0 {
        return Err(Error::param("energies", "+∞ in all states that were drawn from", "a finite one for every draw"));
    }
    let f = solve(&drawn, &own)?;
    // log Σ_j N_j e^{f_j − u_j(x_n)}, and with it every state, those without draws too
    let mixture = (&own + &f - &drawn).logsumexp(0, false);
    let all = -(-&u - &mixture).logsumexp(1, true);
    let weights = (&all - &u - &mixture).exp();
    let log_z = &all.get(0) - &all;
    let covariance = covariance(&weights.tr(), &Tensor::from_slice(&n));
    Ok(Mbar { log_z: Vec::try_from(log_z.squeeze_dim(-1))?, covariance })
}

/// f `[K, 1]`, the first 0, where Σ_n log Σ_k N_k e^{f_k − u_kn} − Σ_k N_k f_k is least: Newton's method with halved steps, from a
/// few self-consistent iterations.
fn solve(u: &Tensor, log_n: &Tensor) -> Result<Tensor> {
    let n = log_n.exp();
    let total = n.sum(Kind::Double).double_value(&[]);
    let mixture = |f: &Tensor| (log_n + f - u).logsumexp(0, false);
    let objective = |f: &Tensor| (mixture(f).sum(Kind::Double) - (&n * f).sum(Kind::Double)).double_value(&[]) / total;
    let anchored = |f: Tensor| &f - f.get(0);
    let iterate = |f: &Tensor| anchored(-(-u - mixture(f)).logsumexp(1, true));
    let mut f = Tensor::zeros_like(&n);
    for _ in 0..20 {
        f = iterate(&f);
    }
    let states = n.size()[0];
    for _ in 0..100 {
        // p_kn, the probability that draw n is one of state k
        let p = (log_n + &f - u - mixture(&f)).exp();
        let gradient = p.sum_dim_intlist(1, true, Kind::Double) - &n;
        let miss = (&gradient / &n).abs().max().double_value(&[]);
        if miss < 1e-10 {
            return Ok(f);
        }
        if states == 1 {
            break;
        }
        let hessian = Tensor::diag_embed(&p.sum_dim_intlist(1, false, Kind::Double), 0, 0, 1) - p.matmul(&p.tr());
        let rest = states - 1;
        let (a, b) = (hessian.narrow(0, 1, rest).narrow(1, 1, rest), gradient.narrow(0, 1, rest));
        let (step, _) = Tensor::linalg_solve_ex(&a, &b, true, false);
        let step = Tensor::cat(&[step.zeros_like().narrow(0, 0, 1), step], 0);
        let before = objective(&f);
        let newton = (0..30).map(|i| &f - &step * 0.5f64.powi(i)).find(|g| objective(g) <= before);
        // near the solution rounding decides about the objective, and the iteration goes on
        f = newton.map_or_else(|| iterate(&f), anchored);
    }
    let p = (log_n + &f - u - mixture(&f)).exp().sum_dim_intlist(1, true, Kind::Double);
    let miss = ((p - &n) / &n).abs().max().double_value(&[]);
    if miss < 1e-6 {
        return Ok(f);
    }
    let expected = "states whose draws overlap: more states between them";
    Err(Error::param("energies", format!("equations that are off by {miss:.1e} after 100 iterations"), expected))
}

/// Θ = V S (1 − S VᵀNV S)⁺ S Vᵀ with WᵀW = V S² Vᵀ, eq. (D6) of Shirts and Chodera; W `[N, K]`, n `[K]`.
fn covariance(w: &Tensor, n: &Tensor) -> Tensor {
    let (square, v) = w.tr().matmul(w).linalg_eigh("L");
    let s = square.clamp_min(0.0).sqrt();
    let right = v.shallow_clone() * &s;
    let middle = right.tr().matmul(&(n.unsqueeze(-1) * &right));
    let one = Tensor::eye(n.size()[0], (Kind::Double, Device::Cpu));
    // one eigenvalue is 0: a constant added to all f changes nothing
    right.matmul(&(one - middle).linalg_pinv(1e-10, true)).matmul(&right.tr())
}
