//! Define what training may ask of a model: parameters θ, gradients in them, an exact start, files.

use crate::density::{Base, Energy, Evaluation};
use crate::error::{Error, Result, no_grad};
use crate::io::Checkpoint;
use crate::numeric::Rng;
use tch::{Device, Kind, Tensor, nn};

/// A trainable energy U_θ.
///
/// Parameters live in a `VarStore`, which fixes their device and kind, saves them as safetensors and feeds the
/// optimisers of tch.
pub trait Model: Energy {
    /// The parameters θ.
    fn vars(&self) -> &nn::VarStore;

    /// The same, for loading and moving.
    fn vars_mut(&mut self) -> &mut nn::VarStore;

    /// The exactly sampled law from which walkers start: ρ_{θ_0} itself where the model can (a mixture, a net whose
    /// last layer is zero), else the nearest one; walkers carry A_0 = U_base − U_θ, so that both are exact.
    fn base(&self) -> Result<Box<dyn Base>>;

    /// Width d of a row.
    fn dim(&self) -> i64;

    /// Σ_i w_i ∂_θ U(x_i), one tensor for each trainable parameter in the store's order. w `[n]`, any sign.
    ///
    /// The default spends the graph kept in `at` (no second forward pass) in one backward pass.
    fn param_grad(&self, at: &mut Evaluation, w: &Tensor) -> Vec<Tensor> {
        let params = self.vars().trainable_variables();
        let graph = at.take_graph().unwrap_or_else(|| tch::with_grad(|| self.energy(&at.x)));
        let loss = tch::with_grad(|| graph.dot(&w.to_kind(graph.kind())));
        let grads = Tensor::run_backward(&[loss], &params, false, false);
        grads.into_iter().zip(&params).map(|(g, p)| if g.defined() { g } else { p.zeros_like() }).collect()
    }

    /// Rows of data as walkers are: x itself unless walkers carry more, such as hidden units drawn given x. For CD.
    fn with_hidden(&self, x: &Tensor, _rng: &mut Rng) -> Tensor {
        x.shallow_clone()
    }

    /// Errors: data that this model has no density for, such as other numbers than 0 and 1. Their width and finiteness are
    /// checked before.
    fn check_data(&self, _x: &Tensor) -> Result<()> {
        Ok(())
    }

    /// The direction that the optimiser gets for the gradient (4): the gradient itself unless a model knows a better
    /// parametrisation.
    fn precondition(&self, grads: Vec<Tensor>) -> Vec<Tensor> {
        grads
    }

    /// Energies at data x `[n, d]` with what [`param_grad`](Model::param_grad) needs: one forward pass.
    fn evaluate_data(&self, x: &Tensor) -> Evaluation {
        Evaluation::energy_only(self, x)
    }

    /// Exact log Z_θ where a closed form exists, nats.
    fn log_z_exact(&self) -> Option<f64> {
        None
    }

    /// What [`log_z_exact`](Model::log_z_exact) costs, in rows sent forward through U; 0 for a formula. A training computes it as
    /// often as it can afford.
    fn log_z_exact_cost(&self) -> u64 {
        0
    }

    /// Where the parameters are, and of what kind.
    fn options(&self) -> (Kind, Device) {
        let vs = self.vars();
        (vs.trainable_variables().first().map_or(Kind::Float, Tensor::kind), vs.device())
    }

    /// Writes the parameters as safetensors, to a temporary name first. Errors: [`Error::Io`], [`Error::Torch`].
    fn save(&self, path: &std::path::Path) -> Result<()> {
        save_vars(self.vars(), path)
    }

    /// Reads parameters written by [`save`](Model::save); names and shapes must agree.
    fn load(&mut self, path: &std::path::Path) -> Result<()> {
        Ok(self.vars_mut().load(path)?)
    }
}

/// Writes parameters as safetensors, to a temporary name first.
pub(crate) fn save_vars(vs: &nn::VarStore, path: &std::path::Path) -> Result<()> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("model");
    let partial = path.with_file_name(format!(".{name}.part.safetensors"));
    vs.save(&partial)?;
    std::fs::rename(&partial, path).map_err(|e| Error::io(path, e))
}

/// Puts all variables of a store into a checkpoint.
pub(crate) fn save_parameters(vs: &nn::VarStore, to: &mut Checkpoint) -> Result<()> {
    // in the order of their names: the one that an error names must not depend on the process
    for (name, t) in std::collections::BTreeMap::from_iter(vs.variables()) {
        if !no_grad(|| t.sum(Kind::Double)).double_value(&[]).is_finite() {
            return Err(Error::NonFinite { what: "parameter of the model", place: format!("in {name}") });
        }
        to.put(format!("model.{name}"), &t);
    }
    Ok(())
}

/// Takes up the parameters that a checkpoint holds.
pub(crate) fn restore_parameters(vs: &nn::VarStore, from: &Checkpoint) -> Result<()> {
    for (name, mut held) in vs.variables() {
        let t = from.get(&format!("model.{name}"))?;
        if t.size() != held.size() {
            let expected = format!("{:?}, as parameter {name} of the model", held.size());
            return Err(Error::Shape { name: "checkpoint", got: t.size(), expected });
        }
        crate::error::no_grad(|| held.f_copy_(&t))?;
    }
    Ok(())
}
