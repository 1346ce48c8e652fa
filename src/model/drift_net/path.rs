//! Put a learned drift beside the path that it was learned for, as a flow that every flow kernel takes.

use super::{DriftNet, DriftShape};
use crate::density::{Base, Differentiable, Evaluation, Flow, Path, vector_products};
use crate::error::{Result, no_grad};
use tch::{Kind, Tensor};

/// A path of energies with the velocity of a [`DriftNet`]. Energies, base and log Z are those of the path: weights are exact for its
/// end whatever the drift, which decides their variance alone (Prop. 2).
///
/// ```
/// use jarzynski::model::{DriftShape, Gaussian, WithDrift, targets::modes_25};
/// use jarzynski::{Base, Escorted, Geometric, transport};
/// # fn main() -> jarzynski::Result<()> {
/// let path = Geometric { base: Gaussian::new(&[0.0; 2], &[8.0; 2])?, target: modes_25()? };
/// let flow = WithDrift::new(path, &DriftShape::default())?;      // untrained: b = 0
/// let run = transport(Escorted::new(0.1), &flow, 16, 200, 0)?;
/// println!("log Z = {}, exactly {}", run.walkers.log_z(), flow.path.target.log_z());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct WithDrift<P> {
    /// The path.
    pub path: P,
    /// The velocity.
    pub drift: DriftNet,
}

impl<P: Path> WithDrift<P> {
    /// The path with an untrained drift, which is 0.
    ///
    /// # Errors
    /// As [`DriftNet::new`].
    pub fn new(path: P, shape: &DriftShape) -> Result<Self> {
        Ok(WithDrift { drift: DriftNet::new(&path, shape)?, path })
    }

    /// Rows in the net's kind.
    fn own(&self, x: &Tensor) -> Tensor {
        x.to_kind(self.drift.options().0)
    }

    /// t as the net takes it.
    pub(crate) fn clock(&self, t: f64) -> Tensor {
        let (kind, device) = self.drift.options();
        Tensor::from_slice(&[t]).to_kind(kind).to_device(device).view([1, 1])
    }

    /// ∇U at x, with a graph in x.
    fn slope(&self, t: f64, x: &Tensor) -> Tensor {
        let u = self.path.energy(t, x);
        Tensor::run_backward(&[u.sum(u.kind())], &[x], true, true).swap_remove(0).to_kind(x.kind())
    }

    /// ∇U and the Hessian at x, `[n, d]` and `[n, d, d]`.
    fn curvatures(&self, t: f64, x: &Tensor) -> (Tensor, Tensor) {
        vector_products(x, |x| self.slope(t, x))
    }

    /// H v of rows x `[n, d]` and directions v `[n, d]`, of the Hessian of U_t.
    pub(crate) fn hessian_times(&self, t: f64, x: &Tensor, v: &Tensor) -> Tensor {
        let leaf = x.detach().set_requires_grad(true);
        let along = tch::with_grad(|| (self.slope(t, &leaf) * v).sum(x.kind()));
        if !along.requires_grad() {
            return x.zeros_like();
        }
        let h = Tensor::run_backward(&[along], &[&leaf], false, false).swap_remove(0);
        if h.defined() { h } else { x.zeros_like() }
    }

    fn tangents(&self, t: f64, x: &Tensor, tangents: Option<&Tensor>) -> (Tensor, Tensor) {
        let (x, clock) = (&self.own(x), self.clock(t));
        if !self.drift.shape().gradient {
            return no_grad(|| {
                let (b, j, _) = self.drift.push(&clock, x, x, tangents);
                (b, j)
            });
        }
        let (grad, hessian) = self.curvatures(t, x);
        no_grad(|| {
            let (b, j, gate) = self.drift.push(&clock, x, &grad, tangents);
            let h = tangents.map_or_else(|| hessian.shallow_clone(), |v| hessian.matmul(v));
            (b, gate.map_or_else(|| j.shallow_clone(), |gate| &j - h * gate.unsqueeze(-1)))
        })
    }
}

impl<P: Path> Path for WithDrift<P> {
    fn base(&self) -> &dyn Base {
        self.path.base()
    }

    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.path.energy(t, x)
    }

    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        self.path.evaluate(t, x)
    }

    fn rate(&self, t: f64, x: &Tensor) -> Tensor {
        self.path.rate(t, x)
    }

    fn weighable(&self) -> Result<()> {
        self.path.weighable()
    }
}

impl<P: Differentiable> Differentiable for WithDrift<P> {}

impl<P: Path + Differentiable> Flow for WithDrift<P> {
    fn velocity(&self, t: f64, x: &Tensor) -> Tensor {
        let x = &self.own(x);
        let grad = match self.drift.shape().gradient {
            false => x.shallow_clone(),
            true if x.requires_grad() => tch::with_grad(|| self.slope(t, x)),
            true => self.path.evaluate(t, x).grad().to_kind(x.kind()),
        };
        self.drift.at(&self.clock(t), x, &grad)
    }

    fn linearise(&self, t: f64, x: &Tensor) -> (Tensor, Tensor) {
        self.tangents(t, x, None)
    }

    fn push(&self, t: f64, x: &Tensor, tangents: &Tensor) -> (Tensor, Tensor) {
        self.tangents(t, x, Some(&self.own(tangents)))
    }

    fn arrive(&self, t: f64, x: &Tensor) -> Evaluation {
        let point = self.path.evaluate(t, x);
        let b = no_grad(|| self.drift.at(&self.clock(t), &self.own(&point.x), &self.own(point.grad())));
        point.with_drift(b)
    }
}

/// ∇·b − b·∇U_t − ∂_tU_t at rows x `[n, d]`, f64: −∂_tF_t at every x, F_t = −log Z_t, if and only if b carries ρ_t along (the
/// continuity equation of Prop. 2 divided by ρ_t; arXiv 2410.02711). The divergence is the trace of [`Flow::linearise`].
///
/// ```
/// use jarzynski::model::{Coupling, GaussianPath, continuity_residual};
/// use jarzynski::tch::Tensor;
/// # fn main() -> jarzynski::Result<()> {
/// let path = GaussianPath::new((&[0.0], &[1.0]), (&[2.0], &[0.5]), Coupling::Straight)?;      // b is exact, log Z_t = 0
/// let residual = continuity_residual(&path, 0.4, &Tensor::from_slice(&[-3.0, 0.0, 5.0]).view([3, 1]));
/// assert!(residual.abs().max().double_value(&[]) < 1e-8);
/// # Ok(()) }
/// ```
pub fn continuity_residual<P: Flow + ?Sized>(path: &P, t: f64, x: &Tensor) -> Tensor {
    let (b, j) = path.linearise(t, x);
    let divergence = j.diagonal(0, 1, 2).sum_dim_intlist(-1, false, Kind::Double);
    let along = (b.to_kind(Kind::Double) * path.evaluate(t, x).grad().to_kind(Kind::Double)).sum_dim_intlist(
        -1,
        false,
        Kind::Double,
    );
    divergence - along - path.rate(t, x)
}
