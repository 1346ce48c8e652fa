//! Lead from a flow's start to any energy through the flow's layers: the path of a stochastic normalizing flow.

use super::CouplingFlow;
use crate::density::{Base, Differentiable, Energy, Maps, Path, Whiten, Whitening};
use crate::error::Result;
use crate::model::Gaussian;
use tch::{Kind, Tensor};

/// The path from the start of a [`CouplingFlow`] of K couplings to an energy V. With k = ⌊tK⌋ couplings behind and K − k to come,
///
/// ```text
/// U_t = (1 − t) F_k + t V_k
/// F_k(x) = U_start(y) − log |det ∂y/∂x|,   y: x back through the first k couplings
/// V_k(x) = V(y) − log |det ∂y/∂x|,         y: x on through the other K − k
/// ```
///
/// F_k is the density that the flow has after k couplings, V_k the target as it looks from there: both are carried along by the
/// [maps](Maps), so that weights pay only for the change of t, and not at all for a flow that is the target. A
/// [`Transport`](crate::Transport) along it with [`Mapped`](crate::kernel::Mapped) moves at these energies between the layers and
/// may have any number of steps; multiples of K have equally many between two layers. Walkers at t = 1 are exact for e^{−V}.
///
/// ```
/// use jarzynski::{Mala, Reversed, Rng, Transport, kernel::Mapped, train::MaximumLikelihood};
/// use jarzynski::model::{CouplingFlow, CouplingShape, FlowBridge, Gaussian, Mixture};
/// use jarzynski::tch::{Device, Kind};
/// # fn main() -> jarzynski::Result<()> {
/// let modes = Mixture::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7])?;
/// let data = modes.sample(500, &mut Rng::new(1));
/// let shape = CouplingShape { couplings: 4, widths: vec![16], ..Default::default() };
/// let mut flow = CouplingFlow::new(&Gaussian::fit(&data, 0.0)?, &shape, Kind::Double, Device::Cpu)?;
/// MaximumLikelihood::new().steps(50).lr(0.01).quiet().train(&mut flow, &data)?;
/// let path = FlowBridge::new(&flow, &modes)?;
/// let run = Transport::new(Mapped::new(Reversed::new(Mala::new(0.3))), 8, 1_000, 0).quiet().run(&path)?;
/// let mean = run.walkers.mean(&run.walkers.x().select(1, 0))?;
/// assert!((mean.value - 0.8).abs() < 5.0 * mean.se);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct FlowBridge<'f, E> {
    flow: &'f CouplingFlow,
    start: Gaussian,
    target: E,
}

impl<'f, E: Energy> FlowBridge<'f, E> {
    /// From the flow's start to `target`.
    ///
    /// # Errors
    /// None of its own; what libtorch refuses.
    pub fn new(flow: &'f CouplingFlow, target: E) -> Result<Self> {
        Ok(FlowBridge { flow, start: flow.start()?, target })
    }

    /// The couplings behind at time t.
    fn depth(&self, t: f64) -> usize {
        // times are k/K up to rounding
        (t * self.flow.shape().couplings as f64 + 1e-9).floor() as usize
    }
}

impl<E: Differentiable> Differentiable for FlowBridge<'_, E> {}

impl<E> Whiten for FlowBridge<'_, E> {
    fn whitening(&self) -> &Whitening {
        self.flow.whitening()
    }
}

impl<E: Energy> Path for FlowBridge<'_, E> {
    fn base(&self) -> &dyn Base {
        &self.start
    }

    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        let k = self.depth(t);
        let carried = |u: &dyn Energy, to: usize| {
            let (y, log_det) = self.flow.carry(k, to, x);
            u.energy(&y).to_kind(Kind::Double) - log_det
        };
        // what has no share is not computed: the target may be infinite where the path still has a density
        let from_start = || carried(&self.start, 0) * (1.0 - t);
        let from_target = || carried(&self.target, self.flow.shape().couplings) * t;
        match t {
            t if t <= 0.0 => from_start(),
            t if t >= 1.0 => from_target(),
            _ => from_start() + from_target(),
        }
    }
}

impl<E: Energy> Maps for FlowBridge<'_, E> {
    fn carry(&self, from: f64, to: f64, x: &Tensor) -> (Tensor, Tensor) {
        self.flow.carry(self.depth(from), self.depth(to), x)
    }
}
