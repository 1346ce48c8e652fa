//! Correct a flow by an energy: U = −log ρ_flow + f_θ, the target of a stochastic normalizing flow.

use super::fit::{forward, mlp};
use jarzynski::density::{Base, Differentiable, Energy, Model, Whiten, Whitening};
use jarzynski::model::{CouplingFlow, initialise};
use jarzynski::tch::{Kind, Tensor, nn};
use jarzynski::{Result, Rng};

/// The energy of a trained flow plus an MLP whose last layer is 0 at first: untrained it is the flow. Training moves the MLP alone.
#[derive(Debug)]
pub(super) struct FlowEnergy {
    pub flow: CouplingFlow,
    vs: nn::VarStore,
    net: Vec<nn::Linear>,
}

impl FlowEnergy {
    /// On a flow in f32, with these hidden widths.
    pub fn new(flow: CouplingFlow, widths: &[i64], seed: u64) -> Self {
        let vs = nn::VarStore::new(flow.vars().device());
        let mut net = mlp(vs.root() / "net", &[&[flow.dim()], widths].concat());
        net.push(nn::linear(vs.root() / "last", widths[widths.len() - 1], 1, Default::default()));
        initialise(&vs, &mut Rng::new(seed).split(0x6665), Some("last"));
        FlowEnergy { flow, vs, net }
    }
}

impl Differentiable for FlowEnergy {}

impl Whiten for FlowEnergy {
    fn whitening(&self) -> &Whitening {
        self.flow.whitening()
    }
}

impl Energy for FlowEnergy {
    fn energy(&self, x: &Tensor) -> Tensor {
        let x = x.to_kind(Kind::Float);
        let f = forward(&self.net, &self.flow.whitening().whiten(&x)).squeeze_dim(-1);
        self.flow.energy(&x) + f.to_kind(Kind::Double)
    }
}

impl Model for FlowEnergy {
    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }

    fn vars_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }

    fn base(&self) -> Result<Box<dyn Base>> {
        self.flow.base()
    }

    fn dim(&self) -> i64 {
        self.flow.dim()
    }
}
