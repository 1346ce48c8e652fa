//! Give the posterior of a logistic regression on a design matrix of the user's, with a Gaussian prior.

use super::{LOG_2PI, positive};
use crate::density::{Differentiable, Energy, Evaluation, floats, rows_as};
use crate::error::{Error, Result, guard, no_grad};
use crate::model::Gaussian;
use tch::{Device, Kind, Tensor};

/// U(β) = Σ_i log(1 + e^{−s_i x_i·β}) + |β|²/2σ² + (p/2) log 2πσ² with s_i = ±1 for the label: Z = ∫ e^{−U} dβ is the evidence
/// p(labels | x) under the prior N(0, σ² I).
///
/// No column is added: for an intercept give a column of ones, which then has the same prior. Columns of like scale make a better
/// target: standardise them.
///
/// log Z and moments have no closed form. Start from the [`prior`](Logistic::prior), whose mass always covers the posterior, or
/// from the [`laplace`](Logistic::laplace) approximation, which is nearer.
///
/// ```
/// use jarzynski::model::targets::Logistic;
/// use jarzynski::{Geometric, Mala, Reversed, Transport, tch::Tensor};
/// # fn main() -> jarzynski::Result<()> {
/// let x = Tensor::from_slice(&[1.0, -2.0, 1.0, -1.0, 1.0, 0.5, 1.0, 3.0]).view([4, 2]);
/// let target = Logistic::new(&x, &Tensor::from_slice(&[0i64, 0, 1, 1]), 2.0)?;
/// let path = Geometric { base: target.laplace()?, target };
/// let run = Transport::new(Reversed::new(Mala::new(0.5)), 20, 1_000, 0).quiet().run(&path)?;
/// let evidence = run.walkers.log_z();
/// assert!(evidence.value < 0.0 && evidence.se < 0.05);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Logistic {
    /// s_i x_i, `[n, p]`, f64.
    signed: Tensor,
    sigma: f64,
}

/// Newton steps towards the mode, each halved until U falls: U is strictly convex.
const NEWTON: usize = 200;

impl Logistic {
    /// Design matrix `x` `[n, p]`, labels `y` `[n]` of 0 and 1 (integers, bool or floats), prior standard deviation σ. In f64 on
    /// the CPU.
    ///
    /// # Errors
    /// x that is not `[n, p]` or not finite, labels of another number or other than 0 and 1, σ not positive.
    pub fn new(x: &Tensor, y: &Tensor, sigma: f64) -> Result<Self> {
        let p = if x.defined() { x.size().get(1).copied().unwrap_or(0) } else { 0 };
        let x = rows_as("x", x, p, (Kind::Double, Device::Cpu))?;
        if p == 0 {
            return Err(Error::Shape { name: "x", got: x.size(), expected: "[n, p] with p ≥ 1".into() });
        }
        let n = x.size()[0];
        if !y.defined() || y.size() != [n] {
            let got = if y.defined() { y.size() } else { vec![] };
            return Err(Error::Shape { name: "y", got, expected: format!("[{n}]: a label for each row of x") });
        }
        let y = rows_as("y", &y.view([n, 1]), 1, (Kind::Double, Device::Cpu))?;
        let other = y.ne(0.0).logical_and(&y.ne(1.0)).nonzero();
        if other.size()[0] > 0 {
            let row = other.int64_value(&[0, 0]);
            let value = format!("{} in row {row}", y.double_value(&[row, 0]));
            return Err(Error::param("y", value, "labels 0 and 1"));
        }
        Ok(Logistic { signed: x * (y * 2.0 - 1.0), sigma: positive("sigma", sigma)? })
    }

    /// Number of coefficients p.
    pub fn dim(&self) -> i64 {
        self.signed.size()[1]
    }

    /// N(0, σ² I).
    ///
    /// # Errors
    /// None at present; that of [`Gaussian::isotropic`].
    pub fn prior(&self) -> Result<Gaussian> {
        Gaussian::isotropic(self.dim(), self.sigma, Kind::Double, Device::Cpu)
    }

    /// The Gaussian with the posterior's mode and the inverse of its Hessian there, found by Newton's method.
    ///
    /// # Errors
    /// A Hessian that is singular in f64.
    pub fn laplace(&self) -> Result<Gaussian> {
        guard(|| {
            no_grad(|| {
                let mut at = self.evaluate(&Tensor::zeros([1, self.dim()], (Kind::Double, Device::Cpu)));
                for _ in 0..NEWTON {
                    let slope = at.grad().view([-1]);
                    let step = Tensor::linalg_solve(&self.hessian(&at.x), &slope, true).view([1, -1]);
                    // what the step would gain; where that is near rounding, U cannot tell whether it falls, and the step is right
                    let (gain, u) =
                        (0.5 * (&step * at.grad()).sum(Kind::Double).double_value(&[]), at.u.double_value(&[0]));
                    if gain.is_nan() || gain < 1e-9 * (1.0 + u.abs()) {
                        at = self.evaluate(&(&at.x - &step));
                        break;
                    }
                    let halved = (0..40).map(|k| self.evaluate(&(&at.x - &step * 0.5f64.powi(k))));
                    match halved.into_iter().find(|next| next.u.double_value(&[0]) < u) {
                        Some(next) => at = next,
                        None => break,
                    }
                }
                let inverse = self.hessian(&at.x).inverse();
                Gaussian::with_covariance(&at.x.view([-1]), &((&inverse + inverse.tr()) * 0.5))
            })
        })
    }

    /// ∇²U at one row β, `[p, p]`.
    fn hessian(&self, beta: &Tensor) -> Tensor {
        let chance = self.signed.matmul(&beta.view([-1, 1])).sigmoid();
        let curved = &self.signed * (&chance * (1.0 - &chance));
        self.signed.tr().matmul(&curved) + Tensor::eye(self.dim(), (Kind::Double, Device::Cpu)) / self.sigma.powi(2)
    }

    fn signed_for(&self, beta: &Tensor) -> Tensor {
        self.signed.to_kind(beta.kind()).to_device(beta.device())
    }

    fn of_margins(&self, margins: &Tensor, beta: &Tensor) -> Tensor {
        let sum = |t: Tensor| t.sum_dim_intlist(-1, false, None::<Kind>);
        let normaliser = 0.5 * self.dim() as f64 * (LOG_2PI + 2.0 * self.sigma.ln());
        sum(beta.square()) * (0.5 / self.sigma.powi(2)) - sum(margins.log_sigmoid()) + normaliser
    }
}

impl Differentiable for Logistic {}

impl Energy for Logistic {
    fn energy(&self, x: &Tensor) -> Tensor {
        let beta = floats(x, self.dim(), Kind::Double);
        self.of_margins(&beta.matmul(&self.signed_for(&beta).tr()), &beta)
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        no_grad(|| {
            let beta = floats(x, self.dim(), Kind::Double);
            let signed = self.signed_for(&beta);
            let margins = beta.matmul(&signed.tr());
            let grad = &beta / self.sigma.powi(2) - (-&margins).sigmoid().matmul(&signed);
            Evaluation::new(x.shallow_clone(), self.of_margins(&margins, &beta), grad)
        })
    }
}
