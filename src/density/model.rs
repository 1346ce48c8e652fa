//! Define what training needs of a model: parameters θ, gradients in them, an exact start, files.

use crate::density::files::{described, read_model, take_parameters, type_name, write_model};
use crate::density::{Base, Energy, Evaluation, Fisher, Weigh, flips_by_energy, rows_for};
use crate::error::{Result, guard, no_grad};
use crate::numeric::Rng;
use serde_json::Value;
use std::path::Path;
use tch::{Device, Kind, Tensor, nn};

/// U at fixed rows as a function of the place on a segment of θ, `[n]` in f64.
pub type Along = Box<dyn Fn(f64) -> Tensor>;

/// A trainable energy U_θ.
///
/// Parameters live in a `VarStore`, which fixes their device and kind.
pub trait Model: Energy {
    /// The parameters θ.
    fn vars(&self) -> &nn::VarStore;

    /// The same, for loading and moving.
    fn vars_mut(&mut self) -> &mut nn::VarStore;

    /// The exactly sampled distribution from which walkers start: ρ_{θ_0} itself where that can be sampled (a mixture, a net
    /// whose last layer is zero), else one near it; walkers carry A_0 = U_base − U_θ, so that averages are exact for both.
    ///
    /// # Errors
    /// Parameters that define no distribution.
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

    /// Refuses data outside the model's support, such as other numbers than 0 and 1. Called on rows that were checked for
    /// width and finiteness.
    ///
    /// # Errors
    /// Data that this model has no density for.
    fn check_data(&self, _x: &Tensor) -> Result<()> {
        Ok(())
    }

    /// Whether a row of data holds zeros and ones alone, so that it can be drawn from probabilities
    /// ([`DataNoise::Bits`](crate::train::DataNoise::Bits)).
    fn is_binary(&self) -> bool {
        false
    }

    /// Σ_ij w_ij ∂_θΔ_ij of the energy differences Δ_ij = U(x_i with bit `units[j]` flipped) − U(x_i), one tensor for each trainable
    /// parameter in the store's order. Rows x `[n, d]` of zeros and ones are visited in blocks: `weigh` gets each block's Δ and
    /// gives its weights w. Nothing comes back where it gives none. For [`BinaryMatching`](crate::train::BinaryMatching).
    ///
    /// The default evaluates all neighbours; a model whose differences cost less says so here.
    fn flips(&self, x: &Tensor, units: &[i64], weigh: &mut Weigh) -> Vec<Tensor> {
        flips_by_energy(self, x, units, weigh)
    }

    /// The direction that the optimiser gets for the gradient (4): the gradient itself unless a model knows a better
    /// parametrisation.
    fn precondition(&self, grads: Vec<Tensor>) -> Vec<Tensor> {
        grads
    }

    /// The blocks of the Fisher matrix Cov(∂_θU) in factors, from the rows of `at`, for
    /// [`Optim::Natural`](crate::Optim::Natural); `None` for a model without.
    fn fisher(&self, _at: &Evaluation) -> Option<Fisher> {
        None
    }

    /// U at the rows of `at`, evaluated under θ = `from`, under θ + sδ as a function of s, where that costs less than a forward
    /// pass for each s: what the ESS limit of an update looks at. `from` and `delta`: one tensor per trainable parameter, in the
    /// store's order; the model's parameters may have moved on.
    fn along(&self, _at: &Evaluation, _from: &[Tensor], _delta: &[Tensor]) -> Option<Along> {
        None
    }

    /// Energies at data x `[n, d]` with what [`param_grad`](Model::param_grad) needs: one forward pass.
    fn evaluate_data(&self, x: &Tensor) -> Evaluation {
        Evaluation::energy_only(self, x)
    }

    /// Another with the same parameters, constants and base, in memory of its own; `None` for a model that gives no copies. For
    /// [`Method::Ptt`](crate::Method::Ptt).
    fn copy(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
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

    /// What defines the energy beside θ, as a JSON object: widths, standard deviations, the kind of its units. Files and
    /// checkpoints hold it, and are refused for a model that says otherwise. A model of your own that has constants names
    /// them here.
    fn constants(&self) -> Value {
        Value::Null
    }

    /// What the model is, as files and checkpoints hold it: the name of its type, the width of a row, the kind of its numbers,
    /// names and shapes of its parameters, and its [`constants`](Model::constants).
    fn describe(&self) -> Value {
        described(&type_name::<Self>(), self.dim(), self.vars(), self.constants())
    }

    /// Writes the parameters and the [description](Model::describe) of the model as safetensors, whatever the ending of
    /// `path`; completely or not at all.
    ///
    /// # Errors
    /// `Io` with the path; `NonFinite` for a parameter that is not.
    fn save(&self, path: &Path) -> Result<()> {
        write_model(path, self.vars(), &self.describe(), &[])
    }

    /// Reads parameters written by [`save`](Model::save). Their kind must agree too: to compute in another one, load into a
    /// model of the kind that was saved and copy (`vars_mut().copy(…)`).
    ///
    /// # Errors
    /// `Io` where there is no file; `Data` where it is no model's, or where the [description](Model::describe) in it is not
    /// that of this model: the message names what differs. The parameters are then as they were.
    fn load(&mut self, path: &Path) -> Result<()> {
        let file = read_model(path, &self.describe())?;
        take_parameters(self.vars(), "", &file)
    }
}

/// The promise that e^{−U_θ} is normalised at every θ, log Z_θ = 0, such as a flow's: what
/// [`MaximumLikelihood`](crate::train::MaximumLikelihood) asks for, since there is nothing to sample then.
///
/// One line beside the model, whose [`log_z_exact`](Model::log_z_exact) is then `Some(0.0)`: `impl Normalised for MyFlow {}`.
pub trait Normalised: Model {}

/// log ρ(x) = −U(x) − `log_z` at rows x `[m, d]` of any kind on any device: `[m]`, f64, nats.
///
/// # Errors
/// x of the wrong width, not finite, or outside the model's support.
pub fn log_prob<M: Model>(model: &M, x: &Tensor, log_z: f64) -> Result<Tensor> {
    let x = rows_for(model, "x", x)?;
    guard(|| Ok(-no_grad(|| model.energy(&x)).to_kind(Kind::Double) - log_z))
}
